"""A folder is one process's own, and the second is told in one line who was first."""

import fcntl
import json
import multiprocessing
import os
import signal
import socket
import threading
import time

import pytest
from filelock import FileLock

from conftest import basicsr, basicsr_of_ranks, two_of_basicsr, write_options
from okdnet_plugin.errors import InputError, SaveError
from okdnet_plugin.locks import Lock


def hold_for_ever(folder, connection):
    lock = Lock(folder, 'is being trained', 'wait')
    os.rename(folder, f'{folder}_archived')
    connection.send(lock is not None)
    time.sleep(600)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / 'experiments' / 'small'
    path.mkdir(parents=True)
    return path


@pytest.fixture
def holder(folder):
    mine, its = multiprocessing.Pipe()
    process = multiprocessing.get_context('fork').Process(target=hold_for_ever, args=(str(folder), its))
    process.start()
    assert mine.poll(30)
    yield process
    process.kill()
    process.join()


def test_second_process_is_told_who_holds_the_folder_even_when_it_has_been_renamed(folder, holder):
    for _ in range(3):  # those that are refused take nothing from it
        with pytest.raises(InputError) as caught:
            Lock(str(folder), 'is being trained', 'wait for it')
        message = str(caught.value)
        assert f'small is being trained by process {holder.pid} on {socket.gethostname()} since 2' in message
        assert len(message.splitlines()) == 1


def test_second_process_waits_for_the_note_of_who_has_just_got_the_lock(folder):
    with FileLock(folder.parent / '.small.lock'):
        note = json.dumps({'host': 'elsewhere', 'pid': 4711, 'since': '2026'})
        timer = threading.Timer(0.3, (folder.parent / '.small.lock.json').write_text, [note])
        timer.start()
        with pytest.raises(InputError, match='by process 4711 on elsewhere since 2026'):
            Lock(str(folder), 'is being trained', 'wait for it')
        timer.join()


def test_lock_of_a_killed_process_is_taken_over_at_once(folder, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    assert (folder.parent / '.small.lock').exists()
    lock = Lock(str(folder), 'is being trained', 'wait for it')
    lock.release()
    lock.release()
    assert os.listdir(folder.parent) == ['small_archived']


def test_workers_of_a_killed_process_that_have_its_lock_are_waited_for(folder, holder):
    """A fork shares the lock of its parent, and ends some seconds after it."""
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    worker = os.open(folder.parent / '.small.lock', os.O_RDWR)
    fcntl.flock(worker, fcntl.LOCK_EX)
    timer = threading.Timer(0.3, os.close, [worker])
    timer.start()
    Lock(str(folder), 'is being trained', 'wait for it').release()
    timer.join()


def test_folder_in_which_nothing_was_made_is_removed(tmp_path):
    Lock(str(tmp_path / 'experiments' / 'small'), 'is being trained', 'wait').release()
    assert not os.listdir(tmp_path)


def test_lock_that_cannot_be_made_is_one_line(folder):
    (folder.parent / '.small.lock').mkdir()
    with pytest.raises(SaveError, match=r'\.small\.lock cannot be written'):
        Lock(str(folder), 'is being trained', 'wait')


def test_damaged_note_of_the_holder_is_passed_over(folder, monkeypatch):
    monkeypatch.setattr('okdnet_plugin.locks._NOTE_COMES', 0.1)  # seconds, which it waits each time
    lock = Lock(str(folder), 'is being trained', 'wait')
    for content in ('', '[]', '{"host": 1, "pid": 2, "since": 3}', '{"host": "a\\nb", "pid": "x", "since": ""}'):
        (folder.parent / '.small.lock.json').write_text(content)
        with pytest.raises(InputError, match='is being trained by another process; wait'):
            Lock(str(folder), 'is being trained', 'wait')
    lock.release()


@pytest.mark.parametrize('model_type', ['OKDNetModel', pytest.param('SRModel', marks=pytest.mark.long)])
@pytest.mark.parametrize('arguments', [[], ['--auto_resume']], ids=['anew', 'resumed'])
def test_of_two_trainings_that_start_together_one_is_made_and_one_refused(
    model_type, arguments, train_options, tmp_path
):
    train_options['model_type'] = model_type
    if model_type == 'SRModel':
        train_options['train'] = {key: one for key, one in train_options['train'].items() if key != 'distill_opt'}
    write_options(tmp_path / 'o.yml', train_options)
    done = basicsr_of_ranks('train', '-opt', 'o.yml', *arguments, cwd=tmp_path, environments=[{}, {}])
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if 'error' in line]
    assert len(errors) == 1
    assert 'is being trained by process ' in errors[0]
    assert 'Traceback' not in done.stderr
    assert os.listdir(tmp_path / 'experiments') == ['small']
    assert (tmp_path / 'experiments/small/models/net_g_latest.pth').exists()
    assert (tmp_path / 'experiments/small/training_states/4.state').exists()


@pytest.mark.parametrize('start', [basicsr, two_of_basicsr], ids=['one process', 'two processes'])
def test_folder_of_a_training_that_lives_is_left_alone(start, folder, train_options, tmp_path):
    state, temporary = (
        folder / 'training_states' / '2.state',
        folder / 'models' / f'.okdnet-{"0" * 8}-{os.getpid()}-0.tmp',
    )
    for path in (state, temporary):
        path.parent.mkdir()
        path.touch()
    write_options(tmp_path / 'o.yml', train_options)
    lock = Lock(str(folder), 'is being trained', 'wait')
    done = start('train', '-opt', 'o.yml', '--auto_resume', cwd=tmp_path)
    lock.release()
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if line.startswith('basicsr: error')] == [
        f'basicsr: error: {folder} is being trained by process {os.getpid()} on {socket.gethostname()} since '
        f'{done.stderr.split("since ")[1].splitlines()[0]}'
    ]
    assert state.exists()
    assert temporary.exists()
    assert os.listdir(folder.parent) == ['small']


def test_three_starts_within_a_second_have_three_folders(folder, monkeypatch):
    from basicsr.utils import misc

    monkeypatch.setattr(misc, 'get_time_str', lambda: '20220830_120000')
    for _ in range(3):
        (folder / 'x').touch()
        misc.mkdir_and_rename(str(folder))
    names = ['small', *(f'small_archived_20220830_120000{end}' for end in ('', '_2', '_3'))]
    assert sorted(os.listdir(folder.parent)) == names


def test_results_of_two_tests_at_once_are_kept_apart(folder, train_options, tmp_path):
    options = {key: train_options[key] for key in ('name', 'model_type', 'num_gpu', 'scale', 'network_g', 'path')}
    options |= {'datasets': {'test': train_options['datasets']['val']}, 'val': {'save_img': False, 'metrics': None}}
    write_options(tmp_path / 'o.yml', options)
    lock = Lock(str(tmp_path / 'results' / 'small'), 'is being tested', 'wait')
    done = basicsr('test', '-opt', 'o.yml', cwd=tmp_path)
    lock.release()
    assert done.returncode == 2
    assert 'is being tested by process' in done.stderr
    assert not (tmp_path / 'results').exists()
