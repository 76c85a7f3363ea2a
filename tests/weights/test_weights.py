"""Weights of any file that has some: which are taken, which network they are of, and what is said of other files."""

import json
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import safetensors.torch
import torch
from basicsr.utils.registry import ARCH_REGISTRY

from conftest import write_options
from okdnet_plugin import shipped_weights
from okdnet_plugin.errors import InputError, UnknownNameError
from okdnet_plugin.inference.dehazer import Dehazer
from okdnet_plugin.weights import arch_detection, reading
from okdnet_plugin.weights.loading import Weights, build, load

pytest_plugins = ['made_distribution']

SMALL = {'type': 'OKDNet', 'num_feat': 8, 'num_blocks': [1, 1, 1], 'growth': 4}


def state_of(network: dict) -> dict[str, torch.Tensor]:
    return arch_detection.make(network).state_dict()


def saved(content: object, path: Path) -> str:
    torch.save(content, path)
    return str(path)


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return state_of(SMALL)


@pytest.fixture
def aodnet() -> dict[str, torch.Tensor]:
    return state_of({'type': 'AODNet'})


def test_network_has_the_weights_is_in_eval_mode_and_learns_nothing(tmp_path, state):
    net = build(load(saved({'params': state}, tmp_path / 'net.pth')))
    assert not net.training
    assert not any(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_half_precision_becomes_float32(tmp_path, aodnet):
    net = build(load(saved({name: value.half() for name, value in aodnet.items()}, tmp_path / 'net.pth')))
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ('keys', 'wanted', 'taken'),
    [
        (('params', 'params_ema'), None, 'params_ema'),
        (('params', 'params_ema'), 'params', 'params'),
        (('params',), None, 'params'),
        (('generator',), None, 'generator'),
    ],
)
def test_average_goes_before_weights_and_a_key_before_both(tmp_path, aodnet, keys, wanted, taken):
    content = {key: {name: value + index for name, value in aodnet.items()} for index, key in enumerate(keys)}
    weights = load(saved(content, tmp_path / 'net.pth'), param_key=wanted)
    assert weights.param_key == taken
    assert torch.equal(weights.state['convs.0.bias'], aodnet['convs.0.bias'] + keys.index(taken))


@pytest.mark.parametrize('prefix', ['module.', '_orig_mod.', 'module._orig_mod.'])
def test_prefixes_of_wrappers_are_taken_off(tmp_path, aodnet, prefix):
    path = saved({prefix + name: value for name, value in aodnet.items()}, tmp_path / 'net.pth')
    weights = load(path)
    assert weights.state.keys() == aodnet.keys()
    assert weights.param_key is None


# ------------------------------------------------------------------------------------------------------ which network


def test_option_file_goes_before_metadata_and_metadata_before_the_keys(tmp_path, state):
    path = str(tmp_path / 'net.safetensors')
    safetensors.torch.save_file(state, path, {'network': '{"type": "OKDNet", "num_feat": 8, "num_blocks": [1, 1, 1], '
                                              '"growth": 4, "t_min": 0.2}'})  # fmt: skip
    assert load(path).network['t_min'] == 0.2
    opt = write_options(tmp_path / 'o.yml', {'network_g': SMALL | {'t_min': 0.3}})
    weights = load(path, opt)
    assert weights.network['t_min'] == 0.3
    assert build(weights).t_min == 0.3
    assert opt in weights.origin


def test_option_file_in_the_folder_of_the_run_is_found(tmp_path, state):
    (tmp_path / 'models').mkdir()
    path = saved({'params': state}, tmp_path / 'models' / 'net_g_4.pth')
    write_options(tmp_path / 'run.yml', {'network_g': SMALL | {'t_min': 0.2}})
    write_options(tmp_path / 'test.yml', {'network_g': {'type': 'AODNet'}})  # of something else
    (tmp_path / 'broken.yml').write_text('a: [')
    weights = load(path)
    assert weights.network['t_min'] == 0.2
    assert 'run.yml' in weights.origin
    write_options(tmp_path / 'other.yml', {'network_g': SMALL})
    with pytest.raises(InputError, match=r'several option files.*other\.yml.*run\.yml.*--opt'):
        load(path)


