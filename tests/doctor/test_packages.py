"""Packages: what is missing, broken or does not fit is said with the line that mends it."""

import sys

import pytest

from okdnet_plugin.doctor import packages
from okdnet_plugin.doctor.packages import cure_of, import_failure

pytest_plugins = ['made_distribution']


@pytest.fixture(autouse=True)
def _fresh():
    import_failure.cache_clear()
    yield
    import_failure.cache_clear()


def keyed(findings):
    return {finding.key: finding for finding in findings}


def test_versions_here_are_those_that_are_imported():
    import torch

    found = keyed(packages.check_versions())
    assert found['torch'].values['version'] == torch.__version__
    assert {'python', 'platform', 'okdnet_plugin', 'torchvision', 'basicsr', 'Pillow', 'lmdb'} <= found.keys()
    assert found['torch.numpy'].status == 'ok'
    assert not [finding for finding in found.values() if finding.status == 'wrong']


def test_package_that_does_not_import_is_wrong_with_its_error_and_cure(distribution):
    distribution('broken_library', 'raise ImportError("libGL.so.1: cannot open shared object file")')
    finding = packages._package('broken_library', ('broken_library',))
    assert finding.status == 'wrong'
    assert finding.text == (
        'broken_library 2.5 cannot be imported: ImportError: libGL.so.1: cannot open shared object file'
    )
    assert 'opencv-python-headless' in finding.cure


def test_package_that_crashes_takes_no_one_with_it(distribution):
    distribution('crashing_library', 'import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)')
    assert import_failure('crashing_library') == 'the import crashes (signal 11)'


def test_package_that_is_missing_gets_the_line_that_installs_it():
    finding = packages._package('not_there', ('not-there',))
    assert (finding.status, finding.text) == ('wrong', 'not-there is not installed')
    assert finding.cure == 'pip install -c constraints.txt not-there'


def test_package_of_another_version_than_pip_says_is_a_warning(distribution):
    distribution('moved_library', '__version__ = "2.4"')
    finding = packages._package('moved_library', ('moved_library',))
    assert finding.status == 'warning'
    assert finding.text == 'moved_library: pip says 2.5, but what is imported is 2.4'
    sys.modules.pop('moved_library')


@pytest.mark.parametrize(
    ('found', 'known', 'same'),
    [
        ('2.11.0+cu130', '2.11.0', True),
        ('4.12.0', '4.12.0.88', True),
        ('2.11.0', '2.12.0', False),
    ],
)
def test_builds_of_one_version_are_the_same(found, known, same):
    assert packages._same(found, known) is same


def test_torchvision_of_another_torch_is_wrong(distribution, monkeypatch):
    distribution('torchvision', '', version='0.25.0', requires=('torch==2.10.0',))
    (finding,) = packages._misfits_of('torchvision')
    assert (finding.status, finding.key) == ('wrong', 'fits.torchvision.torch')
    assert finding.text.startswith('torchvision 0.25.0 needs torch==2.10.0, but torch ')
    assert 'as one pair' in finding.cure


def test_other_misfits_are_warnings_with_the_line_that_mends_them(distribution):
    distribution('wanting', requires=('numpy<1', 'not-there>=2', 'pytest; extra == "dev"', 'opencv-python-headless'))
    found = keyed(packages._misfits_of('wanting'))
    assert {key: finding.status for key, finding in found.items()} == {
        'fits.wanting.numpy': 'warning',
        'fits.wanting.not-there': 'warning',
    }
    assert found['fits.wanting.numpy'].cure == 'pip install "numpy<1"'
    assert found['fits.wanting.not-there'].text == 'wanting needs not-there>=2, which is not installed'


def test_two_builds_of_opencv_are_a_warning(monkeypatch):
    installed = {'opencv-python': '4.12.0.88', 'opencv-python-headless': '4.10.0.84'}
    monkeypatch.setattr(packages, '_installed', lambda names: installed)
    (finding,) = packages._opencv_twice()
    assert finding.cure.startswith('pip uninstall -y opencv-python opencv-python-headless')
    installed['opencv-python-headless'] = '4.12.0.88'
    assert not list(packages._opencv_twice())


def test_extras_say_what_is_missing_and_the_line_that_adds_it(distribution, monkeypatch):
    distribution('there', version='2.5')
    extras = ('there>=1; extra == "a"', 'there>=1; extra == "b"', 'not-there; extra == "b"', 'there<1; extra == "c"')
    folder = distribution('owner', requires=extras)
    metadata = folder / 'owner-2.5.dist-info' / 'METADATA'
    metadata.write_text(metadata.read_text() + 'Provides-Extra: a\nProvides-Extra: b\nProvides-Extra: c\n')
    monkeypatch.setattr(packages, 'OWN', 'owner')
    found = keyed(packages.check_extras())
    assert [finding.text for finding in found.values()][:2] == [
        '[a]: there 2.5',
        "[b]: without not-there; pip install 'owner[b]' adds it",
    ]
    assert found['extra.c'].status == 'warning'
    assert found['extra.c'].text == '[c]: there 2.5 (needs <1)'
    assert found['extra.c'].cure == "pip install 'owner[c]'"


@pytest.mark.parametrize(
    ('failure', 'cure'),
    [
        ('ImportError: libGL.so.1: cannot open', 'opencv-python-headless'),
        ('RuntimeError: operator torchvision::nms does not exist', 'as one pair'),
        ('AttributeError: _ARRAY_API not found', 'numpy<2'),
        ("ImportError: /lib64/libc.so.6: version `GLIBC_2.34' not found", 'newer system'),
        ("ModuleNotFoundError: No module named 'addict'", 'pip install the missing'),
        ('KeyError: x', '--force-reinstall'),
    ],
)
def test_known_errors_of_imports_have_their_cure(failure, cure):
    assert cure in cure_of(failure)


def test_environment_without_packaging_is_examined_all_the_same(monkeypatch):
    find_spec = packages.importlib.util.find_spec
    monkeypatch.setattr(
        packages.importlib.util, 'find_spec', lambda name: None if name == 'packaging' else find_spec(name)
    )
    assert keyed(packages.check_versions())['fits'].cure == 'pip install packaging'
    (finding,) = packages.check_extras()
    assert finding.status == 'warning'
