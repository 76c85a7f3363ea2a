"""The parts of the quick start fit together; the script itself takes minutes and is run by hand."""

import subprocess
from pathlib import Path

import pytest

from okdnet_plugin import config

REPOSITORY = Path(__file__).parents[2]


def options(name):
    return config.load(str(REPOSITORY / 'options' / name))


@pytest.fixture
def train():
    return options('okdnet_quickstart.yml')


@pytest.fixture
def test():
    return options('okdnet_quickstart_test.yml')


def test_the_test_reads_the_weights_that_the_training_writes(train, test):
    assert test['path']['pretrain_network_g'] == f'experiments/{train["name"]}/models/net_g_latest.pth'
    assert test['network_g'] == train['network_g']


def test_the_test_reads_the_images_that_the_training_held_out(train, test):
    assert test['datasets']['test'] == train['datasets']['val']
    assert '/val/' in test['datasets']['test']['dataroot_lq']
    assert '/train/' in train['datasets']['train']['dataroot_lq']


def test_both_measure_alike(train, test):
    assert test['val']['metrics'] == train['val']['metrics']


@pytest.mark.parametrize('name', ['quickstart', 'test', 'environment'])
def test_scripts_are_valid_shell(name):
    done = subprocess.run(['bash', '-n', REPOSITORY / 'scripts' / f'{name}.sh'], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_unfit_interpreter_is_refused_in_one_line():
    command = f'set -eu; source "{REPOSITORY}/scripts/environment.sh"; find_python'
    done = subprocess.run(['bash', '-c', command], env={'PATH': '/usr/bin:/bin', 'PYTHON': 'nope'}, capture_output=True)
    assert done.returncode != 0
    assert done.stderr.startswith(b'error: nope is not a Python 3.10')
    assert done.stderr.count(b'\n') == 1
