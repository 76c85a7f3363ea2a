"""What the end of a data loader's worker means, and that no update is disturbed by it."""

import os
import signal
import time

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, dataloader

from okdnet_plugin.compat import locking
from okdnet_plugin.compat.option_files import run_in_hand
from okdnet_plugin.engine.workers import failure_of, undisturbed
from okdnet_plugin.errors import InputError, SaveError


class Images(Dataset):
    def __getitem__(self, index):
        return torch.zeros(3), os.getpid()

    def __len__(self):
        return 100


def test_worker_that_is_killed_is_found_where_a_batch_is_asked_for_and_explained():
    batches = iter(DataLoader(Images(), num_workers=1, prefetch_factor=1))
    _, pid = next(batches)
    with undisturbed():
        os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.2)  # in which torch would raise
    with pytest.raises(RuntimeError) as caught:
        list(batches)
    told = failure_of(caught.value)
    assert told is not None
    assert str(int(pid)) in told
    assert 'lower num_worker_per_gpu' in told


@pytest.mark.parametrize(
    ('error', 'words'), [(ConnectionResetError(104, 'reset'), 'has ended'), (OSError(28, 'No space'), '--shm-size')]
)
def test_system_errors_are_those_of_workers_only_within_a_loader(error, words):
    def in_a_file(name):
        error.__traceback__ = None
        names = {'error': error}
        exec(compile('def fail():\n    raise error', name, 'exec'), names)
        with pytest.raises(OSError, match=error.strerror) as caught:
            names['fail']()
        return failure_of(caught.value)

    assert in_a_file('journal.py') is None
    assert words in in_a_file(dataloader.__file__)


@pytest.mark.parametrize(
    ('error', 'words'),
    [
        (RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed. '), 'the signal Killed'),
        (RuntimeError('DataLoader worker (pid(s) 7, 8) exited unexpectedly'), 'worker 7, 8 of a data loader has ended'),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's "
                      'workers are out of shared memory.'), '--shm-size'),
        (RuntimeError('unable to write to file </torch_7_8>: No space left on device (28)'), '--shm-size'),
        (OSError(24, 'Too many open files'), 'ulimit -n'),
        (RuntimeError('received 0 items of ancdata'), 'ulimit -n'),
    ],
)  # fmt: skip
def test_failures_of_workers_are_told_with_their_cure(error, words):
    assert words in failure_of(error)


@pytest.mark.parametrize(
    'error',
    [
        RuntimeError('a shape is wrong'),
        ValueError('shared memory'),
        KeyError('lq'),
        SaveError('/dev/shm/run/4.state cannot be written: No space left on device'),
        FileNotFoundError(2, 'No such file or directory', '/dev/shm/run/list.txt'),
    ],
)
def test_other_errors_are_not_theirs(error):
    assert failure_of(error) is None


def test_second_word_of_a_killed_worker_does_not_keep_a_training_from_being_saved():
    """Torch's handler of SIGCHLD raises at whatever the process is doing, which may be to save."""
    told = 'DataLoader worker (pid 7) is killed by signal: Killed. '
    calls = []

    def rescue():
        calls.append(told)
        if len(calls) == 1:
            raise RuntimeError(told)
        return '; iteration 5 is saved'

    def pipeline(root_path):
        run_in_hand().rescue = rescue
        raise RuntimeError(told)

    with pytest.raises(InputError, match=r'worker 7 of a data loader .*; iteration 5 is saved'):
        locking._letting_go(pipeline)('.')