def test_relative_path_finds_the_run_too(tmp_path, state, monkeypatch):
    (tmp_path / 'models').mkdir()
    saved({'params': state}, tmp_path / 'models' / 'net_g_4.pth')
    write_options(tmp_path / 'run.yml', {'network_g': SMALL | {'t_min': 0.2}})
    monkeypatch.chdir(tmp_path / 'models')
    assert load('net_g_4.pth').network['t_min'] == 0.2


@pytest.mark.parametrize(
    'arguments',
    [
        {},
        {'num_feat': 8, 'num_blocks': [1, 2, 1], 'growth': 4},
        {'num_feat': 8, 'num_blocks': [1, 1, 4], 'down': 'grid', 'up': 'grid', 'fuse_kernel': 3},
        {'num_feat': 8, 'up': 'deconv3', 'attention': False},
        {'num_feat': 8, 'aggregation': 'fau'},
    ],
)
def test_arguments_of_okdnet_are_read_off_its_weights(arguments):
    with torch.device('meta'):
        state = state_of({'type': 'OKDNet', **arguments})
    assert arch_detection.candidates(state) == [{'type': 'OKDNet', **arguments}]


@pytest.mark.parametrize('name', ['FFALiteNet', 'DGDNet', 'DepthGuidedFuseNet', 'DenseDepth169', 'DSCFSRCNN'])
def test_other_networks_are_known_with_their_defaults(name):
    with torch.device('meta'):
        state = state_of({'type': name})
    assert arch_detection.candidates(state) == [{'type': name}]


def test_one_scale_is_read_as_so_many_blocks():
    with torch.device('meta'):
        state = state_of({'type': 'OKDNet', 'num_feat': 8, 'num_blocks': [2, 1, 2], 'multi_scale': False})
    (network,) = arch_detection.candidates(state)
    assert sum(network['num_blocks']) == 5
    assert not network['multi_scale']


def test_published_names_of_a_comparison_network_are_known(tmp_path, aodnet):
    published = {f'e_conv{int(name[6]) + 1}.{name[8:]}': value for name, value in aodnet.items()}
    weights = load(saved(published, tmp_path / 'dehazer.pth'))
    assert weights.network == {'type': 'AODNet'}
    assert torch.equal(build(weights).convs[0].bias, aodnet['convs.0.bias'])


def test_network_without_weights_needs_none(tmp_path):
    weights = load(None, write_options(tmp_path / 'dcp.yml', {'network_g': {'type': 'DCP', 'omega': 0.8}}))
    assert build(weights).omega == 0.8


def test_option_file_may_name_the_weights(tmp_path, aodnet):
    path = saved({'params': aodnet, 'params_ema': aodnet}, tmp_path / 'net.pth')
    paths = {'pretrain_network_g': path, 'param_key_g': 'params'}
    weights = load(None, write_options(tmp_path / 'o.yml', {'network_g': {'type': 'AODNet'}, 'path': paths}))
    assert (weights.path, weights.param_key) == (path, 'params')


# ------------------------------------------------------------------------------------------------------------- refusals


class Harmful:
    def __reduce__(self):
        return os.mkdir, ('ran',)


