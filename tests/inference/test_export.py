"""Networks as files for others: they run without the package and give the same images, and weights come back."""

import json

import pytest
import torch
from torch import nn

from conftest import write_options
from okdnet_plugin.archs.arch_util import crop_to, pad_to_multiple
from okdnet_plugin.archs.depthguidedfusenet_arch import PatchEmbedding, to_map
from okdnet_plugin.errors import InputError, SaveError
from okdnet_plugin.inference.export import exporting as export_module
from okdnet_plugin.inference.export.exporters import OF_NETWORKS
from okdnet_plugin.inference.export.exporting import export
from okdnet_plugin.weights import arch_detection
from okdnet_plugin.weights.loading import Weights, build, load

SMALL = {'type': 'OKDNet', 'num_feat': 8, 'num_blocks': [1, 1, 1], 'growth': 4}
PLAIN = SMALL | {'multi_scale': False}  # what is exported sooner
GCANET = {'type': 'GCANet', 'num_feat': 4}
SIZES = [(1, 3, 16, 16), (2, 3, 33, 50), (3, 3, 64, 41)]


def weights_of(network: dict) -> Weights:
    torch.manual_seed(0)
    net = arch_detection.make(network).train()
    if network['type'] == 'OKDNet':
        net(torch.rand(2, 3, 32, 32))  # statistics that differ from those of the start
    return Weights(network, net.state_dict(), {'licence': 'CC0-1.0'})


def assert_same(weights: Weights, run) -> None:
    net = build(weights)
    for size in SIZES:
        hazy = torch.rand(size)
        torch.testing.assert_close(run(hazy), net(hazy), atol=1e-4, rtol=0)


def session_of(path):
    onnxruntime = pytest.importorskip('onnxruntime')
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    return session, lambda hazy: torch.from_numpy(session.run(['dehazed'], {'hazy': hazy.numpy()})[0])


needs_dynamic_export = pytest.mark.skipif(
    not hasattr(getattr(torch.export, 'Dim', None), 'DYNAMIC'), reason='torch before 2.6'
)


@pytest.fixture
def aodnet() -> Weights:
    return weights_of({'type': 'AODNet'})


@pytest.mark.parametrize('fuse', [True, False])
def test_onnx_takes_any_batch_height_and_width(tmp_path, fuse):
    network = PLAIN if fuse else {'type': 'AODNet'}
    weights, path = weights_of(network), tmp_path / 'net.onnx'
    done = export(weights, str(path), fuse=fuse)
    session, run = session_of(path)
    assert_same(weights, run)
    assert done.is_fused == fuse
    assert (done.smallest, done.size) == (16, path.stat().st_size)
    assert max(done.differences.values()) < 1e-4
    (hazy,), (dehazed,) = session.get_inputs(), session.get_outputs()
    assert hazy.shape == ['batch', 3, 'height', 'width']
    assert dehazed.shape[1] == 3
    assert (hazy.name, dehazed.name) == ('hazy', 'dehazed')
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told['network']) == network
    assert told['licence'] == 'CC0-1.0'


@pytest.mark.parametrize('network', [SMALL, pytest.param(GCANET, marks=pytest.mark.long)], ids=['OKDNet', 'GCANet'])
def test_torchscript_takes_any_batch_height_and_width(tmp_path, network):
    weights, path = weights_of(network), str(tmp_path / 'net.pt')
    export(weights, path)
    extra = {'metadata.json': ''}
    assert_same(weights, torch.jit.load(path, _extra_files=extra))
    assert json.loads(json.loads(extra['metadata.json'])['network']) == network


def test_exported_program_takes_any_batch_height_and_width(tmp_path, aodnet):
    path, extra = str(tmp_path / 'net.pt2'), {'metadata.json': ''}
    export(aodnet, path)
    program = torch.export.load(path, extra_files=extra)
    assert_same(aodnet, program.module())
    assert json.loads(extra['metadata.json'])['version'].startswith('okdnet_plugin')


