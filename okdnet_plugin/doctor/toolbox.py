"""The toolbox: who registers what in it, which commands there are, and what of it is mended here."""

from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points

from okdnet_plugin.doctor.finding import Finding, ok, one_line, wrong


def check_plugins() -> Iterator[Finding]:
    """Each plugin with what it has registered, then the toolbox, then each command; one that fails is one line."""
    from okdnet_plugin.config import registered as registry

    entries, loaded = registry.load()
    for attempt in loaded:
        key = f'plugin.{attempt.plugin.name}'
        registered = {
            kind: [entry.name for entry in entries if (entry.kind, entry.plugin) == (kind, attempt.plugin)]
            for kind in attempt.count
        }
        if attempt.error is not None:
            text = f'plugin {attempt.plugin} cannot be loaded from {attempt.entry.value}: {one_line(attempt.error)}'
            yield wrong(key, text, f'mend it, or pip uninstall {attempt.plugin.distribution}', registered=registered)
        else:
            yield ok(key, f'plugin {attempt.plugin} registers {_counted(attempt.count)}', registered=registered)
    yield from _unplugged(entries)
    for entry in sorted(entry_points(group='basicsr.commands'), key=lambda entry: entry.name):
        yield _command(entry)


def _unplugged(entries: list) -> Iterator[Finding]:
    """What the toolbox itself and packages without an entry point have registered."""
    from okdnet_plugin.config import registered as registry

    plugins = {entry.name for entry in entry_points(group='basicsr.plugins')}
    for plugin in dict.fromkeys(entry.plugin for entry in entries if entry.plugin.name not in plugins):
        kinds = [entry.kind for entry in entries if entry.plugin == plugin]
        count = {kind: kinds.count(kind) for kind in registry.KINDS if kind in kinds}
        label = 'the toolbox' if plugin.name == registry.BASICSR else plugin.distribution
        yield ok(f'registered.{plugin.name}', f'{label} ({plugin.version}) registers {_counted(count)}', count=count)


def _counted(count) -> str:
    return ', '.join(f'{number} {kind}' for kind, number in count.items()) or 'nothing'


def _command(entry: EntryPoint) -> Finding:
    key, source = f'command.{entry.name}', f'{entry.dist.name} {entry.dist.version}' if entry.dist else entry.value
    try:
        main = entry.load()
    except (Exception, SystemExit) as error:
        text = f'basicsr {entry.name} ({source}) cannot be loaded from {entry.value}: {one_line(error)}'
        return wrong(key, text, 'install its package again' + (f': {entry.dist.name}' if entry.dist else ''))
    if not callable(main):
        return wrong(key, f'basicsr {entry.name} ({source}): {entry.value} is no function', 'report it to its author')
    return ok(key, f'basicsr {entry.name} ({source})')


def check_patches() -> Iterator[Finding]:
    """Each mend of the toolbox with its reason, and whether it was needed here."""
    from okdnet_plugin import compat

    for patch in compat.PATCHES:
        key, reason = f'patch.{patch.name}', ' '.join(patch.reason.partition('\n')[0].split())
        cure = 'import okdnet_plugin before anything replaces functions of basicsr; look for a plugin that does'
        try:
            is_needed = patch.is_needed()
        except Exception as error:
            yield wrong(key, f'{patch.name}: what it mends cannot be looked at: {one_line(error)}', cure)
            continue
        if is_needed:
            yield wrong(key, f'{patch.name}: without effect. {reason}', cure, applied=patch in compat.APPLIED)
        elif patch in compat.APPLIED:
            yield ok(key, f'{patch.name}: mended. {reason}', applied=True)
        else:
            yield ok(key, f'{patch.name}: not needed, the toolbox is right here', applied=False)
