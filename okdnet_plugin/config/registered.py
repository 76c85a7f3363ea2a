"""What is registered: by which names option files find it, whose it is, and which block it reads."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import io
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, packages_distributions, version
from typing import Literal

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
from okdnet_plugin.config.docstrings import summary_of
from okdnet_plugin.config.keys import ALWAYS, Block, Key, Kind, block_of, declared, declares, joined_options
from okdnet_plugin.config.signatures import block_of_arguments
from okdnet_plugin.config.types import Name
from okdnet_plugin.errors import InputError, did_you_mean

BASICSR = 'basicsr'
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
# They need a closure that repeats the step, sparse gradients, or matrices instead of convolutions and biases.
_UNFIT = ('Optimizer', 'LBFGS', 'SparseAdam', 'Muon')
OPTIMIZERS = {
    name: kind
    for name, kind in vars(torch.optim).items()
    if inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer) and name not in _UNFIT
}
# They need functions, other schedules, or a value of each validation.
_UNFIT_SCHEDULES = (
    'LRScheduler',
    'LambdaLR',
    'MultiplicativeLR',
    'SequentialLR',
    'ChainedScheduler',
    'ReduceLROnPlateau',
)
SCHEDULES = {
    name: kind
    for name, kind in vars(torch.optim.lr_scheduler).items()
    if inspect.isclass(kind)
    and issubclass(kind, torch.optim.lr_scheduler.LRScheduler)
    and name[0] != '_'
    and name not in _UNFIT_SCHEDULES
}


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
    for room in ('archs', 'data', 'losses', 'metrics', 'models'):  # importing registers what BasicSR has
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
    if kind == 'optimizer':
        return f"torch.optim has no optimiser '{name}'{hint}; it has {', '.join(known)}"
    if kind == 'scheduler':
        return f"BasicSR and torch have no schedule '{name}'{hint}; there are {', '.join(known)}"
    cure = '' if hint else f'; `basicsr list {LISTED[kind]}` names those that there are'
    return f"no object named '{name}' found in '{LISTED[kind]}' registry{hint}{cure}"


def type_key(kind: Kind) -> Key:
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
    block = Block(name, {'type': type_key('dataset')}) | block_of(DataSet, name)
    if declares(target):  # which folders it reads, too
        block = replace(block, keys={key: one for key, one in block.keys.items() if not key.startswith('dataroot_')})
    options = declared(target)
    if options:
        block |= block_of(joined_options(tuple(options)), name)
    block |= block_of(Loader, name)
    is_open = not declares(target)
    return block.but(name, is_open, names_in_code(target) if is_open else frozenset())


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


# ----------------------------------------------------------------------------------------------- whose is what, to list


@dataclass(frozen=True)
class Plugin:
    """Who registers: BasicSR itself, or a package with an entry point."""

    name: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f'{self.name} ({self.distribution} {self.version})'


@dataclass(frozen=True)
class Entry:
    """One registered class or function."""

    kind: str
    name: str
    plugin: Plugin
    object: Callable

    @property
    def doc(self) -> str:
        """Its own docstring, without that of a parent; empty if it has none."""
        return inspect.cleandoc(self.object.__doc__ or '')

    @property
    def summary(self) -> str:
        """First sentence of the docstring, in one line."""
        return summary_of(self.object)

    @property
    def parameters(self) -> list[inspect.Parameter]:
        """Arguments as a block of an option file gives them; a metric gets its two images from BasicSR."""
        try:
            found = list(inspect.signature(self.object).parameters.values())
        except (TypeError, ValueError):  # of a class written in C
            return []
        given = _GIVEN['metric'] if self.kind == 'metric' else ()
        hints = self._hints()
        return [one.replace(annotation=hints.get(one.name, one.annotation)) for one in found if one.name not in given]

    def _hints(self) -> dict[str, object]:
        """Types of the arguments, without their ranges."""
        function = self.object.__init__ if inspect.isclass(self.object) else self.object
        try:
            return typing.get_type_hints(inspect.unwrap(function))
        except Exception:  # a hint may name what is imported for type checkers only
            return {}

    @property
    def option_keys(self) -> dict[str, str]:
        """Keys with their meaning that a data set or a model declares."""
        options = declared(self.object) if self.kind in ('data', 'model') else []
        return dict(_lines_of(block_of(joined_options(tuple(options))), '')) if options else {}


def _lines_of(block: Block, prefix: str) -> Iterator[tuple[str, str]]:
    for name, key in block.keys.items():
        if isinstance(key.inside, Block) and not key.each:
            yield from _lines_of(key.inside, f'{prefix}{name}:')
        else:
            yield prefix + name, key.says


@dataclass(frozen=True)
class Loaded:
    """What came of loading one plugin."""

    plugin: Plugin
    entry: EntryPoint
    error: BaseException | None
    count: Mapping[str, int]
    """Kind -> how many objects are its own."""


def load() -> tuple[list[Entry], list[Loaded]]:
    """Load BasicSR and every plugin; one that fails does not keep the others from it.

    Returns:
        All registered objects, and what came of each plugin, in the order of their names.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # some packages greet
        for room in ('archs', 'data', 'losses', 'metrics', 'models'):
            importlib.import_module(f'{BASICSR}.{room}')
        owners: dict[tuple[str, str], Plugin] = {}
        attempts = []
        for entry in sorted(entry_points(group='basicsr.plugins'), key=lambda entry: entry.name):
            plugin = Plugin(entry.name, *((entry.dist.name, entry.dist.version) if entry.dist else ('?', '?')))
            before = {(kind, name) for kind, registry in KINDS.items() for name, _ in registry}
            error = None
            try:
                entry.load()()
            except (Exception, SystemExit) as problem:
                error = problem
            new = {(kind, name) for kind, registry in KINDS.items() for name, _ in registry} - before
            owners |= dict.fromkeys(new, plugin)
            attempts.append((plugin, entry, error))
    packages = {entry.module.partition('.')[0]: plugin for plugin, entry, _ in attempts}
    entries = [
        Entry(kind, name, _owner(thing, packages, owners.get((kind, name))), thing)
        for kind, registry in KINDS.items()
        for name, thing in sorted(registry, key=lambda item: item[0].lower())
    ]
    loaded = []
    for plugin, entry, error in attempts:
        own = [found.kind for found in entries if found.plugin == plugin]
        loaded.append(Loaded(plugin, entry, error, {kind: own.count(kind) for kind in KINDS if kind in own}))
    return entries, loaded


