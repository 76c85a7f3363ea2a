"""What the toolbox meets of option files: a loader for its parser, the copy that a run keeps, its command line."""

import argparse
import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from os import path as osp
from typing import IO, NamedTuple

import yaml

from okdnet_plugin import option_file
from okdnet_plugin.option_file.overrides import Override
from okdnet_plugin.option_file.reading import SafeLoader

# What plain YAML reads otherwise than this plugin, or leaves as it is. Rather too often than too seldom.
_NOT_PLAIN = ('_base_', '_delete_', '${', '<<')
_overrides: ContextVar[Sequence[Override]] = ContextVar('overrides', default=())


class CommandLine(NamedTuple):
    """A command line of `basicsr train` or `test`, with the part that this plugin reads taken out."""

    path: str | None  # of the option file, as the toolbox's parser would find it
    overrides: tuple[Override, ...]  # in the order in which they were given
    rest: list[str]  # for the toolbox: all but the overrides


def parse(arguments: Sequence[str]) -> CommandLine:
    """Part the overrides of a command line from what the toolbox reads itself.

    Abbreviations such as `--force` count, because they do so in the toolbox, which would run them as Python.
    """
    parser = argparse.ArgumentParser(prog='basicsr', add_help=False, usage='basicsr train|test -opt FILE [options]')
    parser.add_argument('-opt', nargs='?')
    for option in ('--set', '--force_yml'):
        parser.add_argument(option, nargs='+', action=_Collect, dest='overrides', default=(), metavar='KEY=VALUE')
    args, rest = parser.parse_known_args(arguments)
    opt = [] if args.opt is None else ['-opt', args.opt]
    return CommandLine(args.opt, args.overrides, [*opt, *rest])


@contextlib.contextmanager
def overriding(overrides: Sequence[Override]) -> Iterator[None]:
    """Let `OptionLoader` put values in place of those of the files that it reads."""
    token = _overrides.set(tuple(overrides))
    try:
        yield
    finally:
        _overrides.reset(token)


def overrides_in_force() -> Sequence[Override]:
    """What `overriding` has been called with, as long as it lasts."""
    return _overrides.get()


class OptionLoader(SafeLoader):
    """Loader for `yaml.load(file, Loader=OptionLoader)`, as the toolbox calls it; gives what `option_file.load` gives.

    What is no file with a name is read as plain, safe YAML.
    """

    def __init__(self, stream: IO[str] | str):
        self._path = getattr(stream, 'name', None)
        # A file is read again, by its name; the toolbox decodes it by the settings of the machine, which may fail.
        super().__init__(stream if self._path is None else '')

    def get_single_data(self) -> object:
        return super().get_single_data() if self._path is None else option_file.load(self._path, overrides_in_force())


@contextlib.contextmanager
def resolved_copy(path: str, overrides: Sequence[Override] = ()) -> Iterator[str]:
    """A file of the same name that plain BasicSR reads as this plugin reads the option file.

    That is the file itself, comments and all, if it needs nothing of the plugin.
    """
    opt = option_file.load(path, overrides)
    if not overrides and _is_plain(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = osp.join(folder, osp.basename(path))
        with open(copy, 'w', encoding='utf-8') as file:
            yaml.safe_dump(opt, file, sort_keys=False, allow_unicode=True)
        yield copy


class _Collect(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        assert values is not None  # nargs is +
        (option,) = self.option_strings
        collected = tuple(Override(value, option) for value in values)
        setattr(namespace, self.dest, (*getattr(namespace, self.dest), *collected))


def _is_plain(path: str) -> bool:
    with open(path, 'rb') as file:
        content = file.read()
    try:
        text = content.decode('utf-8')
    except UnicodeDecodeError:
        return False
    return not any(word in text for word in _NOT_PLAIN)
