"""Registered names and the blocks that they stand for."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

from okdnet_plugin.errors import did_you_mean
from okdnet_plugin.schema import data_sets
from okdnet_plugin.schema.keys import ALWAYS, Block, Key, Kind, block_of
from okdnet_plugin.schema.signatures import block_of_arguments
from okdnet_plugin.schema.values import Name

NOUNS: dict[Kind, str] = {
    'network': 'network',
    'loss': 'loss',
    'metric': 'metric',
    'dataset': 'data set',
    'optimizer': 'optimiser',
    'scheduler': 'schedule',
    'model': 'model',
}
_LEFT_OUT: dict[Kind, tuple[str, ...]] = {
    'metric': ('img', 'img2', 'lq'),
    'optimizer': ('params',),
    'scheduler': ('optimizer',),
}
_WHOLE_IN_A_REPORT = ('calculate_psnr', 'calculate_ssim')  # a report cuts no border unless it is told to
_FIRST_PARTY = ('basicsr', 'okdnet_plugin')


@functools.cache
def _registries() -> Mapping[Kind, Mapping[str, Callable]]:
    """What holds the classes and functions of each kind; registries grow when plugins are loaded."""
    # Importing registers what the toolbox has.
    import basicsr.archs
    import basicsr.data
    import basicsr.losses
    import basicsr.metrics
    import basicsr.models  # noqa: F401
    from basicsr.models.lr_scheduler import CosineAnnealingRestartLR, MultiStepRestartLR
    from basicsr.utils import registry

    from okdnet_plugin.engine.optimizers import OPTIMIZERS

    return {
        'network': registry.ARCH_REGISTRY._obj_map,
        'loss': registry.LOSS_REGISTRY._obj_map,
        'metric': registry.METRIC_REGISTRY._obj_map,
        'dataset': registry.DATASET_REGISTRY._obj_map,
        'model': registry.MODEL_REGISTRY._obj_map,
        'optimizer': OPTIMIZERS,
        'scheduler': {
            'MultiStepLR': MultiStepRestartLR,
            'MultiStepRestartLR': MultiStepRestartLR,
            'CosineAnnealingRestartLR': CosineAnnealingRestartLR,
        },
    }


def names_of(kind: Kind) -> list[str]:
    """The names that `type` may have."""
    return sorted({name.removesuffix('_basicsr') for name in _registries()[kind]})


def find(kind: Kind, name: object) -> Callable | None:
    """The class or function of a name, as the toolbox's registries look it up; None if there is none."""
    known = _registries()[kind]
    return known.get(name, known.get(f'{name}_basicsr')) if isinstance(name, str) else None


def is_first_party(target: Callable) -> bool:
    """Whether it is the toolbox's or ours, so that all its keys are known."""
    return target.__module__.split('.')[0] in _FIRST_PARTY


def is_the_toolboxs(target: Callable) -> bool:
    """Whether it is BasicSR's own."""
    return target.__module__.split('.')[0] == 'basicsr'


def unknown_name(kind: Kind, name: object) -> str:
    """What is said of a name that is not registered."""
    known = names_of(kind)
    hint = did_you_mean(name, known, cutoff=0.75 if kind in _LISTED else 0.6)
    if kind == 'optimizer':
        return f"torch.optim has no optimiser '{name}'{hint}; it has {', '.join(known)}"
    if kind == 'scheduler':
        return f"the toolbox has no schedule '{name}'{hint}; it has {', '.join(known)}"
    cure = '' if hint else f'; `basicsr list {_LISTED[kind]}` names those that there are'
    return f"no object named '{name}' found in '{_LISTED[kind]}' registry{hint}{cure}"


_LISTED: dict[Kind, Literal['arch', 'data', 'loss', 'model', 'metric']] = {
    'network': 'arch',
    'dataset': 'data',
    'loss': 'loss',
    'metric': 'metric',
    'model': 'model',
}


def block_of_type(kind: Kind, name: object) -> Block | None:
    """The block of a registered name, with its `type`; None if it is not registered."""
    target = find(kind, name)
    if target is None:
        return None
    if kind == 'dataset':
        return _data_set(str(name), target)
    block = block_of_arguments(str(name), target, kind, _LEFT_OUT.get(kind, ()))
    keys = {'type': type_key(kind), **block.keys}
    if kind == 'metric':
        keys['better'] = Key(Literal['higher', 'lower'], 'which end is better; higher by default')
        if name in _WHOLE_IN_A_REPORT and 'crop_border' in keys:  # another plugin's may have the name
            keys['crop_border'] = replace(keys['crop_border'], needed=('train', 'test'))
    if kind == 'optimizer':
        keys['lr'] = Key(keys['lr'].annotation, 'the learning rate', ALWAYS)
        keys = {key: one if key in ('type', 'lr') else one.optional() for key, one in keys.items()}
    # The `**kwargs` of these metrics are for pictures, those of the toolbox's networks for keys of old option files;
    # what else is given there does nothing.
    does_nothing = is_first_party(target) if kind == 'metric' else kind == 'network' and is_the_toolboxs(target)
    is_open = block.is_open and not does_nothing
    return Block(block.name, keys, is_open, block.noun)


def type_key(kind: Kind) -> Key:
    return Key(Name, f'registered name of the {NOUNS[kind]}', ALWAYS)


@functools.cache
def _data_set(name: str, target: Callable) -> Block:
    own = Block(name, {'type': type_key('dataset')})
    loader = block_of(data_sets.OfTheLoader)
    for ancestor in inspect.getmro(target) if inspect.isclass(target) else ():
        written = data_sets.KEYS_OF.get(ancestor.__name__) if is_first_party(ancestor) else None
        if written is not None:
            block = own | block_of(written) | loader
            if ancestor is target:
                return Block(name, block.keys)
            # A class built on one of these may give what that one needs, and read more.
            return Block(name, {key: one.optional() for key, one in block.keys.items()}, is_open=True)
    return Block(name, (own | block_of(data_sets.OfAny) | loader).keys, is_open=not is_first_party(target))
