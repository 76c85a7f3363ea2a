"""Workers of data loaders that the system ends: that an update is not disturbed, and what their end means."""

import contextlib
import errno
import re
import shutil
import signal
import threading
from collections.abc import Iterator

from torch.utils.data import dataloader

_NO_SHARED_MEMORY = re.compile(r'shared memory|Bus error|</?torch_\d|/dev/shm')
_NO_DESCRIPTORS = re.compile(r'ancdata|Too many open files')
_SHORT_MEMORY = (
    ', most likely as memory was short; lower num_worker_per_gpu, batch_size_per_gpu or gt_size, or give more memory'
)
_ENDED = re.compile(r'DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:is killed by signal: (\w+)|exited)')


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let the end of a worker be found where its next batch is asked for; torch would raise it in an update too."""
    is_ours = hasattr(signal, 'SIGCHLD') and threading.current_thread() is threading.main_thread()
    if (
        not is_ours or signal.getsignal(signal.SIGCHLD) is None
    ):  # a handler that Python does not know cannot be put back
        yield
        return
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, handler)


def failure_of(error: BaseException) -> str | None:
    """Why the workers of a data loader have failed and what to do, in a clause; None if that was not it."""
    text, ended = str(error), _ENDED.search(str(error))
    in_a_loader = _settle_loaders(error)
    if ended is None and not isinstance(error, RuntimeError | OSError | EOFError):
        return None
    if isinstance(error, OSError):  # its text may name any file
        is_full = in_a_loader and (error.errno == errno.ENOSPC or _NO_SHARED_MEMORY.search(text) is not None)
    else:
        is_full = _NO_SHARED_MEMORY.search(text) is not None
    if is_full:
        return (
            f'the shared memory {_size_of_shared_memory()}is too small for what the workers of data loaders hand on; '
            'give it more (docker run --shm-size=8g), or set num_worker_per_gpu: 0'
        )
    if _NO_DESCRIPTORS.search(text):
        return (
            'the workers of the data loaders have too many open files; raise `ulimit -n`, or lower num_worker_per_gpu'
        )
    if isinstance(error, ConnectionError | EOFError) and in_a_loader:  # while its batch was being taken over
        return f'a worker of a data loader has ended{_SHORT_MEMORY}'
    if ended is None:
        return None
    how = f'was ended by the signal {ended[2]}' if ended[2] else 'has ended'
    return f'worker {ended[1]} of a data loader {how}{_SHORT_MEMORY}'


def _settle_loaders(error: BaseException) -> bool:
    """Whether an error comes from within a loader of torch; a half made one is kept from complaining at its end."""
    found, traceback = False, error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == dataloader.__file__:
            found, iterator = True, traceback.tb_frame.f_locals.get('self')
            if isinstance(iterator, dataloader._BaseDataLoaderIter) and not hasattr(iterator, '_shutdown'):
                iterator._shutdown = True  # type: ignore[attr-defined]
        traceback = traceback.tb_next
    return found


def _size_of_shared_memory() -> str:
    with contextlib.suppress(OSError):
        return f'/dev/shm of {shutil.disk_usage("/dev/shm").total / 1e6:.1f} MB '
    return ''
