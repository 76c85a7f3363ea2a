"""Files of a run that are whole or not there: written beside, flushed, renamed; read without running their code."""

import contextlib
import io
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Iterator
from os import path as osp

import torch

from okdnet_plugin.engine.torch_versions import allow_counters
from okdnet_plugin.errors import InputError, SaveError

_STATE = re.compile(r'(\d+)\.state')
_TEMPORARY = re.compile(r'\..*\.\d+\.tmp')


def save(content: object, path: str) -> None:
    """Serialise as torch.save does, to a file that is never seen half written.

    Raises:
        SaveError: the file cannot be written; what stood there before is untouched.
    """
    serialised = io.BytesIO()
    torch.save(content, serialised)
    write(serialised.getbuffer(), path)


def write(content: bytes | memoryview, path: str) -> None:
    """Write a whole file, or leave what stood there.

    Raises:
        SaveError: so it is; the message names the file and the cause.
    """
    with _replacing(path) as temporary, open(temporary, 'wb') as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def link(source: str, path: str) -> None:
    """Give a file a second name, which keeps its content when the first name is removed; a copy where links are not.

    Raises:
        SaveError: neither can be made.
    """
    if osp.exists(source) and osp.exists(path) and osp.samefile(source, path):
        return
    with _replacing(path) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            with open(source, 'rb') as content, open(temporary, 'wb') as copy:
                shutil.copyfileobj(content, copy)
                copy.flush()
                os.fsync(copy.fileno())


@contextlib.contextmanager
def _replacing(path: str) -> Iterator[str]:
    folder, name = osp.split(path)
    temporary = osp.join(folder, f'.{name}.{os.getpid()}.tmp')
    try:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
        yield temporary
        os.replace(temporary, path)
        _flush_folder(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise save_error(path, error) from error


def save_error(path: str, error: OSError) -> SaveError:
    """What is said of a file that the system does not let us write."""
    return SaveError(
        f'{path} cannot be written: {error.strerror or error}. The files saved before are whole: mend the cause, then '
        'go on with --auto_resume'
    )


def _flush_folder(folder: str) -> None:
    """Make the rename itself last through a power failure, where the system can open folders."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder or '.', os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def load(path: str) -> object:
    """Read a file of torch.save to the CPU, without running code that it may hold.

    Raises:
        InputError: it is missing, cut short, no such file, or holds objects other than tensors and plain values.
    """
    try:
        if zipfile.is_zipfile(path) and zipfile.ZipFile(path).testzip() is not None:  # torch does not look at checksums
            raise InputError(f'{path} is damaged: a checksum in it is wrong')
        allow_counters()
        return torch.load(path, map_location='cpu', weights_only=True)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f'{path} cannot be read: {error.strerror or error}') from error
    except pickle.UnpicklingError as error:
        found = re.search(r'(?:GLOBAL|Unsupported class) (\S+)', str(error))  # the latter before torch 2.4
        if not found:
            raise InputError(f'{path} is damaged, cut short or no checkpoint') from error
        raise InputError(
            f'{path} is refused: it holds {found[1]}, and reading objects other than tensors and plain values can run '
            'code. Save it again as tensors, in a process that trusts it'
        ) from error
    except Exception as error:  # a damaged file may make any
        raise InputError(f'{path} is damaged, cut short or no checkpoint ({_first_line(error)})') from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).split('. ')[0]


def load_state(path: str) -> dict:
    """Read a training state.

    Raises:
        InputError: it cannot be read or is something else.
    """
    state = load(path)
    wanted = {'iter': int, 'epoch': int, 'optimizers': list, 'schedulers': list}
    if not isinstance(state, dict) or not all(isinstance(state.get(key), kind) for key, kind in wanted.items()):
        raise InputError(f'{path} is no training state: it lacks {", ".join(wanted)}')
    return state


def states_of(folder: str) -> list[tuple[int, str]]:
    """Iterations and paths of the training states in a folder, the newest first."""
    names = os.listdir(folder) if osp.isdir(folder) else []
    states = [(int(match[1]), osp.join(folder, name)) for name in names if (match := _STATE.fullmatch(name))]
    return sorted(states, reverse=True)


def remove_leftovers(*folders: str) -> None:
    """Remove temporary files that a killed process has left."""
    for folder in folders:
        for name in os.listdir(folder) if osp.isdir(folder) else ():
            if _TEMPORARY.fullmatch(name):
                with contextlib.suppress(OSError):
                    os.remove(osp.join(folder, name))


def keep_newest(count: int, newest: int, models: str, states: str) -> None:
    """Remove the networks and states of all but the newest saved iterations; other names stay.

    Args:
        count: saved iterations to keep, 1 or more.
        newest: the iteration just saved. Later ones stay and do not count: a run that goes on from an earlier state
            has passed them over.
        models: folder of `net_<label>_<iter>.pth`.
        states: folder of `<iter>.state`.
    """
    known = [(iteration, state) for iteration, state in states_of(states) if iteration <= newest]
    for iteration, state in known[count:]:
        networks = [name for name in os.listdir(models) if re.fullmatch(rf'net_\w+_{iteration}\.pth', name)]
        for path in [*(osp.join(models, name) for name in networks), state]:  # the state last, by which they are found
            with contextlib.suppress(OSError):
                os.remove(path)
