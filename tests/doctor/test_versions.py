"""Versions: what cannot be imported is found with its cure, whatever way it fails, and so are versions that misfit."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from okdnet_plugin.doctor import versions


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A package of some code in place of NEEDED, followed by one that is well."""

    def make(code: str):
        (tmp_path / 'suspect.py').write_text(code)
        (tmp_path / 'healthy.py').write_text("__version__ = '1.2'\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(versions, 'NEEDED', ('suspect', 'healthy'))

    versions.imports.cache_clear()
    yield make
    versions.imports.cache_clear()


@pytest.mark.parametrize(
    ('code', 'error', 'version_of_the_next'),
    [
        ("print('hello')\n__version__ = '3'\n", None, '1.2'),
        ("raise ImportError('libGL.so.1:\\n cannot open')\n", 'ImportError: libGL.so.1: cannot open', '1.2'),
        ('raise SystemExit(3)\n', 'SystemExit: 3', '1.2'),
        ('import os\nos._exit(7)\n', 'the import crashes (exit code 7)', ''),
        ('import time\ntime.sleep(60)\n', 'the import does not end within 2 s', ''),
    ],
    ids=['chatty', 'error', 'leaves', 'crashes', 'hangs'],
)
def test_import_is_tried_in_a_process_of_its_own(code, error, version_of_the_next, module, monkeypatch):
    module(code)
    monkeypatch.setattr(versions, '_PATIENCE', 2 if error and 'end within' in error else 60)
    found = versions.imports()
    assert found['suspect'][1] == error
    assert found['healthy'][0] == version_of_the_next
    assert 'suspect' not in sys.modules


@pytest.mark.parametrize(
    ('failure', 'cure'),
    [
        ('ImportError: libGL.so.1: cannot open shared object file', 'opencv-python-headless'),
        ('ImportError: libcudnn.so.9: cannot open shared object file', 'as one pair'),
        ('RuntimeError: operator torchvision::nms does not exist', 'as one pair'),
        ('ImportError: numpy.core.multiarray failed to import', 'numpy<2'),
        ("ModuleNotFoundError: No module named 'lmdb'", 'constraints.txt'),
        ('ValueError: what else', '--force-reinstall'),
    ],
)
def test_failing_import_has_its_cure(failure, cure, monkeypatch):
    broken = dict.fromkeys(versions.NEEDED, ('1', None)) | {'torch': ('', failure)}
    monkeypatch.setattr(versions, 'imports', lambda: broken)
    monkeypatch.setattr(versions, '_misfits', lambda: iter(()))
    found = {finding.key: finding for finding in versions.check()}
    assert found['torch'].status == 'wrong'
    assert failure in found['torch'].text
    assert cure in found['torch'].cure
    assert 'environment' not in found
    assert found['numpy'].status == 'ok'


@pytest.mark.parametrize(
    ('code', 'out', 'err', 'expected'),
    [
        (0, 'No broken requirements found.\n', '', [('ok', 'fits')]),
        (1, 'a 1 requires b, which is not installed.\nc 2 has requirement d<3, but you have d 4.\n', '', None),
        (1, '', 'python: No module named pip\n', [('ok', 'fits')]),
    ],
    ids=['fits', 'misfits', 'without pip'],
)
def test_what_pip_check_finds_is_a_warning_each(code, out, err, expected, monkeypatch):
    asked = []
    result = SimpleNamespace(returncode=code, stdout=out, stderr=err)
    monkeypatch.setattr(subprocess, 'run', lambda command, **_: asked.append(command) or result)
    found = list(versions._misfits())
    assert asked[0][1:3] == ['-m', 'pip']
    assert asked[0][-1] == 'check'
    expected = expected or [('warning', 'fits.a'), ('warning', 'fits.c')]
    assert [(finding.status, finding.key) for finding in found] == expected


def test_environment_is_what_torch_says_of_it(monkeypatch):
    from torch.utils import collect_env

    said = dict.fromkeys(collect_env.SystemEnv._fields, 'x') | {'python_version': '3.11.7 (main)', 'os': 'A system'}
    said |= {'cuda_compiled_version': '13.0', 'nvidia_driver_version': '580.1'}
    monkeypatch.setattr(collect_env, 'get_env_info', lambda: collect_env.SystemEnv(**said))
    finding = versions._environment()
    assert finding.text == 'A system, Python 3.11.7, CUDA 13.0, driver 580.1'
    assert finding.values['nvidia_driver_version'] == '580.1'

    def fail():
        raise OSError('no such program')

    monkeypatch.setattr(collect_env, 'get_env_info', fail)
    assert versions._environment().status == 'warning'
