"""The command line of `basicsr train` and `test`, and the copy of the option file that a run keeps."""

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from os import path as osp
from typing import NamedTuple

import yaml

from okdnet_plugin import files
from okdnet_plugin.config.items import Places
from okdnet_plugin.config.overrides import Override
from okdnet_plugin.config.read import load_with_places
from okdnet_plugin.config.yaml_values import SafeLoader
from okdnet_plugin.redaction import redacted


class CommandLine(NamedTuple):
    """A command line of `basicsr train` or `test`, with the part that this plugin reads taken out."""

    path: str | None  # of the option file, as BasicSR's parser would find it
    overrides: tuple[Override, ...]  # in the order in which they were given
    rest: list[str]  # for BasicSR: all but the overrides


class OptionFile(str):
    """The path of an option file, with what was read of it, so that nobody has to read it again."""

    opt: dict
    places: Places
    is_plain: bool  # the file itself says the same to plain BasicSR

    @classmethod
    def read(cls, path: str, overrides: Sequence[Override] = ()) -> 'OptionFile':
        """Read an option file.

        Raises:
            InputError: it cannot be read; see `okdnet_plugin.config.read`.
        """
        file = cls(path)
        file.opt, file.places = load_with_places(path, overrides)
        file.is_plain = not overrides and _is_plain(path, file.opt)
        return file


def parse(arguments: Sequence[str]) -> CommandLine:
    """Part the overrides of a command line from what BasicSR reads itself.

    Abbreviations such as `--force` count, because they do so in BasicSR, which would run them as Python.
    """
    parser = argparse.ArgumentParser(prog='basicsr', add_help=False, usage='basicsr train|test -opt FILE [options]')
    parser.add_argument('-opt', nargs='?')
    for option in ('--set', '--force_yml'):
        parser.add_argument(option, nargs='+', action=_Collect, dest='overrides', default=(), metavar='KEY=VALUE')
    args, rest = parser.parse_known_args(arguments)
    opt = [] if args.opt is None else ['-opt', args.opt]
    return CommandLine(args.opt, args.overrides, [*opt, *rest])


class _Collect(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        assert values is not None  # nargs is +
        (option,) = self.option_strings
        collected = tuple(Override(value, option) for value in values)
        setattr(namespace, self.dest, (*getattr(namespace, self.dest), *collected))


@contextlib.contextmanager
def resolved_copy(path: str, overrides: Sequence[Override] = ()) -> Iterator[str]:
    """A file of the same name that plain BasicSR reads as this plugin reads the option file.

    That is the file itself, comments and all, if it needs nothing of the plugin.

    Args:
        path: the file; of an `OptionFile` what was read of it counts.
        overrides: see `load`.
    """
    file = path if isinstance(path, OptionFile) else OptionFile.read(path, overrides)
    if file.is_plain:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = osp.join(folder, osp.basename(path))
        with open(copy, 'w', encoding='utf-8') as written:
            yaml.safe_dump(redacted(file.opt), written, sort_keys=False, allow_unicode=True)
        yield copy


def write_copy(path: str, folder: str) -> None:
    """Keep a copy of an option file beside a run, that plain BasicSR reads, in UTF-8 whatever the machine prefers.

    It begins with the time and the command in comments, as BasicSR's does.
    """
    import time

    command = ' '.join(' '.join(argument.splitlines()) for argument in sys.argv)
    with resolved_copy(path) as copy, open(copy, 'rb') as file:
        content = file.read().decode('utf-8-sig')
    head = f'# GENERATE TIME: {time.asctime()}\n# CMD:\n# {command}\n\n'
    files.write(osp.join(folder, osp.basename(path)), (head + content).encode(errors='surrogateescape'))


def _is_plain(path: str, opt: dict) -> bool:
    """Whether BasicSR reads these options from the file; it does not know `<<`."""
    with open(path, 'rb') as file:
        content = file.read()
    try:
        return b'<<' not in content and yaml.load(content.decode('utf-8'), SafeLoader) == opt
    except UnicodeDecodeError:
        return False
