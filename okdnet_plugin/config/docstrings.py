"""What docstrings say of a class or a function, and of each argument, in a line."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable

_SECTION = re.compile(r'(Args|Arguments|Parameters)\s*:')
# A name or several; the type that some write behind it; a colon.
_ARGUMENT = re.compile(r'(?:- )?\*{0,2}(\w+(?:, \w+)*)\s*(?:\((?:[^()]|\([^()]*\))*\))?\s*:\s*(.*)')
_LONGEST = 160


@functools.cache
def arguments_of(target: Callable) -> dict[str, str]:
    """Arguments that the docstring of a class or its parents, its constructor or a function explains, by name."""
    says: dict[str, str] = {}
    family = target.__mro__[:-1] if isinstance(target, type) else (target,)
    for documented in (*family, getattr(target, '__init__', None)):
        says = _parsed(inspect.getdoc(documented) or '') | says
    return says


def summary_of(target: Callable) -> str:
    """The first sentence of a docstring, in a line; empty if there is none of its own."""
    own = target.__dict__.get('__doc__') if inspect.isclass(target) else target.__doc__
    return _first_sentence(inspect.cleandoc(own or '').partition('\n\n')[0])


def _parsed(text: str) -> dict[str, str]:
    said: dict[str, list[str]] = {}
    indent: int | None = None  # of the arguments; None outside their section
    names = ''
    for line in text.splitlines():
        stripped = line.strip()
        depth = len(line) - len(line.lstrip())
        if _SECTION.fullmatch(stripped):
            indent, names = -1, ''
        elif stripped and indent is not None:
            indent = depth if indent < 0 else indent
            match = _ARGUMENT.match(stripped)
            if depth < indent or (depth == indent == 0 and match is None):
                indent = None
            elif match and (depth == indent or stripped.startswith('- ')):
                names = match[1]
                said.setdefault(names, []).append(match[2])
            elif names:
                said[names].append(stripped)
    return {name: _first_sentence(' '.join(parts)) for names, parts in said.items() for name in names.split(', ')}


def _first_sentence(text: str) -> str:
    text = ' '.join(text.split())
    sentence = re.split(r'(?<=[^.\d][.;:])\s+(?=[A-Z`(])', text, maxsplit=1)[0].strip().rstrip('.;:')
    return sentence if len(sentence) <= _LONGEST else sentence[: _LONGEST - 2].rsplit(' ', 1)[0] + ' …'
