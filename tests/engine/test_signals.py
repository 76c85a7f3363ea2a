"""Signals that ask a training to stop, in one process, in its workers, and in two processes."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
import torch.distributed
from torch.utils.data import DataLoader

from conftest import in_two_processes
from okdnet_plugin.engine import signals
from okdnet_plugin.engine.signals import StopRequest, exit_code, leave_signals_to_the_parent

FORKED = multiprocessing.get_context('fork')


def send(request, number):
    """Signal this process, and wait until the request has seen it."""
    handled, handle = threading.Event(), request._handle
    request._handle = lambda number: (handle(number), handled.set())
    os.kill(os.getpid(), number)
    assert handled.wait(5)
    request._handle = handle


@pytest.fixture
def request_():
    """A stop request of this process, whose signals are as before afterwards."""
    before = {number: signal.getsignal(number) for number in signals.STOPPING}
    request = StopRequest()
    request.install()
    yield request
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


# ---------------------------------------------------------------------------------------------------------- one process


@pytest.mark.parametrize('number', signals.STOPPING)
def test_first_signal_is_noted_and_announced(request_, capfd, number):
    assert request_.agreed() is None
    send(request_, number)
    assert request_.agreed() == number
    assert request_.agreed() == number
    assert f'basicsr: {number.name}: the iteration is finished and saved first' in capfd.readouterr().err


def test_second_signal_within_half_a_second_is_the_same_request(request_, capfd, monkeypatch):
    monkeypatch.setattr(os, '_exit', lambda code: pytest.fail(f'the process would have ended with {code}'))
    send(request_, signal.SIGINT)
    now = time.monotonic()
    monkeypatch.setattr(time, 'monotonic', lambda: now + 0.4)
    send(request_, signal.SIGTERM)
    assert request_.agreed() == signal.SIGINT
    assert capfd.readouterr().err.count('basicsr:') == 1


def stop_twice(first, second):
    os.setpgid(0, 0)
    request = StopRequest()
    request.install()
    send(request, first)
    now = time.monotonic()
    time.monotonic = lambda: now + 0.6
    torch.set_num_threads(1)
    large = torch.ones(6000, 6000)
    threading.Timer(0.2, os.kill, (os.getpid(), second)).start()
    large @ large  # returns to Python after seconds
    os._exit(0)


@pytest.mark.parametrize(
    ('first', 'second'),
    [
        (signal.SIGINT, signal.SIGTERM),
        pytest.param(signal.SIGINT, signal.SIGINT, marks=pytest.mark.long),
        pytest.param(signal.SIGTERM, signal.SIGTERM, marks=pytest.mark.long),
    ],
)
def test_later_signal_ends_the_process_at_once(first, second, capfd):
    process = FORKED.Process(target=stop_twice, args=(first, second))
    process.start()
    process.join()
    assert process.exitcode == 128 + second
    assert f'{second.name} again: ended at once' in capfd.readouterr().err


def test_exit_codes_are_those_of_a_shell():
    assert [exit_code(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == [130, 143, 138]


def stop_without_a_reader():
    unread, pipe = os.pipe()
    os.close(unread)
    os.dup2(pipe, 2)
    request = StopRequest()
    request.install()
    send(request, signal.SIGTERM)
    os._exit(int(request.agreed()))


def test_signal_is_noted_though_nobody_reads_the_standard_error():
    """As after `basicsr train 2>&1 | tee log` when tee has ended, or when the terminal is gone."""
    process = FORKED.Process(target=stop_without_a_reader)
    process.start()
    process.join()
    assert process.exitcode == signal.SIGTERM


# -------------------------------------------------------------------------------------------------------------- workers


def echo(connection):
    leave_signals_to_the_parent()
    connection.send('ready')
    while True:
        connection.send(connection.recv())


@pytest.fixture
def worker():
    """A process like a worker of a data loader, and a connection that it answers on."""
    connection, end = FORKED.Pipe()
    process = FORKED.Process(target=echo, args=(end,), daemon=True)
    process.start()
    assert connection.recv() == 'ready'
    yield process, connection
    process.kill()
    process.join()


def answers(connection):
    connection.send('alive')
    return connection.poll(5) and connection.recv() == 'alive'


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_worker_survives_a_signal_to_its_process_group(worker, number):
    process, connection = worker
    subprocess.run(['kill', f'-{number.value}', str(process.pid)], check=True)
    assert answers(connection)


def test_worker_is_ended_by_its_parent(worker):
    process, connection = worker
    subprocess.run(['kill', '-TERM', str(process.pid)], check=True)
    assert answers(connection)
    time.sleep(0.5)  # of two SIGTERMs that wait together the system keeps one
    process.terminate()
    process.join(5)
    assert process.exitcode is not None


LOADING = """
import multiprocessing, sys, time

from torch.utils.data import DataLoader

from okdnet_plugin.engine.signals import leave_signals_to_the_parent

if __name__ == '__main__':
    multiprocessing.set_start_method(sys.argv[1])
    loader = DataLoader(range(99), num_workers=2, worker_init_fn=leave_signals_to_the_parent)
    batches = iter(loader)
    next(batches)
    print(*(worker.pid for worker in batches._workers), flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize('method', ['fork', 'forkserver'])
def test_workers_end_when_their_parent_is_killed(method, tmp_path):
    (tmp_path / 'loading.py').write_text(LOADING)
    with subprocess.Popen([sys.executable, 'loading.py', method], cwd=tmp_path, stdout=subprocess.PIPE) as parent:
        workers = list(map(int, parent.stdout.readline().split()))
        parent.kill()
    assert len(workers) == 2
    until = time.monotonic() + 10
    while (left := [pid for pid in workers if is_running(pid)]) and time.monotonic() < until:
        time.sleep(0.05)
    assert left == []


def is_running(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except OSError:
        return False


def leave_a_loader_behind():
    # Something that lives on holds the loader, as the traceback of an error does.
    signals.left_behind = iter(DataLoader(range(100), num_workers=1, worker_init_fn=leave_signals_to_the_parent))
    next(signals.left_behind)


def test_process_ends_though_it_leaves_a_loader_behind():
    process = FORKED.Process(target=leave_a_loader_behind)
    process.start()
    process.join(4)
    is_over = process.exitcode is not None
    process.kill()
    process.join()
    assert is_over


# -------------------------------------------------------------------------------------------------------- two processes


def stop_the_second(rank):
    request = StopRequest(torch.distributed.new_group(backend='gloo'))
    request.install()
    for call in range(1, 20):
        if rank == 1 and call == 5:
            send(request, signal.SIGTERM)
        agreed = request.agreed()
        if agreed is not None:
            return call, agreed, request.signal
    return None


def test_all_processes_stop_at_the_same_call_whichever_got_the_signal(tmp_path):
    first, second = in_two_processes(stop_the_second, tmp_path)
    assert first == (6, signal.SIGTERM, None)
    assert second == (6, signal.SIGTERM, signal.SIGTERM)