def test_code_in_a_pickle_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r'mkdir.*can run code'):
        load(saved({'params': Harmful()}, tmp_path / 'net.pth'))
    (tmp_path / 'bare.pth').write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(InputError):
        load(str(tmp_path / 'bare.pth'))
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (b'', 'empty'),
        (b'These are notes, and no weights at all.\n', 'it is a text'),
        (b'\x89PNG\r\n\x1a\n' + bytes(100), r'an image \(PNG\)'),
        (b'<!DOCTYPE html><html>not found</html>', 'the download has failed'),
        (b'version https://git-lfs.github.com/spec/v1\n', 'git lfs pull'),
        (bytes(range(256)) * 4, 'damaged, cut short or no checkpoint'),
    ],
)
@pytest.mark.parametrize('ending', ['pth', 'safetensors'])
def test_what_is_no_weights_is_called_what_it_is(tmp_path, content, said, ending):
    path = tmp_path / f'net.{ending}'
    path.write_bytes(content)
    with pytest.raises(InputError, match=said if ending == 'pth' or 'short' not in said else 'damaged') as error:
        load(str(path))
    assert str(path) in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('ending', ['pth', 'safetensors'])
def test_file_that_is_cut_short_is_refused(tmp_path, aodnet, ending):
    path = tmp_path / f'net.{ending}'
    if ending == 'pth':
        saved(aodnet, path)
    else:
        safetensors.torch.save_file(aodnet, path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match='damaged'):
        load(str(path))


@pytest.mark.parametrize(
    ('marker', 'offset', 'value'),
    [
        (b'PK\x06\x07', 4, b'\x01'),  # as of one of several archives
        (b'PK\x01\x02', 46, b'\xff'),  # a name that is no UTF-8
    ],
)
@pytest.mark.parametrize('ending', ['pth', 'safetensors'])
def test_archive_with_a_damaged_directory_is_refused(tmp_path, aodnet, ending, marker, offset, value):
    path = tmp_path / f'net.{ending}'
    saved({**aodnet, 'ü': torch.zeros(1)}, path)
    content = bytearray(path.read_bytes())
    place = content.index(marker)
    if marker == b'PK\x01\x02':
        content[place + 9] |= 8  # says that names are UTF-8
    content[place + offset] = value[0]
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        load(str(path))
    assert str(path) in str(error.value)
    assert str(error.value).isprintable()


def test_missing_file_names_its_neighbour_and_a_folder_its_files(tmp_path, aodnet):
    saved(aodnet, tmp_path / 'net_g_latest.pth')
    with pytest.raises(InputError, match=r'no such file \(did you mean net_g_latest\.pth\?\)'):
        load(str(tmp_path / 'net_g_latst.pth'))
    with pytest.raises(InputError, match=r'it is a folder.*net_g_latest\.pth'):
        load(str(tmp_path))
    with pytest.raises(InputError, match='there is no folder'):
        load(str(tmp_path / 'nowhere' / 'net.pth'))


def test_weights_of_another_network_say_whose_they_are(tmp_path, aodnet):
    opt = write_options(tmp_path / 'o.yml', {'network_g': SMALL})
    with pytest.raises(InputError, match=r'missing: preprocess.*unexpected: convs.*would fit AODNet'):
        load(saved(aodnet, tmp_path / 'net.pth'), opt)


def test_other_arguments_are_named_by_layer_and_both_shapes(tmp_path, state):
    opt = write_options(tmp_path / 'o.yml', {'network_g': SMALL | {'num_feat': 16}})
    with pytest.raises(InputError, match=r'preprocess\.0\.weight is 8x3x3x3, wanted 16x3x3x3.*would fit OKDNet\(num_f'):
        load(saved(state, tmp_path / 'net.pth'), opt)


def test_network_that_is_not_known_asks_for_its_option_file(tmp_path):
    with pytest.raises(InputError, match='not known; give its option file by --opt'):
        load(saved({'a.weight': torch.zeros(3)}, tmp_path / 'net.pth'))


def test_claim_of_a_huge_network_takes_no_memory(tmp_path, aodnet):
    path = str(tmp_path / 'net.safetensors')
    safetensors.torch.save_file(aodnet, path, {'network': '{"type": "OKDNet", "num_feat": 1000000}'})
    with pytest.raises(InputError, match=r'num_feat: 1000000 is not what these weights are of'):
        load(path)


