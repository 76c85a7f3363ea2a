"""Results that are whole or not there: written beside their place, then renamed."""

import contextlib
import itertools
import os
import threading
from os import path as osp

from okdnet_plugin.errors import SaveError
from okdnet_plugin.inference.plan import shown

_counter = itertools.count()
_lock = threading.Lock()
_temporaries: set[str] = set()


def publish(path: str, content: bytes) -> None:
    """Write a file, with its folder, or leave what stood there.

    Raises:
        SaveError: so it is; the message names the file and the cause.
    """
    folder = osp.dirname(path) or os.curdir
    # A name of its own, as a name that is as long as it may be bears no addition.
    temporary = osp.join(folder, f'.dehaze-{os.getpid()}-{next(_counter)}.tmp')
    try:
        os.makedirs(folder, exist_ok=True)
        with _lock:
            _temporaries.add(temporary)
        try:
            with open(temporary, 'wb') as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.remove(temporary)
            raise
        finally:
            with _lock:
                _temporaries.discard(temporary)
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        reason = getattr(error, 'strerror', None) or error
        raise SaveError(f'{shown(path)} cannot be written: {reason}') from error


def remove_temporaries() -> None:
    """Take away what is being written, for a process that ends at once."""
    for path in list(_temporaries):  # without the lock, which a thread may hold that is stopped
        with contextlib.suppress(OSError):
            os.remove(path)
