"""Any optimiser of torch by its name."""

from typing import Any

import torch
from basicsr.utils import get_root_logger
from torch import Tensor
from torch.optim import Optimizer

from okdnet_plugin.config.registered import OPTIMIZERS


def build(name: str, params: list[Tensor], **arguments: Any) -> Optimizer:
    """Make an optimiser of `params`; `arguments` are those of its class in torch.optim.

    `fused` is left out where this torch has no fused kernels for the device: it is a way of computing, no setting.
    """
    try:
        return OPTIMIZERS[name](params, **arguments)
    except RuntimeError as error:
        if not arguments.get('fused') or 'fused' not in str(error):
            raise
    get_root_logger().warning(f'fused is left out: torch {torch.__version__} has no fused {name} for this device.')
    return OPTIMIZERS[name](params, **{**arguments, 'fused': False})