def test_weights_go_to_safetensors_and_back_bit_by_bit(tmp_path):
    weights = weights_of(SMALL | {'t_min': 0.2})
    export(weights, str(tmp_path / 'net.safetensors'), more={'note': 'on haze of the sea'})
    between = load(str(tmp_path / 'net.safetensors'))
    export(between, str(tmp_path / 'net.pth'))
    back = load(str(tmp_path / 'net.pth'))
    assert back.network == between.network == weights.network
    assert back.metadata['note'] == 'on haze of the sea'
    assert back.metadata['licence'] == 'CC0-1.0'
    assert back.state.keys() == weights.state.keys()
    assert all(torch.equal(value, weights.state[name]) for name, value in back.state.items())


def test_basicsr_reads_the_pth(tmp_path, model_options):
    from okdnet_plugin.models.restoration_model import RestorationModel

    weights = weights_of(SMALL)
    export(weights, str(tmp_path / 'net.pth'))
    path = {'pretrain_network_g': str(tmp_path / 'net.pth'), 'param_key_g': 'params', 'strict_load_g': True}
    test = {'is_train': False, 'path': path, 'network_g': dict(SMALL)}
    model = RestorationModel(model_options | test)
    state = model.get_bare_model(model.net_g).state_dict()
    assert all(torch.equal(value, weights.state[name]) for name, value in state.items())


def test_metadata_tell_of_the_training(tmp_path, train_options):
    (tmp_path / 'run' / 'models').mkdir(parents=True)
    state = weights_of(SMALL).state
    network = str(tmp_path / 'run' / 'models' / 'net_g_4.pth')
    torch.save({'params': state, 'params_ema': state}, network)
    write_options(tmp_path / 'run' / 'small.yml', train_options)
    lines = [
        {'iter': 2, 'dataset': 'Held', 'psnr': 1.0},
        {'iter': 4, 'l_pix': 0.1},
        {'iter': 4, 'dataset': 'Held', 'psnr': 20.5},
    ]
    (tmp_path / 'run' / 'metrics.jsonl').write_text('\n'.join(map(json.dumps, lines)) + '\n{"iter": 4, "dat')
    export(load(network), str(tmp_path / 'net.safetensors'))
    told = load(str(tmp_path / 'net.safetensors')).metadata
    assert json.loads(told['metrics']) == {'iter': 4, 'Held': {'psnr': 20.5}}
    assert json.loads(told['training_data'])[0]['name'] == 'Pairs'
    assert json.loads(told['options'])['train']['ema_decay'] == 0.9
    assert str(tmp_path.parent) not in ''.join(told.values())  # where data lay is nobody's affair
    export(load(network, param_key='params'), str(tmp_path / 'other.safetensors'))
    assert 'metrics' not in load(str(tmp_path / 'other.safetensors')).metadata  # the average was validated
    assert int(told['parameters']) == sum(parameter.numel() for parameter in arch_detection.make(SMALL).parameters())


@pytest.mark.parametrize(('better', 'wanted'), [('higher', 4), ('lower', 6)])
def test_metadata_of_the_best_network_have_the_figures_of_its_iteration(tmp_path, train_options, better, wanted):
    (tmp_path / 'run' / 'models').mkdir(parents=True)
    network = str(tmp_path / 'run' / 'models' / 'net_g_best.pth')
    torch.save({'params_ema': weights_of(SMALL).state}, network)
    train_options['logger']['save_best'] = 'Held/psnr'
    train_options['val'] = {'metrics': {'psnr': {'type': 'calculate_psnr', 'better': better}}}
    write_options(tmp_path / 'run' / 'small.yml', train_options)
    lines = [{'iter': number, 'dataset': 'Held', 'psnr': value} for number, value in ((2, 5.0), (4, 9.0), (6, 1.0))]
    lines.append({'iter': 8, 'dataset': 'Other', 'psnr': 99.0})
    (tmp_path / 'run' / 'metrics.jsonl').write_text('\n'.join(map(json.dumps, lines)))
    export(load(network), str(tmp_path / 'net.safetensors'))
    metrics = json.loads(load(str(tmp_path / 'net.safetensors')).metadata['metrics'])
    assert (metrics['iter'], 'Held' in metrics) == (wanted, True)


def test_a_folder_that_takes_no_file_is_refused_before_the_export(monkeypatch):
    monkeypatch.setattr('os.access', lambda *_: False)
    with pytest.raises(InputError, match=r'net\.onnx: nothing can be written in the folder \.; take another'):
        export_module.check_target(None, 'net.onnx', False)


class Mute(nn.Module):
    def forward(self, x):
        raise AssertionError  # as a bare `assert` does


