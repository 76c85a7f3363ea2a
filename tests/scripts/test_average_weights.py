"""`scripts/average_weights.py`: what lies between two sets of weights, and what it refuses."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network
from safetensors.torch import save_file

from okdnet_plugin.weights.loading import load

SCRIPT = Path(__file__).parents[2] / 'scripts' / 'average_weights.py'


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location('average_weights', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def two(tmp_path):
    """Weights of a network, and the same with 1 added, as average of a training."""
    state = build_network({'type': 'AODNet'}).state_dict()
    torch.save({'params': state}, tmp_path / 'first.pth')
    more = {name: value + 1 for name, value in state.items()}
    torch.save({'params': state, 'params_ema': more}, tmp_path / 'second.pth')
    return state, str(tmp_path / 'first.pth'), str(tmp_path / 'second.pth')


@pytest.mark.parametrize('share', [0, 0.25, 1])
def test_mean_has_the_share_of_the_second(script, two, tmp_path, capsys, share):
    state, first, second = two
    assert script.main([first, second, '--share', str(share), '-o', str(tmp_path / 'mean.pth')]) == 0
    assert f'{1 - share:g} of {first} and {share:g} of {second}' in capsys.readouterr().out
    mean = load(str(tmp_path / 'mean.pth')).state
    assert mean.keys() == state.keys()
    for name, value in mean.items():
        torch.testing.assert_close(value, state[name] + share)


def test_counters_are_those_of_the_second(script, tmp_path):
    net = build_network({'type': 'OKDNet', 'num_feat': 8, 'num_blocks': [1, 1, 1], 'growth': 4})
    torch.save({'params': net.state_dict()}, tmp_path / 'first.pth')
    later = {name: value + 1 for name, value in net.state_dict().items()}
    torch.save({'params': later}, tmp_path / 'second.pth')
    mean = script.average(load(str(tmp_path / 'first.pth')), load(str(tmp_path / 'second.pth')), 0.5).state
    counters = [name for name, value in later.items() if not value.is_floating_point()]
    assert counters
    assert all(torch.equal(mean[name], later[name]) for name in counters)


def test_mean_tells_its_network_and_no_figures_of_the_second(script, tmp_path):
    network = {'type': 'OKDNet', 'num_feat': 8, 'num_blocks': [1, 1, 1], 'growth': 4, 'gate': 'softmax'}
    net, out = build_network(network), str(tmp_path / 'mean.safetensors')
    told = {'network': json.dumps(network), 'metrics': '{"set": {"psnr": 30}}', 'licence': 'MIT'}
    files = [str(tmp_path / name) for name in ('first.safetensors', 'second.safetensors')]
    for file in files:
        save_file(net.state_dict(), file, told)
    assert script.main([*files, '-o', out]) == 0
    mean = load(out)
    assert (mean.network, mean.metadata['licence']) == (network, 'MIT')
    assert 'metrics' not in mean.metadata

    save_file(net.state_dict(), files[0], {'network': json.dumps(network | {'gate': 'none'})})
    assert script.main([*files, '-o', str(tmp_path / 'other.pth')]) == 2
    assert not (tmp_path / 'other.pth').exists()


def test_neither_its_input_nor_what_is_there_is_overwritten(script, two, tmp_path, capsys):
    _, first, second = two
    before = Path(first).read_bytes()
    assert script.main([second, first, '-o', first, '--force']) == 2
    (tmp_path / 'there.pth').write_text('mine')
    assert script.main([first, second, '-o', str(tmp_path / 'there.pth')]) == 2
    assert (Path(first).read_bytes(), (tmp_path / 'there.pth').read_text()) == (before, 'mine')
    assert 'the weights themselves' in capsys.readouterr().err
    assert script.main([first, second, '-o', str(tmp_path / 'there.pth'), '--force']) == 0


def test_mistakes_are_one_line(script, two, tmp_path, capsys):
    _, first, _ = two
    torch.save({'params': build_network({'type': 'GCANet'}).state_dict()}, tmp_path / 'other.pth')
    out = str(tmp_path / 'mean.pth')
    assert script.main([first, str(tmp_path / 'other.pth'), '-o', out]) == 2
    assert script.main([first, str(tmp_path / 'none.pth'), '-o', out]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert 'are weights of different networks' in said[0]
    assert 'give two of one' in said[0]
    for arguments in (['--share', '1.5', '-o', out], ['-o', str(tmp_path / 'mean.txt')]):
        with pytest.raises(SystemExit):
            script.main([first, first, *arguments])
    assert not Path(out).exists()