@pytest.mark.parametrize(
    'network',
    [
        {'type': 'OKDNet', 'num_blocks': [10**9, 1, 1]},
        {'type': 'FFANet', 'num_blocks': 10**9},
        {'type': 'FFANet', 'num_groups': 10**5, 'num_blocks': 10**5},
        {'type': 'FFALiteNet', 'groups': 10**5, 'blocks': 10**5},
        {'type': 'DSCFSRCNN', 'm': 10**9},
        {'type': 'DGDNet', 'depth': {'num_blocks': [10**9, 1, 1, 1]}},
        {'type': 'DGDNet', 'fuse': {'depths': [10**9, 1]}},
        {'type': 'ProgressiveDehazer', 'restorer': {'type': 'AODNet'}, 'alternate_steps': 10**9},
        {'type': 'ProgressiveDehazer', 'restorer': {'type': 'FFANet', 'num_blocks': 10**9}},
    ],
)
def test_claim_of_endless_blocks_takes_no_time(tmp_path, aodnet, network):
    path = str(tmp_path / 'net.safetensors')
    safetensors.torch.save_file(aodnet, path, {'network': json.dumps(network)})
    with pytest.raises(InputError, match=r'metadata.* is not what these weights are of: they are 10 tensors'):
        load(path)


@pytest.mark.parametrize('is_a_part', [False, True])
def test_metadata_may_not_name_a_network_that_reads_files_when_it_is_built(tmp_path, aodnet, monkeypatch, is_a_part):
    monkeypatch.setattr(torch, 'load', None)
    path = str(tmp_path / 'net.safetensors')
    network = {'type': 'SpyNet', 'load_path': str(tmp_path / 'other.pth')}
    if is_a_part:
        network = {'type': 'ProgressiveDehazer', 'restorer': {'type': 'AODNet'}, 'pre_restore': network}
    safetensors.torch.save_file(aodnet, path, {'network': json.dumps(network)})
    with pytest.raises(InputError, match=r'SpyNet is a network of BasicSR.*give --opt FILE'):
        load(path)


@pytest.mark.parametrize(
    ('network', 'said'),
    [('{', 'no JSON'), ('[]', 'names no type'), ('{"type": "OKDNet", "num_fet": 8}', 'num_fet')],
)
def test_metadata_that_make_no_network_are_refused(tmp_path, aodnet, network, said):
    path = str(tmp_path / 'net.safetensors')
    safetensors.torch.save_file(aodnet, path, {'network': network})
    with pytest.raises(InputError, match=said):
        load(path)


def test_unknown_name_in_metadata_is_an_unknown_name(tmp_path, aodnet):
    path = str(tmp_path / 'net.safetensors')
    safetensors.torch.save_file(aodnet, path, {'network': '{"type": "AODNett"}'})
    with pytest.raises(UnknownNameError, match='AODNet'):
        load(path)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_not_finite_are_refused(tmp_path, aodnet, value):
    aodnet['convs.2.bias'][1] = value
    with pytest.raises(InputError, match=r'1 of 10 tensors.*convs\.2\.bias'):
        load(saved(aodnet, tmp_path / 'net.pth'))


def test_training_state_points_to_its_network(tmp_path, aodnet):
    (tmp_path / 'models').mkdir()
    (tmp_path / 'training_states').mkdir()
    network = saved(aodnet, tmp_path / 'models' / 'net_g_7.pth')
    state = {'iter': 7, 'epoch': 0, 'optimizers': [], 'schedulers': []}
    with pytest.raises(InputError) as error:
        load(saved(state, tmp_path / 'training_states' / '7.state'))
    assert network in str(error.value)


