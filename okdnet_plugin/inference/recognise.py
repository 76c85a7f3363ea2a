"""Which network weights are of, read off the names and shapes of their tensors."""

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cache

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from okdnet_plugin.errors import InputError, UnknownNameError

# Arguments of networks that say how often something is repeated.
_COUNTS = ('num_blocks', 'num_groups', 'blocks', 'groups', 'depths', 'm', 'alternate_steps')
_FEW = 200  # blocks that are built at once, whatever the weights are
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
    except UnknownNameError:
        raise
    except Exception as error:  # a network may refuse its arguments as it likes
        raise InputError(
            f'network_g: {kind} cannot be built: {" ".join(str(error).split())}; see its docstring'
        ) from error


def misfit(network: Mapping, state: Mapping[str, Tensor]) -> str | None:
    """What of weights does not fit a network, in words; None if they fit.

    The network takes no memory for it, unless it cannot be built without: a file may claim any size.

    Raises:
        InputError: the network cannot be built.
    """
    _check_counts(network, len(state))
    return _misfit(_skeleton(network), state)


def check_claim(network: Mapping) -> None:
    """Refuse a network that a file of weights may not choose by itself.

    Those of the toolbox are for other tasks, and some download or open files when they are built.

    Raises:
        InputError: it is one of them; UnknownNameError if it is not registered.
    """
    for part in _with_parts(network):
        kind = part.get('type')
        if isinstance(kind, str) and _is_of_toolbox(ARCH_REGISTRY.get(kind)):
            raise InputError(
                f'{kind} is a network of the toolbox, which is not built on the word of a file; give --opt FILE'
            )


def _with_parts(network: Mapping) -> Iterator[Mapping]:
    """A block of a network, and those of the networks that are parts of it."""
    yield network
    for value in network.values():
        if isinstance(value, Mapping):
            yield from _with_parts(value)


def _is_of_toolbox(network: type) -> bool:
    return network.__module__.split('.')[0] == 'basicsr'


def _check_counts(network: Mapping, tensors: int) -> None:
    """Refuse to build more blocks than a file can have weights for: even empty ones take their time."""
    count = 0
    for part in _with_parts(network):
        of_part = 1
        for key in _COUNTS:
            value = part.get(key)
            numbers = value if isinstance(value, list | tuple) else [value]
            # The network itself tells what it wants where they are no whole numbers.
            of_part *= max(1, sum(max(0, number) for number in numbers if isinstance(number, int)))
        count += of_part
    if count > max(tensors, _FEW):
        raise InputError(
            f'network_g: {network.get("type")} with {count} blocks is not what these weights are of: they are '
            f'{tensors} tensors'
        )


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
        return _difference(net.state_dict(), given) or ' '.join(str(error).split())[:300]
    finally:
        noting.remove()
    return None


def candidates(state: Mapping[str, Tensor]) -> list[dict]:
    """Networks of the plugins that weights fit: OKDNet with the arguments read off, others with their defaults."""
    found = []
    own = okdnet_arguments(state)
    if own is not None and misfit({'type': 'OKDNet', **own}, state) is None:
        found.append({'type': 'OKDNet', **own})
    for name, network in ARCH_REGISTRY:
        if _is_of_toolbox(network) or name == 'OKDNet':
            continue
        try:
            if _misfit(_with_defaults(name), state) is None:
                found.append({'type': name})
        except InputError:  # it has no defaults
            continue
    return found


def okdnet_arguments(state: Mapping[str, Tensor]) -> dict | None:
    """Arguments of an OKDNet that names and shapes tell; None if they are of no OKDNet.

    All but `gate` and `t_min`, which have no weights; what does not differ from the defaults is left out.
    """
    try:
        return _okdnet_arguments(state)
    except (KeyError, IndexError):
        return None


def _okdnet_arguments(state: Mapping[str, Tensor]) -> dict | None:
    count = _count(state, r'shared\.scales\.0\.(\d+)\.')
    scales = _count(state, r'shared\.scales\.(\d+)\.')
    has_attention = 'shared.scales.0.0.channel_attention.weight' in state
    dense = 'shared.scales.0.0.rdb.layers.0.weight' if has_attention else 'shared.scales.0.0.layers.0.weight'
    arguments = {
        'num_feat': state['preprocess.0.weight'].shape[0],
        'num_blocks': [_count(state, rf'shared\.scales\.{scale}\.(\d+)\.') for scale in range(scales)],
        'growth': state[dense].shape[0],
        'attention': has_attention,
        'multi_scale': scales > 1,
        'aggregation': 'fab' if 'aggregation.pointwise.weight' in state else 'fau',
    }
    if 'airlight.downs.0.weight' not in state or (scales, count > 2) not in ((3, True), (3, False), (1, True)):
        return None
    if scales == 1:  # all blocks are at full size
        arguments['num_blocks'] = [count - 2, 1, 1]
    else:
        arguments['down'] = 'grid' if 'shared.downs.0.2.weight' in state else 'conv'
        deconv = 'deconv4' if state['shared.ups.0.0.weight'].shape[-1] == 4 else 'deconv3'
        arguments['up'] = 'grid' if 'shared.ups.0.2.weight' in state else deconv
        arguments['fuse_kernel'] = state['shared.fuses.0.weight'].shape[-1]
    defaults = {
        'num_feat': 32,
        'num_blocks': [2, 3, 4],
        'growth': 16,
        'down': 'conv',
        'up': 'deconv4',
        'fuse_kernel': 1,
        'attention': True,
        'multi_scale': True,
        'aggregation': 'fab',
    }
    return {key: value for key, value in arguments.items() if value != defaults[key]}


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    """One more than the largest number in the place of the pattern's group."""
    return max((int(match[1]) + 1 for name in state if (match := re.match(pattern, name))), default=0)


@cache
def _with_defaults(name: str) -> nn.Module:
    return _skeleton({'type': name})


def _skeleton(network: Mapping) -> nn.Module:
    try:
        with torch.device('meta'):
            return make(network)
    except UnknownNameError:
        raise
    except InputError:  # some compute with what they build
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
