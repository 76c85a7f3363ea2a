"""What is registered in the toolbox: each object with its plugin, its arguments and what it says of itself."""

import contextlib
import importlib
import inspect
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, packages_distributions, version

from basicsr.utils.registry import (
    ARCH_REGISTRY,
    DATASET_REGISTRY,
    LOSS_REGISTRY,
    METRIC_REGISTRY,
    MODEL_REGISTRY,
    Registry,
)

from okdnet_plugin.errors import InputError, did_you_mean

TOOLBOX = 'basicsr'
KINDS: Mapping[str, Registry] = {
    'arch': ARCH_REGISTRY,
    'data': DATASET_REGISTRY,
    'loss': LOSS_REGISTRY,
    'metric': METRIC_REGISTRY,
    'model': MODEL_REGISTRY,
}
_WRITTEN_DOWN = ('basicsr.', 'okdnet_plugin.')  # whose data sets the schema knows
# A key in the docstring of a data set: `dataroot_gt (str): …` in the toolbox, `- name, for messages; phase: …` here.
_TYPED_KEY = re.compile(r'^\s*(?:-\s*)?(\w+) \([^)]*\)\s*:')
_LISTED_KEYS = re.compile(r'^\s*-\s+([^:]*?)(?::(?:\s|$)|\.$)')


@dataclass(frozen=True)
class Plugin:
    """Who registers: the toolbox itself, or a package with an entry point."""

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
        paragraph = ' '.join(self.doc.partition('\n\n')[0].split())
        return re.split(r'(?<=[a-z0-9)\]])\. (?=[A-Z])', paragraph)[0]

    @property
    def parameters(self) -> list[inspect.Parameter]:
        """Arguments as a block of an option file gives them; a metric gets its two pictures from the toolbox."""
        try:
            found = list(inspect.signature(self.object).parameters.values())
        except (TypeError, ValueError):  # of a class written in C
            return []
        given = ('img', 'img2', 'lq') if self.kind == 'metric' else ()
        return [parameter for parameter in found if parameter.name not in given]

    @property
    def option_keys(self) -> dict[str, str]:
        """Keys of a data set's block with their meaning: those of the schema, or else what its docstring names."""
        if self.kind != 'data' or not inspect.isclass(self.object):
            return {}
        from okdnet_plugin.schema.data_sets import KEYS_OF

        for parent in inspect.getmro(self.object):
            written = KEYS_OF.get(parent.__name__) if parent.__module__.startswith(_WRITTEN_DOWN) else None
            if written is not None:
                return {key: field.description or '' for key, field in written.model_fields.items()}
            if named := _keys_in(parent.__doc__ or ''):
                return dict.fromkeys(named, '')
        return {}


@dataclass(frozen=True)
class Loaded:
    """What came of loading one plugin."""

    plugin: Plugin
    entry: EntryPoint
    error: BaseException | None
    count: Mapping[str, int]
    """Kind -> how many objects are its own."""


def load() -> tuple[list[Entry], list[Loaded]]:
    """Load the toolbox and every plugin; one that fails does not keep the others from it.

    Returns:
        All registered objects, and what came of each plugin, in the order of their names.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # some packages greet
        for room in ('archs', 'data', 'losses', 'metrics', 'models'):
            importlib.import_module(f'{TOOLBOX}.{room}')
        owners: dict[tuple[str, str], Plugin] = {}
        attempts = []
        for entry in sorted(entry_points(group='basicsr.plugins'), key=lambda entry: entry.name):
            plugin = _plugin_of(entry)
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


def select(entries: list[Entry], plugin: str) -> list[Entry]:
    """Those of one plugin.

    Args:
        entries: of `load`.
        plugin: its name or that of its distribution.

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


def find(entries: list[Entry], kind: str, name: str) -> Entry:
    """One registered object.

    Raises:
        InputError: there is none of that name; the message gives near ones, and the kind that has it.
    """
    for wanted in (name, f'{name}_{TOOLBOX}'):  # as the registries look it up
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
    if package == TOOLBOX:
        return Plugin(TOOLBOX, TOOLBOX, _version(TOOLBOX))
    if loader is not None:
        return loader
    distribution = (packages_distributions().get(package) or [package or '?'])[0]
    return Plugin(package or '?', distribution, _version(distribution))


def _plugin_of(entry: EntryPoint) -> Plugin:
    return Plugin(entry.name, *((entry.dist.name, entry.dist.version) if entry.dist else ('no distribution', '?')))


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return '?'


def _keys_in(doc: str) -> list[str]:
    """Keys that the part `Args: opt: …` of a docstring lists."""
    lines = inspect.cleandoc(doc).splitlines()
    begin = next((place for place, line in enumerate(lines) if re.match(r'\s+opt\b.*:', line)), None)
    if begin is None:
        return []
    depth = len(lines[begin]) - len(lines[begin].lstrip())
    keys: list[str] = []
    for line in lines[begin + 1 :]:
        if line.strip() and len(line) - len(line.lstrip()) <= depth:
            break
        if match := _TYPED_KEY.match(line):
            keys.append(match[1])
        elif match := _LISTED_KEYS.match(line):
            keys += re.findall(r'(?:^|[,;]\s*|\bor\s+)([a-z]\w*)(?=\s*(?:$|[,;]|\bor\b))', match[1])
    return list(dict.fromkeys(keys))
