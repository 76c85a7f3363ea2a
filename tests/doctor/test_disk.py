"""Disk: kinds of file systems, folders that cannot be written, disks and shared memory that are full."""

import errno
import os
import shutil
import tempfile
from collections import namedtuple

import pytest

from okdnet_plugin.doctor import disk

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:40 / {root}/data rw - nfs4 server:/export rw
41 40 0:41 / {root}/data/my\\040local rw - xfs /dev/sdb1 rw
broken line
"""


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def keyed(findings):
    return {finding.key: finding for finding in findings}


@pytest.mark.parametrize(
    ('path', 'kind'), [('data', 'nfs4'), ('data/set', 'nfs4'), ('data/my local', 'xfs'), ('database', 'ext4')]
)
def test_file_system_is_that_of_the_nearest_mount(path, kind, tmp_path):
    (tmp_path / 'mounts').write_text(MOUNTS.format(root=os.path.realpath(tmp_path)))
    assert disk.filesystem_of(path, str(tmp_path / 'mounts')) == kind


def test_network_file_system_is_a_warning(monkeypatch):
    monkeypatch.setattr(disk, 'filesystem_of', lambda path: 'lustre')
    finding = keyed(disk.check())['filesystem']
    assert finding.status == 'warning'
    assert 'lustre' in finding.text


def test_folders_are_tried_where_they_are_and_left_as_they_were(tmp_path):
    (tmp_path / 'results').mkdir()
    found = keyed(disk.check())
    assert found['folder.results'].text == 'results/ can be written'
    assert found['folder.experiments'].text == 'experiments/ can be made'
    assert [path.name for path in tmp_path.rglob('*')] == ['results']


def test_file_in_place_of_a_folder_is_wrong(tmp_path):
    (tmp_path / 'experiments').touch()
    finding = keyed(disk.check())['folder.experiments']
    assert (finding.status, finding.text) == ('wrong', 'experiments is no folder, but runs write below it')


def test_folder_that_cannot_be_written_is_wrong(monkeypatch):
    def fail(dir):
        raise PermissionError(errno.EACCES, 'Permission denied')

    monkeypatch.setattr(tempfile, 'TemporaryFile', fail)
    finding = keyed(disk.check())['folder.experiments']
    assert finding.status == 'wrong'
    assert 'Permission denied' in finding.text


@pytest.mark.parametrize(('free', 'status'), [(100, 'ok'), (5, 'warning'), (0.1, 'wrong')])
def test_full_disk_is_said_before_a_run_finds_it(free, status, monkeypatch):
    usage = namedtuple('usage', 'total used free')(200 * 2**30, 0, int(free * 2**30))
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage)
    assert keyed(disk.check())['disk'].status == status


def test_disk_without_room_for_more_files_is_wrong(monkeypatch):
    state = namedtuple('state', 'f_files f_favail f_bavail f_bfree f_blocks f_frsize')(10**6, 12, 9, 9, 9, 2**40)
    monkeypatch.setattr(os, 'statvfs', lambda path: state)
    assert 'only 12 more files' in disk._room().text


@pytest.mark.parametrize(
    ('free', 'can_write', 'status'),
    [(8000, True, 'ok'), (10, True, 'warning'), (8000, False, 'warning')],
    ids=['large', "a container's, or full", 'not writable'],
)
def test_small_shared_memory_is_a_warning(free, can_write, status, monkeypatch):
    usage = namedtuple('usage', 'total used free')(2**40, 0, free * 2**20)
    monkeypatch.setattr(os.path, 'isdir', lambda path: True)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage)
    monkeypatch.setattr(os, 'access', lambda path, mode: can_write)
    (finding,) = disk._shared_memory()
    assert finding.status == status
    assert finding.cure.startswith('' if status == 'ok' else 'start the container with --shm-size')