def of_plugin(entries: list[Entry], plugin: str) -> list[Entry]:
    """Those of one plugin, by its name or that of its distribution.

    Raises:
        InputError: no such plugin has registered anything.
    """
    found = [entry for entry in entries if plugin in (entry.plugin.name, entry.plugin.distribution)]
    if not found:
        known = sorted({name for entry in entries for name in (entry.plugin.name, entry.plugin.distribution)})
        raise InputError(
            f"--plugin {plugin}: no plugin '{plugin}' has registered anything{did_you_mean(plugin, known)}; "
            f'there are {", ".join(known)}'
        )
    return found


def entry_of(entries: list[Entry], kind: str, name: str) -> Entry:
    """One registered object.

    Raises:
        InputError: there is none of that name; the message gives near ones, and the kind that has it.
    """
    for wanted in (name, f'{name}_{BASICSR}'):  # as the registries look it up
        for entry in entries:
            if (entry.kind, entry.name) == (kind, wanted):
                return entry
    elsewhere = [entry.kind for entry in entries if entry.name == name]
    if elsewhere:
        raise InputError(f"no {kind} '{name}'; there is one under {elsewhere[0]}: basicsr list {elsewhere[0]} {name}")
    known = [entry.name for entry in entries if entry.kind == kind]
    raise InputError(f"no {kind} '{name}'{did_you_mean(name, known)}; `basicsr list {kind}` names all {len(known)}")


def _owner(thing: Callable, packages: Mapping[str, Plugin], loader: Plugin | None) -> Plugin:
    """The plugin in whose package an object is written, or else the one that put it there."""
    package = str(getattr(thing, '__module__', '')).partition('.')[0]
    if package in packages:
        return packages[package]
    if package == BASICSR:
        return Plugin(BASICSR, BASICSR, _version(BASICSR))
    if loader is not None:
        return loader
    distribution = (packages_distributions().get(package) or [package or '?'])[0]
    return Plugin(package or '?', distribution, _version(distribution))


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return '?'
