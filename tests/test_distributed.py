"""Two processes do what one does, faster; and they are launched in every way that users know."""

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import REPOSITORY, basicsr, run, write_options


@pytest.fixture(scope='module')
def side_by_side():
    return {}


@pytest.fixture
def compared(side_by_side, model_options):
    """What two_processes.py says of the gradients of 2 x 2 pictures and of 4, and of the validation."""
    if not side_by_side:
        options = model_options | {'sync_bn': True}
        result = run(
            *(sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2'),
            *(Path(__file__).with_name('two_processes.py'), json.dumps(options)),
            cwd=Path(__file__).parent,
        )
        assert result.returncode == 0, result.stderr
        side_by_side.update(json.loads(result.stdout.splitlines()[-1]))
    return side_by_side


def test_two_batches_of_two_have_the_gradient_of_one_of_four(compared):
    assert compared['gradient'] < 1e-5
    assert compared['statistics'] < 1e-5
    assert compared['log'] < 1e-5


def test_two_processes_validate_as_one_does_to_the_last_digit(compared):
    assert compared['figures of two'] == compared['figures of one']
