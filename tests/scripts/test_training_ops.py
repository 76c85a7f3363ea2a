"""A training step dispatches as few operations as it did when they were counted last."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.skipif(
    not hasattr(torch.serialization, 'add_safe_globals'), reason='torch before 2.4 has fused optimisers for GPUs only'
)

SCRIPT = Path(__file__).parents[2] / 'scripts' / 'benchmark' / 'training_ops.py'


@pytest.fixture(scope='module')
def script():
    spec = importlib.util.spec_from_file_location('training_ops', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def counts(script):
    """Of OKDNet in bfloat16 with all three losses, EMA and fused Adam."""
    model, batch = script.model_of({'type': 'OKDNet'}, 'bf16', size=32)
    return {part: sum(names.values()) for part, names in script.count_step(model, batch).items()}


def test_average_and_guard_are_a_few_operations_on_lists(counts):
    assert 0 < counts['average'] + counts['guard'] < 30


def test_backward_pass_slices_no_weights(counts):
    assert 500 < counts['backward'] < 800  # 750 on torch 2.11, 949 with a slice a feature


def test_whole_step_is_below_fifteen_hundred(counts):
    assert 1000 < sum(counts.values()) < 1500  # 1,425 on torch 2.11, 2,421 tensor by tensor


def test_every_part_is_seen_and_the_class_is_left_as_it_was(counts, script):
    assert all(counts[part] > 0 for part in script.PARTS)
    assert torch.Tensor.backward.__module__ == 'torch._tensor'
    assert not hasattr(torch.Tensor.backward, '__wrapped__')


def test_a_view_is_no_operation(script):
    counter = script.OperationCounter()
    with counter:
        torch.ones(4).view(2, 2).t()[0].add(1)
    assert sum(counter.counts['guard'].values()) == 2
