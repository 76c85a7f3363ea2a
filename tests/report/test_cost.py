"""What a network costs, on a GPU that is imitated: memory is free before another process measures, and time is kept."""

import subprocess
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from okdnet_plugin.report import cost, evaluate


@pytest.mark.parametrize(('device', 'expected'), [('cuda', ['empty', 'run']), ('cpu', ['run'])])
def test_kept_memory_is_given_back_before_another_process_measures(device, expected, monkeypatch):
    done = []

    def run(*_, **__):
        done.append('run')
        return SimpleNamespace(stdout='12.5\n')

    monkeypatch.setattr(torch.cuda, 'empty_cache', lambda: done.append('empty'))
    monkeypatch.setattr(subprocess, 'run', run)
    assert cost.memory_mb({'type': 'AODNet'}, [16, 16], device) == 12.5
    assert done == expected


class Wrapper(nn.Module):
    """As DataParallel, whose own forward a validation does not call."""

    def __init__(self, module):
        super().__init__()
        self.module = module


def test_time_of_the_network_is_that_of_the_bare_one():
    net = nn.Conv2d(3, 3, 1)
    model = SimpleNamespace(net_g=Wrapper(net), get_bare_model=lambda wrapped: wrapped.module)
    clock = evaluate._Clock(model)
    net(torch.rand(1, 3, 8, 8))
    assert clock.take() > 0


@pytest.mark.parametrize(('num_gpu', 'there', 'taken'), [(2, 2, 1), ('auto', 4, 1), (1, 0, 0), (0, 2, 0)])
def test_a_report_takes_one_gpu_in_a_process_and_none_where_there_is_none(num_gpu, there, taken, monkeypatch):
    options = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: there > 0)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: there)
    monkeypatch.setattr(evaluate, 'RestorationModel', lambda opt: options.append(opt))
    plan = SimpleNamespace(opt={'num_gpu': num_gpu})
    method = SimpleNamespace(network={'type': 'AODNet'}, path={}, param_key=None)
    evaluate.Evaluation(plan, 'nowhere')._model(method)
    assert options[0]['num_gpu'] == taken
