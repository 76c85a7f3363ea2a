"""Any optimiser of torch by its name."""

import inspect
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import Optimizer

from okdnet_plugin.errors import InputError, UnknownNameError, did_you_mean

# They need a closure that repeats the step, sparse gradients, or matrices instead of convolutions and biases.
_UNFIT = ('Optimizer', 'LBFGS', 'SparseAdam', 'Muon')
OPTIMIZERS = {
    name: kind
    for name, kind in vars(torch.optim).items()
    if inspect.isclass(kind) and issubclass(kind, Optimizer) and name not in _UNFIT
}


def check(key: str, block: Mapping) -> None:
    """Hold an option block `{type: NAME, lr: …, argument: …}` against the optimiser's signature.

    Raises:
        UnknownNameError: torch.optim has no such optimiser.
        InputError: an argument is unknown, or lr is missing.
    """
    kind = OPTIMIZERS.get(str(block.get('type')))
    if kind is None:
        raise UnknownNameError(
            f"option {key}:type: torch.optim has no optimiser '{block.get('type')}'"
            f'{did_you_mean(block.get("type"), OPTIMIZERS)}; it has {", ".join(sorted(OPTIMIZERS))}'
        )
    known = [name for name in inspect.signature(kind).parameters if name != 'params']
    for argument in block.keys() - {'type'} - set(known):
        raise InputError(
            f'option {key}:{argument}: {block["type"]} has no such argument{did_you_mean(argument, known)}; '
            f'it has {", ".join(known)}'
        )
    if block.get('lr') is None:
        raise InputError(f'option {key}:lr is missing; add the learning rate')
    for argument, value in block.items():
        if isinstance(value, str) and argument != 'type':
            raise InputError(
                f'option {key}:{argument} is the text {value!r}; write a number, which YAML knows by its point: 1.0e-4'
            )


def build(name: str, params: list[Tensor], **arguments: object) -> Optimizer:
    """Make an optimiser of `params`; `arguments` are those of its class in torch.optim."""
    return OPTIMIZERS[name](params, **arguments)
