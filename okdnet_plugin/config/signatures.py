"""The arguments of a registered class or function as keys of its block, read from its signature.

`Literal`, `Annotated[int, Ge(1)]` and plain hints are what its author declares. Without a hint the default tells what
is likely meant, which is a guess, and said to be one. `**kwargs` takes any other key; `**_`, or `**images: np.ndarray`,
says that none of them is an option.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any

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
    from_hint,
    joined,
    may_be_left_empty,
    note_of,
)

# What an argument without a hint may be, by the type of its default.
_GUESSES = {bool: Switch, int: Number | list, float: Number | list, str: Text, tuple: list, list: list}
# Types of what torch and BasicSR leave without one, by the name of the argument.
_KNOWN: dict[str, dict[str, Any]] = {
    'loss': {'gan_type': Text, 'layer_weights': dict[str, Number]},
    'metric': {'crop_border': FromZero},
    'optimizer': {'lr': NotNegative},
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
    hints, says = _hints(target), arguments_of(target)
    usual = _KNOWN.get(kind, {})
    known = usual | hints if kind == 'loss' else hints | usual  # hints of torch, and of a border, are wide
    rest = [one for one in parameters if one.kind is one.VAR_KEYWORD and one.name != '_']
    is_open = any(hints.get(one.name, Any) in (Any, object) for one in rest)
    keys = {}
    for one in parameters:
        if one.kind in (one.VAR_KEYWORD, one.VAR_POSITIONAL, one.POSITIONAL_ONLY):
            continue
        is_guess = one.name not in known
        annotation = _GUESSES.get(type(one.default), Any) if is_guess else from_hint(known[one.name])
        if one.default is None and not may_be_left_empty(annotation):
            annotation = joined([annotation, None])
        keys[one.name] = Key(
            annotation,
            says.get(one.name, ''),
            needed=ALWAYS if one.default is one.empty else (),
            inside=note_of(hints.get(one.name), Typed),
            default=NOTHING if one.default is one.empty or one.default is None else one.default,
            is_guess=is_guess,
        )
    return Block(name, keys, is_open, 'argument')


def _hints(target: Callable) -> dict[str, Any]:
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    except Exception:  # a hint may name what is imported for type checkers only
        written = getattr(function, '__annotations__', {})
        return {name: hint for name, hint in written.items() if not isinstance(hint, str)}
