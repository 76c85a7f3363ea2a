"""What older versions of torch lack is made up for with the same results, or refused in one line."""

import contextlib
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from okdnet_plugin.engine import torch_versions
from okdnet_plugin.errors import InputError


def gradients():
    return [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]]), torch.tensor([12.0])]


@pytest.mark.parametrize('is_old', [False, True])
def test_norm_is_that_of_all_gradients_together(monkeypatch, is_old):
    if is_old:
        monkeypatch.setattr(torch.nn, 'utils', SimpleNamespace())
    assert torch_versions.total_norm(gradients()) == 13
    assert torch_versions.total_norm([]) == 0


def test_norm_of_a_gradient_that_is_not_finite_is_not_finite(monkeypatch):
    monkeypatch.setattr(torch.nn, 'utils', SimpleNamespace())
    assert not torch.isfinite(torch_versions.total_norm([*gradients(), torch.tensor([float('nan')])]))


def test_tensors_are_scaled_in_place():
    tensors = gradients()
    torch_versions.scale_in_place(tensors, torch.tensor(0.5))
    assert [tensor.flatten().tolist() for tensor in tensors] == [[1.5, 0.0], [2.0], [6.0]]


def test_float16_of_a_cpu_is_refused_where_torch_has_no_scaler_for_it(monkeypatch):
    monkeypatch.setattr(torch, 'amp', SimpleNamespace())
    with pytest.raises(InputError, match=r'amp: fp16 on a CPU needs torch 2\.3'):
        torch_versions.grad_scaler(torch.device('cpu'), enabled=True)
    scaler = torch_versions.grad_scaler(torch.device('cpu'), enabled=False)
    loss = torch.tensor(2.0)
    assert scaler.scale(loss) is loss


def test_compiling_is_refused_where_torch_cannot(monkeypatch):
    with pytest.raises(InputError, match=r'compile needs torch 2\.2'):
        torch_versions.compile_network(SimpleNamespace(), None)


@pytest.mark.skipif(not hasattr(nn.Module, 'compile'), reason='torch before 2.2 compiles no module in place')
@pytest.mark.parametrize('is_old', [False, True])
def test_a_compiled_network_runs_as_it_was_written_for_a_while(monkeypatch, is_old):
    net, calls = nn.Sequential(nn.ReLU()), []
    net._compiled_call_impl = lambda *arguments: calls.append(1) or net._call_impl(*arguments)

    @contextlib.contextmanager
    def stance(name):
        calls.append(name)
        yield

    compiler = SimpleNamespace() if is_old else SimpleNamespace(set_stance=stance)
    monkeypatch.setattr(torch, 'compiler', compiler)
    with torch_versions.uncompiled(net):
        if is_old:
            net(torch.zeros(1))
    assert calls == ([] if is_old else ['force_eager'])
    net(torch.zeros(1))
    assert calls[-1] == 1


def test_the_milestones_of_a_schedule_are_read(tmp_path):
    torch.save({'milestones': Counter({3: 1})}, tmp_path / 'state')
    torch_versions.allow_counters()
    assert torch.load(tmp_path / 'state', weights_only=True) == {'milestones': Counter({3: 1})}


def test_bf16_of_a_cpu_is_found_in_linuxs_list_of_features_too(monkeypatch, tmp_path):
    monkeypatch.setattr(torch, 'cpu', SimpleNamespace())
    for flags, has_it in {'sse4_1 avx512_bf16 avx2': True, 'sse4_1 amx_bf16': True, 'avx512f avx2': False}.items():
        file = tmp_path / 'cpuinfo'
        file.write_text(f'processor : 0\nflags : {flags}\n')
        monkeypatch.setattr(torch_versions, '_CPUINFO', str(file))
        assert torch_versions.cpu_has_bf16() == has_it
    monkeypatch.setattr(torch_versions, '_CPUINFO', str(tmp_path / 'none'))
    assert not torch_versions.cpu_has_bf16()


@pytest.mark.parametrize('is_old', [False, True])
def test_a_group_of_processes_is_left_where_that_cannot_wait_for_ever(monkeypatch, tmp_path, is_old):
    distributed = torch.distributed
    distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/meeting', rank=0, world_size=1)
    try:
        with monkeypatch.context() as patch:
            if is_old:
                patch.setattr(distributed, 'ProcessGroup', SimpleNamespace())
            torch_versions.leave_process_group()
        assert distributed.is_initialized() == (is_old or not hasattr(distributed.ProcessGroup, 'shutdown'))
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
    torch_versions.leave_process_group()  # of a single process
