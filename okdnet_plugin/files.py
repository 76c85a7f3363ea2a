"""Files on a disk: read only where they are regular, and written whole or not at all."""

import contextlib
import errno
import io
import itertools
import os
import re
import socket
import stat
import time
import zlib
from collections.abc import Iterator
from os import PathLike, fspath
from os import path as osp
from typing import BinaryIO, TextIO

from okdnet_plugin.errors import InputError, SaveError

_TEMPORARY = re.compile(r'\.okdnet-([0-9a-f]{8})-(\d+)-\d+\.tmp')
_HOST = f'{zlib.crc32(socket.gethostname().encode()):08x}'
_FOREIGN = 86400  # seconds without a change after which a file of another machine is taken for left behind
_LATELY = 600  # seconds
_KINDS = {
    stat.S_IFDIR: 'a folder',
    stat.S_IFIFO: 'a named pipe',
    stat.S_IFCHR: 'a device',
    stat.S_IFBLK: 'a device',
    stat.S_IFSOCK: 'a socket',
}
# What a disk says to every file, and not to one alone.
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE)
_counter = itertools.count()
_unfinished: set[str] = set()


def shown(path: str) -> str:
    """A path as one line of a message: what cannot be printed, and line breaks, are escaped."""
    return path if path.isprintable() else repr(path)


def check_regular_file(path: str | PathLike, label: str | None = None) -> None:
    """See that what will be opened by its path is a file, or a link to one.

    Pipes and devices are refused: to open a pipe waits for who writes to it, and /dev/zero never ends.

    Args:
        path: of what is to be read.
        label: how messages call it; by default the path.

    Raises:
        InputError: it is something else.
        OSError: it is not there, or may not be looked at.
    """
    kind = stat.S_IFMT(os.stat(path).st_mode)
    if kind != stat.S_IFREG:
        what = _KINDS.get(kind, 'something else')
        raise InputError(f'{label or shown(fspath(path))} is {what}, no regular file; give a file')


def open_regular_file(path: str | PathLike, label: str | None = None) -> BinaryIO:
    """Open a file to read its bytes; never waits.

    Args:
        path: of the file, or of a link to it.
        label: how messages call it; by default the path.

    Raises:
        InputError: it is a folder, a pipe, a device or a socket.
        OSError: it is not there, or may not be read.
    """
    check_regular_file(path, label)
    # It may have become a pipe since it was looked at, for which the system would wait.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, 'O_NONBLOCK', 0) | getattr(os, 'O_BINARY', 0))
    file = os.fdopen(descriptor, 'rb')
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise InputError(f'{label or shown(fspath(path))} is no regular file; give a file')
    return file


def open_text(path: str | PathLike, encoding: str = 'utf-8', errors: str = 'strict') -> TextIO:
    """As `open_regular_file`, to read text."""
    return io.TextIOWrapper(open_regular_file(path), encoding=encoding, errors=errors)


def write(path: str, content: bytes | memoryview, advice: str = '') -> None:
    """Write a whole file, or leave what stood there.

    Args:
        path: of the file, in a folder that exists.
        content: of the file.
        advice: what to do if it cannot be written, a sentence.

    Raises:
        SaveError: so it is; the message names the file and the cause.
    """
    with replacing(path, advice) as temporary, open(temporary, 'wb') as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: str, advice: str = '') -> Iterator[str]:
    """Give the path at which a file is made; left without an error, the file is flushed and takes the place of another.

    Raises:
        SaveError: it cannot be written; nothing is left of it, and what stood there is untouched.
    """
    temporary = begin(path)
    try:
        yield temporary
        publish(temporary, path)
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        if isinstance(error, InputError | SaveError):
            raise
        raise save_error(path, error, advice) from error
    finally:
        discard(temporary)


def begin(path: str) -> str:
    """The name under which a file is made beside its place; to be given to `publish` or `discard`.

    It has nothing of the file's own name, which may be as long as a name can be.
    """
    temporary = osp.join(osp.dirname(path), f'.okdnet-{_HOST}-{os.getpid()}-{next(_counter)}.tmp')
    with contextlib.suppress(OSError, ValueError):  # of a process of this number that was killed
        os.remove(temporary)
    _unfinished.add(temporary)
    return temporary


def publish(temporary: str, path: str) -> None:
    """Flush a file that was made under a name of `begin`, and give it its own name.

    Raises:
        OSError: the disk is full, for example.
    """
    with open(temporary, 'rb+') as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    _unfinished.discard(temporary)
    flush_folder(osp.dirname(path))


def discard(temporary: str) -> None:
    """Leave nothing of a file that was made under a name of `begin`; after `publish` this does nothing."""
    if temporary in _unfinished:
        with contextlib.suppress(OSError, ValueError):
            os.remove(temporary)
        _unfinished.discard(temporary)


def discard_all() -> None:
    """Leave nothing of what this process is writing, before it ends at once."""
    for temporary in list(_unfinished):
        discard(temporary)


def is_left_behind(path: str) -> bool:
    """Whether a file is one of `begin`, of a process that is no more."""
    match = _TEMPORARY.fullmatch(osp.basename(path))
    if match is None:
        return False
    try:
        if match[1] != _HOST:
            return time.time() - os.stat(path, follow_symlinks=False).st_mtime > _FOREIGN
        os.kill(int(match[2]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:  # another user's process, or the file is gone
        return False
    return int(match[2]) == os.getpid() and path not in _unfinished


def remove_leftovers(*folders: str, is_shared: bool = False) -> None:
    """Remove from folders what killed processes have left half made.

    Args:
        folders: what is below them counts too.
        is_shared: others may write there now, of containers too, in which the numbers of processes are the same: what
            has changed in the last minutes stays, and what is below.
    """
    for folder in folders:
        for place, inner, names in os.walk(folder or os.curdir):
            if is_shared:
                inner.clear()
            for path in filter(is_left_behind, (osp.join(place, name) for name in names)):
                with contextlib.suppress(OSError):
                    if not is_shared or time.time() - os.stat(path, follow_symlinks=False).st_mtime > _LATELY:
                        os.remove(path)


def save_error(path: str, error: Exception, advice: str = '') -> SaveError:
    """What is said of a file that the system does not let us write."""
    reason = getattr(error, 'strerror', None) or error
    return SaveError(f'{shown(path)} cannot be written: {reason}' + (f'. {advice}' if advice else ''))


def flush_folder(folder: str) -> None:
    """Make the rename itself last through a power failure, where the system can open folders."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder or '.', os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
