"""How much memory there is, how much a network needs, and how it looks when it was not enough."""

import contextlib
import os
from os import path as osp

import torch

from okdnet_plugin.engine.memory import is_out_of_memory

__all__ = ['available', 'bytes_per_pixel', 'is_out_of_memory']

# Upper bounds of the peak bytes a pixel, float32, eager, on a CPU, as measured at 512x512: AODNet 158, DCP 88, OKDNet
# 1502 (2541 before it is fused). The last stands for all other networks, with a margin.
_MEASURED = {'DCP': 200, 'AODNet': 200}
_MOST = 3000
_SHARE_OF_HALF = 0.6  # of that, with layers of 16 bits
_UNKNOWN = 4 * 2**30  # bytes, where the system does not say
_NO_LIMIT = 2**60  # what control groups write for none is near 2**63
_CGROUP = (
    ('/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory.current', '/sys/fs/cgroup/memory.stat'),
    (
        '/sys/fs/cgroup/memory/memory.limit_in_bytes',
        '/sys/fs/cgroup/memory/memory.usage_in_bytes',
        '/sys/fs/cgroup/memory/memory.stat',
    ),
)


def bytes_per_pixel(network: str, precision: str = 'fp32') -> int:
    """Upper estimate of what a network needs in memory for one pixel, in bytes.

    Args:
        network: its class.
        precision: of its layers; images, transmission and airlight are float32 whatever it is.
    """
    share = 1 if precision == 'fp32' else _SHARE_OF_HALF
    return int(share * _MEASURED.get(network, _MOST))


def available(device: torch.device) -> int:
    """Bytes that may still be taken on a device: of its memory, or of the system's and the control group's."""
    if device.type == 'cuda':
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(_of_system(), _of_process(), *(_of_cgroup(*files) for files in _CGROUP))


def _of_system() -> int:
    with contextlib.suppress(OSError), open('/proc/meminfo', encoding='ascii') as lines:
        for line in lines:
            if line.startswith('MemAvailable:'):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(ValueError, OSError, AttributeError):  # Windows has no sysconf
        return os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    return _UNKNOWN


def _of_process() -> int:
    """What `ulimit -v` still lets this process have, in which its libraries count with all that they might touch."""
    with contextlib.suppress(ImportError, OSError, ValueError, IndexError):  # not on Windows; /proc is Linux's
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        if most != resource.RLIM_INFINITY:
            with open('/proc/self/statm', encoding='ascii') as file:
                return max(0, most - int(file.read().split()[0]) * resource.getpagesize())
    return _NO_LIMIT


def _of_cgroup(limit: str, used: str, statistics: str) -> int:
    """What a container may still take; pages of files that can be dropped at once do not count as used."""
    try:
        most = _number(limit)
        if most > _NO_LIMIT:
            return most
        droppable = 0
        if osp.exists(statistics):
            with open(statistics, encoding='ascii') as lines:
                # Version 1 says it for the group, and in total with the groups below it.
                droppable = max((int(line.split()[1]) for line in lines if 'inactive_file ' in line), default=0)
        return max(0, most - max(0, _number(used) - droppable))
    except (OSError, ValueError, IndexError):
        return _NO_LIMIT


def _number(path: str) -> int:
    with open(path, encoding='ascii') as file:
        text = file.read().strip()
    return _NO_LIMIT + 1 if text == 'max' else int(text)
