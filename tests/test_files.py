"""Files are read only where they are regular, and written whole or not at all."""

import logging
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from basicsr.utils import FileClient

from okdnet_plugin import config, files, shipped_weights
from okdnet_plugin.data import image_sources, lmdb_store
from okdnet_plugin.engine import checkpoints, journal
from okdnet_plugin.errors import InputError, SaveError, StoreError


@pytest.fixture(params=['pipe', 'link to a pipe', 'device', 'socket', 'folder'])
def no_file(request, tmp_path):
    path = tmp_path / 'x'
    if request.param == 'device':
        os.symlink('/dev/zero', path)
    elif request.param == 'socket':
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))
    elif request.param == 'folder':
        path.mkdir()
    else:
        os.mkfifo(tmp_path / 'pipe')
        os.symlink(tmp_path / 'pipe', path)
    return path


def test_what_is_no_regular_file_is_refused_at_once_and_named(no_file):
    with pytest.raises(InputError, match=r'the weights is a .*no regular file'):
        files.open_regular_file(no_file, 'the weights')


def test_a_file_that_becomes_a_pipe_meanwhile_is_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / 'x')
    monkeypatch.setattr(files, 'check_regular_file', lambda *_: None)
    with pytest.raises(InputError, match='no regular file'):
        files.open_regular_file(tmp_path / 'x')


def lmdb_with(path):
    (path.parent / 'a.lmdb').mkdir()
    os.rename(path, path.parent / 'a.lmdb' / 'data.mdb')
    image_sources.open_lmdb(str(path.parent / 'a.lmdb'), {})


def journal_with(path):
    os.rename(path, path.parent / journal.NAME)
    journal.Journal().open(str(path.parent), 2, 4, logging.getLogger('basicsr'))


def manifest_with(path):
    os.rename(path, path.parent / lmdb_store.MANIFEST)
    lmdb_store.read_manifest(str(path.parent))


def image_with(path):
    os.rename(path, path.parent / 'x.png')
    source = image_sources.ImageFolder(str(path.parent), False)
    source.read(source.names()[0])


@pytest.mark.parametrize(
    'read',
    [
        lambda path: checkpoints.load(str(path)),
        lambda path: config.load(str(path)),
        lambda path: image_sources.read_lines(str(path)),
        lambda path: FileClient('disk').get(path),
        lambda path: shipped_weights.metadata_of(str(path)),
        lmdb_with,
        journal_with,
        manifest_with,
        image_with,
    ],
    ids=['state', 'options', 'list', 'image of BasicSR', 'weights', 'LMDB', 'journal', 'manifest', 'image'],
)
def test_all_that_reads_refuses_pipes_in_one_line(read, tmp_path):
    os.mkfifo(tmp_path / 'x')
    with pytest.raises(InputError, match='is a named pipe') as caught:
        read(tmp_path / 'x')
    assert len(str(caught.value).splitlines()) == 1


def test_lmdb_that_is_deleted_meanwhile_ends_the_training_in_one_line(tmp_path):
    [root] = lmdb_store.build(str(tmp_path / 'out'), clear=_image_in(tmp_path / 'clear'))
    source = image_sources.open_source(root, {'type': 'lmdb'})
    names = source.names()
    source.read(names[0])
    shutil.rmtree(root)
    with pytest.raises(StoreError, match=r'cannot be read .*make the LMDB again'):
        source.read(names[0])


def _image_in(folder):
    folder.mkdir()
    cv2.imwrite(str(folder / '1.png'), np.zeros((8, 8, 3), np.uint8))
    return str(folder)


def test_a_file_and_a_link_to_one_are_read(tmp_path):
    (tmp_path / 'a').write_bytes(b'content')
    os.symlink(tmp_path / 'a', tmp_path / 'b')
    for name in 'ab':
        with files.open_regular_file(tmp_path / name) as file:
            assert file.read() == b'content'
    with pytest.raises(FileNotFoundError):
        files.open_regular_file(tmp_path / 'c')


def test_what_fails_while_a_file_is_made_leaves_the_old_one_alone(tmp_path):
    path = tmp_path / 'a'
    path.write_bytes(b'old')

    def fail():
        with files.replacing(str(path)) as temporary:
            open(temporary, 'w').close()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [one.name for one in tmp_path.iterdir()] == ['a']
    assert path.read_bytes() == b'old'


def test_the_longest_name_can_be_written_and_a_zero_byte_is_told_of(tmp_path):
    files.write(str(tmp_path / ('n' * 255)), b'new')
    with pytest.raises(SaveError, match='cannot be written'):
        files.write(str(tmp_path / 'a\0b'), b'new')


def test_what_killed_processes_have_left_is_removed_and_what_others_are_making_is_not(tmp_path):
    gone = subprocess.Popen([sys.executable, '-c', ''])
    gone.wait()
    mine = files.begin(str(tmp_path / 'mine.mp4'))
    left = mine.replace(f'-{os.getpid()}-', f'-{gone.pid}-')
    fresh = left.replace('.tmp', '9.tmp')
    other = str(tmp_path / '.hidden.tmp')
    for path in (mine, left, fresh, other):
        Path(path).touch()
        os.utime(path, (0, 0) if path != fresh else None)
    files.remove_leftovers(str(tmp_path), is_shared=True)
    files.remove_leftovers(str(tmp_path / 'not there'), is_shared=True)
    assert sorted(map(str, tmp_path.iterdir())) == sorted([mine, fresh, other])
    files.discard(mine)


def test_nothing_is_left_of_what_is_being_written_when_a_process_ends_at_once(tmp_path):
    temporary = files.begin(str(tmp_path / 'a'))
    open(temporary, 'w').close()
    files.discard_all()
    assert not list(tmp_path.iterdir())
