"""OKDNet for MMEngine and MMagic: the plugin's own classes in MMEngine's root registries.

A config names it in one line, `custom_imports = dict(imports=['okdnet_plugin.mm'])`, and needs the extra `mm`
(mmengine, mmcv-lite). Importing it registers networks, losses, data sets, transforms, metrics and hooks, which every
library of OpenMMLab finds from its own scope, and patches what is broken in MMEngine on today's torch (see
`okdnet_plugin.mm.compat`). It imports neither mmagic nor mmcv's compiled operators.
"""

import importlib.util

for _package in ('mmengine', 'mmcv'):
    if importlib.util.find_spec(_package) is None:
        raise ImportError(f'okdnet_plugin.mm needs {_package}: pip install okdnet_plugin[mm]', name=_package)

from okdnet_plugin.mm import compat, registries  # noqa: E402

compat.apply()
registries.register()