def test_a_network_that_refuses_a_size_without_a_word_is_told_by_its_code():
    with pytest.raises(InputError, match=r'Mute does not take an image of 16x20: AssertionError at `raise Assertion'):
        export_module._try_size(Mute(), (16, 20), 'Mute')


class ByItsSize(nn.Module):
    """Something that a trace holds for a constant."""

    def forward(self, x):
        return x * (0.5 if x.shape[-1] > 60 else 1)


SWINIR = {'type': 'SwinIR', 'upscale': 1, 'img_size': 16, 'window_size': 8, 'depths': [1], 'embed_dim': 6}
SWINIR |= {'num_heads': [1], 'mlp_ratio': 1, 'upsampler': '', 'in_chans': 3}


def loaded_of(path):
    if path.suffix == '.onnx':
        return session_of(path)[1]
    return torch.jit.load(str(path)) if path.suffix == '.pt' else torch.export.load(str(path)).module()


@pytest.mark.parametrize(
    'ending',
    [
        'onnx',
        pytest.param('pt', marks=pytest.mark.long),
        pytest.param('pt2', marks=[needs_dynamic_export, pytest.mark.long]),
    ],
)
def test_a_network_of_windows_is_exported_for_one_size(tmp_path, ending):
    weights, path = weights_of(SWINIR), tmp_path / f'net.{ending}'
    done = export(weights, str(path), size=(16, 24))
    hazy = torch.rand(1, 3, 16, 24)
    torch.testing.assert_close(loaded_of(path)(hazy), build(weights)(hazy), atol=1e-5, rtol=0)
    assert list(done.differences) == [(1, 3, 16, 24)]


def test_a_network_of_windows_names_the_option_where_it_is_missing_or_wrong(tmp_path):
    with pytest.raises(InputError, match='--size HxW'):
        export(weights_of(SWINIR), str(tmp_path / 'net.pt'))
    for ending in OF_NETWORKS:
        with pytest.raises(InputError, match=r'SwinIR does not take an image of 20x24: .*; write another --size'):
            export(weights_of(SWINIR), str(tmp_path / f'net{ending}'), size=(20, 24))
    assert not list(tmp_path.iterdir())


def test_message_of_an_exporter_is_what_it_has_met(tmp_path, aodnet, monkeypatch, capfd):
    def fails(*_):
        try:
            raise ValueError('the network looks at its size')
        except ValueError as error:
            raise RuntimeError('\x1b[96mThis is step 1/3\x1b[0m of exporting') from error

    monkeypatch.setitem(OF_NETWORKS, '.onnx', ('ONNX', fails))
    with pytest.raises(
        InputError, match='AODNet cannot be exported to ONNX: ValueError: the network looks at its size;'
    ):
        export(aodnet, str(tmp_path / 'net.onnx'))
    assert capfd.readouterr().err == ''


# ------------------------------------------------------------------------------------------------------------- float16


def test_onnx_in_float16_runs_on_float32_images_and_is_the_same_within_a_step_of_8_bits(tmp_path):
    weights, path = weights_of(SMALL), tmp_path / 'half.onnx'
    export(weights, str(path), half=True)
    session, run = session_of(path)
    assert session.get_inputs()[0].type == session.get_outputs()[0].type == 'tensor(float)'
    hazy = torch.rand(2, 3, 33, 50)
    assert 1e-5 < (run(hazy) - build(weights)(hazy)).abs().max() < 4e-3


@pytest.mark.parametrize('ending', ['safetensors', 'pth'])
def test_weights_in_float16_come_back_rounded(tmp_path, ending):
    weights, path = weights_of(SMALL), str(tmp_path / f'net.{ending}')
    export(weights, path, half=True)
    back = load(path)
    assert {one.dtype for one in back.state.values()} == {torch.float16, torch.int64}
    hazy = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(build(back)(hazy), build(weights)(hazy), atol=4e-3, rtol=0)


