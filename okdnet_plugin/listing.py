"""What is registered, whose it is, and what it takes, to be listed."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version

from okdnet_plugin.config.docstrings import summary_of
from okdnet_plugin.config.keys import Block, own_block
from okdnet_plugin.config.registered import BASICSR, GIVEN_TO_METRICS, KINDS, ROOMS
from okdnet_plugin.errors import InputError, did_you_mean
from okdnet_plugin.plugins import GROUP, entries


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
        """Arguments as a block of an option file gives them, without their ranges; a metric gets its images."""
        function = self.object.__init__ if inspect.isclass(self.object) else self.object
        try:
            found = list(inspect.signature(self.object).parameters.values())
        except (TypeError, ValueError):  # of a class written in C
            return []
        try:
            hints = typing.get_type_hints(inspect.unwrap(function))
        except Exception:  # a hint may name what is imported for type checkers only
            hints = {}
        given = GIVEN_TO_METRICS if self.kind == 'metric' else ()
        return [one.replace(annotation=hints.get(one.name, one.annotation)) for one in found if one.name not in given]

    @property
    def option_keys(self) -> dict[str, str]:
        """Keys with their meaning that a data set or a model declares."""
        keys = own_block(self.object).flat() if self.kind in ('data', 'model') else ()
        return {name: key.says for name, key in keys if key.each or not isinstance(key.inside, Block)}


def load() -> tuple[list[Entry], dict[Plugin, BaseException]]:
    """Load BasicSR and every plugin; one that fails does not keep the others from it.

    Returns:
        All registered objects, and the plugins that failed, each with its error.
    """
    packages: dict[str, Plugin] = {}
    owners: dict[tuple[str, str], Plugin] = {}
    broken: dict[Plugin, BaseException] = {}
    with contextlib.redirect_stdout(io.StringIO()):  # some packages greet
        for room in ROOMS:
            importlib.import_module(f'{BASICSR}.{room}')
        for entry in entries(GROUP):
            plugin = Plugin(entry.name, *((entry.dist.name, entry.dist.version) if entry.dist else ('?', '?')))
            packages[entry.module.partition('.')[0]] = plugin
            before = _registered()
            try:
                entry.load()()
            except (Exception, SystemExit) as problem:
                broken[plugin] = problem
            owners |= dict.fromkeys(_registered() - before, plugin)
    return [
        Entry(kind, name, _owner(thing, packages, owners.get((kind, name))), thing)
        for kind, registry in KINDS.items()
        for name, thing in sorted(registry, key=lambda item: item[0].lower())
    ], broken


def _registered() -> set[tuple[str, str]]:
    return {(kind, name) for kind, registry in KINDS.items() for name, _ in registry}


def _owner(thing: Callable, packages: Mapping[str, Plugin], loader: Plugin | None) -> Plugin:
    """The plugin in whose package an object is written, or else the one that put it there."""
    package = str(getattr(thing, '__module__', '')).partition('.')[0]
    if package in packages:
        return packages[package]
    if loader is not None and package != BASICSR:
        return loader
    distribution = BASICSR if package == BASICSR else (packages_distributions().get(package) or [package or '?'])[0]
    try:
        return Plugin(package or '?', distribution, version(distribution))
    except PackageNotFoundError:
        return Plugin(package or '?', distribution, '?')


def of_plugin(listed: list[Entry], plugin: str) -> list[Entry]:
    """Those of one plugin, by its name or that of its distribution.

    Raises:
        InputError: no such plugin has registered anything.
    """
    found = [entry for entry in listed if plugin in (entry.plugin.name, entry.plugin.distribution)]
    if not found:
        known = sorted({name for entry in listed for name in (entry.plugin.name, entry.plugin.distribution)})
        raise InputError(
            f"--plugin {plugin}: no plugin '{plugin}' has registered anything{did_you_mean(plugin, known)}; "
            f'there are {", ".join(known)}'
        )
    return found


def entry_of(listed: list[Entry], kind: str, name: str) -> Entry:
    """One registered object.

    Raises:
        InputError: there is none of that name; the message gives near ones, and the kind that has it.
    """
    for wanted in (name, f'{name}_{BASICSR}'):  # as the registries look it up
        for entry in listed:
            if (entry.kind, entry.name) == (kind, wanted):
                return entry
    elsewhere = [entry.kind for entry in listed if entry.name == name]
    if elsewhere:
        raise InputError(f"no {kind} '{name}'; there is one under {elsewhere[0]}: basicsr list {elsewhere[0]} {name}")
    known = [entry.name for entry in listed if entry.kind == kind]
    raise InputError(f"no {kind} '{name}'{did_you_mean(name, known)}; `basicsr list {kind}` names all {len(known)}")
