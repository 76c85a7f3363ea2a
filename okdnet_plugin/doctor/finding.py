"""What an examination finds: one line each, in plain words, with the cure where there is something to cure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

STATUSES = ('ok', 'warning', 'wrong')  # each worse than the one before


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    status: str
    """`ok`, `warning` (works, but not as well as it could) or `wrong` (something will fail)."""
    key: str
    """What was looked at, in a word that stays the same from version to version."""
    text: str
    cure: str = ''
    values: dict = field(default_factory=dict)
    """The figures of the text, for programs; plain JSON."""


Check = Callable[[], Iterator[Finding]]


def ok(key: str, text: str, **values: object) -> Finding:
    return Finding('ok', key, text, values=values)


def warning(key: str, text: str, cure: str = '', **values: object) -> Finding:
    return Finding('warning', key, text, cure, values)


def wrong(key: str, text: str, cure: str = '', **values: object) -> Finding:
    return Finding('wrong', key, text, cure, values)


def worst(findings: list[Finding]) -> str:
    """The worst status of all; `ok` of none."""
    return max((finding.status for finding in findings), key=STATUSES.index, default='ok')


def one_line(error: BaseException, length: int = 300) -> str:
    """An error with its class, as one line of at most `length` characters."""
    text = ' '.join(str(error).split())
    text = f'{type(error).__name__}: {text}' if text else type(error).__name__
    return text if len(text) <= length else f'{text[: length - 1]}…'
