"""Memory that is freed stays with the process."""

import platform

import pytest

from conftest import run_code

# Page faults of the second half of some allocations of 64 MiB that are written and freed.
COUNT = """
import resource, sys
import numpy as np
from okdnet_plugin.engine.memory import keep_freed_memory

if sys.argv[1] == 'kept':
    assert keep_freed_memory()
for number in range(20):
    if number == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(64 * 2**20, np.uint8)[::4096] = 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='another C library')
def test_memory_is_taken_from_the_system_once(tmp_path):
    faults = {how: int(run_code(COUNT, how, cwd=tmp_path).stdout) for how in ('given back', 'kept')}
    assert faults['kept'] < faults['given back'] / 10


def test_another_c_library_is_left_alone(monkeypatch):
    from okdnet_plugin.engine.memory import keep_freed_memory

    monkeypatch.setattr(platform, 'libc_ver', lambda: ('', ''))
    assert not keep_freed_memory()
