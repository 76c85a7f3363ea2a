"""The only place that patches the toolbox.

BasicSR 1.4.2 is the last release (August 2022); torch and torchvision have moved on since. A patch here is a function
that puts one thing right. Its docstring says what is wrong, where that is reported, and when the patch can go; the
condition in its decorator finds out whether the defect is there, so that a mended toolbox is left alone.

A file here is a subject; its import notes its patches down, in the order in which `apply` goes through them. Where two
wrap one function, the later one is outside.
"""

# isort: off
from okdnet_plugin.compat.patches import APPLIED, PATCHES, Patch, apply
from okdnet_plugin.compat import importing  # noqa: F401  first: others import the toolbox
from okdnet_plugin.compat import option_files, launching, devices  # noqa: F401
from okdnet_plugin.compat import resuming, checking, data_order  # noqa: F401
from okdnet_plugin.compat import networks, losses, saving, loading, prefetching, looking_up  # noqa: F401

__all__ = ['APPLIED', 'PATCHES', 'Patch', 'apply']
