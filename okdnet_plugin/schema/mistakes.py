"""A mistake in an option file, and how several are told at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from okdnet_plugin.errors import InputError, UnknownNameError

Kind = Literal['unknown key', 'wrong value', 'missing key', 'unknown name', 'missing file', 'contradiction']


class Places(Protocol):
    """Tells where a key is written."""

    def of(self, key_path: Sequence[Any], /) -> str: ...


@dataclass(frozen=True)
class Mistake:
    """One mistake.

    Args:
        path: keys that lead to it.
        text: what is wrong and the cure, in a line, without the key.
        kind: of what kind it is.
        place: `file:line` of the key, or the option of the command line; empty if nobody knows.
    """

    path: tuple[Any, ...]
    text: str
    kind: Kind
    place: str = ''

    @property
    def key(self) -> str:
        """The key as the toolbox writes it: train:optim_g:lr."""
        return ':'.join(map(str, self.path))

    @property
    def message(self) -> str:
        """The line without its place."""
        joint = '' if self.text.startswith(':') else ' '
        return f'option {self.key}{joint}{self.text}' if self.path else self.text

    def __str__(self) -> str:
        return f'{self.place}: {self.message}' if self.place else self.message

    @property
    def file_and_line(self) -> tuple[str, int]:
        """For sorting; a place without a line goes first."""
        file, _, line = self.place.rpartition(':')
        return (file, int(line)) if line.isdigit() else (self.place, 0)


def error_of(mistakes: Sequence[Mistake]) -> InputError:
    """One error for all mistakes: a line for one; for several a first line and one for each.

    Returns:
        UnknownNameError if one of them is a name that is not registered.
    """
    lines = [str(mistake) for mistake in mistakes]
    text = lines[0] if len(lines) == 1 else '\n  '.join([f'the options have {len(lines)} mistakes:', *lines])
    has_unknown_name = any(mistake.kind == 'unknown name' for mistake in mistakes)
    return UnknownNameError(text) if has_unknown_name else InputError(text)
