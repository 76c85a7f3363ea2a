"""What there is to compute on, and why a GPU that is there cannot be used."""

import glob
import os
import warnings
from collections.abc import Mapping
from typing import Any

_LAUNCH = '`torchrun --nproc_per_node={} -m okdnet_plugin {} -opt FILE --launcher pytorch`'


def usable_gpus(opt: Mapping[str, Any], command: str = 'train') -> tuple[int, str | None]:
    """How many GPUs a process takes of those that its option file asks for.

    Args:
        opt: `num_gpu`, a number or `auto`, and `dist`: each process has a GPU of its own.
        command: of `basicsr`, for the advice.

    Returns:
        The number, 0 for the CPU, and what is to be said about it, if anything.
    """
    import torch

    wanted, there = opt.get('num_gpu', 'auto'), torch.cuda.device_count() if torch.cuda.is_available() else 0
    if there == 0:
        if wanted in ('auto', 0):
            return 0, None
        return 0, f'num_gpu is {wanted}, but {why_no_gpu()}: everything is computed on the CPU'
    if opt.get('dist'):
        return there if wanted == 'auto' else wanted, None
    if wanted == 'auto':
        advice = f'num_gpu: auto takes one of the {there} GPUs; to use all: {_LAUNCH.format(there, command)}'
        return 1, advice if there > 1 else None
    if wanted > there:
        return there, f'num_gpu is {wanted}, but there {"is" if there == 1 else "are"} {there}: {there} taken'
    if wanted > 1:
        faster = _LAUNCH.format(wanted, command)
        return wanted, f'num_gpu: {wanted} in one process is DataParallel, which is slow; faster: {faster}'
    return wanted, None


def describe(device: Any) -> tuple[str, bool]:
    """A device in one line, and whether something is wrong: a GPU is there, but torch cannot use it."""
    import torch

    if device.type != 'cuda':
        if torch.cuda.is_available():
            return 'CPU (num_gpu: 0)', False
        return f'CPU, {torch.get_num_threads()} threads ({why_no_gpu()})', has_useless_gpu()
    number = torch.cuda.current_device() if device.index is None else device.index
    properties = torch.cuda.get_device_properties(number)
    memory = properties.total_memory / 2**30
    build = torch.version.cuda or torch.version.hip
    return f'cuda:{number}, {properties.name}, {memory:.0f} GiB, CUDA {build}, driver {driver() or "unknown"}', False


def why_no_gpu() -> str:
    """Why torch computes on the CPU, where it sees no GPU."""
    import torch

    if not has_useless_gpu():
        return 'no GPU is there, or none is visible'
    build = torch.version.cuda or torch.version.hip
    if build is None:
        return f'torch {torch.__version__} is built for CPUs only, though there is an NVIDIA GPU (driver {driver()})'
    return f'torch {torch.__version__} (CUDA {build}) cannot use the NVIDIA GPU (driver {driver()}): {refusal()}'


def has_useless_gpu() -> bool:
    """Whether the machine has an NVIDIA GPU that nobody has hidden, and torch does not see it."""
    import torch

    hidden = os.environ.get('CUDA_VISIBLE_DEVICES', 'all').strip() in ('', '-1')
    return not hidden and not torch.cuda.is_available() and driver() is not None


def refusal() -> str:
    """Why CUDA does not start, in its own words."""
    import torch

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        try:
            torch.cuda.init()
        except (RuntimeError, AssertionError) as error:
            text = ' '.join(str(error).split())
            return f'{type(error).__name__}: {text}'[:300]
    return ' '.join(str(said[0].message).split()) if said else 'it finds no device'


def driver() -> str | None:
    """Version of NVIDIA's driver, `?` if it does not say; None without one."""
    from torch.utils import collect_env

    return collect_env.get_nvidia_driver_version(collect_env.run) or ('?' if glob.glob('/dev/nvidia[0-9]*') else None)
