"""How much of the machine this process may use: cores and memory as the system and its control groups allow them."""

import os
from pathlib import Path

_UNLIMITED = 2**60  # bytes; version 1 writes a number near 2**63 for none


def cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def core_limit(root: str = '/sys/fs/cgroup', membership: str = '/proc/self/cgroup') -> float | None:
    """Cores whose time the control groups of this process grant it, as a container's `--cpus`; None without a limit.

    Args:
        root: where control groups are mounted.
        membership: the groups of this process, see cgroups(7).
    """
    limits = []
    for folder in _folders(root, membership, 'cpu'):
        version_2 = _numbers(folder / 'cpu.max')
        version_1 = _numbers(folder / 'cpu.cfs_quota_us') + _numbers(folder / 'cpu.cfs_period_us')
        for pair in (version_2, version_1):
            if len(pair) == 2 and min(pair) > 0:  # without a limit it is `max`, or -1
                limits.append(pair[0] / pair[1])
    return min(limits, default=None)


def memory_limit(root: str = '/sys/fs/cgroup', membership: str = '/proc/self/cgroup') -> int | None:
    """Bytes of memory that the control groups of this process grant it; None without a limit."""
    limits = []
    for folder in _folders(root, membership, 'memory'):
        for name in ('memory.max', 'memory.limit_in_bytes'):
            limits += [limit for limit in _numbers(folder / name) if limit < _UNLIMITED]
    return min(limits, default=None)


def memory(path: str = '/proc/meminfo') -> tuple[int, int] | None:
    """Bytes of memory in all, and of those that can be had now; None where the system does not say."""
    try:
        lines = dict(line.split(':', 1) for line in Path(path).read_text().splitlines() if ':' in line)
        total, available = (int(lines[key].split()[0]) * 1024 for key in ('MemTotal', 'MemAvailable'))
    except (OSError, KeyError, ValueError, IndexError):
        return None
    return total, available


def _folders(root: str, membership: str, controller: str) -> list[Path]:
    """Folders of the groups of this process, from its own to the root: each of them may limit it."""
    try:
        lines = Path(membership).read_text().splitlines()
    except OSError:
        lines = []
    folders = []
    for line in lines:
        number, _, rest = line.partition(':')
        controllers, _, group = rest.partition(':')
        if number == '0':  # version 2
            base = Path(root)
        elif controller in controllers.split(','):
            base = Path(root, controller) if Path(root, controller).is_dir() else Path(root, controllers)
        else:
            continue
        # Inside of a container the path may be that of the host, which is not there: its root is the group then.
        own = base / group.lstrip('/')
        folders += [folder for folder in (own, *own.parents) if folder == base or base in folder.parents]
    return folders or [Path(root)]


def _numbers(path: Path) -> list[int]:
    """The whole numbers in a file; none without it."""
    try:
        return [int(word) for word in path.read_text().split() if word.lstrip('-').isdigit()]
    except OSError:
        return []