def test_what_float16_cannot_hold_is_refused(tmp_path, aodnet):
    for ending in ('pt', 'pt2'):
        with pytest.raises(InputError, match=r'is written in float32 alone; write .onnx, .safetensors or .pth'):
            export(aodnet, str(tmp_path / f'net.{ending}'), half=True)
    next(iter(aodnet.state.values())).view(-1)[0] = 1e5
    with pytest.raises(InputError, match='has values beyond 65504'):
        export(aodnet, str(tmp_path / 'net.pth'), half=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('ending', ['pt', *(pytest.param(one, marks=pytest.mark.long) for one in ('onnx', 'pt2'))])
def test_export_that_differs_at_another_size_leaves_no_file(tmp_path, aodnet, ending, monkeypatch):
    monkeypatch.setattr(export_module, 'build', lambda weights: ByItsSize())
    with pytest.raises(InputError, match=r'not the same network|does not run at other sizes'):
        export(aodnet, str(tmp_path / f'net.{ending}'))
    assert not list(tmp_path.iterdir())


def test_dark_channel_prior_is_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match=r'DCP.*nothing is written') as error:
        export(Weights({'type': 'DCP'}, {}), str(tmp_path / 'net.pt'))
    assert '\n' not in str(error.value)
    with pytest.raises(InputError, match='DCP has no weights'):
        export(Weights({'type': 'DCP'}, {}), str(tmp_path / 'net.safetensors'))
    assert not list(tmp_path.iterdir())


def test_file_that_is_there_is_replaced_only_when_asked(tmp_path, aodnet):
    path = tmp_path / 'net.safetensors'
    path.write_text('precious')
    with pytest.raises(InputError, match='--force'):
        export(aodnet, str(path))
    assert path.read_text() == 'precious'
    export(aodnet, str(path), replace=True)
    weights = load(str(path))
    with pytest.raises(InputError, match='the weights themselves'):
        export(weights, str(path), replace=True)


@pytest.mark.parametrize(
    ('name', 'said'),
    [('net.onx', r'\.onnx \(ONNX'), ('net', 'ending'), ('no/net.onnx', 'there is no folder'), ('d.onnx', 'a folder')],
)
def test_target_that_cannot_be_is_refused_before_any_work(tmp_path, aodnet, name, said):
    (tmp_path / 'd.onnx').mkdir()
    with pytest.raises(InputError, match=said):
        export(aodnet, str(tmp_path / name))


def test_full_disk_leaves_nothing_and_says_so(tmp_path, aodnet, monkeypatch):
    def full(_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('okdnet_plugin.engine.checkpoints.os.fsync', full)
    with pytest.raises(SaveError, match=r'net\.safetensors cannot be written: No space left') as error:
        export(aodnet, str(tmp_path / 'net.safetensors'))
    assert 'resume' not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_values_of_the_check_are_images():
    hazy = export_module._image(2, 50, 75)
    assert hazy.shape == (2, 3, 50, 75)
    assert 0 <= hazy.min() < 0.2 < 0.8 < hazy.max() <= 1
    assert torch.equal(hazy, export_module._image(2, 50, 75))


class Guided(nn.Module):
    """What of DGDNet hangs on the size: padding to a smallest side, tokens and their map."""

    def __init__(self):
        super().__init__()
        self.embed = PatchEmbedding(3, 4, 3)
        self.conv = nn.Conv2d(4, 3, 3, 1, 1)

    def forward(self, x):
        height, width = x.shape[-2:]
        tokens, rows, columns = self.embed(pad_to_multiple(x, 32, 64))
        feature = self.conv(to_map(tokens, rows, columns))
        return crop_to(nn.functional.interpolate(feature, scale_factor=2.0), height, width)


@needs_dynamic_export
def test_tokens_and_padding_are_exported_for_any_batch_and_size():
    net = Guided().eval()
    _, run = OF_NETWORKS['.pt2'][1](net, {})
    for shape in ((1, 3, 16, 16), (2, 3, 50, 75), (1, 3, 101, 67)):
        hazy = torch.rand(shape)
        assert torch.equal(run(hazy), net(hazy))


def test_network_that_depth_guides_is_exported_to_onnx(tmp_path):
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnx')
    network = {
        'type': 'DGDNet',
        'depth': {'num_feat': 4, 'growth': 4, 'num_blocks': [1, 1, 1, 1]},
        'fuse': {'dim': 4, 'depths': [1, 1]},
    }
    path = str(tmp_path / 'net.onnx')
    done = export(Weights(network, arch_detection.make(network).state_dict()), path)
    assert max(done.differences.values()) < 1e-5
    assert done.smallest == 16
