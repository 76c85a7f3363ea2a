"""Precision and determinism as they are asked of torch; GPUs are imitated, calls recorded."""

import os
from types import SimpleNamespace

import pytest
import torch

from okdnet_plugin.engine import precision

CUDA = torch.device('cuda', 0)


@pytest.fixture
def backends(monkeypatch):
    """Stand-ins of torch's switches."""
    matmul = SimpleNamespace(allow_tf32='?')
    cudnn = SimpleNamespace(allow_tf32='?', benchmark=True, deterministic=False)
    monkeypatch.setattr(torch.backends.cuda, 'matmul', matmul)
    monkeypatch.setattr(torch.backends, 'cudnn', cudnn)
    return matmul, cudnn


@pytest.mark.parametrize('wanted', [False, True])
def test_tf32_is_said_of_products_and_convolutions(backends, wanted):
    precision.use_tf32(wanted)
    assert [part.allow_tf32 for part in backends] == [wanted, wanted]


@pytest.mark.parametrize(('before', 'after'), [(None, ':4096:8'), (':16:8', ':16:8')])
def test_a_deterministic_run_asks_torch_cudnn_and_cublas(backends, monkeypatch, before, after):
    calls = []
    monkeypatch.setattr(torch, 'use_deterministic_algorithms', lambda *args, **options: calls.append((args, options)))
    monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', before or '')
    if before is None:
        monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG')
    precision.be_deterministic()
    assert calls == [((True,), {})]
    assert (backends[1].benchmark, backends[1].deterministic) == (False, True)
    assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == after


@pytest.mark.parametrize(('capability', 'is_said'), [((7, 5), True), ((8, 0), False), ((9, 0), False)])
def test_bf16_before_ampere_is_said(monkeypatch, capability, is_said):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: capability)
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda device: 'Tesla T4')
    monkeypatch.setattr(torch.version, 'hip', None, raising=False)
    complaint = precision.complaint_about_bf16(CUDA)
    assert (complaint is not None) == is_said
    if complaint:
        assert 'slower than float32 on Tesla T4 (compute capability 7.5)' in complaint
        assert 'use amp: fp16' in complaint


@pytest.mark.parametrize('has_it', [False, True])
def test_bf16_on_a_cpu_without_it_is_said(monkeypatch, has_it):
    monkeypatch.setattr(precision, 'cpu_has_bf16', lambda: has_it)
    complaint = precision.complaint_about_bf16(torch.device('cpu'))
    assert (complaint is None) == has_it
    assert has_it or 'write amp: off' in str(complaint)


def test_refusals_of_torch_are_told_from_other_errors():
    refusal = 'upsample_bilinear2d_backward_out_cuda does not have a deterministic implementation, but you set …'
    assert precision.is_not_deterministic(RuntimeError(refusal))
    assert not precision.is_not_deterministic(RuntimeError('shape mismatch'))
