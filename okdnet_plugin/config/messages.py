"""A mistake in an option file, how several are told at once, and how values are shown."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import yaml

from okdnet_plugin.config.items import Places
from okdnet_plugin.errors import InputError, UnknownNameError
from okdnet_plugin.redaction import redacted

Kind = Literal['unknown key', 'wrong value', 'missing key', 'unknown name', 'missing file', 'contradiction']
_LONGEST = 200  # characters of a value in a message


class OptionError(InputError):
    """Option files have mistakes; all processes of a training find them, and one of them tells."""


class UnknownOptionError(OptionError, UnknownNameError):
    """Names that are not registered are among them."""


@dataclass(frozen=True)
class Mistake:
    """One mistake.

    Args:
        path: keys that lead to it.
        text: what is wrong and the cure, in a line, without the key.
        kind: of what kind it is.
        is_warning: it costs neither work nor time nor truth: it is told, and the run begins.
        place: `file:line` of the key, or the option of the command line; empty if nobody knows.
    """

    path: tuple[Any, ...]
    text: str
    kind: Kind
    is_warning: bool = False
    place: str = ''

    @property
    def key(self) -> str:
        """The key as BasicSR writes it: train:optim_g:lr."""
        return ':'.join(map(str, self.path))

    @property
    def message(self) -> str:
        """The line without its place."""
        joint = '' if self.text.startswith(':') else ' '
        return f'option {self.key}{joint}{self.text}' if self.path else self.text

    def __str__(self) -> str:
        warning = 'warning: ' if self.is_warning else ''
        text = redacted(f'{self.place}: {warning}{self.message}' if self.place else f'{warning}{self.message}')
        return ''.join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)

    @property
    def file_and_line(self) -> tuple[str, int]:
        """For sorting; a place without a line goes first."""
        file, _, line = self.place.rpartition(':')
        return (file, int(line)) if line.isdigit() else (self.place, 0)


def with_places(mistakes: Iterable[Mistake], places: Places | None) -> list[Mistake]:
    """Mistakes with their places, in the order of these."""
    if places is None:
        return list(mistakes)
    located = [replace(mistake, place=places.of(mistake.path)) for mistake in mistakes]
    return sorted(located, key=lambda mistake: mistake.file_and_line)


def error_of(mistakes: Sequence[Mistake]) -> OptionError:
    """One error for all mistakes: a line for one; for several a first line and one for each.

    Returns:
        An UnknownNameError if one of them is a name that is not registered.
    """
    lines = [str(mistake) for mistake in mistakes]
    text = lines[0] if len(lines) == 1 else '\n  '.join([f'the options have {len(lines)} mistakes:', *lines])
    has_unknown_name = any(mistake.kind == 'unknown name' for mistake in mistakes)
    return UnknownOptionError(text) if has_unknown_name else OptionError(text)


def is_first_process() -> bool:
    """Whether no other process of this machine says the same."""
    return (os.environ.get('LOCAL_RANK') or os.environ.get('SLURM_LOCALID') or '0') == '0'


def where(opt: Mapping) -> str:
    """What the messages of a data set begin with."""
    return f'phase {opt.get("phase")}, data set {opt.get("name") or "without name"}'


def shown(value: object) -> str:
    """A value as messages show it: a text in quotation marks, so that '64' is no number; all else as YAML has it."""
    if isinstance(value, str):
        return repr(value)
    try:
        text = yaml.safe_dump(_plain(value), default_flow_style=True, sort_keys=False, allow_unicode=True)
    except yaml.YAMLError:
        text = repr(value)
    text = ' '.join(text.removesuffix('...\n').split())
    return text if len(text) <= _LONGEST else f'{text[:_LONGEST]} …'


def _plain(value: object) -> object:
    """The value with the classes that YAML knows."""
    if isinstance(value, Mapping):
        return {key: _plain(content) for key, content in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(content) for content in value]
    return value
