"""Any optimiser of torch by its name."""

import inspect
from typing import Any

import torch
from basicsr.utils import get_root_logger
from torch import Tensor
from torch.optim import Optimizer

# They need a closure that repeats the step, sparse gradients, or matrices instead of convolutions and biases.
_UNFIT = ('Optimizer', 'LBFGS', 'SparseAdam', 'Muon')
OPTIMIZERS = {
    name: kind
    for name, kind in vars(torch.optim).items()
    if inspect.isclass(kind) and issubclass(kind, Optimizer) and name not in _UNFIT
}


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
