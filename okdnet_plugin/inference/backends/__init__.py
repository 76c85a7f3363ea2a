"""Ways of running a trained network: one interface over eager PyTorch, torch.compile, ONNX Runtime and OpenVINO.

| name | runs | starts in |
|---|---|---|
| `eager` | any network, on a CPU or a GPU | no time |
| `compile` | the same, compiled by torch; needs a C++ compiler | a minute and more |
| `onnx` | on a CPU in fp32; needs the extra `onnx` | some seconds |
| `openvino` | on a CPU in fp32 or bf16; needs the extra `openvino` | a second or two |

`auto` is `openvino` on a CPU where it is installed and can run the network, and `eager` anywhere else.
"""

import importlib.util
import logging
import re

import torch
from torch import nn

from okdnet_plugin.archs.fused_okdnet import fuse
from okdnet_plugin.engine.torch_versions import cpu_has_bf16
from okdnet_plugin.errors import InputError, did_you_mean
from okdnet_plugin.inference.backends.base import BackEnd, Restored

__all__ = ['NAMES', 'PRECISIONS', 'BackEnd', 'Restored', 'make']

NAMES = ('auto', 'eager', 'compile', 'onnx', 'openvino')
PRECISIONS = ('fp32', 'bf16', 'fp16')


def make(
    net: nn.Module, name: str = 'auto', precision: str = 'fp32', device: str = 'auto', maps: bool = False
) -> BackEnd:
    """A back end for a network; one that has a fused form is fused.

    Args:
        net: a registered network in eval mode, on the CPU, in float32; it stays as it is.
        name: one of NAMES.
        precision: one of PRECISIONS; fp16 needs a GPU.
        device: `auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1` ….
        maps: give transmission and airlight too, where the network has them.

    Raises:
        InputError: there is no such back end, precision or device, or they do not go together, or a package is missing,
            or the back end cannot run this network.
    """
    _check('back end', name, NAMES)
    _check('precision', precision, PRECISIONS)
    # What runs on the CPU alone was asked for: a GPU that is there does not count.
    place = _device('cpu' if device == 'auto' and name in ('onnx', 'openvino') else device)
    if precision == 'fp16' and place.type == 'cpu':
        raise InputError('precision fp16 needs a GPU; on a CPU write bf16 or fp32')
    if precision == 'bf16' and place.type == 'cpu' and not cpu_has_bf16():
        logging.getLogger(__name__).warning(
            'precision bf16 is much slower than fp32 on this CPU, which has no instructions for it; write fp32'
        )
    if name in ('onnx', 'openvino') and place.type != 'cpu':
        raise InputError(f'back end {name} runs on the CPU alone, not on {place}; write eager or compile')
    net = fuse(net)
    if name != 'auto':
        return _make(net, name, precision, place, maps)
    if place.type == 'cpu' and importlib.util.find_spec('openvino') and any(True for _ in net.parameters()):
        try:
            return _make(net, 'openvino', precision, place, maps)
        except InputError as error:
            logging.getLogger(__name__).info('%s', error)
    return _make(net, 'eager', precision, place, maps)


def _make(net: nn.Module, name: str, precision: str, device: torch.device, maps: bool) -> BackEnd:
    if name == 'onnx':
        from okdnet_plugin.inference.backends.onnx_runtime import OnnxRuntime as Class
    elif name == 'openvino':
        from okdnet_plugin.inference.backends.open_vino import OpenVino as Class
    elif name == 'compile':
        from okdnet_plugin.inference.backends.in_torch import Compiled as Class
    else:
        from okdnet_plugin.inference.backends.in_torch import Eager as Class
    return Class(net, precision, device, maps)


def _check(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f'{what} is {value!r}{did_you_mean(value, known)}; write one of {", ".join(known)}')


def _device(name: str) -> torch.device:
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    if name == 'mps' and torch.backends.mps.is_available():
        return torch.device(name)
    if not re.fullmatch(r'cpu|cuda(:\d{1,2})?', name):
        raise InputError(
            f'device is {name!r}, but must be auto, cpu, cuda or cuda:N (mps where torch finds such a GPU)'
        )
    device = torch.device(name)
    if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f'device {name}: torch finds {torch.cuda.device_count()} GPUs; write cpu or auto')
    # With its number, which torch.cuda.mem_get_info of some versions wants.
    is_bare = device.type == 'cuda' and device.index is None
    return torch.device('cuda', torch.cuda.current_device()) if is_bare else device
