"""OKDNet as BasicSR sees it, as the paper counts it, and as old checkpoints need it."""

from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network

from okdnet_plugin.archs.okdnet_arch import AGRDB, FAB, FAU, RDB, ANet, OKDNet

GRID = {'num_blocks': (1, 1, 4), 'down': 'grid', 'up': 'grid', 'fuse_kernel': 3}
SMALL = {'num_feat': 8, 'num_blocks': (1, 1, 1), 'growth': 4}


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ({}, 2_581_227),
        (GRID, 2_584_168),
        ({'up': 'deconv3', 'fuse_kernel': 3}, 2_591_467),
        ({'attention': False}, 1_854_690),
        ({'aggregation': 'fau'}, 2_658_401),
        ({'multi_scale': False}, 1_295_563),
    ],
    ids=['default', 'grid', 'deconv3', 'variant A', 'variant B', 'variant C'],
)
def test_whole_network_has_the_published_size(options, expected):
    assert count(OKDNet(**options)) == expected


@pytest.mark.parametrize(
    ('part', 'expected'),
    [
        (ANet(), 852_304),
        (AGRDB(32), 44_961),
        (AGRDB(64), 96_513),
        (AGRDB(128), 261_057),
        (RDB(32), 35_424),
        (FAB(32), 8_451),
        (FAU(32), 85_625),
        (OKDNet().preprocess, 10_272),
        (OKDNet().model_free, 10_185),
        (OKDNet().transmission, 9_603),
        (OKDNet().to_image, 99),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, torch.nn.Module) else '',
)
def test_part_has_the_published_size(part, expected):
    assert count(part) == expected


def test_channel_attention_is_the_convolution_of_the_paper():
    block = AGRDB(8)
    means = torch.rand(2, 8)
    torch.testing.assert_close(
        block._attend_channels(means), block.channel_attention(means[..., None, None])[..., 0, 0]
    )


def test_state_dict_keys_and_shapes_stay_as_released():
    pinned = Path(__file__).with_name('okdnet_state_dict.txt').read_text().splitlines()
    current = [f'{key} {tuple(value.shape)}' for key, value in OKDNet().state_dict().items()]
    assert current == pinned


@pytest.mark.parametrize('size', [(16, 16), (17, 23), (64, 48), (31, 100)])
@pytest.mark.parametrize('mode', ['train', 'eval'])
def test_output_has_the_size_of_the_input(size, mode):
    net = OKDNet(**SMALL).train(mode == 'train')
    assert net(torch.rand(2, 3, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize('options', [{}, GRID, {'aggregation': 'fau'}, {'multi_scale': False}, {'gate': 'softmax'}])
def test_every_option_gives_every_parameter_a_gradient(options):
    net = OKDNet(**(SMALL | options))
    sum(image.sum() for image in net(torch.rand(2, 3, 32, 32), return_branches=True)).backward()
    assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []
    assert all(torch.isfinite(parameter.grad).all() for parameter in net.parameters())


def test_output_alone_gives_every_parameter_a_gradient():
    """So that plain SRModel and DistributedDataParallel train it without find_unused_parameters."""
    net = OKDNet(**SMALL)
    net(torch.rand(2, 3, 32, 32)).sum().backward()
    assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []


def test_eval_output_is_a_finite_image_for_extreme_input():
    net = OKDNet().eval()
    for value in (0.0, 0.5, 1.0):
        output = net(torch.full((1, 3, 32, 32), value))
        assert torch.isfinite(output).all()
        assert output.min() >= 0
        assert output.max() <= 1


@pytest.mark.parametrize('size', [(30, 41), (32, 40)])
def test_branches_obey_the_scattering_model(size):
    """Eq. 1: I = J_mod t + A (1 - t), in the same [0, 1] as the input."""
    hazy = torch.rand(2, 3, *size)
    branches = OKDNet(**SMALL)(hazy, return_branches=True)
    t, airlight = branches.transmission, branches.airlight
    assert t.shape == (2, 1, *size)
    assert airlight.shape == (2, 3, 1, 1)
    assert t.min() >= 0.1
    assert t.max() <= 1
    torch.testing.assert_close(branches.model_based * t + airlight * (1 - t), hazy, atol=1e-5, rtol=0)


def test_output_is_the_weighted_sum_of_the_branches():
    """Eq. 2 with weights that sum to one holds in [0, 1] as well as inside the network's [-1, 1]."""
    net = OKDNet(**SMALL, gate='softmax')
    weights = {}
    net.aggregation.register_forward_hook(lambda module, args, out: weights.update(alpha=out))
    branches = net(torch.rand(2, 3, 32, 32), return_branches=True)
    sources = (branches.model_free, branches.model_based, branches.shared)
    expected = sum(source * alpha for source, alpha in zip(sources, weights['alpha'], strict=True))
    torch.testing.assert_close(branches.output, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(sum(weights['alpha']), torch.ones(2, 1, 32, 32))


def test_return_branches_gives_the_same_output():
    net = OKDNet(**SMALL).eval()
    hazy = torch.rand(1, 3, 20, 21)
    torch.testing.assert_close(net(hazy), net(hazy, return_branches=True).output)


def test_training_on_one_image_says_why_it_cannot():
    with pytest.raises(ValueError, match='batch_size_per_gpu to 2 or more'):
        OKDNet(**SMALL)(torch.rand(1, 3, 32, 32))


def test_too_small_image_is_refused():
    with pytest.raises(ValueError, match='15x16 is too small'):
        OKDNet(**SMALL).eval()(torch.rand(1, 3, 15, 16))


@pytest.mark.parametrize(
    'wrong',
    [
        {'down': 'pool'},
        {'up': 'conv'},
        {'fuse_kernel': 5},
        {'gate': 'tanh'},
        {'aggregation': 'sum'},
        {'aggregation': 'fau', 'gate': 'softmax'},
        {'num_blocks': (1, 2)},
        {'t_min': 0},
    ],
    ids=str,
)
def test_wrong_argument_is_named(wrong):
    with pytest.raises(ValueError, match=f'OKDNet: {list(wrong)[-1]} is'):
        OKDNet(**wrong)


def test_options_of_a_yaml_file_build_the_network():
    assert isinstance(build_network({'type': 'OKDNet', 'num_blocks': [1, 1, 4], 'down': 'grid'}), OKDNet)