@pytest.mark.parametrize(
    ('content', 'key', 'said'),
    [
        ({'params': 'AOD'}, 'ema', r"no 'ema', it has params"),
        ({'params': 'AOD', 'params_ema': 'AOD'}, 'param_ema', 'did you mean params_ema'),
        ('AOD', 'params', 'holds the weights alone'),
        ({'a': 'AOD', 'b': 'AOD'}, None, 'several: a, b'),
        ({'epoch': 3, 'loss': 0.5}, None, r'no weights, but epoch \(a int\)'),
        ([1, 2], None, 'a list'),
        ({'params': {}}, None, 'no weights'),
    ],
)
def test_keys_that_are_there_are_named(tmp_path, aodnet, content, key, said):
    def filled(value):
        if isinstance(value, dict):
            return {name: filled(item) for name, item in value.items()}
        return aodnet if value == 'AOD' else value

    with pytest.raises(InputError, match=said):
        load(saved(filled(content), tmp_path / 'net.pth'), param_key=key)


def test_checksum_in_the_metadata_finds_a_changed_value(tmp_path, aodnet):
    path = str(tmp_path / 'net.safetensors')
    told = {'sha256': reading.digest(aodnet)}
    safetensors.torch.save_file(aodnet, path, told)
    assert load(path).metadata == told
    aodnet['convs.0.bias'][0] += 1
    safetensors.torch.save_file(aodnet, path, told)
    with pytest.raises(InputError, match='checksum'):
        load(path)


def test_nothing_at_all_asks_for_weights(tmp_path):
    with pytest.raises(InputError, match='-w WEIGHTS or --opt'):
        load(None)
    with pytest.raises(InputError, match='OKDNet has weights to load'):
        load(None, write_options(tmp_path / 'o.yml', {'network_g': SMALL}))


def test_build_says_what_does_not_fit(aodnet):
    with pytest.raises(InputError, match='missing'):
        build(Weights({'type': 'GCANet', 'num_feat': 8}, aodnet))


# ------------------------------------------------------------------------------- files that claim more than they hold


@pytest.mark.parametrize(
    'content',
    [
        lambda state: {'state_dict': {f'net.{name}': value for name, value in state.items()}, 'epoch': 3},
        lambda state: {'model': {'state_dict': {f'module.{name}': value for name, value in state.items()}}},
        lambda state: {f'generator.{name}': value for name, value in state.items()} | {'loss.w': torch.ones(3)},
        lambda state: {f'_orig_mod.net_g.{name}': value for name, value in state.items()},
    ],
)
def test_weights_are_found_wherever_a_trainer_has_put_them(tmp_path, aodnet, content):
    weights = load(saved(content(aodnet), tmp_path / 'last.ckpt'))
    assert weights.network == {'type': 'AODNet'}
    assert all(torch.equal(value, aodnet[name]) for name, value in build(weights).state_dict().items())


def test_file_without_tensors_is_refused_and_not_read_for_ever(tmp_path):
    path = str(tmp_path / 'empty.safetensors')
    safetensors.torch.save_file({}, path)
    with pytest.raises(InputError, match='it holds no tensors'):
        load(path)


@pytest.mark.parametrize(
    ('tensor', 'said'),
    [
        (torch.zeros(3, dtype=torch.float8_e4m3fn), 'values of the type float8_e4m3fn'),
        (torch.zeros(3, dtype=torch.complex64), 'values of the type complex64'),
        (torch.eye(3).to_sparse(), 'layout sparse_coo'),
        (torch.zeros(3, device='meta'), r'no values \(meta\)'),
        (torch.zeros(1).expand(10**11), 'claim 400000 MB, but the file has 0.0 MB'),
    ],
)
def test_tensors_that_are_no_weights_are_one_line(tmp_path, tensor, said):
    with pytest.raises(InputError, match=f'net.pth: .*{said}'):
        load(saved({'params': {'convs.0.weight': tensor}}, tmp_path / 'net.pth'))


