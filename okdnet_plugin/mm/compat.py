"""The only place that patches MMEngine and what MMagic stands on.

MMEngine 0.10.7 (March 2025) and MMagic 1.2.0 (December 2023) are the last releases. As in `okdnet_plugin.compat`, a
patch is a function that says what is wrong, finds out whether it is wrong here, and tells when it can go.
"""

import codecs
import contextlib
import functools
import importlib
import importlib.machinery
import importlib.util
import inspect
import os
import pickle
import pkgutil
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import urlparse

import numpy as np
import torch
import torch.distributed
from mmengine.dist import utils as dist_utils
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, Runner, checkpoint
from torch._utils import _rebuild_parameter, _rebuild_tensor_v2

from okdnet_plugin.errors import InputError
from okdnet_plugin.locks import Lock

_PATCHED = '_patched_by_okdnet_plugin'
# What tensors are made of, for versions of torch that do not say so themselves.
_PLAIN = (OrderedDict, _rebuild_tensor_v2, _rebuild_parameter, codecs.encode)


def apply() -> None:
    """Patch what is broken here; may run twice."""
    load_checkpoints_without_running_code()
    find_operators_as_python_does_now()
    distribute_without_gpu()
    keep_two_runs_apart()
    if importlib.util.find_spec('mmagic') is not None:
        stand_in_for_what_mmagic_lacks()


def load_checkpoints_without_running_code() -> None:
    """Resuming and testing fail on torch 2.6 and later: MMEngine's checkpoints hold more than tensors.

    torch.load refuses HistoryBuffer and arrays of NumPy, and the usual cure, `weights_only=False`, runs whatever a file
    says, as older versions of torch do by themselves. Here these few classes are allowed and nothing else, from a disk
    as from a URL; other stores are refused. A file of BasicSR (`params`, `params_ema`) is read too. Can go when
    MMEngine allows its own classes.
    """
    CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)
    checkpoint.load_url = _load_url  # of http://, torchvision://, open-mmlab:// and mmcls://
    stores = ('pavi://', r'(\S+\:)?s3://', r'(\S+\:)?petrel://')
    CheckpointLoader.register_scheme(prefixes=stores, loader=_refuse_store, force=True)


def find_operators_as_python_does_now() -> None:
    """A runner cannot be built on Python 3.14: MMEngine and mmcv look for compiled operators by `pkgutil.find_loader`.

    Can go when MMEngine and mmcv use importlib.
    """
    if hasattr(pkgutil, 'find_loader'):
        return
    for name in ('mmengine.utils.dl_utils.misc', 'mmcv.utils.ext_loader'):
        with contextlib.suppress(ImportError):
            module: Any = importlib.import_module(name)
            module.pkgutil = SimpleNamespace(find_loader=_loader_of)


def _loader_of(name: str) -> Any:
    spec = importlib.util.find_spec(name)
    return spec and spec.loader


def _load_url(
    url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True, **_: Any
) -> dict:
    folder = model_dir or os.path.join(torch.hub.get_dir(), 'checkpoints')
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, os.path.basename(urlparse(url).path))
    if not os.path.isfile(path):
        torch.hub.download_url_to_file(url, path, progress=progress)
    return load_from_local(path, map_location)


def _refuse_store(filename: str, *_: Any, **__: Any) -> None:
    raise InputError(f'checkpoint {filename}: such a store is not read, as its files could run code; copy it to a disk')


