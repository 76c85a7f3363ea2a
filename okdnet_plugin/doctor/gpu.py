"""What torch can compute on beside the CPU, tried with a convolution and not only asked for."""

import os
import re
from collections.abc import Iterator

from okdnet_plugin.doctor.finding import Finding, ok, one_line, warning, wrong
from okdnet_plugin.engine.devices import driver as _driver
from okdnet_plugin.engine.devices import refusal as _refusal

_GIB = 2**30
_SCRIPT = 'python scripts/check_gpu.py'
_INDEX = 'the --index-url that https://pytorch.org/get-started/locally gives for your driver'
_FULL = 0.5  # share of a GPU's memory that others hold before it is worth a line
_TOLERANCE = 1e-2  # of values near 1; TensorFloat-32 has ten bits


def check() -> Iterator[Finding]:
    """Each GPU, or why there is none."""
    import torch

    yield from _hidden(torch.version.cuda or torch.version.hip)
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            yield _device(number)
    else:
        yield _why_none()
    mps = getattr(torch.backends, 'mps', None)
    if mps is not None and mps.is_available():
        yield ok('mps', "Apple's GPU (MPS) is there; BasicSR computes on CUDA or on the CPU only")


def _hidden(platform: str | None) -> Iterator[Finding]:
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    if visible is not None and platform:
        listed = visible if visible.strip() not in ('', '-1') else 'none'
        yield ok('gpu.visible', f'CUDA_VISIBLE_DEVICES lets torch see: {listed}', visible=visible)


def _why_none() -> Finding:
    import torch

    platform, driver = torch.version.cuda or torch.version.hip, _driver()
    build = f'torch {torch.__version__}'
    values = {'build': platform, 'driver': driver}
    if platform is None:
        if driver is None:
            return ok('gpu', f'no GPU; {build} computes on the CPU', **values)
        text = f'{build} is built for CPUs only, but there is an NVIDIA GPU (driver {driver})'
        return warning('gpu', text, f'pip install --force-reinstall torch torchvision, with {_INDEX}', **values)
    if os.environ.get('CUDA_VISIBLE_DEVICES', 'all').strip() in ('', '-1'):
        return ok('gpu', f'no GPU is visible; {build} computes on the CPU', **values)
    if driver is None:
        return ok('gpu', f'no GPU; {build} is built for CUDA {platform} and computes on the CPU', **values)
    reason = _refusal()
    text = f'there is an NVIDIA GPU (driver {driver}), but {build} (CUDA {platform}) cannot use it: {reason}'
    if re.search(r'driver.*too old|insufficient', reason):
        cure = f'install a newer driver, or a torch of an older CUDA: {_INDEX}'
    elif os.path.exists('/.dockerenv'):
        cure = 'start the container with --gpus all; look at `nvidia-smi` outside of it'
    else:
        cure = 'look at `nvidia-smi`; after an update of the driver, restart the machine'
    return wrong('gpu', text, cure, **values)


def _device(number: int) -> Finding:
    import torch

    key = f'gpu.{number}'
    try:
        properties = torch.cuda.get_device_properties(number)
        name = f'GPU {number}: {properties.name}'
        _convolve(torch.device('cuda', number))
        free, total = torch.cuda.mem_get_info(number)
    except Exception as error:
        text = f'GPU {number} is there, but cannot compute: {one_line(error)}'
        return wrong(key, text, _cure_of_device(str(error)))
    values = {
        'name': properties.name,
        'capability': f'{properties.major}.{properties.minor}',
        'memory_gib': round(total / _GIB, 1),
        'free_gib': round(free / _GIB, 1),
        'build': torch.version.cuda or torch.version.hip,
        'driver': _driver(),
        'bf16': properties.major >= 8,
    }
    text = f'{name}, {total / _GIB:.0f} GiB, {free / _GIB:.1f} GiB free, CUDA {values["build"]}, a convolution is right'
    text += f'; in five minutes, {_SCRIPT} of the repository checks training, launching and dehazing on it'
    if free < _FULL * total:
        cure = 'another process holds the rest: look at `nvidia-smi`, or choose another GPU by CUDA_VISIBLE_DEVICES'
        return warning(key, text, cure, **values)
    return ok(key, text, **values)


def _convolve(device) -> None:
    import torch

    generator = torch.Generator().manual_seed(0)
    image, weight = torch.rand(1, 3, 16, 16, generator=generator), torch.rand(4, 3, 3, 3, generator=generator) / 27
    there = torch.nn.functional.conv2d(image.to(device), weight.to(device)).cpu()
    difference = (there - torch.nn.functional.conv2d(image, weight)).abs().max().item()
    if not difference < _TOLERANCE:
        raise ArithmeticError(f'a convolution differs from that of the CPU by {difference:.3g}')


def _cure_of_device(message: str) -> str:
    if 'out of memory' in message:
        return 'another process holds its memory: look at `nvidia-smi`, or choose another GPU by CUDA_VISIBLE_DEVICES'
    if 'no kernel image' in message:
        return f'this torch has no code for this GPU: install one that has, with {_INDEX}'
    return 'look at `nvidia-smi`; CUDA_VISIBLE_DEVICES= (empty) leaves the GPUs out'
