"""GPUs, imitated: what is said of those that are there, hidden, too new for their torch or without a driver."""

from types import SimpleNamespace

import pytest
import torch

from okdnet_plugin.doctor import gpu

GIB = 2**30


@pytest.fixture
def machine(monkeypatch):
    """Set what torch is built for, whether CUDA starts, and which driver there is."""

    def make(build='13.0', driver=None, available=False, init_error=None, free=70 * GIB, visible=None):
        def init():
            if init_error:
                raise RuntimeError(init_error)

        monkeypatch.setattr(torch.version, 'cuda', build)
        monkeypatch.setattr(torch.version, 'hip', None)
        monkeypatch.setattr(gpu, '_driver', lambda: driver)
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: available)
        monkeypatch.setattr(torch.cuda, 'init', init)
        monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
        properties = SimpleNamespace(name='Made GPU', major=9, minor=0)
        monkeypatch.setattr(torch.cuda, 'get_device_properties', lambda number: properties)
        monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda number: (free, 80 * GIB))
        monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
        if visible is not None:
            monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)

    return make


@pytest.fixture
def computes(monkeypatch):
    """Let the device compute on the CPU, with an error added."""

    def make(error=0.0):
        convolve = gpu._convolve
        calls = []
        conv2d = torch.nn.functional.conv2d

        def off(*args):
            calls.append(args)
            return conv2d(*args) + (error if len(calls) == 1 else 0)

        monkeypatch.setattr(torch.nn.functional, 'conv2d', off)
        monkeypatch.setattr(gpu, '_convolve', lambda device: convolve(torch.device('cpu')))

    return make


@pytest.mark.parametrize(
    ('settings', 'status', 'words'),
    [
        ({}, 'ok', 'is built for CUDA 13.0 and computes on the CPU'),
        ({'build': None}, 'ok', 'no GPU'),
        ({'build': None, 'driver': '550.54'}, 'warning', 'built for CPUs only, but there is an NVIDIA GPU'),
        ({'driver': '550.54', 'visible': ''}, 'ok', 'no GPU is visible'),
        (
            {'driver': '470.1', 'init_error': 'The NVIDIA driver on your system is too old (found version 11040)'},
            'wrong',
            'too old (found version 11040)',
        ),
        ({'driver': '580.1', 'init_error': 'CUDA unknown error'}, 'wrong', 'CUDA unknown error'),
    ],
)
def test_no_usable_gpu_says_why(machine, settings, status, words):
    machine(**settings)
    *_, finding = (found for found in gpu.check() if found.key != 'mps')
    assert finding.status == status
    assert words in finding.text
    assert bool(finding.cure) is (status != 'ok')


def test_old_driver_has_another_cure_than_a_dead_one(machine):
    machine(driver='470.1', init_error='the driver on your system is too old')
    (old,) = gpu.check()
    machine(driver='470.1', init_error='CUDA unknown error')
    (dead,) = gpu.check()
    assert 'newer driver' in old.cure
    assert 'nvidia-smi' in dead.cure


def test_gpu_that_computes_is_described(machine, computes):
    machine(available=True, driver='580.1', visible='0')
    computes()
    visible, finding = gpu.check()
    assert visible.values == {'visible': '0'}
    assert finding.status == 'ok'
    assert 'scripts/check_gpu.py' in finding.text
    assert finding.values | {'build': None} == {
        'name': 'Made GPU',
        'capability': '9.0',
        'memory_gib': 80.0,
        'free_gib': 70.0,
        'build': None,
        'driver': '580.1',
        'bf16': True,
    }


def test_gpu_that_computes_wrong_is_wrong(machine, computes):
    machine(available=True)
    computes(error=0.5)
    (finding,) = gpu.check()
    assert finding.status == 'wrong'
    assert 'differs from that of the CPU' in finding.text


@pytest.mark.parametrize(
    ('message', 'cure'),
    [('CUDA out of memory', 'another process'), ('no kernel image is available', 'no code for this GPU')],
)
def test_gpu_that_fails_has_its_cure(machine, monkeypatch, message, cure):
    machine(available=True)

    def fail(device):
        raise RuntimeError(message)

    monkeypatch.setattr(gpu, '_convolve', fail)
    (finding,) = gpu.check()
    assert finding.status == 'wrong'
    assert cure in finding.cure


def test_gpu_that_others_fill_is_a_warning(machine, computes):
    machine(available=True, free=3 * GIB)
    computes()
    (finding,) = gpu.check()
    assert finding.status == 'warning'
    assert '3.0 GiB free' in finding.text
