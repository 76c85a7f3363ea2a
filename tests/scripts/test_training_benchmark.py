"""The rows of the benchmark of trainings."""

import argparse

import pytest

from conftest import load_script
from okdnet_plugin.engine import torch_versions


@pytest.mark.parametrize('has_it', [False, True])
def test_bf16_that_is_emulated_is_no_row(has_it, monkeypatch):
    script = load_script('scripts/benchmark/training.py')
    monkeypatch.setattr(script.torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch_versions, 'cpu_has_bf16', lambda: has_it)
    rows = script.rows_of(argparse.Namespace(compile=False, network='OKDNet', steps=1))
    assert [row['name'] for row in rows] == [script.STOCK, *list(script.SWITCHES)[:3], *['+ amp: bf16'] * has_it]
