"""What is registered: by which names option files find it, and which block it reads."""

from __future__ import annotations

import functools
import importlib
import inspect
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from basicsr.utils.registry import (
    ARCH_REGISTRY,
    DATASET_REGISTRY,
    LOSS_REGISTRY,
    METRIC_REGISTRY,
    MODEL_REGISTRY,
    Registry,
)

from okdnet_plugin.config.blocks import DataSet, Loader
from okdnet_plugin.config.keys import ALWAYS, Block, Key, Kind, block_of, declares, own_block
from okdnet_plugin.config.signatures import block_of_arguments
from okdnet_plugin.config.types import Name
from okdnet_plugin.errors import did_you_mean

BASICSR = 'basicsr'
ROOMS = ('archs', 'data', 'losses', 'metrics', 'models')
"""Packages of BasicSR whose import registers what it has."""
KINDS: Mapping[str, Registry] = {
    'arch': ARCH_REGISTRY,
    'data': DATASET_REGISTRY,
    'loss': LOSS_REGISTRY,
    'metric': METRIC_REGISTRY,
    'model': MODEL_REGISTRY,
}
NOUNS: dict[Kind, str] = {
    'network': 'network',
    'loss': 'loss',
    'metric': 'metric',
    'dataset': 'data set',
    'optimizer': 'optimiser',
    'scheduler': 'schedule',
    'model': 'model',
}
LISTED: dict[Kind, str] = {'network': 'arch', 'dataset': 'data', 'loss': 'loss', 'metric': 'metric', 'model': 'model'}
GIVEN_TO_METRICS = ('img', 'img2', 'lq', 'depth', 'depth_gt')
_GIVEN: dict[Kind, tuple[str, ...]] = {  # arguments that do not come from the option file
    'metric': GIVEN_TO_METRICS,
    'optimizer': ('params',),
    'scheduler': ('optimizer',),
}
_WHOLE_IN_A_REPORT = ('calculate_psnr', 'calculate_ssim')  # a report cuts no border unless it is told to


def _classes(module: Any, base: type, unfit: Collection[str]) -> dict[str, type]:
    classes = {name: kind for name, kind in vars(module).items() if inspect.isclass(kind) and issubclass(kind, base)}
    return {name: kind for name, kind in classes.items() if name[0] != '_' and name not in (base.__name__, *unfit)}


# Without those that need a closure that repeats the step, sparse gradients, or matrices instead of convolutions.
OPTIMIZERS = _classes(torch.optim, torch.optim.Optimizer, ('LBFGS', 'SparseAdam', 'Muon'))
# Without those that need functions, other schedules, or a value of each validation.
_UNFIT = ('LambdaLR', 'MultiplicativeLR', 'SequentialLR', 'ChainedScheduler', 'ReduceLROnPlateau')
SCHEDULES = _classes(torch.optim.lr_scheduler, torch.optim.lr_scheduler.LRScheduler, _UNFIT)


@functools.cache
def _names(kind: Kind) -> Mapping[str, Callable]:
    """What holds the classes and functions of a kind; registries grow when plugins are loaded."""
    if kind == 'optimizer':
        return OPTIMIZERS
    if kind == 'scheduler':
        from basicsr.models.lr_scheduler import CosineAnnealingRestartLR, MultiStepRestartLR

        return {
            **SCHEDULES,
            'MultiStepLR': MultiStepRestartLR,
            'MultiStepRestartLR': MultiStepRestartLR,
            'CosineAnnealingRestartLR': CosineAnnealingRestartLR,
        }
    for room in ROOMS:
        importlib.import_module(f'{BASICSR}.{room}')
    return KINDS[LISTED[kind]]._obj_map


def names_of(kind: Kind) -> list[str]:
    """The names that `type` may have."""
    return sorted({name.removesuffix('_basicsr') for name in _names(kind)})


def find(kind: Kind, name: object) -> Callable | None:
    """The class or function of a name, as BasicSR's registries look it up; None if there is none."""
    known = _names(kind)
    return known.get(name, known.get(f'{name}_basicsr')) if isinstance(name, str) else None


def is_basicsrs(target: object) -> bool:
    """Whether it is BasicSR's own."""
    return getattr(target, '__module__', '').split('.')[0] == BASICSR


def needs_clear_image(metric: str) -> bool:
    """Whether a metric, by its registered name, has no value without a clear image."""
    function = find('metric', metric)
    parameters = inspect.signature(function).parameters if function is not None else {}
    return 'img2' in parameters and parameters['img2'].default is not None


def unknown_name(kind: Kind, name: object) -> str:
    """What is said of a name that is not registered."""
    known = names_of(kind)
    hint = did_you_mean(name, known, cutoff=0.75 if kind in LISTED else 0.6)
    if kind not in LISTED:
        return f"there is no {NOUNS[kind]} '{name}'{hint}; there are {', '.join(known)}"
    cure = '' if hint else f'; `basicsr list {LISTED[kind]}` names those that there are'
    return f"no object named '{name}' found in '{LISTED[kind]}' registry{hint}{cure}"


@functools.cache
def type_key(kind: Kind) -> Key:
    """The key that names the registered class or function."""
    return Key(Name, f'registered name of the {NOUNS[kind]}', ALWAYS)


# ------------------------------------------------------------------------------------------- the block of a registered


def block_of_type(kind: Kind, name: object) -> Block | None:
    """The block of a registered name, with its `type`; None if it is not registered."""
    target = find(kind, name)
    if target is None:
        return None
    if kind == 'dataset':
        return block_of_data_set(str(name), target)
    block = block_of_arguments(str(name), target, kind, _GIVEN.get(kind, ()))
    keys = {'type': type_key(kind), **block.keys}
    if kind == 'metric':
        keys['better'] = Key(Literal['higher', 'lower'], 'which end is better; higher by default')
        if name in _WHOLE_IN_A_REPORT and 'crop_border' in keys:  # another plugin's may have the name
            keys['crop_border'] = replace(keys['crop_border'], needed=('train', 'test'))
    if kind == 'optimizer':
        keys['lr'] = Key(keys['lr'].annotation, 'the learning rate', ALWAYS)
        keys = {key: one if key in ('type', 'lr') else one.optional() for key, one in keys.items()}
    return replace(block, keys=keys)


@functools.cache
def block_of_data_set(name: str, target: Callable) -> Block:
    """The block of a data set; closed where its class says itself what it reads."""
    is_open = not declares(target)
    keys = {'type': type_key('dataset'), **block_of(DataSet).keys}
    if not is_open:  # which folders it reads, too
        keys = {key: one for key, one in keys.items() if not key.startswith('dataroot_')}
    near = names_in_code(target) if is_open else frozenset()
    return Block(name, keys, is_open, near=near) | own_block(target) | block_of(Loader)


@functools.cache
def names_in_code(target: object) -> frozenset[str]:
    """Words that the methods of a class and of those that it is built on hold: its options are among them."""
    found: set[str] = set()
    for one in getattr(target, '__mro__', ()):
        if one.__module__.split('.')[0] in ('builtins', 'abc', 'torch', 'typing'):
            continue
        for attribute in vars(one).values():
            function = inspect.unwrap(getattr(attribute, '__func__', attribute)) if callable(attribute) else None
            found |= set(_words_in(getattr(function, '__code__', None)))
    return frozenset(found)


def _words_in(code: types.CodeType | None) -> Iterator[str]:
    for constant in code.co_consts if code is not None else ():
        if isinstance(constant, str) and constant.isidentifier() and len(constant) > 2:
            yield constant
        elif isinstance(constant, types.CodeType):
            yield from _words_in(constant)
