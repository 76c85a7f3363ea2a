"""Optimisers of torch by their names."""

import pytest
import torch
from torch import nn

from okdnet_plugin.config import check
from okdnet_plugin.engine import optimizers

MATRICES_ONLY = {'Muon'}


def told(block):
    """What the check of options says of a block of an optimiser."""
    opt = {'model_type': 'RestorationModel', 'train': {'optim_g': block}}
    mistakes = check.check(opt, phase='train', look=False)
    return [mistake for mistake in mistakes if mistake.path[:2] == ('train', 'optim_g')]


def refusal(block):
    (mistake,) = told(block)
    assert '\n' not in mistake.message
    return mistake.message


@pytest.mark.parametrize('name', optimizers.OPTIMIZERS)
def test_each_optimiser_makes_a_step(name):
    net = nn.Linear(3, 2, bias=name not in MATRICES_ONLY)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    assert told({'type': name, 'lr': 0.1}) == []
    optimizer = optimizers.build(name, list(net.parameters()), lr=0.1)
    assert type(optimizer) is getattr(torch.optim, name)
    net(torch.rand(4, 3)).square().sum().backward()
    optimizer.step()
    for parameter, old in zip(net.parameters(), before, strict=True):
        assert not torch.equal(parameter, old)
        assert torch.isfinite(parameter).all()


def test_those_of_the_toolbox_are_there():
    assert {'Adam', 'AdamW', 'Adamax', 'SGD', 'ASGD', 'RMSprop', 'Rprop'} <= optimizers.OPTIMIZERS.keys()


@pytest.mark.parametrize(
    'name', ['Optimizer', 'LBFGS', 'SparseAdam', 'lr_scheduler', 'Any', '__name__', 'OKDNet', None]
)
def test_what_is_no_fit_optimiser_is_refused(name):
    message = refusal({'type': name, 'lr': 0.1})
    assert message.startswith(f"option train:optim_g:type: torch.optim has no optimiser '{name}'")
    assert message.endswith(', '.join(sorted(optimizers.OPTIMIZERS)))
    assert told({'type': name, 'lr': 0.1})[0].kind == 'unknown name'


def test_near_name_is_suggested():
    assert '(did you mean AdamW' in refusal({'type': 'adamw', 'lr': 0.1})


def test_arguments_of_the_class_are_handed_on():
    arguments = {'lr': 2e-4, 'eps': 1e-6, 'weight_decay': 0.5, 'amsgrad': True}
    assert told({'type': 'AdamW', **arguments}) == []
    defaults = optimizers.build('AdamW', [nn.Parameter(torch.zeros(1))], **arguments).defaults
    assert {key: defaults[key] for key in arguments} == arguments


def test_unknown_argument_is_refused_with_a_hint():
    message = refusal({'type': 'Adam', 'lr': 0.1, 'beta': [0.9, 0.99]})
    assert 'option train:optim_g:beta: Adam has no such argument (did you mean betas' in message
    assert 'weight_decay' in message


@pytest.mark.parametrize('argument', ['momentum', 'params', 'self'])
def test_argument_of_another_class_is_refused(argument):
    assert f'option train:optim_g:{argument}: Adam has no such argument' in refusal(
        {'type': 'Adam', 'lr': 0.1, argument: 0.9}
    )


def test_missing_learning_rate_is_refused():
    assert refusal({'type': 'Adam'}) == 'option train:optim_g:lr is missing; add the learning rate'
    assert refusal({'type': 'Adam', 'lr': None}) == 'option train:optim_g:lr is null; write a number from 0'


def test_learning_rate_that_yaml_reads_as_a_string_is_refused():
    assert 'train:optim_g:lr' in refusal({'type': 'Adam', 'lr': '1e-4'})
