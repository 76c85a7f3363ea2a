"""OKDNet for BasicSR: single-image dehazing as a plugin of BasicSR.

Importing the package imports neither torch nor BasicSR. From then on `import basicsr` works on today's torch, because
BasicSR is patched while it is imported (see `okdnet_plugin.compat`), also in the worker processes of a data loader.
`register()` puts the plugin's networks, data sets, losses and models into BasicSR's registries; the `basicsr` command
calls it through the entry point `basicsr.plugins`.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING

from okdnet_plugin import compat
from okdnet_plugin.version import __version__ as __version__

compat.apply_on_import()

if TYPE_CHECKING:
    from okdnet_plugin.inference.dehazer import Dehazer as Dehazer

# A module is registered by the end of its name, as in BasicSR: rooms and the names that they give their modules.
_ROOMS = {'archs': '_arch', 'data': '_dataset', 'losses': '_loss', 'metrics': '_metric', 'models': '_model'}


def register() -> None:
    """Import every module of the plugin that puts something into a registry of BasicSR; may run twice.

    Raises:
        ImportError: a module of the plugin cannot be imported. Nothing is swallowed.
        AssertionError: another package has already registered one of the plugin's names.
    """
    for room, suffix in _ROOMS.items():
        package = importlib.import_module(f'{__name__}.{room}')
        for module in pkgutil.iter_modules(package.__path__):
            if module.name.endswith(suffix):
                importlib.import_module(f'{package.__name__}.{module.name}')


def __getattr__(name: str) -> object:
    """`Dehazer`, imported when it is asked for: a training needs nothing of it."""
    if name == 'Dehazer':
        from okdnet_plugin.inference.dehazer import Dehazer

        return Dehazer
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
