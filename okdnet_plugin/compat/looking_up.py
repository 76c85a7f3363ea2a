"""Names in the registries."""

import contextlib
import io

from okdnet_plugin.compat.patches import patch
from okdnet_plugin.errors import UnknownNameError, did_you_mean


def _registry_hides_the_mistake() -> bool:
    from basicsr.utils.registry import Registry

    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(KeyError):
        Registry('probe').get('Missing')
    return 'use name' in printed.getvalue()


@patch(_registry_hides_the_mistake)
def suggest_registered_names() -> None:
    """For an unknown name a registry prints "use name: X_basicsr!" and then says only that X was not found.

    Reported: XPixelGroup/BasicSR issues 419, 506 and 723. The error now gives the near names. Can go when BasicSR's
    own error does.
    """
    from basicsr.utils.registry import Registry

    def get(self, name, suffix='basicsr'):
        for candidate in (name, f'{name}_{suffix}'):
            if candidate in self:
                return self._obj_map[candidate]
        hint = did_you_mean(name, self.keys(), cutoff=0.75)
        raise UnknownNameError(f"No object named '{name}' found in '{self._name}' registry{hint}")

    Registry.get = get