def test_archive_that_unpacks_to_far_more_than_it_holds_is_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / 'net.pth'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('net/data.pkl', bytes(5_000_000))
    monkeypatch.setattr(zipfile.ZipFile, 'testzip', None)  # which unpacks everything
    with pytest.raises(InputError, match=r'its 0\.0 MB would unpack to 5 MB'):
        load(str(path))


@pytest.mark.parametrize('argument', [{'num_columns': 10**8}, {'num_feat': 1e30}, {'growth': -(10**12)}])
def test_metadata_do_not_make_a_network_that_the_file_cannot_fill(tmp_path, aodnet, argument):
    path = str(tmp_path / 'net.safetensors')
    network = {'type': 'GridDehazeNet', **argument}
    safetensors.torch.save_file(aodnet, path, {'network': json.dumps(network)})
    with pytest.raises(InputError, match='is not what these weights are of'):
        load(path)


def test_network_with_more_layers_than_the_weights_can_be_of_is_not_built_to_the_end(tmp_path, aodnet):
    opt = write_options(tmp_path / 'o.yml', {'network_g': {'type': 'GridDehazeNet', 'num_columns': 10**8}})
    with pytest.raises(InputError, match=r'more than \d+ layers'):
        load(saved(aodnet, tmp_path / 'net.pth'), opt)


@pytest.mark.parametrize('place', ['net.pth', 'folder/models/net_g_latest.pth'])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, place):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    with pytest.raises(InputError, match='is a named pipe'):
        load(str(path))


def test_a_name_stands_for_the_weights_of_the_package(tmp_path, aodnet, monkeypatch):
    monkeypatch.setattr(shipped_weights, 'FOLDER', str(tmp_path))
    safetensors.torch.save_file(aodnet, tmp_path / 'small.safetensors')
    assert load('small').network == {'type': 'AODNet'}
    with pytest.raises(InputError, match=r'no such file \(did you mean small\?\)'):
        load('smal')


def test_unknown_network_of_a_run_is_named_with_who_may_have_registered_it(tmp_path, aodnet):
    (tmp_path / 'models').mkdir()
    path = saved({'params': {'w': torch.ones(3)}}, tmp_path / 'models' / 'net_g_4.pth')
    write_options(tmp_path / 'run.yml', {'network_g': {'type': 'TorchVisionNet'}})
    with pytest.raises(InputError, match=r"run\.yml: No object named 'TorchVisionNet'.*installed package torchvision"):
        load(path)
    path = str(tmp_path / 'net.safetensors')
    told = {'network': '{"type": "TheirNet"}', 'package': 'their-nets 1.2'}
    safetensors.torch.save_file(aodnet, path, told)
    with pytest.raises(InputError, match=r'TheirNet.*it is of the package their-nets 1\.2'):
        load(path)


THEIR_NETWORK = """
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

def register():
    if 'TheirOwnNet' not in ARCH_REGISTRY:
        @ARCH_REGISTRY.register()
        class TheirOwnNet(nn.Module):
            def __init__(self, num_feat=3):
                super().__init__()
                self.conv = nn.Conv2d(3, num_feat, 1)

            def forward(self, x):
                return self.conv(x)
"""


def test_networks_of_other_plugins_are_known_to_whoever_reads_weights(tmp_path, distribution, monkeypatch):
    distribution('their_nets', THEIR_NETWORK, '[basicsr.plugins]\ntheirs = their_nets:register\n')
    state = torch.nn.Sequential(OrderedDict(conv=torch.nn.Conv2d(3, 3, 1))).state_dict()
    try:
        (tmp_path / 'models').mkdir()
        write_options(tmp_path / 'run.yml', {'network_g': {'type': 'TheirOwnNet'}})
        path = saved({'params': state}, tmp_path / 'models' / 'net_g_4.pth')
        assert load(path).network == {'type': 'TheirOwnNet'}
        assert Dehazer(path, backend='eager').network == 'TheirOwnNet'
    finally:
        ARCH_REGISTRY._obj_map.pop('TheirOwnNet', None)
