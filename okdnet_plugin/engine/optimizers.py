"""Any optimiser of torch by its name."""

from typing import Any

import torch
from basicsr.utils import get_root_logger
from torch import Tensor
from torch.optim import Optimizer

from okdnet_plugin.config.registered import OPTIMIZERS
from okdnet_plugin.engine.torch_versions import has_fused_kernel


def build(name: str, params: list[Tensor] | list[dict[str, Any]], **arguments: Any) -> Optimizer:
    """Make an optimiser of `params`, or of groups of them; `arguments` are those of its class in torch.optim.

    `fused` is left out where this torch has no fused kernels for the device: it is a way of computing, no setting.
    """
    is_fused = arguments.get('fused')
    tensors = [one for group in params for one in (group['params'] if isinstance(group, dict) else [group])]
    if not is_fused or all(has_fused_kernel(name, device) for device in {tensor.device for tensor in tensors}):
        try:
            return OPTIMIZERS[name](params, **arguments)
        except RuntimeError as error:
            if not is_fused or 'fused' not in str(error):
                raise
    get_root_logger().warning(f'fused is left out: torch {torch.__version__} has no fused {name} for this device.')
    return OPTIMIZERS[name](params, **{**arguments, 'fused': False})


def restore_layout(optimizer: Optimizer) -> None:
    """Lay what an optimiser remembers of each parameter out as the parameter is.

    A state keeps the layout that it was saved with, and fused kernels go through memory as it lies: after a change of
    `channels_last` they would take one weight's moment for another's, or refuse.
    """
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[key] = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def heeds_flag(optimizer: Optimizer) -> bool:
    """Whether the next step leaves itself out where `found_inf` says so, without a look at the flag.

    Fused kernels do; but SGD with momentum makes its first step from a momentum that nobody has filled, which a step
    that is left out would leave so.
    """
    for group in optimizer.param_groups:
        if not group.get('fused'):
            return False
        if group.get('momentum') and any(
            optimizer.state[parameter].get('momentum_buffer') is None
            for parameter in group['params']
            if parameter.grad is not None
        ):
            return False
    return True
