"""The arguments of a registered class or function as keys of its block, read from its signature."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import TypeAdapter, ValidationError

from okdnet_plugin.schema.docstrings import arguments_of
from okdnet_plugin.schema.keys import ALWAYS, Block, Key
from okdnet_plugin.schema.limits import limits_of
from okdnet_plugin.schema.values import Number, Switch, Text, Whole, from_hint, joined, may_be_left_empty

_TOLD = {'int': Whole, 'float': Number, 'str': Text, 'bool': Switch}
_LISTS = ('list', 'tuple', 'sequence')


@functools.cache
def block_of_arguments(name: str, target: Callable, kind: str, left_out: tuple[str, ...] = ()) -> Block:
    """The block that a class is made with, or a function called with.

    A type is what the type hint says; without one, what the default is, and what the docstring says of it. What takes
    `**kwargs` may be given any other key.

    Args:
        name: what messages call it.
        target: class or function.
        kind: network, loss, metric, optimizer or scheduler.
        left_out: parameters that the toolbox gives.
    """
    parameters = [one for one in inspect.signature(target).parameters.values() if one.name not in left_out]
    is_open = any(one.kind is one.VAR_KEYWORD for one in parameters)
    hints, limits, told = _hints(target), limits_of(name, kind), arguments_of(target)
    keys = {}
    for one in parameters:
        if one.kind in (one.VAR_KEYWORD, one.VAR_POSITIONAL, one.POSITIONAL_ONLY):
            continue
        says = told[one.name].says if one.name in told else ''
        annotation = limits.get(one.name)
        if annotation is None or not _takes_default(annotation, one):
            annotation = _annotation(one, hints.get(one.name), told)
        if one.default is None and not may_be_left_empty(annotation):
            annotation = joined([annotation, None])
        keys[one.name] = Key(annotation, says, ALWAYS if one.default is one.empty else ())
    return Block(name, keys, is_open, 'argument')


def _takes_default(annotation: Any, parameter: inspect.Parameter) -> bool:
    """Whether a limit that goes by the name alone can be meant for this argument."""
    default = parameter.default
    if default in (parameter.empty, None):
        return True
    try:
        TypeAdapter(annotation).validate_python(list(default) if isinstance(default, tuple) else default)
    except ValidationError:
        return False
    return True


def _hints(target: Callable) -> dict[str, Any]:
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    except Exception:  # a hint may name what is imported for type checkers only
        return {name: hint for name, hint in getattr(function, '__annotations__', {}).items() if not _is_text(hint)}


def _is_text(hint: object) -> bool:
    return isinstance(hint, str)


def _annotation(parameter: inspect.Parameter, hint: object, told: dict) -> Any:
    if hint is not None:
        return from_hint(hint)
    said = told[parameter.name].type.lower() if parameter.name in told else ''
    if parameter.default in (parameter.empty, None):
        return _told(said, parameter.default is None)
    found = _of_default(parameter.default, said)
    return joined([found, *_lists_beside(parameter.default, said)])


def _told(said: str, may_be_empty: bool) -> Any:
    """The type that a docstring gives to an argument without a default that would show it."""
    kinds = [kind.strip() for kind in said.replace(', optional', '').replace(' or ', '|').split('|')]
    # What is said to be true or false is often a number.
    known = [_TOLD[kind] for kind in kinds if kind in _TOLD and kind != 'bool']
    known += [list for kind in kinds if kind.startswith(_LISTS)]
    known += [dict for kind in kinds if kind.startswith(('dict', 'mapping'))]
    if not known or len(known) < len([kind for kind in kinds if kind != 'none']):
        return Any
    return joined([*known, *([None] if may_be_empty else [])])


def _of_default(default: object, said: str) -> Any:
    if isinstance(default, bool):
        return Switch
    if isinstance(default, int):
        return Whole if said.startswith('int') else Number
    if isinstance(default, float):
        return Number
    if isinstance(default, str):
        return Text
    if isinstance(default, (list, tuple)):
        items = [_of_default(one, said.partition('[')[2].strip()) for one in default]
        return list[_widest(items)] if items else list  # type: ignore[misc]
    return Any


def _widest(annotations: Iterable[Any]) -> Any:
    distinct = {repr(one): one for one in annotations}
    return next(iter(distinct.values())) if len(distinct) == 1 else joined(distinct.values())


def _lists_beside(default: object, said: str) -> list[Any]:
    """An argument with a plain default may be said to take a list as well, and the other way round."""
    if not isinstance(default, (list, tuple)) and any(kind in said for kind in _LISTS):
        return [list]
    if isinstance(default, (list, tuple)) and said.split('[')[0].split('(')[0].strip() not in ('', *_LISTS):
        return [_TOLD[kind] for kind in ('int', 'float', 'str') if said.startswith(kind)]
    return []
