"""Plugins of BasicSR: packages with an entry point in the group `basicsr.plugins`."""

from importlib.metadata import EntryPoint, entry_points, packages_distributions

from okdnet_plugin.errors import did_you_mean

GROUP = 'basicsr.plugins'


class PluginError(Exception):
    """A plugin could not be loaded."""


def load_plugins() -> list[str]:
    """Call every entry point of the group `basicsr.plugins`; may run twice.

    Returns:
        A line for each plugin: its name, distribution and version.

    Raises:
        PluginError: a plugin cannot be imported or does not register; the message names it.
    """
    loaded = []
    for plugin in entries(GROUP):
        try:
            plugin.load()()
        except Exception as error:
            raise PluginError(
                f'plugin {describe(plugin)} cannot be loaded from {plugin.value}: {type(error).__name__}: {error}'
            ) from error
        loaded.append(describe(plugin))
    return loaded


def whose(name: str, package: str | None = None) -> str:
    """Which package may register a name that no loaded plugin has registered, in words.

    Args:
        name: of the class or function.
        package: that a file of weights or of options tells, if one does.
    """
    if package:
        return f'it is of the package {package}; install it, so that its entry point in {GROUP} is loaded'
    near = did_you_mean(name, packages_distributions()).replace('did you mean', 'is it of the installed package')
    loaded = ', '.join(map(describe, entries(GROUP))) or 'none'
    return f'install the package that registers it{near}, with an entry point in {GROUP}; loaded are: {loaded}'


def entries(group: str) -> list[EntryPoint]:
    """Entry points of a group, in the order of their names."""
    return sorted(entry_points(group=group), key=lambda entry: entry.name)


def describe(entry: EntryPoint) -> str:
    """A plugin by its name, distribution and version."""
    return f'{entry.name} ({distribution(entry)})'


def distribution(entry: EntryPoint) -> str:
    """Name and version of the package that an entry point is of."""
    return f'{entry.dist.name} {entry.dist.version}' if entry.dist else 'no distribution'
