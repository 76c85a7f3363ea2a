"""What is patched in BasicSR, and whether each patch works."""

from collections.abc import Iterator

from okdnet_plugin.doctor.finding import Finding, ok, one_line, wrong


def check() -> Iterator[Finding]:
    """Each patch of BasicSR with its reason, and whether it was needed here."""
    from okdnet_plugin import compat

    compat.apply()
    for patch in compat.PATCHES:
        key, reason = f'patch.{patch.name}', ' '.join(patch.reason.partition('\n')[0].split())
        cure = 'import okdnet_plugin before anything replaces functions of basicsr; look for a plugin that does'
        try:
            is_needed = patch.is_needed()
        except Exception as error:
            yield wrong(key, f'{patch.name}: the defect cannot be looked for: {one_line(error)}', cure)
            continue
        if is_needed:
            yield wrong(key, f'{patch.name}: without effect. {reason}', cure, applied=patch in compat.APPLIED)
        elif patch in compat.APPLIED:
            yield ok(key, f'{patch.name}: patched. {reason}', applied=True)
        else:
            yield ok(key, f'{patch.name}: not needed, BasicSR is right here', applied=False)
