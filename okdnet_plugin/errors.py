"""The errors that stand for a mistake of the user's, not of the program's, and how they point to the cure."""

import difflib
import traceback
from collections.abc import Iterable


class InputError(ValueError):
    """What the user gave cannot be used: an option, a file, a folder.

    The message is one line that names where (data set, file, key), what is wrong, and the cure. The `basicsr` command
    prints that line alone, without a traceback, and exits with code 2.
    """


class StoreError(InputError):
    """What holds the images of a data set cannot be read: none of them can, and to leave one out does not help."""


class UnknownNameError(InputError, KeyError):
    """A registry has no object of that name; a KeyError too, because that is what BasicSR raises."""

    __str__ = ValueError.__str__


def message_of(error: Exception) -> str:
    """The message of an error, without the traceback that a worker of a loader puts in front of it."""
    return str(error).rsplit(f'{type(error).__name__}: ', 1)[-1].strip()


def one_line(error: BaseException | str | None, most: int = 300) -> str:
    """What an error says, in one line that can be printed; its type, and the code of an assert, where it says nothing.

    Args:
        error: of whatever kind a decoder, an exporter or a network raises.
        most: characters; what is longer is cut.
    """
    text = message_of(error) if isinstance(error, Exception) else str(error or '')
    text = ' '.join(text.split()) or _unsaid(error)
    text = ''.join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return f'{text[:most]} …' if len(text) > most else text


def _unsaid(error: BaseException | str | None) -> str:
    """What can be said of an error without a message: its type, and the code of a bare `assert`."""
    if not isinstance(error, BaseException):
        return 'no message'
    frames = traceback.extract_tb(error.__traceback__) if isinstance(error, AssertionError) else []
    line = frames[-1].line if frames else None
    return f'{type(error).__name__} at `{line}`' if line else type(error).__name__


def named(error: BaseException, said: str) -> str:
    """What an error says behind its type, unless it begins with that."""
    kind = type(error).__name__
    return said if said.startswith(kind) else f'{kind}: {said}'


def did_you_mean(word: object, known: Iterable[str], cutoff: float = 0.6) -> str:
    """` (did you mean x?)` for the nearest known words, whatever their case; nothing if none is near.

    Args:
        word: what the user wrote.
        known: what would have been right.
        cutoff: how near, from 0 (anything) to 1 (equal).
    """
    by_lower_case = {name.lower(): name for name in known}
    near = difflib.get_close_matches(str(word).lower(), by_lower_case, n=2, cutoff=cutoff)
    return f' (did you mean {" or ".join(by_lower_case[name] for name in near)}?)' if near else ''


class SaveError(OSError):
    """What a run has made cannot be written; the message is one line that names the file, the cause and the cure.

    The `basicsr` command prints that line alone and exits with code 1.
    """


class BadUpdatesError(ArithmeticError):
    """Too many updates in a row would not have been finite; the message is one line. Exit code 1."""
