"""A folder that one process at a time writes to: who comes second is told who was first."""

import contextlib
import errno
import json
import os
import socket
import sys
import time
import warnings
from os import path as osp

from filelock import FileLock, Timeout

from okdnet_plugin import files
from okdnet_plugin.errors import InputError

_MOST = 2**12  # bytes of a note that are looked at
_PATIENCE = (
    10  # seconds, for what a killed process has begun and which may have the lock too; loaders' workers end in 5
)
_NOTE_COMES = 3  # seconds
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class Lock:
    """A folder is this process's own, until `release` or the end of the process, however it ends.

    The lock is the system's, on a file beside the folder, so that the folder may be renamed meanwhile; `flock` on a
    local disk, and on NFS what its server makes of it. A note beside it tells others who holds it.

    Args:
        folder: need not exist; the one that it is in is made.
        use: what is done with it, for the message: `is being trained`.
        cure: what to do instead, for the message, a clause.

    Raises:
        InputError: another process holds it; one line that names its host, number and begin.
        SaveError: nothing can be written beside the folder.
    """

    def __init__(self, folder: str, use: str, cure: str):
        parent, name = osp.split(osp.abspath(folder))
        path = osp.join(parent, f'.{name}.lock')
        self._parent, self._note = parent, f'{path}.json'
        self._lock = FileLock(path, timeout=0, thread_local=False)
        try:
            os.makedirs(parent, exist_ok=True)
            with warnings.catch_warnings():  # where there is no flock, it makes do with the file itself
                warnings.simplefilter('ignore')
                try:
                    self._lock.acquire()
                except Timeout:
                    if not _has_ended(self._note):
                        raise
                    self._lock.acquire(timeout=_PATIENCE)
        except Timeout:
            raise InputError(f'{files.shown(folder)} {use} by {_holder(self._note)}; {cure}') from None
        except (NotImplementedError, OSError) as error:
            if not isinstance(error, NotImplementedError) and error.errno not in _NO_LOCKS:
                raise files.save_error(error.filename or path, error) from error
            text = f'{files.shown(parent)} is on a file system without locks: see to it that no other process writes to'
            print(f'WARNING: {text} {files.shown(folder)}', file=sys.stderr)
        note = {'host': socket.gethostname(), 'pid': os.getpid(), 'since': time.strftime('%Y-%m-%d %H:%M:%S %z')}
        # On a full disk others are told less.
        with contextlib.suppress(OSError), open(self._note, 'w', encoding='utf-8') as file:
            json.dump(note, file)

    def release(self) -> None:
        """Let others have it; may be called twice. A folder in which nothing was made is removed."""
        if self._lock.is_locked:
            for path in (self._note, self._lock.lock_file):  # while nobody else can hold it
                with contextlib.suppress(OSError):
                    os.remove(path)
            self._lock.release()
        with contextlib.suppress(OSError):
            os.rmdir(self._parent)


def _holder(note: str) -> str:
    deadline = time.monotonic() + _NOTE_COMES
    while (said := _read(note)) is None and time.monotonic() < deadline:  # who has just got the lock is about to say so
        time.sleep(0.05)
    return (
        'another process'
        if said is None
        else f'process {said[1]} on {files.shown(said[0])} since {files.shown(said[2])}'
    )


def _has_ended(note: str) -> bool:
    """Whether the process that the note names is no more, as far as that can be seen from here."""
    said = _read(note)
    if said is None or said[0] != socket.gethostname() or os.name != 'posix':
        return False
    try:
        os.kill(said[1], 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:  # of another user
        pass
    return False


def _read(note: str) -> tuple[str, int, str] | None:
    """Host, number and begin of the process that a note names."""
    try:
        with files.open_regular_file(note) as file:
            said = json.loads(file.read(_MOST))
        host, pid, since = said['host'], said['pid'], said['since']
    except (OSError, ValueError, TypeError, KeyError):  # an InputError is a ValueError
        return None
    is_right = isinstance(host, str) and isinstance(since, str) and isinstance(pid, int) and pid > 0
    return (host, pid, since) if is_right else None
