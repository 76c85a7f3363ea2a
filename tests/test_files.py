"""Files are read only where they are regular, and written whole or not at all."""

import os
import socket

import pytest

from okdnet_plugin import files
from okdnet_plugin.errors import InputError, SaveError


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


def test_nothing_is_left_of_what_is_being_written_when_a_process_ends_at_once(tmp_path):
    temporary = files.begin(str(tmp_path / 'a'))
    open(temporary, 'w').close()
    files.discard_all()
    assert not list(tmp_path.iterdir())
