"""Values that are not finite are found in weights and states."""

import pytest
import torch

from okdnet_plugin.engine import checkpoints
from okdnet_plugin.engine.finite import are_finite, first_not_finite
from okdnet_plugin.errors import InputError


@pytest.mark.parametrize('value', [float('nan'), float('inf'), float('-inf')])
def test_one_bad_value_in_any_tensor_is_seen(value):
    tensors = [torch.rand(3), torch.rand(2, 2), torch.tensor(1), torch.zeros(0)]
    assert are_finite(tensors)
    tensors[1][1, 0] = value
    assert not are_finite(tensors)


def test_large_values_are_finite_though_their_squares_are_not():
    assert are_finite([torch.full((4,), 3e38), torch.full((4,), 60000.0, dtype=torch.float16)])


def test_nothing_is_finite():
    assert are_finite([])


def test_place_of_a_bad_value_is_named():
    state = {
        'optimizers': [{'state': {0: {'exp_avg': torch.zeros(2)}, 1: {'exp_avg': torch.tensor([0, float('nan')])}}}]
    }
    assert first_not_finite(state) == 'optimizers.0.state.1.exp_avg'


def test_masks_of_minus_infinity_are_none():
    assert first_not_finite({'mask': torch.tensor([float('-inf'), 0.0]), 'count': torch.tensor(3), 'text': 'x'}) is None


def test_a_state_with_bad_moments_is_refused(tmp_path):
    moments = {'state': {0: {'exp_avg': torch.tensor([float('inf')])}}, 'param_groups': [{'params': [0], 'lr': 0.1}]}
    torch.save({'iter': 1, 'epoch': 0, 'optimizers': [moments], 'schedulers': []}, tmp_path / '1.state')
    with pytest.raises(InputError, match=r'1\.state holds values that are not finite \(0\.state\.0\.exp_avg\)'):
        checkpoints.load_state(str(tmp_path / '1.state'))
