"""The machine: limits of control groups of both versions, seen from inside and outside of a container."""

import pytest

from okdnet_plugin.doctor import machine


@pytest.fixture
def groups(tmp_path):
    """Write files of control groups; returns the arguments of the functions."""

    def make(membership, files):
        for name, content in files.items():
            path = tmp_path / 'cgroup' / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f'{content}\n')
        (tmp_path / 'membership').write_text(membership)
        return {'root': str(tmp_path / 'cgroup'), 'membership': str(tmp_path / 'membership')}

    return make


@pytest.mark.parametrize(
    ('membership', 'files', 'cores'),
    [
        ('0::/\n', {'cpu.max': '250000 100000'}, 2.5),
        ('0::/\n', {'cpu.max': 'max 100000'}, None),
        ('0::/job/step\n', {'job/cpu.max': '400000 100000', 'job/step/cpu.max': 'max 100000'}, 4),
        ('0::/job/step\n', {'job/cpu.max': '400000 100000', 'job/step/cpu.max': '200000 100000'}, 2),
        ('0::/of/the/host\n', {'cpu.max': '100000 100000'}, 1),
        ('4:cpu,cpuacct:/a\n', {'cpu/a/cpu.cfs_quota_us': '300000', 'cpu/a/cpu.cfs_period_us': '100000'}, 3),
        ('4:cpu,cpuacct:/\n', {'cpu,cpuacct/cpu.cfs_quota_us': '-1', 'cpu,cpuacct/cpu.cfs_period_us': '100000'}, None),
        ('0::/\n', {'cpu.max': 'nonsense'}, None),
        ('', {'nothing': ''}, None),
    ],
    ids=['v2', 'v2 none', 'v2 parent', 'v2 both', 'v2 in a container', 'v1', 'v1 none', 'nonsense', 'no groups'],
)
def test_limit_of_cores(groups, membership, files, cores):
    assert machine.core_limit(**groups(membership, files)) == cores


@pytest.mark.parametrize(
    ('membership', 'files', 'limit'),
    [
        ('0::/\n', {'memory.max': '2147483648'}, 2**31),
        ('0::/\n', {'memory.max': 'max'}, None),
        ('5:memory:/a\n', {'memory/a/memory.limit_in_bytes': '1048576'}, 2**20),
        ('5:memory:/a\n', {'memory/a/memory.limit_in_bytes': '9223372036854771712'}, None),
    ],
    ids=['v2', 'v2 none', 'v1', 'v1 none'],
)
def test_limit_of_memory(groups, membership, files, limit):
    assert machine.memory_limit(**groups(membership, files)) == limit


def test_memory_is_read_in_bytes(tmp_path):
    path = tmp_path / 'meminfo'
    path.write_text('MemTotal:       2048 kB\nMemFree:   1 kB\nMemAvailable:   1024 kB\n')
    assert machine.memory(str(path)) == (2**21, 2**20)
    path.write_text('MemTotal: 2048 kB\n')
    assert machine.memory(str(path)) is None
