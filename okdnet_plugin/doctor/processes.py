"""Cores, threads, worker processes and the memory between them."""

import multiprocessing
import os
import sys
from collections.abc import Iterator

from okdnet_plugin.doctor import machine
from okdnet_plugin.doctor.finding import Finding, ok, one_line, warning
from okdnet_plugin.doctor.packages import import_failure

_GIB, _MIB = 2**30, 2**20
_SMALL_SHM = 512 * _MIB  # a worker holds two batches there; one of 16 pairs of 256 x 256 has 25 MiB
_FEW_FILES = 1024
_LITTLE_MEMORY = 4 * _GIB  # for a batch of 4 x 256 x 256 on a CPU


def check() -> Iterator[Finding]:
    """What the processes of a run may use, and whether its settings fit that."""
    cores, allowed = machine.cores(), usable_cores()
    yield _cores(cores, allowed)
    if import_failure('torch') is None:
        yield _threads(allowed)
    yield _waiting(allowed)
    yield _workers(allowed)
    yield _start_method()
    yield from _shared_memory()
    yield from _open_files()
    yield from _memory()
    yield _names()


def usable_cores() -> int:
    """Cores that this process may keep busy, 1 at least."""
    limit = machine.core_limit()
    return max(1, min(machine.cores(), round(limit) if limit else machine.cores()))


def _cores(cores: int, allowed: int) -> Finding:
    there = os.cpu_count() or 1
    text = f'{allowed} core{"s" * (allowed > 1)}'
    if allowed < there:
        text += f' of the {there} of the machine' + ('' if cores < there else ', by a limit of the container')
    return ok('cores', text, machine=there, allowed=allowed)


def _threads(allowed: int) -> Finding:
    import torch

    threads, wanted = torch.get_num_threads(), os.environ.get('OMP_NUM_THREADS')
    values = {'torch': threads, 'OMP_NUM_THREADS': wanted, 'cores': allowed}
    text = f'torch computes with {threads} thread{"s" * (threads > 1)}'
    text += f' (OMP_NUM_THREADS={wanted})' if wanted is not None else ' (OMP_NUM_THREADS is not set)'
    if threads > allowed:
        text += f' on {allowed} core{"s" * (allowed > 1)}: they wait for one another'
        return warning('threads', text, f'export OMP_NUM_THREADS={allowed}', **values)
    if threads < allowed and not torch.cuda.is_available():
        text += f', and {allowed - threads} of {allowed} cores stay idle in a training on the CPU'
        cure = f'export OMP_NUM_THREADS={allowed}, or leave it if other processes use them'
        return warning('threads', text, cure, **values)
    return ok('threads', text, **values)


def _waiting(allowed: int) -> Finding:
    policy = os.environ.get('OMP_WAIT_POLICY')
    values: dict[str, object] = {'OMP_WAIT_POLICY': policy}
    text = f'OMP_WAIT_POLICY={policy}' if policy else 'OMP_WAIT_POLICY is not set'
    if (policy or '').lower() == 'passive' or not hasattr(os, 'getloadavg') or machine.core_limit():
        return ok('waiting', text, **values)
    load = os.getloadavg()[0]
    values['load'] = round(load, 1)
    if load > 0.75 * (os.cpu_count() or allowed):
        text += f', and other work keeps this CPU busy (load {load:.1f}): threads that wait by spinning slow each other'
        return warning('waiting', text, 'export OMP_WAIT_POLICY=passive, or wait until the machine is idle', **values)
    return ok('waiting', text, **values)


def _workers(allowed: int) -> Finding:
    text = (
        f'num_worker_per_gpu: up to {allowed} for each GPU that shares these cores'
        if allowed > 2
        else f'num_worker_per_gpu: 0 to {allowed}; each worker wants a core, and a training on the CPU wants them all'
    )
    return ok('workers', text, most=allowed)


def _start_method() -> Finding:
    chosen, there = multiprocessing.get_start_method(allow_none=True), multiprocessing.get_all_start_methods()
    values = {'chosen': chosen, 'available': there}
    if 'forkserver' not in there:
        text = f'workers start by {chosen or there[0]}; each imports everything, which takes seconds an epoch'
        return ok('start_method', text, **values)
    if chosen not in (None, 'forkserver'):
        cure = 'find what sets it: a plugin, or sitecustomize'
        return warning('start_method', f'something has chosen {chosen} to start workers', cure, **values)
    return ok('start_method', 'workers start by forkserver', **values)


def _shared_memory() -> Iterator[Finding]:
    if not os.path.isdir('/dev/shm'):
        return
    try:
        state = os.statvfs('/dev/shm')
    except OSError as error:
        yield warning('shared_memory', f'/dev/shm cannot be looked at: {one_line(error)}', 'num_worker_per_gpu: 0')
        return
    size, free = state.f_blocks * state.f_frsize, state.f_bavail * state.f_frsize
    values = {'size_mib': size // _MIB, 'free_mib': free // _MIB, 'writable': os.access('/dev/shm', os.W_OK)}
    text = f'/dev/shm, through which workers hand batches over: {_bytes(free)} free of {_bytes(size)}'
    if free >= _SMALL_SHM and values['writable']:
        yield ok('shared_memory', text, **values)
        return
    if not values['writable']:
        text = '/dev/shm cannot be written, so workers cannot hand batches over'
    elif size >= _SMALL_SHM:
        text += '; remove what other processes have left there'
    cure = 'start the container with --shm-size=8g or --ipc=host, or set num_worker_per_gpu: 0'
    yield warning('shared_memory', f'{text}; workers die by "Bus error" when it is full', cure, **values)


def _open_files() -> Iterator[Finding]:
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        yield ok('open_files', 'any number of open files')
    elif soft < _FEW_FILES:
        text = f'only {soft} open files are allowed; each tensor that a worker hands over is one'
        yield warning('open_files', text, f'ulimit -n {hard if hard > soft else 4096}', soft=soft, hard=hard)
    else:
        yield ok('open_files', f'{soft} open files are allowed', soft=soft, hard=hard)


def _memory() -> Iterator[Finding]:
    found, limit = machine.memory(), machine.memory_limit()
    if found is None:
        return
    total, available = found
    text = f'{_bytes(available)} of memory free of {_bytes(total)}'
    if limit is not None and limit < total:
        text = f'{_bytes(limit)} of memory, by a limit of the container'
        available = min(available, limit)
    values = {'total_gib': round(min(total, limit or total) / _GIB, 1), 'available_gib': round(available / _GIB, 1)}
    if available < _LITTLE_MEMORY:
        cure = 'a smaller gt_size or batch_size_per_gpu; for the same update train: accumulate'
        yield warning('memory', f'{text}: a training of OKDNet with batch 4 on the CPU needs more', cure, **values)
    else:
        yield ok('memory', text, **values)


def _names() -> Finding:
    encoding = sys.getfilesystemencoding()
    if encoding.lower().replace('-', '') != 'utf8':
        text = f'file names are read as {encoding}: names with other letters fail'
        return warning('encoding', text, 'export LC_ALL=C.UTF-8, or PYTHONUTF8=1', encoding=encoding)
    return ok('encoding', f'file names are {encoding}', encoding=encoding)


def _bytes(number: int) -> str:
    return f'{number / _GIB:.1f} GiB' if number >= _GIB else f'{number / _MIB:.0f} MiB'
