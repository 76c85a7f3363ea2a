"""The plugin's networks in spandrel, by its own loader; it knows nothing of them before they are installed."""

import pytest
import torch

spandrel = pytest.importorskip('spandrel')

from okdnet_plugin import spandrel_arch  # noqa: E402
from okdnet_plugin.inference.export import exporting as export  # noqa: E402
from okdnet_plugin.weights import arch_detection  # noqa: E402
from okdnet_plugin.weights import loading as weights  # noqa: E402

SMALL = {'num_feat': 8, 'num_blocks': [1, 2, 1], 'growth': 4}


@pytest.fixture
def registry():
    registry = spandrel.MAIN_REGISTRY.copy()
    spandrel_arch.install(registry)
    return registry


@pytest.fixture
def okdnet() -> weights.Weights:
    torch.manual_seed(0)
    network = {'type': 'OKDNet', **SMALL}
    return weights.Weights(network, arch_detection.make(network).state_dict())


@pytest.mark.parametrize('ending', ['safetensors', pytest.param('pth', marks=pytest.mark.long)])
def test_loader_gives_the_network_with_the_same_output(tmp_path, registry, okdnet, ending):
    path = str(tmp_path / f'net.{ending}')
    export.export(okdnet, path)
    model = spandrel.ModelLoader(registry=registry).load_from_file(path).eval()
    assert isinstance(model, spandrel.ImageModelDescriptor)
    assert (model.architecture.id, model.purpose, model.scale) == ('OKDNet', 'Restoration', 1)
    assert (model.input_channels, model.output_channels) == (3, 3)
    assert (model.size_requirements.minimum, model.size_requirements.multiple_of) == (16, 1)
    assert {'num_feat=8', 'num_blocks=[1, 2, 1]', 'gate=none', 't_min=0.1'} <= set(model.tags)
    hazy = torch.rand(1, 3, 37, 50)
    with torch.inference_mode():
        assert torch.equal(model(hazy), weights.build(okdnet)(hazy))


def test_file_of_a_training_with_both_weights_is_loaded(tmp_path, registry, okdnet):
    average = {name: value * 2 if value.is_floating_point() else value for name, value in okdnet.state.items()}
    torch.save({'params': dict(okdnet.state), 'params_ema': average}, tmp_path / 'net_g_latest.pth')
    model = spandrel.ModelLoader(registry=registry).load_from_file(tmp_path / 'net_g_latest.pth')
    assert torch.equal(model.model.state_dict()['to_image.weight'], average['to_image.weight'])


@pytest.mark.parametrize('name', ['AODNet', 'GCANet', 'PSD', 'DehazeFormer', 'gUNet'])
def test_comparison_networks_are_known_too(registry, name):
    model = registry.load(arch_detection.make({'type': name}).state_dict())
    assert model.architecture.id == name


def test_no_other_architecture_takes_the_weights(registry, okdnet):
    assert [entry.architecture.id for entry in registry if entry.detect(okdnet.state)] == ['OKDNet']


def test_main_registry_knows_nothing_until_it_is_asked(registry, okdnet):
    assert 'OKDNet' in registry
    assert 'OKDNet' not in spandrel.MAIN_REGISTRY
    with pytest.raises(spandrel.UnsupportedModelError):
        spandrel.MAIN_REGISTRY.load(dict(okdnet.state))


def test_installing_twice_adds_nothing_and_an_empty_registry_is_one():
    registry = spandrel.ArchRegistry()
    assert len(spandrel_arch.install(registry)) == len(registry) == 12
    assert not spandrel_arch.install(registry)
    assert 'OKDNet' not in spandrel.MAIN_REGISTRY


def test_gate_and_t_min_come_from_the_metadata(tmp_path, okdnet):
    network = {**okdnet.network, 'gate': 'softmax', 't_min': 0.2}
    path = str(tmp_path / 'net.safetensors')
    export.export(weights.Weights(network, okdnet.state), path)
    model = spandrel_arch.load_from_file(path)
    assert model.model.t_min == 0.2
    assert {'gate=softmax', 't_min=0.2'} <= set(model.tags)


def test_weights_of_something_else_are_not_taken(registry):
    state = {'conv.weight': torch.zeros(3, 3, 3, 3), 'preprocess.0.weight': torch.zeros(8, 3, 3, 3)}
    assert not any(entry.detect(state) for entry in registry)
