"""Buffers of a validation of several processes, through a back end that knows no CPU, as NCCL is."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.model import ExponentialMovingAverage
from torch import nn

from okdnet_plugin.mm.hooks import ShareBuffersHook


@pytest.fixture
def nccl(monkeypatch):
    """Notes what is broadcast; a tensor of the CPU raises, as in a process group without a back end for it."""
    shared = []

    def broadcast(tensor, src):
        if tensor.device.type == 'cpu':
            raise RuntimeError('No backend type associated with device type cpu')
        shared.append(tensor)

    monkeypatch.setattr(torch.distributed, 'broadcast', broadcast)
    return shared


def test_statistics_of_the_network_and_its_average_are_shared_but_not_the_counter_on_the_cpu(nccl):
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).to('meta')
    average = ExponentialMovingAverage(net, update_buffers=True)
    assert average.steps.device.type == 'cpu'
    hook = EMAHook()
    hook.ema_model = average
    ShareBuffersHook().before_val_epoch(SimpleNamespace(distributed=True, model=net, hooks=[hook]))
    expected = [*net.buffers(), *average.module.buffers()]
    assert [id(tensor) for tensor in nccl] == [id(tensor) for tensor in expected]
    assert len(expected) == 6
