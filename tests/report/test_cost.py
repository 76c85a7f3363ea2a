"""What a network costs, on a GPU that is imitated: memory is free before another process measures."""

import subprocess
from types import SimpleNamespace

import pytest
import torch

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


@pytest.mark.parametrize(('num_gpu', 'device'), [(2, 'auto'), ('auto', 'auto'), (1, 'auto'), (0, 'cpu')])
def test_a_report_takes_one_device_a_process_whatever_the_number(num_gpu, device, monkeypatch):
    """`auto` is one GPU, or the CPU where there is none."""
    made = []
    monkeypatch.setattr(evaluate, 'load_for', lambda *_: 'weights')
    monkeypatch.setattr(evaluate, 'Dehazer', lambda weights, **options: made.append(options['device']))
    plan = SimpleNamespace(opt={'num_gpu': num_gpu}, settings={'tile': 0})
    method = SimpleNamespace(network={'type': 'AODNet'}, weights='nowhere.pth', path={}, self_ensemble=False)
    evaluate.Evaluation(plan, 'nowhere')._dehazer(method)
    assert made == [device]
