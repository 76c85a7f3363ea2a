"""The only place that patches BasicSR.

BasicSR 1.4.2 is the last release (August 2022); torch and torchvision have moved on since. A patch here is a function
that puts one thing right. Its docstring says what is wrong, where that is reported, and when the patch can go; the
condition in its decorator finds out whether the defect is there, so that a corrected BasicSR is left alone.

A file here is a subject; its import notes its patches down, in the order of `_SUBJECTS`, in which `apply` goes through
them. Where two wrap one function, the later one is outside. Nothing is imported, neither torch nor BasicSR, before
somebody imports BasicSR or calls `apply`.
"""

import importlib
import importlib.abc
import sys
from types import ModuleType

from okdnet_plugin.compat.patches import APPLIED, PATCHES, Patch, apply_noted

__all__ = ['APPLIED', 'PATCHES', 'Patch', 'apply', 'apply_on_import']

_SUBJECTS = (
    *('importing', 'option_files', 'launching', 'devices', 'resuming', 'checking', 'data_order', 'locking'),
    *('networks', 'losses', 'saving', 'testing', 'prefetching', 'looking_up'),
)


def apply() -> None:
    """Apply every patch whose defect is present; may run any number of times, before or after `import basicsr`."""
    for subject in _SUBJECTS:
        importlib.import_module(f'{__name__}.{subject}')
    apply_noted()


def apply_on_import() -> None:
    """Apply the patches as soon as somebody imports BasicSR; at once if that has happened already."""
    if 'basicsr' in sys.modules:
        apply()
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finds BasicSR where it is, and lets its loader apply the patches."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname != 'basicsr':
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                importlib.import_module(f'{__name__}.importing')
                apply_noted('provide_functional_tensor')  # without which BasicSR cannot be imported at all
                execute(module)
                apply()

            spec.loader.exec_module = exec_module
        return spec