def load_from_local(filename: str, map_location: Any = None) -> dict:
    """A checkpoint of MMEngine or BasicSR, read without running code.

    Args:
        filename: the file.
        map_location: as for torch.load.

    Returns:
        What the file holds; of a file of BasicSR `state_dict`, its averaged weights if it has some.

    Raises:
        InputError: there is no such file, it is no checkpoint, or it would run code.
    """
    filename = os.path.expanduser(filename)
    if not os.path.isfile(filename):
        raise InputError(f'there is no checkpoint {filename}; correct load_from or the path')
    try:
        found = _read(filename, map_location)
    except pickle.UnpicklingError as error:
        reason = ' '.join(str(error).split('\n')[0].split())
        raise InputError(
            f'checkpoint {filename} is none, or holds more than tensors and logs, which could run code ({reason[:200]})'
        ) from error
    except Exception as error:
        reason = ' '.join(str(error).split('\n')[0].split())
        raise InputError(
            f'checkpoint {filename} is damaged, cut short or none ({reason[:200]}); give another, or, for '
            '--resume, write the name of an older one into the file last_checkpoint beside it'
        ) from error
    return _as_mmengine_writes_it(found)


def _read(filename: str, map_location: Any) -> Any:
    if hasattr(torch.serialization, 'safe_globals'):
        with torch.serialization.safe_globals(_allowed()):
            return torch.load(filename, map_location=map_location, weights_only=True)
    # Before torch 2.5 torch.load has no list of what is allowed; this is one.
    return torch.load(filename, map_location=map_location, weights_only=False, pickle_module=_OnlyWhatIsAllowed)


class _OnlyWhatIsAllowed(ModuleType):
    """A module as torch.load wants its `pickle_module`, which knows few classes."""

    class Unpickler(pickle.Unpickler):
        """Reads tensors, plain values, arrays and logs."""

        def find_class(self, module: str, name: str) -> Any:
            """
            Raises:
                UnpicklingError: the name is none of those that a checkpoint needs.
            """
            known: dict[str, Any] = {f'{found.__module__}.{found.__name__}': found for found in _PLAIN}
            for found in _allowed():
                thing, path = found if isinstance(found, tuple) else (found, f'{found.__module__}.{found.__qualname__}')
                known[path] = thing
            if f'{module}.{name}' not in known:
                raise pickle.UnpicklingError(f'{module}.{name} is not allowed')
            return known[f'{module}.{name}']

    @classmethod
    def load(cls, file: Any, **options: Any) -> Any:
        """As pickle.load; torch reads the head of an old file by it."""
        return cls.Unpickler(file, **options).load()


def _as_mmengine_writes_it(found: Any) -> Any:
    if isinstance(found, Mapping) and 'state_dict' not in found:
        for key in ('params_ema', 'params'):
            if isinstance(found.get(key), Mapping):
                return {'state_dict': found[key], 'meta': {}}
    return found


def _allowed() -> list[Callable | tuple[Callable, str]]:
    multiarray = importlib.import_module(np.ndarray.__reduce__(np.zeros(0))[0].__module__)  # named anew in NumPy 2
    allowed: list[Callable | tuple[Callable, str]] = [
        HistoryBuffer,
        np.ndarray,
        np.dtype,
        *(type(np.dtype(kind)) for kind in ('f4', 'f8', 'i4', 'i8', 'u1', '?')),
        (_method_of_history, 'builtins.getattr'),
        (_method_of_history, '__builtin__.getattr'),
    ]
    for module in ('numpy._core.multiarray', 'numpy.core.multiarray'):  # NumPy 2 and 1 name it so
        allowed += [(multiarray._reconstruct, f'{module}._reconstruct'), (multiarray.scalar, f'{module}.scalar')]
    return allowed


