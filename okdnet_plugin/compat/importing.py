"""Importing BasicSR at all."""

import contextlib
import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator
from types import ModuleType

from okdnet_plugin.compat.patches import patch

_COMPILER = ('torch._dynamo', 'torch._dynamo.utils')


def _functional_tensor_is_missing() -> bool:
    name = 'torchvision.transforms.functional_tensor'
    with _compiler_when_needed():
        return name not in sys.modules and importlib.util.find_spec(name) is None


@patch(_functional_tensor_is_missing)
def provide_functional_tensor() -> None:
    """`import basicsr` needs torchvision.transforms.functional_tensor, which torchvision 0.17 made private.

    Reported: XPixelGroup/BasicSR issues 533 and 663; corrected in its PR 650, never released. Can go with the first
    release of BasicSR that has it. Workers that a launcher starts by spawn import this package too, and so get it.
    """
    sys.modules['torchvision.transforms.functional_tensor'] = importlib.import_module(
        'torchvision.transforms._functional_tensor'
    )


_TAKING_AWAY = threading.Lock()


class _StandIn(ModuleType):
    """A module of torch's compiler until something of it is used."""

    def __getattr__(self, name: str) -> object:
        if name == 'is_compile_supported':  # roi_align takes it when it is imported, and may call it
            return lambda device: importlib.import_module(self.__name__).is_compile_supported(device)
        of_package = name == '__path__' and self.__name__ == _COMPILER[0]  # asked for to import a module inside
        if name.startswith('__') and not of_package:
            raise AttributeError(name)
        _take_stand_ins_away()
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def _compiler_when_needed() -> Iterator[None]:
    """Let torchvision be imported without torch's compiler, which comes when something of it is used.

    torchvision's roi_align takes one function of it, whose import takes a second or so in every command and every
    worker. Can go when torchvision imports it where it calls it.
    """
    if any(name in sys.modules for name in (*_COMPILER, 'torchvision')):
        yield
        return
    importlib.import_module('torch')  # which may want it for itself
    if _COMPILER[0] not in sys.modules:
        sys.modules.update({name: _StandIn(name) for name in _COMPILER})
    try:
        yield
    finally:
        _take_stand_ins_away()


def _take_stand_ins_away() -> None:
    with _TAKING_AWAY:
        for name in _COMPILER:
            if isinstance(sys.modules.get(name), _StandIn):
                del sys.modules[name]
