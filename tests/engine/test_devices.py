"""Which GPUs a run takes, and what is said of those that it cannot take; the machines are imitated."""

from types import SimpleNamespace

import pytest
import torch

from okdnet_plugin.engine import devices


@pytest.fixture
def machine(monkeypatch):
    """Set how many GPUs torch sees, and which driver there is."""

    def make(count=0, driver=None, build='13.0', visible=None):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: count > 0)
        monkeypatch.setattr(torch.cuda, 'device_count', lambda: count)
        monkeypatch.setattr(torch.cuda, 'current_device', lambda: 0)
        properties = SimpleNamespace(name='Made GPU', total_memory=80 * 2**30)
        monkeypatch.setattr(torch.cuda, 'get_device_properties', lambda number: properties)
        monkeypatch.setattr(torch.version, 'cuda', build)
        monkeypatch.setattr(torch.version, 'hip', None)
        monkeypatch.setattr(devices, 'driver', lambda: driver)
        monkeypatch.setattr(devices, 'refusal', lambda: 'the driver is too old (found version 11040)')
        monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
        if visible is not None:
            monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)

    return make


@pytest.mark.parametrize(
    ('there', 'wanted', 'taken', 'words'),
    [
        (0, 'auto', 0, None),
        (0, 0, 0, None),
        (0, 1, 0, 'num_gpu is 1, but no GPU is there'),
        (0, 8, 0, 'num_gpu is 8, but no GPU is there'),
        (1, 'auto', 1, None),
        (1, 0, 0, None),
        (1, 1, 1, None),
        (1, 4, 1, 'num_gpu is 4, but there is 1'),
        (4, 'auto', 1, 'takes one of the 4 GPUs; to use all: `torchrun --nproc_per_node=4'),
        (4, 1, 1, None),
        (4, 2, 2, 'num_gpu: 2 in one process is DataParallel'),
        (4, 8, 4, 'num_gpu is 8, but there are 4'),
    ],
)
def test_a_process_takes_the_gpus_that_there_are(machine, there, wanted, taken, words):
    machine(there)
    number, advice = devices.usable_gpus({'num_gpu': wanted, 'dist': False})
    assert number == taken
    assert (advice is None) if words is None else (words in advice)


@pytest.mark.parametrize(('there', 'wanted', 'taken'), [(4, 'auto', 4), (4, 8, 8), (4, 0, 0), (0, 8, 0)])
def test_with_a_launcher_each_process_has_a_gpu_of_its_own_whatever_the_number(machine, there, wanted, taken):
    machine(there)
    number, advice = devices.usable_gpus({'num_gpu': wanted, 'dist': True})
    assert number == taken
    assert (advice is None) == (there > 0)


@pytest.mark.parametrize(
    ('settings', 'device', 'words', 'is_wrong'),
    [
        ({'count': 1, 'driver': '580.1'}, 'cuda', 'cuda:0, Made GPU, 80 GiB, CUDA 13.0, driver 580.1', False),
        ({'count': 1}, 'cpu', 'CPU (num_gpu: 0)', False),
        ({}, 'cpu', 'no GPU is there', False),
        ({'driver': '470.1'}, 'cpu', 'cannot use the NVIDIA GPU (driver 470.1): the driver is too old', True),
        ({'driver': '470.1', 'build': None}, 'cpu', 'is built for CPUs only, though there is an NVIDIA GPU', True),
        ({'driver': '470.1', 'visible': ''}, 'cpu', 'none is visible', False),
    ],
)
def test_a_device_is_one_line_that_says_why_a_gpu_is_not_used(machine, settings, device, words, is_wrong):
    machine(**settings)
    text, wrong = devices.describe(torch.device(device))
    assert words in text
    assert wrong is is_wrong
