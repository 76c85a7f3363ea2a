"""Files of a run that are whole or not there: written beside, flushed, renamed; read without running their code."""

import contextlib
import io
import os
import pickle
import re
import shutil
import zipfile
from os import path as osp

import torch

from okdnet_plugin import files
from okdnet_plugin.engine import finite, state_check
from okdnet_plugin.engine.torch_versions import allow_counters
from okdnet_plugin.errors import InputError, SaveError, one_line

_STATE = re.compile(r'(\d+)\.state')
_ADVICE = 'The files saved before are whole: remove the cause, then go on with --auto_resume'
_MOST_UNPACKED = 4  # times the size of a file; torch.save packs nothing
_SMALL = 2**20  # bytes that a file may unpack to, whatever its own size


def save(content: object, path: str) -> None:
    """Serialise as torch.save does, to a file that is never seen half written.

    Raises:
        SaveError: the file cannot be written; what stood there before is untouched.
    """
    serialised = io.BytesIO()
    torch.save(content, serialised)
    # Given back also when writing fails: Python up to 3.12.1 crashes when it collects a buffer that is still lent.
    with serialised.getbuffer() as buffer:
        write(buffer, path)


def write(content: bytes | memoryview, path: str) -> None:
    """Write a whole file of a run, or leave what stood there.

    Raises:
        SaveError: so it is; the message names the file and the cause.
    """
    files.write(path, content, _ADVICE)


def link(source: str, path: str) -> None:
    """Give a file a second name, which keeps its content when the first name is removed; a copy where links are not.

    Raises:
        SaveError: neither can be made.
    """
    if osp.exists(source) and osp.exists(path) and osp.samefile(source, path):
        return
    with files.replacing(path, _ADVICE) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            with open(source, 'rb') as content, open(temporary, 'wb') as copy:
                shutil.copyfileobj(content, copy)


def save_error(path: str, error: OSError) -> SaveError:
    """What is said of a file of a run that the system does not let us write."""
    return files.save_error(path, error, _ADVICE)


def load(path: str) -> object:
    """Read a file of torch.save to the CPU, without running code that it may hold.

    Raises:
        InputError: it is missing, cut short, no such file, or holds objects other than tensors and plain values.
    """
    try:
        files.check_regular_file(path)
        if is_archive(path):
            _check_archive(path)
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
    except KeyError as error:  # of the unpickler: it says the number of a byte
        raise InputError(f'{path} is damaged, cut short or no checkpoint') from error
    except Exception as error:  # a damaged file may make any
        raise InputError(f'{path} is damaged, cut short or no checkpoint ({one_line(error, 120)})') from error


def is_archive(path: str) -> bool:
    """Whether a file is a zip archive of its own, and no part of one that spans several."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:
        return False


def _check_archive(path: str) -> None:
    """See that an archive of torch.save is whole, and unpacks to no more than it holds.

    Torch looks neither at checksums nor at the sizes that the archive claims before it makes room for them.
    """
    with zipfile.ZipFile(path) as archive:
        unpacked, size = sum(entry.file_size for entry in archive.infolist()), osp.getsize(path)
        if unpacked > max(_SMALL, _MOST_UNPACKED * size):
            raise InputError(
                f'{path} is refused: its {size / 1e6:.1f} MB would unpack to {unpacked / 1e6:.0f} MB; no program that '
                'saves weights packs them so'
            )
        if archive.testzip() is not None:
            raise InputError(f'{path} is damaged: a checksum in it is wrong')


def load_state(path: str) -> dict:
    """Read a training state.

    Raises:
        InputError: it cannot be read, is something else or malformed, or holds moments that are not finite.
    """
    state = load(path)
    wanted = {'iter': int, 'epoch': int, 'optimizers': list, 'schedulers': list}
    if not isinstance(state, dict) or not all(isinstance(state.get(key), kind) for key, kind in wanted.items()):
        raise InputError(f'{path} is no training state: it lacks {", ".join(wanted)}')
    state_check.refuse_malformed(state, path)
    refuse_not_finite(state['optimizers'], path)
    return state


def refuse_not_finite(content: object, path: str) -> None:
    """See that no training goes on from what would spoil it with its first update.

    Raises:
        InputError: a tensor in the content of a file holds a NaN or an infinite value.
    """
    try:
        place = finite.first_not_finite(content)
    except (RuntimeError, NotImplementedError) as error:  # sparse, nested, quantized, without values
        raise InputError(f'{path} holds tensors that are not dense numbers ({one_line(error, 120)})') from error
    if place is not None:
        raise InputError(f'{path} holds values that are not finite ({place}), which no training recovers from')


def states_of(folder: str) -> list[tuple[int, str]]:
    """Iterations and paths of the training states in a folder, the newest first."""
    names = os.listdir(folder) if osp.isdir(folder) else []
    states = [(int(match[1]), osp.join(folder, name)) for name in names if (match := _STATE.fullmatch(name))]
    return sorted(states, reverse=True)


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