def _method_of_history(owner: object, name: str) -> Callable:
    """What `getattr` in a checkpoint may get: a statistic of HistoryBuffer."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise ValueError(f'the checkpoint asks for {name} of {owner}, which no log needs')
    return getattr(HistoryBuffer, name)


def distribute_without_gpu() -> None:
    """`launcher='pytorch'` needs a GPU, whatever `dist_cfg` says.

    `_init_dist_pytorch` calls `torch.cuda.set_device`, and `Runner.wrap_model` gives DistributedDataParallel a GPU's
    number. Without a GPU the processes meet through gloo here, and the wrapper gets no device. Can go when MMEngine
    asks whether there is a GPU.
    """
    if not hasattr(dist_utils._init_dist_pytorch, _PATCHED):
        dist_utils._init_dist_pytorch = _patched(dist_utils._init_dist_pytorch, _init_dist)
        Runner.wrap_model = _patched(Runner.wrap_model, _wrap_model)


def _patched(original: Callable, replacement: Callable) -> Callable:
    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return replacement(original, *args, **kwargs)

    setattr(wrapper, _PATCHED, True)
    return wrapper


def _init_dist(original: Callable, backend: str, init_backend: str = 'torch', **kwargs: Any) -> None:
    if torch.cuda.is_available() or torch.distributed.is_initialized():
        original(backend, init_backend=init_backend, **kwargs)
    else:
        torch.distributed.init_process_group('gloo', **kwargs)


def _wrap_model(original: Callable, runner: Runner, model_wrapper_cfg: dict | None, model: torch.nn.Module) -> Any:
    if runner.distributed and not torch.cuda.is_available():
        if model_wrapper_cfg is None:
            unused = runner.cfg.get('find_unused_parameters', False)
            model_wrapper_cfg = {'broadcast_buffers': False, 'find_unused_parameters': unused}
        model_wrapper_cfg = {**model_wrapper_cfg, 'device_ids': None}
    return original(runner, model_wrapper_cfg, model)


def keep_two_runs_apart() -> None:
    """A second training in one `work_dir` writes over the checkpoints of the first, and removes them.

    The folder is locked from before its config is written to the end of the training. Can go when MMEngine locks it.
    """
    if not hasattr(Runner.train, _PATCHED):
        Runner.dump_config = _patched(Runner.dump_config, _dump_config)
        Runner.train = _patched(Runner.train, _train)


def _hold(runner: Any) -> Lock:
    if not hasattr(runner, '_lock_of_work_dir'):
        cure = 'wait for it, end it, or give another --work-dir'
        runner._lock_of_work_dir = Lock(runner.work_dir, 'is being trained in', cure)
    return runner._lock_of_work_dir


def _dump_config(original: Callable, runner: Runner) -> None:
    if runner.rank == 0 and runner._train_loop is not None:
        _hold(runner)
    original(runner)


def _train(original: Callable, runner: Any) -> torch.nn.Module:
    if runner.rank != 0:
        return original(runner)
    lock = _hold(runner)
    try:
        return original(runner)
    finally:
        lock.release()
        del runner._lock_of_work_dir


def stand_in_for_what_mmagic_lacks() -> None:
    """`import mmagic.models` fails on NumPy 2 (`np.bool8`), and with mmcv-lite, which lacks compiled operators.

    The name is given back, and in place of the operators stands a module whose functions say that they are missing when
    they are called, as only some of MMagic's networks do (BasicVSR++, EDVR, TDAN, StyleGAN 1 and 2). It has to run
    before `mmagic.models` is imported, which a config's `custom_imports` does; MMagic's own tools import MMagic before
    they read the config, and need NumPy 1 for that. Can go when MMagic asks for NumPy 2 and imports its operators
    where it uses them.
    """
    if not hasattr(np, 'bool8'):
        np.__dict__.update(bool8=np.bool_)
    if 'mmcv._ext' in sys.modules or importlib.util.find_spec('mmcv._ext') is not None:
        return
    module = ModuleType('mmcv._ext', inspect.getdoc(stand_in_for_what_mmagic_lacks))
    module.__spec__ = importlib.machinery.ModuleSpec('mmcv._ext', None)  # MMEngine looks at it to find none
    module.__getattr__ = _missing_operator
    sys.modules['mmcv._ext'] = module


def _missing_operator(name: str) -> Callable:
    if name.startswith('__'):
        raise AttributeError(name)

    def missing(*_: Any, **__: Any) -> None:
        raise RuntimeError(f'the operator {name} needs the full mmcv (mmcv>=2.0,<2.2 with MMCV_WITH_OPS=1)')

    return missing
