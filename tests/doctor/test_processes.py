"""Cores, threads, workers and memory: settings that do not fit the machine are said with the line that mends them."""

import multiprocessing
import os
import sys
from collections import namedtuple

import pytest
import torch

from okdnet_plugin.doctor import machine, processes

GIB = 2**30


@pytest.fixture
def on(monkeypatch):
    """Set cores, limits, threads and load."""

    def make(cores=8, limit=None, threads=8, load=0.1, memory=(64 * GIB, 60 * GIB), memory_limit=None, **environment):
        monkeypatch.setattr(os, 'cpu_count', lambda: 64)
        monkeypatch.setattr(os, 'getloadavg', lambda: (load, load, load))
        monkeypatch.setattr(machine, 'cores', lambda: cores)
        monkeypatch.setattr(machine, 'core_limit', lambda: limit)
        monkeypatch.setattr(machine, 'memory', lambda: memory)
        monkeypatch.setattr(machine, 'memory_limit', lambda: memory_limit)
        monkeypatch.setattr(torch, 'get_num_threads', lambda: threads)
        for name in ('OMP_NUM_THREADS', 'OMP_WAIT_POLICY'):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return {finding.key: finding for finding in processes.check()}

    return make


def test_settings_that_fit_are_ok(on):
    found = on(OMP_NUM_THREADS='8')
    keys = ('cores', 'threads', 'waiting', 'workers', 'memory')
    assert [found[key].status for key in keys] == ['ok'] * len(keys)
    assert found['cores'].values == {'machine': 64, 'allowed': 8}


def test_more_threads_than_a_container_has_cores_is_a_warning(on):
    finding = on(cores=64, limit=4.0, threads=64)['threads']
    assert finding.status == 'warning'
    assert finding.cure == 'export OMP_NUM_THREADS=4'


def test_cores_that_stay_idle_are_a_warning_without_a_gpu_alone(on, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert '7 of 8 cores stay idle' in on(threads=1, OMP_NUM_THREADS='1')['threads'].text
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert on(threads=1, OMP_NUM_THREADS='1')['threads'].status == 'ok'


def test_shared_cpu_asks_for_threads_that_do_not_spin(on):
    assert on(load=60.0)['waiting'].cure.startswith('export OMP_WAIT_POLICY=passive')
    assert on(load=60.0, OMP_WAIT_POLICY='PASSIVE')['waiting'].status == 'ok'


def test_little_memory_is_a_warning_also_where_a_container_limits_it(on):
    assert on(memory_limit=2 * GIB)['memory'].status == 'warning'
    assert on(memory=(8 * GIB, 1 * GIB))['memory'].status == 'warning'
    assert on(memory=(8 * GIB, 7 * GIB))['memory'].status == 'ok'


@pytest.mark.parametrize(
    ('size', 'free', 'writable', 'status'),
    [(8192, 8000, True, 'ok'), (64, 64, True, 'warning'), (8192, 10, True, 'warning'), (8192, 8000, False, 'warning')],
    ids=['large', "a container's", 'full', 'not writable'],
)
def test_small_shared_memory_is_a_warning(size, free, writable, status, monkeypatch):
    state = namedtuple('state', 'f_frsize f_blocks f_bavail')(2**20, size, free)
    monkeypatch.setattr(os.path, 'isdir', lambda path: True)
    monkeypatch.setattr(os, 'statvfs', lambda path: state)
    monkeypatch.setattr(os, 'access', lambda path, mode: writable)
    (finding,) = processes._shared_memory()
    assert finding.status == status
    assert finding.cure.startswith('' if status == 'ok' else 'start the container with --shm-size')


def test_start_method_that_somebody_has_chosen_is_a_warning(monkeypatch):
    monkeypatch.setattr(multiprocessing, 'get_start_method', lambda allow_none: None)
    assert processes._start_method().status == 'ok'
    monkeypatch.setattr(multiprocessing, 'get_start_method', lambda allow_none: 'spawn')
    assert processes._start_method().text == 'something has chosen spawn to start workers'


def test_names_in_ascii_are_a_warning(monkeypatch):
    monkeypatch.setattr(sys, 'getfilesystemencoding', lambda: 'ascii')
    assert processes._names().status == 'warning'


def test_few_open_files_are_a_warning(monkeypatch):
    import resource

    monkeypatch.setattr(resource, 'getrlimit', lambda what: (256, 4096))
    (finding,) = processes._open_files()
    assert finding.cure == 'ulimit -n 4096'
