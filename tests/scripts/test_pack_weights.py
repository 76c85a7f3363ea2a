"""`scripts/pack_weights.py`: what it writes, and what it refuses."""

import importlib.util
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from basicsr.archs import build_network

from okdnet_plugin import shipped_weights
from okdnet_plugin.weights.loading import build, load

SCRIPT = Path(__file__).parents[2] / 'scripts' / 'pack_weights.py'
SMALL = {'type': 'OKDNet', 'num_feat': 8, 'num_blocks': [1, 1, 1], 'growth': 4}
TEXTS = ['--recipe', 'four steps', '--data', 'noise', '--terms', 'none']


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location('pack_weights', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkpoint(tmp_path):
    state = build_network(dict(SMALL)).state_dict()
    torch.save(
        {'params': {name: value + 1 for name, value in state.items()}, 'params_ema': state}, tmp_path / 'net_g.pth'
    )
    (tmp_path / 'figures.json').write_text('{"o_haze": {"images": 1, "psnr": 20.5}}')
    return tmp_path / 'net_g.pth'


def pack(script, checkpoint, *more):
    figures = checkpoint.parent / 'figures.json'
    out = checkpoint.parent / 'small.safetensors'
    return script.main([str(checkpoint), '--figures', str(figures), *TEXTS, '-o', str(out), *more]), out


def test_the_average_in_half_precision_comes_back_as_the_network_that_it_was(script, checkpoint):
    code, out = pack(script, checkpoint, '--commit', 'abc1234')
    assert code == 0
    metadata = shipped_weights.metadata_of(str(out))
    assert json.loads(metadata['network']) == SMALL
    assert json.loads(metadata['metrics']) == {'o_haze': {'images': 1, 'psnr': 20.5}}
    told = [metadata[key] for key in ('recipe', 'training_data', 'terms', 'commit')]
    assert told == ['four steps', 'noise', 'none', 'abc1234']
    original = torch.load(checkpoint)['params_ema']
    for name, value in build(load(str(out))).state_dict().items():
        assert torch.allclose(value, original[name], rtol=1e-3, atol=1e-6)
    stored = safetensors.torch.load_file(out)
    assert {value.dtype for value in stored.values()} == {torch.float16, torch.int64}


def test_what_half_precision_cannot_hold_stays_whole(script, checkpoint):
    content = torch.load(checkpoint)
    content['params_ema']['airlight.downs.1.2.running_var'][0] = 1e6
    torch.save(content, checkpoint)
    code, out = pack(script, checkpoint)
    assert code == 0
    assert safetensors.torch.load_file(out)['airlight.downs.1.2.running_var'].dtype == torch.float32


def test_weights_that_half_precision_spoils_are_refused(script, checkpoint, capsys, monkeypatch):
    monkeypatch.setattr(script, 'TOLERANCE', -1.0)
    code, out = pack(script, checkpoint)
    assert code == 2
    assert 'in half precision its network differs' in capsys.readouterr().err
    assert not out.exists()


def test_a_file_that_is_too_large_is_refused(script, checkpoint, capsys, monkeypatch):
    monkeypatch.setattr(script, 'LARGEST', 1000)
    code, out = pack(script, checkpoint)
    assert code == 2
    assert not out.exists()


@pytest.mark.parametrize('content', ['', '[]', '{"psnr": 3}'])
def test_metric_values_of_another_form_are_one_line(script, checkpoint, capsys, content):
    (checkpoint.parent / 'figures.json').write_text(content)
    assert pack(script, checkpoint)[0] == 2
    assert 'figures.json' in capsys.readouterr().err
