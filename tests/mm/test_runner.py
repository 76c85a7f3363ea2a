"""MMEngine's own Runner over the plugin: training, going on, testing, several processes, weights of both sides."""

import copy
import importlib
import os
import pkgutil
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, Runner
from mmengine.utils.dl_utils import mmcv_full_available

import okdnet_plugin.mm
from conftest import basicsr_of_ranks, two_ranks
from okdnet_plugin.errors import InputError
from okdnet_plugin.locks import Lock
from okdnet_plugin.mm import compat
from okdnet_plugin.mm.__main__ import main
from okdnet_plugin.mm.checkpoint import convert


def written(config: dict, path: Path) -> str:
    Config(config).dump(str(path))
    return str(path)


@pytest.fixture(scope='module')
def folders() -> list[Path]:
    """Of trainings that several tests look at."""
    return []


@pytest.fixture
def trained(folders, runner_config, tmp_path) -> Path:
    """Folder of a training of four iterations, which is not to be changed."""
    if not folders:
        Runner.from_cfg(Config(copy.deepcopy(runner_config))).train()
        folders.append(tmp_path / 'work')
    return folders[0]


def state(path: Path) -> dict:
    return compat.load_from_local(str(path), 'cpu')


def test_a_training_saves_validates_averages_and_shows_branches(trained):
    saved = state(trained / 'iter_4.pth')
    averaged, raw = saved['state_dict'], saved['ema_state_dict']
    name = 'generator.preprocess.1.running_mean'
    assert averaged[name].abs().sum() > 0
    assert not torch.equal(averaged[name], raw[f'module.{name}'])
    assert saved['message_hub']['log_scalars']['val/psnr'].current() > 0
    assert list(trained.glob('best_psnr_iter_*.pth'))
    (strip,) = trained.glob('*/vis_data/vis_image/val_0_*.png')
    assert cv2.imread(str(strip)).shape == (48, 6 * 64 + 5 * 2, 3)  # hazy, three students, their teacher, clear


def test_a_training_that_goes_on_ends_like_one_that_was_not_interrupted(runner_config, trained, tmp_path):
    whole = state(trained / 'iter_4.pth')
    config = runner_config | {'work_dir': str(tmp_path / 'second'), 'experiment_name': 'second', 'resume': True,
                              'load_from': str(trained / 'iter_2.pth')}  # fmt: skip
    Runner.from_cfg(Config(copy.deepcopy(config))).train()
    again = state(tmp_path / 'second' / 'iter_4.pth')
    assert again['meta']['iter'] == whole['meta']['iter'] == 4
    assert len(again['message_hub']['log_scalars']['train/loss']._log_history) == 4
    learned = [part['lr'] for part in again['optimizer']['param_groups']]
    assert learned == [part['lr'] for part in whole['optimizer']['param_groups']]


def test_command_trains_tests_and_converts(runner_config, tmp_path, capsys):
    config = written(runner_config, tmp_path / 'config.py')
    changed = ['--cfg-options', 'train_cfg.max_iters=2', 'train_cfg.val_interval=2']
    assert main(['train', config, '--work-dir', str(tmp_path / 'run'), *changed]) == 0
    assert main(['convert', str(tmp_path / 'run/iter_2.pth'), str(tmp_path / 'net_g.pth')]) == 0
    assert 'params_ema' in capsys.readouterr().out
    assert main(['convert', str(tmp_path / 'run/iter_2.pth'), str(tmp_path / 'net_g.pth')]) == 2
    assert 'is there already' in capsys.readouterr().err


def test_a_training_in_the_folder_of_another_is_refused_before_it_changes_anything(runner_config, tmp_path, capsys):
    config = written(runner_config, tmp_path / 'config.py')
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'config.py').write_text('# of the other')
    lock = Lock(str(tmp_path / 'run'), 'is being trained in', 'wait')
    assert main(['train', config, '--work-dir', str(tmp_path / 'run'), '--resume']) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if 'error' in line]
    assert f'run is being trained in by process {os.getpid()} on' in error
    assert (tmp_path / 'run' / 'config.py').read_text() == '# of the other'
    assert not list((tmp_path / 'run').glob('*.pth'))
    lock.release()


def test_command_says_in_one_line_what_is_wrong(tmp_path, capsys):
    assert main(['train', str(tmp_path / 'none.py')]) == 2
    assert capsys.readouterr().err.count('\n') == 1


def test_weights_of_basicsr_load_as_they_are(runner_config, tmp_path):
    net = build_network(runner_config['model']['generator'])
    averaged = copy.deepcopy(net)
    torch.nn.init.constant_(averaged.to_image.bias, 7.0)
    torch.save({'params': net.state_dict(), 'params_ema': averaged.state_dict()}, tmp_path / 'net_g.pth')
    changed = {'load_from': str(tmp_path / 'net_g.pth'), 'custom_hooks': []}
    runner = Runner.from_cfg(Config(runner_config | changed))
    runner.load_or_resume()
    loaded = runner.model.generator.state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in averaged.state_dict().items())


def test_a_converted_checkpoint_holds_both_networks(trained, tmp_path, runner_config):
    convert(str(trained / 'iter_4.pth'), str(tmp_path / 'net_g.pth'))
    nets = torch.load(tmp_path / 'net_g.pth', weights_only=True)
    net = build_network(runner_config['model']['generator'])
    net.load_state_dict(nets['params'])
    net.load_state_dict(nets['params_ema'])
    saved = state(trained / 'iter_4.pth')
    assert torch.equal(net.to_image.weight, saved['state_dict']['generator.to_image.weight'])
    assert torch.equal(nets['params']['to_image.weight'], saved['ema_state_dict']['module.generator.to_image.weight'])


