"""The weights that come with the package: found by name, told by their metadata, used where nothing is named."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from conftest import REPOSITORY, basicsr, write_options
from okdnet_plugin import Dehazer, shipped_weights
from okdnet_plugin.commands import weights as command
from okdnet_plugin.errors import InputError
from okdnet_plugin.models.okdnet_model import OKDNetModel
from okdnet_plugin.weights.loading import build, load, weights_for

DEFAULT = shipped_weights.path_of(shipped_weights.DEFAULT)


def test_the_file_is_small_in_half_precision_and_tells_how_it_was_made():
    assert Path(DEFAULT).stat().st_size <= 6_000_000
    metadata = shipped_weights.metadata_of(DEFAULT)
    with safe_open(DEFAULT, 'pt') as file:
        assert metadata == file.metadata()
        kinds = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    assert kinds == {torch.float16, torch.int64}
    assert {'recipe', 'training_data', 'terms', 'licence', 'commit', 'sha256'} <= metadata.keys()
    assert json.loads(metadata['network'])['type'] == 'OKDNet'
    assert json.loads(metadata['metrics'])['sots_indoor_val']['psnr'] > 20


def test_names_and_metadata_need_no_torch():
    """The module itself: the package around it patches BasicSR, which is made of torch."""
    code = (
        'import importlib.util, sys, types\n'
        'errors = types.ModuleType("okdnet_plugin.errors")\n'
        'errors.InputError, errors.SaveError = ValueError, OSError\n'
        'sys.modules["okdnet_plugin.errors"] = errors\n'
        'spec = importlib.util.spec_from_file_location("shipped", sys.argv[1])\n'
        'shipped = importlib.util.module_from_spec(spec)\n'
        'spec.loader.exec_module(shipped)\n'
        'assert shipped.metadata_of(shipped.path_of("okdnet"))["network"]\n'
        'assert "torch" not in sys.modules\n'
    )
    done = subprocess.run([sys.executable, '-c', code, shipped_weights.__file__], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_name_stands_for_the_file_unless_a_file_has_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped_weights.resolve('okdnet') == DEFAULT
    assert shipped_weights.resolve('okdnet.pth') == 'okdnet.pth'
    (tmp_path / 'okdnet').touch()
    assert shipped_weights.resolve('okdnet') == 'okdnet'


@pytest.mark.parametrize(
    'content', [b'', b'PK\3\4 and so on', b'\x10' + bytes(7) + b'{"a": 1', b'\x02' + bytes(7) + b'[]']
)
def test_a_damaged_file_is_one_line(tmp_path, content):
    (tmp_path / 'x.safetensors').write_bytes(content)
    with pytest.raises(InputError, match='no whole safetensors file'):
        shipped_weights.metadata_of(str(tmp_path / 'x.safetensors'))


def test_they_are_used_where_nothing_is_named_and_say_so():
    assert weights_for(None, None, None, None).path == DEFAULT
    assert load('okdnet').path == DEFAULT
    dehazer = Dehazer(backend='eager')
    assert 'weights okdnet of this package' in dehazer.description
    hazy = np.full((32, 40, 3), 180, np.uint8)
    hazy[8:24, 8:30] = 120
    assert np.array_equal(dehazer(hazy), Dehazer(DEFAULT, backend='eager')(hazy))
    assert 'weights okdnet' not in Dehazer(DEFAULT, backend='eager').description


def test_a_finetuning_begins_from_them_by_name(train_options, tmp_path):
    train_options['network_g'] = {'type': 'OKDNet'}
    train_options['path']['pretrain_network_g'] = 'okdnet'
    done = basicsr('check', '-opt', write_options(tmp_path / 'fine.yml', train_options), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    model = OKDNetModel(train_options | {'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1, 'num_gpu': 0})
    wanted = build(load('okdnet')).state_dict()
    for net in (model.net_g, model.net_g_ema):
        assert all(torch.equal(value, wanted[name]) for name, value in net.state_dict().items())


def test_a_name_that_is_misspelt_is_a_missing_file(train_options, tmp_path):
    train_options['path']['pretrain_network_g'] = 'okdnett'
    done = basicsr('check', '-opt', write_options(tmp_path / 'fine.yml', train_options), cwd=tmp_path)
    assert 'there is no file okdnett' in done.stdout + done.stderr


def test_the_command_lists_them_with_their_metric_values(capsys):
    assert command.main([]) == 0
    said = capsys.readouterr().out
    metadata = shipped_weights.metadata_of(DEFAULT)
    values = json.loads(metadata['metrics'])['sots_indoor_val']
    assert said.startswith('okdnet (OKDNet, ')
    row = next(line.split() for line in said.splitlines() if line.split()[0] == 'sots_indoor_val')
    assert row[1:3] == [str(values['images']), f'{values["psnr"]:.2f}']
    assert command.main(['--json', 'okdnet']) == 0
    facts = json.loads(capsys.readouterr().out)['okdnet']
    assert facts['path'] == DEFAULT
    assert (facts['network'], facts['metrics']['sots_indoor_val']) == (json.loads(metadata['network']), values)
    with pytest.raises(InputError, match='no weights named nothing'):
        command.main(['nothing'])


def test_the_command_is_an_entry_point():
    assert "'weights = okdnet_plugin.commands.weights:main'" in (REPOSITORY / 'setup.py').read_text()
