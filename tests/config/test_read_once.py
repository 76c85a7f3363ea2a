"""A start reads the option file once, checks it once and builds each data set once; nothing is moved before."""

import json
import sys

import pytest
import torch
import yaml

from conftest import basicsr, run, run_code, write_options

COUNTED = """
import json, sys
import okdnet_plugin
from okdnet_plugin import cli
from okdnet_plugin.config import check, read
from okdnet_plugin.data.dehaze_dataset import DehazeDataset

counts = {}

def count(owner, name):
    original = getattr(owner, name)
    def counting(*arguments, **keywords):
        counts[name] = counts.get(name, 0) + 1
        return original(*arguments, **keywords)
    setattr(owner, name, counting)

count(read, 'read')
count(check, 'check')
count(DehazeDataset, '__init__')
code = cli.main(sys.argv[1:])
print('\\n' + json.dumps(counts))
sys.exit(code)
"""
ONE_PROCESS = {'RANK': '0', 'LOCAL_RANK': '0', 'WORLD_SIZE': '1', 'MASTER_ADDR': '127.0.0.1'}


@pytest.mark.parametrize(
    ('arguments', 'environment'),
    [
        (['train'], {}),
        (['train', '--launcher', 'pytorch'], ONE_PROCESS | {'MASTER_PORT': '29533'}),
    ],
    ids=['alone', 'launched'],
)
def test_a_training_reads_checks_and_builds_once(arguments, environment, train_options, tmp_path):
    train_options['train']['total_iter'] = 1
    write_options(tmp_path / 'o.yml', train_options)
    command = [*arguments, '-opt', 'o.yml', '--set', 'train.scheduler.milestones=[]']
    done = run_code(COUNTED, *command, cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {'read': 1, 'check': 1, '__init__': 2}
    assert yaml.safe_load((tmp_path / 'experiments/small/o.yml').read_text())['train']['total_iter'] == 1


@pytest.mark.long
def test_a_test_reads_checks_and_builds_once(train_options, tmp_path):
    options = {key: train_options[key] for key in ('name', 'model_type', 'num_gpu', 'scale', 'network_g', 'path')}
    options |= {'datasets': {'test': train_options['datasets']['val']}, 'val': {'save_img': False, 'metrics': None}}
    write_options(tmp_path / 'o.yml', options)
    done = run_code(COUNTED, 'test', '-opt', 'o.yml', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {'read': 1, 'check': 1, '__init__': 1}


@pytest.mark.parametrize(
    ('keys', 'value', 'message'),
    [
        ('datasets:train:batch_size_per_gpu', 64, 'images do not fill a batch of 64'),
        ('datasets:train:gt_size', 512, 'smaller than gt_size 512'),
        ('network_g', {'type': 'MSRResNet', 'num_in_ch': 1, 'upscale': 1}, 'does not take a batch of shape [2, 3, 32'),
        ('network_g', {'type': 'MSRResNet', 'upscale': 4}, 'makes [2, 3, 128, 128] of a batch of shape [2, 3, 32, 32]'),
        ('network_g:num_feat', 1000000, 'option network_g:num_feat is 1000000; write a whole number from 1 to 4096'),
        ('num_gpu', 10**20, 'option num_gpu is 100000000000000000000; write auto'),
    ],
)
def test_what_a_first_batch_shows_is_found_before_the_earlier_run_is_moved(
    keys, value, message, train_options, tmp_path
):
    earlier = tmp_path / 'experiments' / 'small' / 'models' / 'net_g_latest.pth'
    earlier.parent.mkdir(parents=True)
    earlier.touch()
    *path, last = keys.split(':')
    block = train_options
    for key in path:
        block = block[key]
    block[last] = value
    if last == 'network_g':
        train_options['model_type'] = 'RestorationModel'
        del train_options['train']['distill_opt']
    write_options(tmp_path / 'o.yml', train_options)
    done = basicsr('train', '-opt', 'o.yml', cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert [one.name for one in (tmp_path / 'experiments').iterdir()] == ['small']
    assert earlier.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason='there are GPUs')
def test_gpus_that_are_not_there_are_done_without(train_options, tmp_path):
    write_options(tmp_path / 'o.yml', train_options | {'num_gpu': 1})
    done = basicsr('train', '-opt', 'o.yml', '--set', 'train.total_iter=1', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'num_gpu is 1, but no GPU is there' in done.stdout + done.stderr


def test_option_file_with_chinese_comments_is_kept_whole_in_any_locale(train_options, tmp_path):
    train_options['train']['total_iter'] = 1
    file = tmp_path / 'o.yml'
    file.write_text('# 训练\n' + yaml.safe_dump(train_options), encoding='utf-8')
    other = {'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'}
    done = run(sys.executable, '-m', 'okdnet_plugin', 'train', '-opt', 'o.yml', cwd=tmp_path, **other)
    assert done.returncode == 0, done.stderr
    assert '# 训练\n' in (tmp_path / 'experiments/small/o.yml').read_text(encoding='utf-8')
