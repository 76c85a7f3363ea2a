"""Where runs write and data sets lie: file systems, room, rights, and whether an LMDB comes back as it was written."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from os import path as osp

from okdnet_plugin.doctor.finding import Finding, ok, one_line, warning, wrong

FOLDERS = ('experiments', 'results', 'reports', 'tb_logger')
_GIB = 2**30
_TIGHT, _FULL = 10 * _GIB, 0.5 * _GIB  # of free room: a run of OKDNet with its states takes some GiB
_RECORDS = 100
_NETWORK = {
    *('nfs', 'nfs4', 'cifs', 'smb3', 'smbfs', 'lustre', 'beegfs', 'gpfs', 'ceph', 'glusterfs', 'afs', '9p', 'virtiofs'),
    *('fuse.sshfs', 'fuse.glusterfs', 'fuse.s3fs', 'fuse.gcsfuse', 'fuse.rclone', 'fuse.ceph', 'fuse.juicefs'),
}


def check_lmdb() -> Iterator[Finding]:
    """An LMDB in a temporary folder, written and read back, and the file system that LMDBs here would lie on."""
    import lmdb

    records = {f'{number:04}'.encode(): os.urandom(2000) for number in range(_RECORDS)}
    number = '.'.join(map(str, lmdb.version()))
    try:
        with tempfile.TemporaryDirectory() as folder:
            with lmdb.open(folder, map_size=16 * 2**20) as env:
                with env.begin(write=True) as txn:
                    for key, value in records.items():
                        txn.put(key, value)
                env.sync(True)
            with lmdb.open(folder, readonly=True, lock=False) as env, env.begin() as txn:
                same = dict(txn.cursor()) == records
    except (OSError, lmdb.Error) as error:
        cure = 'choose a folder on a local disk with room by TMPDIR'
        yield wrong('lmdb', f'LMDB {number} cannot be written in a temporary folder: {one_line(error)}', cure)
    else:
        if same:
            yield ok('lmdb', f'LMDB {number}: {_RECORDS} records written and read back', version=number)
        else:
            cure = 'the disk or the file system loses data: try another one by TMPDIR'
            yield wrong('lmdb', f'LMDB {number} reads other records than were written', cure, version=number)
    kind = filesystem_of('.')
    if kind is None:
        return
    if is_network(kind):
        text = f'the current folder is on a network file system ({kind}), where LMDB may damage what it writes'
        cure = 'make LMDBs on a local disk and copy them; reading over the network is slow, but right'
        yield warning('lmdb.filesystem', text, cure, filesystem=kind)
    else:
        yield ok('lmdb.filesystem', f'the current folder is on a local file system ({kind})', filesystem=kind)


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


def is_network(kind: str) -> bool:
    return kind in _NETWORK


def check_folders() -> Iterator[Finding]:
    """Whether runs can write below the current folder, and for how long."""
    try:
        os.getcwd()
    except FileNotFoundError:
        yield wrong('folders', 'the current folder has been removed', 'change to one that exists')
        return
    for name in FOLDERS:
        yield _folder(name)
    yield _room()


def _folder(name: str) -> Finding:
    key = f'folder.{name}'
    if osp.lexists(name) and not osp.isdir(name):
        return wrong(key, f'{name} is no folder, but runs write below it', 'rename or mend it')
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
