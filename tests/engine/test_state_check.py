"""States that can be read and yet are none that a run can go on from."""

import copy
from collections import Counter

import pytest
import torch
from torch import nn

from okdnet_plugin.engine import randomness, state_check
from okdnet_plugin.errors import InputError


def adam(parameters):
    return torch.optim.Adam(parameters, lr=1e-3)


@pytest.fixture
def state():
    net = nn.Conv2d(3, 4, 3)
    optimizer = adam(net.parameters())
    net(torch.zeros(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    return {
        'iter': 4,
        'epoch': 0,
        'seed': 0,
        'optimizers': [optimizer.state_dict()],
        'schedulers': [{}],
        'optimizer': 'Adam',
        'random_states': [randomness.get_state()],
        'best_metric_results': {'Held': {'psnr': {'better': 'higher', 'val': 3.0, 'iter': 4}}},
        'scaler': {},
        'guard': {'skipped': 0, 'in_a_row': 0},
        'is_validated': True,
    }


def look(state):
    state_check.refuse_malformed(state, '4.state')
    net = state_check.without_values(nn.Conv2d, {'in_channels': 3, 'out_channels': 4, 'kernel_size': 3})
    assert net is not None
    state_check.refuse_what_does_not_fit(state, '4.state', [adam(net.parameters())], 0, 1)


def test_state_that_a_training_has_saved_passes_and_changes_nothing(state):
    before = copy.deepcopy(state)
    torch.manual_seed(7)
    look(state)
    drawn = torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(1))
    assert state['optimizers'][0]['param_groups'] == before['optimizers'][0]['param_groups']
    assert torch.equal(state['optimizers'][0]['state'][0]['exp_avg'], before['optimizers'][0]['state'][0]['exp_avg'])


def put(path, value):
    def change(state):
        *keys, last = path
        for key in keys:
            state = state[key]
        if value is KeyError:
            del state[last]
        else:
            state[last] = value

    return change


GROUP, FIRST = ['optimizers', 0, 'param_groups', 0], ['optimizers', 0, 'state', 0]


def test_state_of_another_network_names_the_block_and_the_cure(state):
    put([*FIRST, 'exp_avg'], torch.zeros(3))(state)
    with pytest.raises(InputError, match=r'exp_avg of another network .*; write network_g as before, or begin a new'):
        look(state)


@pytest.mark.parametrize(
    'change',
    [
        put(['iter'], -1),
        put(['seed'], 'text'),
        put(['facts'], 'text'),
        put(['facts'], {1: 2}),
        put(['facts'], torch.zeros(3)),
        put(['facts'], {'train:milestones': [Counter({3: 10**12})]}),
        put(['optimizer'], {'step': torch.zeros(3)}),
        put(['optimizers'], []),
        put(['optimizers'], ['Adam']),
        put(['optimizers', 0, 'param_groups'], []),
        put(['optimizers', 0, 'param_groups'], 'text'),
        put(['optimizers', 0, 'state'], []),
        put([*GROUP, 'params'], [0]),
        put([*GROUP, 'params'], [0, 1, 2]),
        put([*GROUP, 'betas'], KeyError),
        put([*GROUP, 'lr'], KeyError),
        put([*FIRST, 'exp_avg'], torch.zeros(3)),
        put([*FIRST, 'exp_avg_sq'], 'text'),
        put(['optimizers', 0, 'state', 0], 'text'),
        put(['optimizers', 0, 'state', 0], [torch.zeros(3)]),
        put(['schedulers'], ['text']),
        put(['schedulers'], [{'milestones': Counter({3: 'text'})}]),
        put(['schedulers'], [{'milestones': Counter({'text': 1})}]),
        put(['schedulers'], [{'milestones': Counter({3: 10**12})}]),
        put(['schedulers'], [{'milestones': Counter({3: -(10**20)})}]),
        put(['schedulers'], [{7: 8}]),
        put(['random_states'], 'text'),
        put(['random_states', 0], {}),
        put(['random_states', 0, 'torch'], torch.zeros(3)),
        put(['random_states', 0, 'python'], 7),
        put(['best_metric_results'], []),
        put(['best_metric_results', 'Held'], 3),
        put(['best_metric_results', 'Held', 'psnr'], '33 dB'),
        put(['best_metric_results', 'Held', 'psnr', 'val'], '33 dB'),
        put(['scaler'], None),
        put(['guard'], 7),
        put(['guard', 'skipped'], 'text'),
        put(['is_validated'], KeyError),
    ],
)
def test_malformed_state_is_one_line(change, state):
    change(state)
    with pytest.raises(InputError, match=r'4\.state is no training state of this run: it holds') as caught:
        look(state)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ('one', 'other', 'alike'),
    [
        (1, 2.5, True),
        (0.5, 'text', False),
        (1, True, False),
        (True, 1, False),
        (True, False, True),
        ([8], [4, 16], True),
        ([8], 8, False),
        ([8], ['text'], False),
        ([], [1], True),
        ({}, [], False),
        (None, 3, True),
    ],
)
def test_settings_are_alike_that_are_of_one_kind(one, other, alike):
    assert state_check.is_alike(one, other) == alike
