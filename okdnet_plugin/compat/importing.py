"""Importing BasicSR at all."""

import importlib
import importlib.util
import sys

from okdnet_plugin.compat.patches import patch


def _functional_tensor_is_missing() -> bool:
    name = 'torchvision.transforms.functional_tensor'
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