class _Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, 'w')


@pytest.mark.parametrize('kind', ['attack', 'text', 'empty', 'missing'])
def test_a_checkpoint_that_is_none_is_refused_in_one_line_and_runs_nothing(kind, tmp_path):
    path = tmp_path / 'iter_1.pth'
    if kind == 'attack':
        torch.save({'state_dict': {}, 'meta': _Attack(str(tmp_path / 'ran'))}, path)
    elif kind != 'missing':
        path.write_text('no weights' if kind == 'text' else '')
    with pytest.raises(InputError, match=r'iter_1\.pth') as refused:
        compat.load_from_local(str(path))
    assert '\n' not in str(refused.value)
    assert 'delete' not in str(refused.value)  # it may be any file of the user's
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('has_a_list', [True, False])
def test_both_ways_of_reading_take_checkpoints_and_refuse_code(has_a_list, tmp_path, monkeypatch):
    """torch before 2.5 has no list of what is allowed."""
    if not has_a_list:
        monkeypatch.delattr(torch.serialization, 'safe_globals')
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    net = torch.nn.Linear(2, 2)
    saved = {
        'state_dict': net.state_dict(),
        'message_hub': {'loss': history, 'best': np.float64(3.0)},
        'meta': {'iter': 3},
    }
    torch.save(saved, tmp_path / 'good.pth')
    found = compat.load_from_local(str(tmp_path / 'good.pth'))
    assert torch.equal(found['state_dict']['weight'], net.weight)
    assert found['message_hub']['loss'].mean() == 1.5
    assert found['message_hub']['best'] == 3.0
    torch.save({'state_dict': {}, 'meta': _Attack(str(tmp_path / 'ran'))}, tmp_path / 'bad.pth')
    with pytest.raises(InputError, match='could run code'):
        compat.load_from_local(str(tmp_path / 'bad.pth'))
    assert not (tmp_path / 'ran').exists()


def test_a_checkpoint_of_a_url_runs_nothing_either(tmp_path, monkeypatch):
    torch.save({'state_dict': {}, 'meta': _Attack(str(tmp_path / 'ran'))}, tmp_path / 'bad.pth')
    monkeypatch.setattr(
        torch.hub, 'download_url_to_file', lambda url, path, **_: shutil.copy(tmp_path / 'bad.pth', path)
    )
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    with pytest.raises(InputError, match='could run code'):
        CheckpointLoader.load_checkpoint('https://example.org/bad.pth')
    assert not (tmp_path / 'ran').exists()


def test_stores_that_cannot_be_read_safely_are_refused():
    with pytest.raises(InputError, match='copy it to a disk'):
        CheckpointLoader.load_checkpoint('s3://bucket/net.pth')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('model = ', 'cannot be read: SyntaxError'),
        ('name = 1', 'has no model'),
        ("hazy = '{{$HAZY:datasets}}'", 'its environment variable HAZY has a backslash or a quotation mark: write /'),
        ("model = dict(type='OKDNetRestorerr')\nwork_dir = 'x'", 'OKDNetRestorerr is not in'),
    ],
)
def test_configs_that_cannot_be_run_are_one_line(content, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HAZY', r'D:\666\hazy')
    (tmp_path / 'config.py').write_text(content)
    assert main(['train', 'config.py']) == 2
    printed = capsys.readouterr().err.splitlines()[-1]
    assert message in printed


def test_getattr_in_a_checkpoint_gets_statistics_of_logs_only():
    with pytest.raises(ValueError, match='which no log needs'):
        compat._method_of_history(torch, 'load')


def test_two_processes_without_a_gpu_train_one_model(runner_config, tmp_path):
    config = written(runner_config, tmp_path / 'config.py')
    arguments = ('train', config, '--launcher', 'pytorch')
    program = 'import sys; from okdnet_plugin.mm.__main__ import main; sys.exit(main(sys.argv[1:]))'
    result = basicsr_of_ranks(*arguments, cwd=tmp_path, environments=two_ranks(), program=program)
    assert result.returncode == 0, result.stderr[-3000:]
    assert (tmp_path / 'work' / 'iter_4.pth').is_file()
    assert 'psnr' in result.stdout + result.stderr


def test_operators_that_mmcv_lite_lacks_say_so_when_they_are_called(monkeypatch):
    monkeypatch.delitem(sys.modules, 'mmcv._ext', raising=False)
    compat.stand_in_for_what_mmagic_lacks()
    operators = importlib.import_module('mmcv._ext')
    assert not mmcv_full_available()
    with pytest.raises(RuntimeError, match='modulated_deform_conv_forward needs the full mmcv'):
        operators.modulated_deform_conv_forward()
    monkeypatch.delitem(sys.modules, 'mmcv._ext')


def test_operators_are_looked_for_without_what_python_3_14_has_taken_out(monkeypatch):
    monkeypatch.delattr(pkgutil, 'find_loader', raising=False)
    for name in ('mmengine.utils.dl_utils.misc', 'mmcv.utils.ext_loader'):
        monkeypatch.setattr(importlib.import_module(name), 'pkgutil', pkgutil)
    compat.find_operators_as_python_does_now()
    assert not mmcv_full_available()
    assert not importlib.import_module('mmcv.utils.ext_loader').check_ops_exist()


def test_mends_are_applied_once():
    before = Runner.wrap_model
    okdnet_plugin.mm.compat.apply()
    assert Runner.wrap_model is before
