"""Disk: where runs write and data sets lie, their rights, file systems and room; and the memory that workers share."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from os import path as osp

from okdnet_plugin.doctor.finding import Finding, ok, warning, wrong

FOLDERS = ('experiments', 'results', 'reports', 'tb_logger')
_GIB = 2**30
_SMALL_SHM = 0.5 * _GIB  # a worker holds two batches there; one of 16 pairs of 256 x 256 has 25 MiB
_TIGHT, _FULL = 10 * _GIB, 0.5 * _GIB  # of free room: a run of OKDNet with its states takes some GiB
_NETWORK = {
    *('nfs', 'nfs4', 'cifs', 'smb3', 'smbfs', 'lustre', 'beegfs', 'gpfs', 'ceph', 'glusterfs', 'afs', '9p', 'virtiofs'),
    *('fuse.sshfs', 'fuse.glusterfs', 'fuse.s3fs', 'fuse.gcsfuse', 'fuse.rclone', 'fuse.ceph', 'fuse.juicefs'),
}


def check() -> Iterator[Finding]:
    """Whether runs can write below the current folder, on what kind of disk, and for how long."""
    for name in FOLDERS:
        yield _folder(name)
    yield from _filesystem()
    yield _room()
    yield from _shared_memory()


def _filesystem() -> Iterator[Finding]:
    kind = filesystem_of('.')
    if kind in _NETWORK:
        text = f'the current folder is on a network file system ({kind}), where LMDB may damage what it writes'
        cure = 'make LMDBs on a local disk and copy them; reading over the network is slow, but right'
        yield warning('filesystem', text, cure, filesystem=kind)
    elif kind is not None:
        yield ok('filesystem', f'the current folder is on a local file system ({kind})', filesystem=kind)


def filesystem_of(path: str, mounts: str = '/proc/self/mountinfo') -> str | None:
    """Type of the file system of a path, as `ext4`; None where the system does not say.

    Args:
        path: anything that exists.
        mounts: the table of the kernel, see proc(5).
    """
    try:
        with open(mounts, encoding='utf-8', errors='surrogateescape') as file:
            lines = file.read().splitlines()
        here, found = osp.realpath(path), {}
    except OSError:
        return None
    for line in lines:
        fields, _, rest = line.partition(' - ')
        if not rest or len(fields.split()) < 5:
            continue
        point = fields.split()[4].replace('\\040', ' ')
        if point == '/' or here == point or here.startswith(f'{point}/'):
            found[point] = rest.split()[0]  # of two on one point the last is on top
    return found[max(found, key=len)] if found else None


def _folder(name: str) -> Finding:
    key = f'folder.{name}'
    if osp.lexists(name) and not osp.isdir(name):
        return wrong(key, f'{name} is no folder, but runs write below it', 'rename or remove it')
    place = name if osp.isdir(name) else '.'
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b'0' * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        cure = f'give yourself the right to write there, or start in another folder (it is the root of {name}/)'
        return wrong(key, f'nothing can be written in {name}/: {error.strerror or error}', cure)
    if place == '.':
        return ok(key, f'{name}/ can be made', exists=False)
    return ok(key, f'{name}/ can be written', exists=True)


def _room() -> Finding:
    usage = shutil.disk_usage('.')
    text = f'{usage.free / _GIB:.1f} GiB free of {usage.total / _GIB:.0f}'
    values = {'free_gib': round(usage.free / _GIB, 1)}
    nodes = getattr(os, 'statvfs', lambda _: None)('.')
    if nodes is not None and nodes.f_files and nodes.f_favail < 1000:
        text = f'{text}, but only {nodes.f_favail} more files can be made (inodes)'
        return wrong('disk', text, 'remove many small files', **values)
    cure = 'remove old runs; logger: keep_last: 5 keeps the five newest states of a run'
    if usage.free < _FULL:
        return wrong('disk', f'{text}: too little for a run', cure, **values)
    if usage.free < _TIGHT:
        return warning('disk', text, cure, **values)
    return ok('disk', text, **values)


def _shared_memory() -> Iterator[Finding]:
    """Where workers hand batches over; containers give it 64 MiB, unless they are asked."""
    if not osp.isdir('/dev/shm'):
        return
    try:
        free, can_write = shutil.disk_usage('/dev/shm').free, os.access('/dev/shm', os.W_OK)
    except OSError:
        free, can_write = 0, False
    values = {'free_mib': free // 2**20, 'writable': can_write}
    text = f'/dev/shm, through which workers hand batches over, has {free / _GIB:.1f} GiB free'
    if can_write and free >= _SMALL_SHM:
        yield ok('shared_memory', text, **values)
    else:
        cure = 'start the container with --shm-size=8g or --ipc=host, or set num_worker_per_gpu: 0'
        text = text if can_write else '/dev/shm cannot be written'
        yield warning('shared_memory', f'{text}: workers die by "Bus error" when it is full', cure, **values)
