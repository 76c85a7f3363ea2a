"""What torch has learnt since 2.1, the oldest version that is supported, under the name that it has today.

Each function is torch's own where there is one. With 2.6 as the oldest version this file can go.
"""

import contextlib
import importlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from okdnet_plugin.errors import InputError

_CPUINFO = '/proc/cpuinfo'


def allow_counters() -> None:
    """Let `torch.load(weights_only=True)` read a Counter, as torch 2.4 does: schedules keep their milestones in one."""
    if not hasattr(torch.serialization, 'add_safe_globals'):
        unpickler: Any = importlib.import_module('torch._weights_only_unpickler')
        unpickler._get_allowed_globals()['collections.Counter'] = Counter


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """In which type autocast computes on a device here, `torch.get_autocast_dtype` of torch 2.4; None: it is off."""
    torch_: Any = torch
    if hasattr(torch_, 'get_autocast_dtype'):
        return torch_.get_autocast_dtype(device.type) if torch_.is_autocast_enabled(device.type) else None
    if device.type == 'cpu':
        return torch_.get_autocast_cpu_dtype() if torch_.is_autocast_cpu_enabled() else None
    return torch_.get_autocast_gpu_dtype() if torch_.is_autocast_enabled() else None


def cpu_has_bf16() -> bool:
    """Whether this CPU computes in bfloat16, as `torch.cpu.get_capabilities` of torch 2.9 says."""
    cpu: Any = torch.cpu
    if hasattr(cpu, 'get_capabilities'):
        return any(has_it for name, has_it in cpu.get_capabilities().items() if 'bf16' in name)
    with contextlib.suppress(OSError), open(_CPUINFO, encoding='utf-8') as file:
        return bool(re.search(r'\b(?:avx512_bf16|amx_bf16|bf16)\b', file.read()))
    return False


def compile_network(net: nn.Module, mode: str | None) -> None:
    """Compile a network in place, as `nn.Module.compile` of torch 2.2 does.

    Raises:
        InputError: this torch cannot.
    """
    if not hasattr(net, 'compile'):
        raise InputError(f'option compile needs torch 2.2 or later, and this is {torch.__version__}; take it out')
    net.compile(mode=mode)


def grad_scaler(device: torch.device, enabled: bool) -> Any:
    """The scaler of the loss for float16, `torch.amp.GradScaler` of torch 2.3.

    Raises:
        InputError: it is enabled on a device for which this torch has none.
    """
    amp: Any = torch.amp
    if hasattr(amp, 'GradScaler'):
        return amp.GradScaler(device.type, enabled=enabled)
    if enabled and device.type != 'cuda':
        raise InputError(
            f'option amp: fp16 on a CPU needs torch 2.3 or later, and this is {torch.__version__}; write amp: bf16'
        )
    return torch.cuda.amp.GradScaler(enabled=enabled)


def leave_process_group() -> None:
    """End the group of processes, after success only: it takes all of them, and after an error the others may not come.

    One of gloo without `shutdown`, which torch 2.7 has, is left alone, as by BasicSR: gloo's thread may wait for the
    interpreter's lock to free a tensor, and whoever ends the group for that thread, for ever. Seen with torch 2.1.
    """
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    if distributed.get_backend() != 'gloo' or hasattr(distributed.ProcessGroup, 'shutdown'):
        distributed.destroy_process_group()


def scale_in_place(tensors: Sequence[Tensor], factor: Tensor | float) -> None:
    """Multiply tensors by a scalar, in one kernel where there can be one."""
    torch_: Any = torch  # whose hints hide the function
    if tensors:
        torch_._foreach_mul_(tensors, factor)


def add_scaled_in_place(tensors: Sequence[Tensor], others: Sequence[Tensor], factor: float) -> None:
    """Add to each tensor the factor times its other, in one kernel where there can be one."""
    torch_: Any = torch
    if tensors:
        torch_._foreach_add_(tensors, others, alpha=factor)


def copy_all(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy each source into its target, in one kernel where there can be one, as `torch._foreach_copy_` of torch 2.1.

    Args:
        targets, sources: of one type and device.
    """
    torch_: Any = torch
    if not hasattr(torch_, '_foreach_copy_'):
        for target, source in zip(targets, sources, strict=True):
            target.copy_(source)
    elif targets:
        torch_._foreach_copy_(targets, sources)


def largest_values(tensors: Sequence[Tensor]) -> Tensor:
    """The largest absolute value of each tensor, NaN where there is one; none may be empty.

    Args:
        tensors: floating-point, on one device.
    """
    torch_: Any = torch
    return torch.stack([norm.float() for norm in torch_._foreach_norm(tensors, float('inf'))])


def has_fused_kernel(optimizer: str, device: torch.device) -> bool:
    """Whether this torch has the fused form of an optimiser of torch.optim for a device.

    A constructor accepts `fused` for any device, and the first step would fail.
    """
    name = f'aten::_fused_{optimizer.lower()}_'
    key = {'cuda': 'CUDA', 'cpu': 'CPU'}.get(device.type)
    try:
        return key is None or torch._C._dispatch_has_kernel_for_dispatch_key(name, key)
    except RuntimeError:  # there is no such operator at all
        return False


def total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """L2 norm of all gradients together, `torch.nn.utils.get_total_norm` of torch 2.6; a scalar."""
    of_torch = getattr(torch.nn.utils, 'get_total_norm', None)
    if of_torch is not None:
        return of_torch(gradients)
    if not gradients:
        return torch.tensor(0.0)
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]))


@contextlib.contextmanager
def uncompiled(net: nn.Module) -> Iterator[None]:
    """Run a network that is compiled as it was written, as `torch.compiler.set_stance` of torch 2.6 does."""
    compiler: Any = torch.compiler
    if hasattr(compiler, 'set_stance'):
        with compiler.set_stance('force_eager'):
            yield
        return
    modules = [module for module in net.modules() if getattr(module, '_compiled_call_impl', None) is not None]
    compiled = [module._compiled_call_impl for module in modules]
    for module in modules:
        module._compiled_call_impl = None
    try:
        yield
    finally:
        for module, call in zip(modules, compiled, strict=True):
            module._compiled_call_impl = call
