"""All checks, one after the other, none of which can take the others with it."""

import importlib
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from okdnet_plugin.doctor.finding import Check, Finding, one_line, warning, wrong
from okdnet_plugin.doctor.versions import imports

PATIENCE = 120.0  # seconds; a network folder or a driver that hangs gives no error
HANGS = '.hangs'  # ends the key of a finding that says so


@dataclass(frozen=True)
class Group:
    """Checks that belong together."""

    name: str
    title: str
    check: str
    """`module:function` below this package, imported when its turn comes: an import may be what is broken."""
    needs: tuple[str, ...] = ()
    """Modules of `versions.NEEDED` without which there is nothing to look at."""

    def load(self) -> Check:
        module, _, function = self.check.partition(':')
        return getattr(importlib.import_module(f'okdnet_plugin.doctor.{module}'), function)


_ALL = ('numpy', 'torch', 'torchvision', 'cv2', 'basicsr')
SELF_TEST = Group('self_test', 'self-test', 'self_test:check', _ALL)
GROUPS = (
    Group('versions', 'versions', 'versions:check'),
    Group('patches', 'patches of BasicSR', 'patches:check', _ALL),
    Group('gpu', 'GPU', 'gpu:check', ('torch',)),
    Group('disk', 'disk', 'disk:check'),
    SELF_TEST,
)


def examine(groups: Sequence[Group], seconds: float = PATIENCE) -> Iterator[tuple[Group, Finding]]:
    """Run the checks of each group.

    Args:
        groups: what is looked at, in this order.
        seconds: a group's time; its checks run in a thread, which is left behind when it does not come back.

    Yields:
        Each finding as it comes; an error of a check is a finding, too.
    """
    for group in groups:
        for finding in _findings_in_time(group, seconds):
            yield group, finding


def _findings_in_time(group: Group, seconds: float) -> Iterator[Finding]:
    found: queue.Queue[Finding | None] = queue.Queue()

    def run() -> None:
        for finding in _findings(group):
            found.put(finding)
        found.put(None)

    # A daemon: a check that hangs in the system must not keep this process alive.
    threading.Thread(target=run, daemon=True).start()
    end = time.monotonic() + seconds
    while True:
        try:
            finding = found.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            text = f'no answer after {seconds:.0f} s; the rest of this part is left out'
            cure = 'look at what it asks: a network folder, a driver or a device that does not answer'
            yield wrong(f'{group.name}{HANGS}', text, cure)
            return
        if finding is None:
            return
        yield finding


def _findings(group: Group) -> Iterator[Finding]:
    try:
        missing = [name for name in group.needs if imports()[name][1] is not None]
        if missing:
            text = f'not tried, because {" and ".join(missing)} cannot be imported, see above'
            yield warning(f'{group.name}.not_tried', text)
        else:
            yield from group.load()()
    except (Exception, SystemExit) as error:  # of a plugin that ends the process: every failure is a line
        text = f'the check itself failed: {one_line(error)}'
        yield wrong(f'{group.name}.failed', text, 'report it with this whole text')
