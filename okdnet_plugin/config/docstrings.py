"""What docstrings say of arguments: a line each, and their types where nothing else tells."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import NamedTuple

_SECTION = re.compile(r'^(Args|Arguments|Parameters)\s*:\s*$')
_OTHER_SECTION = re.compile(r'^[A-Z][A-Za-z ]*\s*:{1,2}\s*$')
_ARGUMENT = re.compile(r'^(?:- )?\*{0,2}(\w+(?:, \w+)*)\s*(?:\(([^)]*(?:\([^)]*\)[^)]*)*)\))?\s*:\s*(.*)$')
_LONGEST = 160


class Told(NamedTuple):
    """What a docstring says of an argument: its type, as it is written there, and its meaning in a line."""

    type: str
    says: str


@functools.cache
def arguments_of(target: Callable) -> dict[str, Told]:
    """Arguments that the docstring of a class or its parents, its constructor or a function explains, by name."""
    told: dict[str, Told] = {}
    family = target.__mro__[:-1] if isinstance(target, type) else (target,)
    for documented in (*family, getattr(target, '__init__', None)):
        told = {**_parsed(inspect.getdoc(documented) or ''), **told} if documented is not None else told
    return told


def summary_of(target: Callable) -> str:
    """The first sentence of a docstring, in a line; empty if there is none of its own."""
    own = target.__dict__.get('__doc__') if inspect.isclass(target) else target.__doc__
    paragraph = inspect.cleandoc(own or '').partition('\n\n')[0]
    return _first_sentence(' '.join(paragraph.split()))


def _parsed(text: str) -> dict[str, Told]:
    told: dict[str, Told] = {}
    indent = None
    name, kind, parts = '', '', []

    def close() -> None:
        for one in filter(None, name.split(', ')):
            told.setdefault(one, Told(kind, _first_sentence(' '.join(parts))))

    is_inside = False
    for line in text.splitlines():
        stripped = line.strip()
        if _SECTION.match(stripped):
            is_inside, indent = True, None
            continue
        if not is_inside or not stripped:
            continue
        depth = len(line) - len(line.lstrip())
        if indent is None:
            indent = depth
        if depth < indent or (_OTHER_SECTION.match(stripped) and depth == 0):
            is_inside = False
            continue
        match = _ARGUMENT.match(stripped)
        if match and (depth == indent or stripped.startswith('- ')):
            close()
            name, kind, parts = match[1], (match[2] or '').strip(), [match[3]]
        else:
            parts.append(stripped)
    close()
    return told


def _first_sentence(text: str) -> str:
    sentence = re.split(r'(?<=[^.\d][.;:])\s+(?=[A-Z`(])', text, maxsplit=1)[0].strip().rstrip('.;:')
    return sentence if len(sentence) <= _LONGEST else sentence[: _LONGEST - 2].rsplit(' ', 1)[0] + ' …'
