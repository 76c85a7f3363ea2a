"""Which network weights are of, read off the names and shapes of their tensors.

A network that can tell its arguments from its weights does so in a class method `arguments_of(state)`, which gives the
arguments that differ from their defaults, or None if the weights are of another; see `OKDNet`.
"""

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cache

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from okdnet_plugin.errors import InputError, UnknownNameError, one_line
from okdnet_plugin.weights import reading

# Modules and parameters that a network may have for each tensor of its weights, and in any case.
_PARTS_FOR_EACH, _PARTS_AT_LEAST = 20, 1000
_LARGE = 10_000  # no argument of a small file's network is larger
_SHOWN = 3  # names in a message


def make(network: Mapping) -> nn.Module:
    """The network of a block `network_g`, with weights as they are initialised.

    Raises:
        UnknownNameError: its type is not registered.
        InputError: it has no type, or the network refuses its arguments.
    """
    arguments = deepcopy(dict(network))
    kind = arguments.pop('type', None)
    if not isinstance(kind, str):
        raise InputError("network_g: 'type' is missing; add the name of a network")
    try:
        return ARCH_REGISTRY.get(kind)(**arguments)
    except InputError:
        raise
    except Exception as error:  # a network may refuse its arguments as it likes
        raise InputError(f'network_g: {kind} cannot be built: {one_line(error)}; see its docstring') from error


def fit(network: Mapping, state: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], str | None]:
    """Weights by the names of a network, and what of them does not fit, in words; None if they fit.

    The network takes no memory for it, unless it cannot be built without: a file may claim any size.

    Raises:
        InputError: the network cannot be built.
    """
    with _bounded(network, len(state)):
        net = _skeleton(network, state)
    return fit_to(net, state)


def fit_to(net: nn.Module, state: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], str | None]:
    """As `fit`, for a network that is there, which then has the weights."""
    difference = None
    for variant in reading.variants(state):
        found = _misfit(net, variant)
        if found is None:
            return variant, None
        difference = difference or found
    return state, difference


def misfit(network: Mapping, state: Mapping[str, Tensor]) -> str | None:
    """What of weights does not fit a network, in words; None if they fit.

    Raises:
        InputError: the network cannot be built.
    """
    return fit(network, state)[1]


def check_claim(network: Mapping, state: Mapping[str, Tensor]) -> None:
    """Refuse a network that a file of weights may not choose by itself.

    Those of BasicSR are for other tasks, and some download or open files when they are built; and what has more than
    the file holds values is of no use and may take for ever.

    Raises:
        InputError: it is one of them; UnknownNameError if it is not registered.
    """
    for part in _with_parts(network):
        kind = part.get('type')
        _check_numbers(part, state)
        if isinstance(kind, str) and _is_of_basicsr(ARCH_REGISTRY.get(kind)):
            raise InputError(
                f'{kind} is a network of BasicSR, which is not built on the word of a file; give --opt FILE'
            )


def _with_parts(network: Mapping) -> Iterator[Mapping]:
    """A block of a network, and those of the networks that are parts of it."""
    yield network
    for value in network.values():
        if isinstance(value, Mapping):
            yield from _with_parts(value)


def _is_of_basicsr(network: type) -> bool:
    return network.__module__.split('.')[0] == 'basicsr'


def _check_numbers(network: Mapping, state: Mapping[str, Tensor]) -> None:
    most = max(_LARGE, sum(tensor.numel() for tensor in state.values()))
    for key, value in network.items():
        for number in value if isinstance(value, list | tuple) else [value]:
            if isinstance(number, int | float) and not abs(number) <= most:
                raise InputError(
                    f'network_g: {network.get("type")} with {key}: {number} is not what these weights are of: they are '
                    f'{len(state)} tensors'
                )


@contextlib.contextmanager
def _bounded(network: Mapping, tensors: int) -> Iterator[None]:
    """Stop the building of a network that has far more parts than weights: even empty ones take time."""
    most, count, thread = _PARTS_AT_LEAST + _PARTS_FOR_EACH * tensors, 0, threading.get_ident()

    def note(*_: object) -> None:
        nonlocal count
        count += threading.get_ident() == thread
        if count > most:
            raise _TooLargeError(
                f'network_g: {network.get("type")} has more than {most} layers and parameters, and is not what these '
                f'weights are of: they are {tensors} tensors'
            )

    hooks = [register_module_module_registration_hook(note), register_module_parameter_registration_hook(note)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class _TooLargeError(InputError):
    """A network would have more parts than weights can be for."""


def _misfit(net: nn.Module, state: Mapping[str, Tensor]) -> str | None:
    given: dict[str, Tensor] = {}

    def note(_: nn.Module, renamed: Mapping[str, Tensor], *__: object) -> None:  # after what accepts published keys
        given.update(renamed)

    # The name without underscore came after torch 2.1.
    noting = net._register_load_state_dict_pre_hook(note, with_module=True)
    device = next((tensor.device for tensor in net.state_dict().values()), torch.device('meta'))
    try:
        with device:  # where counters that are missing are made
            net.load_state_dict({name: tensor.to(device) for name, tensor in state.items()}, strict=True)
    except RuntimeError as error:
        return _difference(net.state_dict(), given) or one_line(error)
    finally:
        noting.remove()
    return None


def candidates(state: Mapping[str, Tensor]) -> list[dict]:
    """Networks of the plugins that weights fit, with the arguments that they can tell, else with their defaults."""
    found = []
    for name, network in ARCH_REGISTRY:
        if _is_of_basicsr(network):
            continue
        try:
            if (arguments := arguments_of(name, state)) is not None:
                found.append({'type': name, **arguments})
        except InputError:  # it has no defaults
            continue
    return found


def arguments_of(name: str, state: Mapping[str, Tensor]) -> dict | None:
    """Arguments of a registered network that weights fit; None if they do not.

    Raises:
        InputError: the network cannot be built.
    """
    tell = getattr(ARCH_REGISTRY.get(name), 'arguments_of', None)
    if tell is None:
        return {} if fit_to(_with_defaults(name), state)[1] is None else None
    for variant in reading.variants(state):
        arguments = tell(variant)
        if arguments is not None and misfit({'type': name, **arguments}, variant) is None:
            return arguments
    return None


@cache
def _with_defaults(name: str) -> nn.Module:
    return _skeleton({'type': name}, {})


def _skeleton(network: Mapping, state: Mapping[str, Tensor]) -> nn.Module:
    try:
        with torch.device('meta'):
            return make(network)
    except (UnknownNameError, _TooLargeError):
        raise
    except InputError:  # some compute with what they build
        _check_numbers(network, state)
        return make(network)


def _difference(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    shapes = [
        f'{name} is {_size(given[name])}, wanted {_size(tensor)}'
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    # Weights of before PyTorch 0.4.1 have no such counters, and load without.
    missing = [name for name in wanted if name not in given and not name.endswith('num_batches_tracked')]
    unexpected = [name for name in given if name not in wanted]
    parts = [('missing', missing), ('unexpected', unexpected), ('of another size', shapes)]
    return '; '.join(f'{len(names)} {what}: {_some(names)}' for what, names in parts if names)


def _some(names: Sequence[str]) -> str:
    return ', '.join(names[:_SHOWN]) + (' …' if len(names) > _SHOWN else '')


def _size(tensor: Tensor) -> str:
    return 'x'.join(map(str, tensor.shape)) or 'one value'
