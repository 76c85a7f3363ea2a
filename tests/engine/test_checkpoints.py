"""Files that are whole or not there, and that are read without running what they hold."""

import contextlib
import errno
import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
from pathlib import Path

import pytest
import torch

from okdnet_plugin import files
from okdnet_plugin.engine import checkpoints
from okdnet_plugin.errors import InputError, SaveError

STATE = {'iter': 3, 'epoch': 0, 'optimizers': [], 'schedulers': []}


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def raising(number):
    def function(*_, **__):
        raise OSError(number, os.strerror(number))

    return function


@contextlib.contextmanager
def largest_file(size):
    """Let a write beyond `size` bytes fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def message_of_refusal(function, path):
    with pytest.raises(InputError) as caught:
        function(str(path))
    message = str(caught.value)
    assert str(path) in message
    assert '\n' not in message
    return message


# -------------------------------------------------------------------------------------------------------------- writing


def test_saved_content_is_read_back(tmp_path):
    path = str(tmp_path / 'net.pth')
    checkpoints.save({'params': {'weight': torch.arange(3.0)}, 'iter': 7, 'names': ['a', None, (1, 2.5)]}, path)
    content = checkpoints.load(path)
    assert torch.equal(content['params']['weight'], torch.arange(3.0))
    assert (content['iter'], content['names']) == (7, ['a', None, (1, 2.5)])
    assert names(tmp_path) == ['net.pth']


def test_file_without_a_folder_in_its_name_is_written_to_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoints.write(b'whole', 'file')
    assert (tmp_path / 'file').read_bytes() == b'whole'


def test_content_is_flushed_before_the_rename_and_the_folder_after_it(tmp_path, monkeypatch):
    calls = []
    for name in ('fsync', 'replace'):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, original=original: (calls.append(name), original(*a)))
    checkpoints.write(b'whole', str(tmp_path / 'file'))
    assert calls == ['fsync', 'replace', 'fsync']


@pytest.mark.parametrize(('function', 'number'), [('replace', errno.EIO), ('fsync', errno.ENOSPC)])
def test_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch, function, number):
    path = tmp_path / 'file'
    path.write_bytes(b'old')
    monkeypatch.setattr(os, function, raising(number))
    with pytest.raises(SaveError) as caught:
        checkpoints.write(b'new', str(path))
    assert str(path) in str(caught.value)
    assert os.strerror(number) in str(caught.value)
    assert '\n' not in str(caught.value)
    assert names(tmp_path) == ['file']
    assert path.read_bytes() == b'old'


def test_full_disk_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / 'net.pth'
    checkpoints.save({'params': torch.zeros(3)}, str(path))
    old = path.read_bytes()
    with largest_file(10_000), pytest.raises(SaveError, match='File too large'):
        checkpoints.save({'params': torch.zeros(30_000)}, str(path))
    assert names(tmp_path) == ['net.pth']
    assert path.read_bytes() == old


def test_missing_folder_is_an_error_of_saving(tmp_path):
    with pytest.raises(SaveError, match='No such file or directory'):
        checkpoints.save({}, str(tmp_path / 'nowhere' / 'net.pth'))


def write_and_die(path):
    os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    checkpoints.write(b'new', path)


def test_process_killed_in_a_write_leaves_the_old_file_whole_and_what_can_be_removed(tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(b'old')
    process = multiprocessing.get_context('fork').Process(target=write_and_die, args=(str(path),))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert path.read_bytes() == b'old'
    assert len(names(tmp_path)) == 2
    files.remove_leftovers(str(tmp_path))
    assert names(tmp_path) == ['file']


def test_only_temporary_files_of_processes_that_are_no_more_are_removed(tmp_path):
    began = os.path.basename(files.begin(str(tmp_path / 'x')))  # by this process, which is at it
    host, alive = began.split('-')[1], os.getppid()
    ended = subprocess.Popen(['true'])
    ended.wait()
    foreign = f'.okdnet-{"0" * 8}-1-0.tmp'
    kept = ['.gitignore', '.net.tmp', '4.state', '.important.2024.tmp', f'.okdnet-{host}-1-2.tmp.bak', began, foreign]
    kept += [f'.okdnet-{host}-{alive}-0.tmp']
    (tmp_path / 'visualization' / 'a').mkdir(parents=True)
    gone = [f'.okdnet-{host}-{ended.pid}-0.tmp', f'visualization/a/.okdnet-{host}-{ended.pid}-678.tmp']
    for name in [*kept, *gone]:
        (tmp_path / name).touch()
    files.remove_leftovers(str(tmp_path), str(tmp_path / 'nowhere'))
    assert names(tmp_path) == sorted([*kept, 'visualization'])
    assert not list((tmp_path / 'visualization' / 'a').iterdir())
    os.utime(tmp_path / foreign, (0, 0))
    files.remove_leftovers(str(tmp_path))
    assert not (tmp_path / foreign).exists()
    files.discard(str(tmp_path / began))


@pytest.mark.parametrize('kind', ['meta', 'nested', 'sparse', 'quantized', 'complex', 'float8'])
def test_tensors_of_odd_kinds_are_refused_or_looked_at_in_one_line(kind, tmp_path):
    dense = torch.ones(2, 2)
    make = {
        'meta': lambda: dense.to('meta'),
        'nested': lambda: torch.nested.nested_tensor([dense, dense[:1]]),
        'sparse': lambda: dense.to_sparse(),
        'quantized': lambda: torch.quantize_per_tensor(dense, 0.1, 0, torch.qint8),
        'complex': lambda: dense.to(torch.complex64),
        'float8': lambda: dense.to(torch.float8_e4m3fn),
    }
    with contextlib.suppress(InputError):
        checkpoints.refuse_not_finite({'state': {0: {'exp_avg': make[kind]()}}}, '4.state')


# -------------------------------------------------------------------------------------------------------------- linking


@pytest.fixture
def linked(tmp_path):
    """A new file and an old one, which `link` replaces."""
    new, old = tmp_path / 'net_g_4.pth', tmp_path / 'net_g_latest.pth'
    new.write_bytes(b'new')
    old.write_bytes(b'old')
    return new, old


def test_second_name_replaces_a_file_and_survives_the_first(linked):
    new, latest = linked
    checkpoints.link(str(new), str(latest))
    assert latest.stat().st_ino == new.stat().st_ino
    new.unlink()
    assert latest.read_bytes() == b'new'
    assert names(latest.parent) == ['net_g_latest.pth']


def test_second_name_keeps_its_content_when_the_first_is_written_again(linked):
    new, latest = linked
    checkpoints.link(str(new), str(latest))
    checkpoints.write(b'newer', str(new))
    assert latest.read_bytes() == b'new'


def test_file_is_copied_where_there_are_no_links(linked, monkeypatch):
    new, latest = linked
    monkeypatch.setattr(os, 'link', raising(errno.EPERM))
    checkpoints.link(str(new), str(latest))
    assert latest.read_bytes() == b'new'
    assert latest.stat().st_ino != new.stat().st_ino
    assert names(latest.parent) == ['net_g_4.pth', 'net_g_latest.pth']


def test_failed_link_leaves_the_old_file(linked):
    new, latest = linked
    new.unlink()
    with pytest.raises(SaveError, match=r'net_g_latest\.pth cannot be written: No such file'):
        checkpoints.link(str(new), str(latest))
    assert latest.read_bytes() == b'old'
    assert names(latest.parent) == ['net_g_latest.pth']


def test_link_that_is_there_already_leaves_nothing_beside_it(linked):
    new, latest = linked
    checkpoints.link(str(new), str(latest))
    checkpoints.link(str(new), str(latest))
    assert names(latest.parent) == ['net_g_4.pth', 'net_g_latest.pth']


# -------------------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize('kind', ['zip', 'legacy', 'pickle'])
@pytest.mark.parametrize('function', [checkpoints.load, checkpoints.load_state])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, kind, function):
    victim, path = tmp_path / 'victim', tmp_path / '3.state'
    content = STATE | {'more': [Touch(victim)]}
    if kind == 'pickle':
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == 'zip')
    assert 'is refused' in message_of_refusal(function, path)
    assert not victim.exists()


@pytest.mark.parametrize('is_zip', [True, False])
@pytest.mark.parametrize('share', [0.02, 0.3, 0.7, 0.95, 0.999])
def test_file_that_is_cut_short_is_refused(tmp_path, is_zip, share):
    path = tmp_path / 'net.pth'
    torch.save({'params': torch.zeros(500)}, path, _use_new_zipfile_serialization=is_zip)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert 'damaged' in message_of_refusal(checkpoints.load, path)


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04', b'no checkpoint at all', bytes(4000), b'\x80\x02}q'])
def test_file_of_something_else_is_refused(tmp_path, content):
    path = tmp_path / 'net.pth'
    path.write_bytes(content)
    message_of_refusal(checkpoints.load, path)


@pytest.mark.parametrize('content', [b'P', b'PK\x03', bytes(4000), b'hi'])
def test_damaged_file_is_not_said_to_hold_code(tmp_path, content):
    path = tmp_path / 'net.pth'
    path.write_bytes(content)
    message = message_of_refusal(checkpoints.load, path)
    assert 'damaged' in message
    assert '(105)' not in message  # an error without words


def test_pickle_that_breaks_off_in_a_number_is_refused(tmp_path):
    path = tmp_path / 'net.pth'
    path.write_bytes(b'\x80\x02G\x00')
    message_of_refusal(checkpoints.load, path)


def test_missing_file_and_folder_are_refused(tmp_path):
    assert 'No such file' in message_of_refusal(checkpoints.load, tmp_path / 'net.pth')
    assert 'is a folder' in message_of_refusal(checkpoints.load, tmp_path)


@pytest.mark.parametrize(
    'content',
    [[1, 2], {'params': torch.zeros(1)}, STATE | {'iter': '3'}, {'iter': 3, 'epoch': 0, 'optimizers': []}],
)
def test_file_that_is_no_training_state_is_refused(tmp_path, content):
    path = tmp_path / '3.state'
    torch.save(content, path)
    assert 'is no training state' in message_of_refusal(checkpoints.load_state, path)


def test_training_state_is_read_with_all_that_it_holds(tmp_path):
    path = str(tmp_path / '3.state')
    checkpoints.save(STATE | {'seed': 5}, path)
    assert checkpoints.load_state(path) == STATE | {'seed': 5}


# -------------------------------------------------------------------------------------------------------------- keeping


def test_states_are_ordered_by_number_with_the_newest_first(tmp_path):
    for name in ('9.state', '100.state', '20.state', 'old.state', '7.state.bak', '.8.state.12.tmp', '5.pth'):
        (tmp_path / name).touch()
    assert checkpoints.states_of(str(tmp_path)) == [
        (iteration, str(tmp_path / f'{iteration}.state')) for iteration in (100, 20, 9)
    ]


def test_folder_that_is_not_there_has_no_states(tmp_path):
    assert checkpoints.states_of(str(tmp_path / 'nowhere')) == []


@pytest.fixture
def saved(tmp_path):
    """Folders of networks and states of the iterations 5, 10 and 100, with names that stay."""
    models, states = tmp_path / 'models', tmp_path / 'training_states'
    models.mkdir()
    states.mkdir()
    for name in ('net_g_latest', 'net_g_best', 'net_g_7', 'net_g_5_old', 'other_5'):
        (models / f'{name}.pth').touch()
    for iteration in (5, 10, 100):
        (states / f'{iteration}.state').touch()
        for label in ('net_g', 'net_d_2'):
            (models / f'{label}_{iteration}.pth').touch()
    return models, states


def test_newest_saved_iterations_are_kept_with_all_their_networks(saved):
    models, states = saved
    before = set(names(models))
    checkpoints.keep_newest(2, 100, str(models), str(states))
    assert names(states) == ['10.state', '100.state']
    assert before - set(names(models)) == {'net_g_5.pth', 'net_d_2_5.pth'}
    checkpoints.keep_newest(1, 100, str(models), str(states))
    assert names(states) == ['100.state']
    assert before - set(names(models)) == {f'{net}_{number}.pth' for net in ('net_g', 'net_d_2') for number in (5, 10)}


def test_later_states_than_the_one_just_saved_stay_and_do_not_count(saved):
    """A run that goes on from 5, because 100 is damaged, has just saved 10."""
    models, states = saved
    checkpoints.keep_newest(1, 10, str(models), str(states))
    assert names(states) == ['10.state', '100.state']


def test_nothing_is_removed_while_there_are_no_more_than_are_kept(saved):
    models, states = saved
    before = names(models), names(states)
    checkpoints.keep_newest(3, 100, str(models), str(states))
    assert (names(models), names(states)) == before
