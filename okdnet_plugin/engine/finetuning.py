"""Parameters by patterns of their names: which are trained, and at which rate."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from okdnet_plugin.errors import InputError, did_you_mean


def check(names: Sequence[str], patterns: Iterable[str], key: str) -> None:
    """See that patterns fit.

    Args:
        names: of all parameters of a network.
        patterns: as the shell has them, of whole names: `encoder.*`, `*.bias`.
        key: of the option file.

    Raises:
        InputError: one fits no parameter.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            tops = dict.fromkeys(name.partition('.')[0] for name in names)
            hint = did_you_mean(pattern, [*names, *tops, *(f'{top}.*' for top in tops)])
            raise InputError(
                f"option train:{key}: '{pattern}' fits no parameter{hint}; the names begin with {', '.join(tops)}"
            )


def freeze(net: nn.Module, patterns: Sequence[str]) -> list[nn.Module]:
    """Let parameters stay as they are.

    Args:
        net: a network.
        patterns: of the names of these parameters.

    Returns:
        The layers that should compute as in use: BatchNorm of which all parameters stay, whose statistics should, too,
        and dropout and stochastic depth in modules of which all do.

    Raises:
        InputError: nothing is left to be trained.
    """
    for name, parameter in net.named_parameters():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in net.parameters()):
        raise InputError('option train:freeze leaves nothing to train; take a pattern out')
    stay = [module for module in net.modules() if _stays(module)]
    layers = [layer for module in stay for layer in module.modules() if _differs_in_training(layer)]
    return list(dict.fromkeys(layers))


def _differs_in_training(layer: nn.Module) -> bool:
    # Stochastic depth has the first name in torchvision, the second one in BasicSR and timm.
    return isinstance(layer, _NormBase | _DropoutNd) or type(layer).__name__ in ('StochasticDepth', 'DropPath')


def _stays(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


def groups(net: nn.Module, factors: Mapping[str, float], lr: float) -> list[dict[str, Any]]:
    """The parameters that are trained, in one group a rate.

    Args:
        net: a network.
        factors: of the rate, by patterns of names; the first that fits counts, and without one it is 1.
        lr: the rate.
    """
    by_factor: dict[float, list[nn.Parameter]] = {1.0: []}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            factor = next((factor for pattern, factor in factors.items() if fnmatchcase(name, pattern)), 1.0)
            by_factor.setdefault(float(factor), []).append(parameter)
    return [{'params': some, 'lr': lr * factor} for factor, some in by_factor.items() if some]
