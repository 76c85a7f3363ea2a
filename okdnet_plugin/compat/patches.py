"""A patch of BasicSR, and where all of them are."""

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Patch:
    """One patch of BasicSR: what it does, and whether it is needed here."""

    function: Callable[[], None]
    is_needed: Callable[[], bool]

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def reason(self) -> str:
        return inspect.getdoc(self.function) or ''


PATCHES: list[Patch] = []
APPLIED: list[Patch] = []


def apply_noted(name: str | None = None) -> None:
    """Apply every patch that is noted down and whose defect is present.

    Args:
        name: only the patch of this name.
    """
    for patch in list(PATCHES):
        if name in (None, patch.name) and patch not in APPLIED and patch.is_needed():
            patch.function()
            APPLIED.append(patch)


def patch(is_needed: Callable[[], bool]) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Note a function down as a patch, which is applied where its condition holds."""

    def decorator(function):
        PATCHES.append(Patch(function, is_needed))
        return function

    return decorator


def source_of(name: str) -> str:
    """Source text of `module:function` or `module:Class.method` of BasicSR."""
    module, _, attribute = name.partition(':')
    function = functools.reduce(getattr, attribute.split('.'), importlib.import_module(module))
    return inspect.getsource(function.__code__)  # of what runs: getsource would look through a wrapper


def original_source_of(name: str) -> str:
    """As `source_of`, of what a decorator of BasicSR's, such as `master_only`, wraps."""
    module, _, attribute = name.partition(':')
    return inspect.getsource(functools.reduce(getattr, attribute.split('.'), importlib.import_module(module)))


def sources_of(name: str) -> str:
    """Source text of `module:function` and of all that it wraps, ours too."""
    module, _, attribute = name.partition(':')
    function = getattr(importlib.import_module(module), attribute)
    texts = [inspect.getsource(function.__code__)]
    while hasattr(function, '__wrapped__'):
        function = function.__wrapped__
        texts.append(inspect.getsource(function.__code__))
    return '\n'.join(texts)


def replace_function(name: str, replacement: Callable) -> None:
    """Replace `module:function` in its module and in every BasicSR module that has imported it by name."""
    module, _, attribute = name.partition(':')
    original = getattr(importlib.import_module(module), attribute)
    for loaded_name, loaded in list(sys.modules.items()):
        if loaded_name.split('.')[0] == 'basicsr' and getattr(loaded, attribute, None) is original:
            setattr(loaded, attribute, replacement)
