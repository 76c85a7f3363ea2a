"""The arguments of a registered class or function as keys of its block, read from its signature.

`Literal`, `Annotated[int, Ge(1)]` and plain hints are what its author declares. Without a hint the default and the
docstring tell what is likely meant, which is a guess, and said to be one. `**kwargs` takes any other key; `**_`, or
`**images: np.ndarray`, says that none of them is an option.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterable
from typing import Annotated, Any

from annotated_types import Len
from pydantic import Field, TypeAdapter, ValidationError

from okdnet_plugin.config.docstrings import arguments_of
from okdnet_plugin.config.keys import ALWAYS, NOTHING, Block, Key, Typed
from okdnet_plugin.config.types import (
    FromZero,
    IterationCount,
    IterationsFromZero,
    NotNegative,
    Number,
    Switch,
    Text,
    Whole,
    from_hint,
    joined,
    may_be_left_empty,
    note_of,
)

_TOLD = {'int': Whole, 'float': Number, 'str': Text, 'bool': Switch}
_LISTS = ('list', 'tuple', 'sequence')
_BelowOne = Annotated[Number, Field(ge=0, lt=1)]
# Ranges of what torch and BasicSR leave without one, by the name of the argument.
_RANGES: dict[str, dict[str, Any]] = {
    'metric': {'crop_border': FromZero},
    'optimizer': {
        'lr': NotNegative,
        'betas': Annotated[list[_BelowOne], Len(2, 3)],
        'eps': joined([NotNegative, None]),
        'weight_decay': NotNegative,
        'momentum': NotNegative,
    },
    'scheduler': {
        'milestones': list[IterationsFromZero],
        'gamma': NotNegative,
        'restarts': list[IterationsFromZero],
        'restart_weights': list[NotNegative],
        'periods': list[IterationCount],
        'eta_min': NotNegative,
    },
}


@functools.cache
def block_of_arguments(name: str, target: Callable, kind: str, given: tuple[str, ...] = ()) -> Block:
    """The block that a class is made with, or a function called with.

    Args:
        name: what messages call it.
        target: class or function.
        kind: network, loss, metric, optimizer or scheduler.
        given: parameters that do not come from the option file.
    """
    parameters = [one for one in inspect.signature(target).parameters.values() if one.name not in given]
    hints, ranges, told = _hints(target), _RANGES.get(kind, {}), arguments_of(target)
    rest = [one for one in parameters if one.kind is one.VAR_KEYWORD and one.name != '_']
    is_open = any(hints.get(one.name, Any) in (Any, object) for one in rest)
    keys = {}
    for one in parameters:
        if one.kind in (one.VAR_KEYWORD, one.VAR_POSITIONAL, one.POSITIONAL_ONLY):
            continue
        annotation, is_guess = ranges.get(one.name), False
        if annotation is None or not _takes_default(annotation, one):
            is_guess = one.name not in hints
            annotation = _guessed(one, told) if is_guess else from_hint(hints[one.name])
        if one.default is None and not may_be_left_empty(annotation):
            annotation = joined([annotation, None])
        needed = ALWAYS if one.default is one.empty else ()
        default = NOTHING if one.default is one.empty or one.default is None else one.default
        says = told[one.name].says if one.name in told else ''
        inside = note_of(hints.get(one.name), Typed)
        keys[one.name] = Key(annotation, says, needed, inside, default=default, is_guess=is_guess)
    return Block(name, keys, is_open, 'argument')


def _takes_default(annotation: Any, parameter: inspect.Parameter) -> bool:
    """Whether a range that goes by the name alone can be meant for this argument."""
    default = parameter.default
    if default is parameter.empty or default is None:
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
        written = getattr(function, '__annotations__', {})
        return {name: hint for name, hint in written.items() if not isinstance(hint, str)}


def _guessed(parameter: inspect.Parameter, told: dict) -> Any:
    said = told[parameter.name].type.lower() if parameter.name in told else ''
    if parameter.default is parameter.empty or parameter.default is None:
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
