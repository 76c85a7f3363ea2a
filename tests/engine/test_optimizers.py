"""Optimisers of torch by their names."""

import pytest
import torch
from torch import nn

from okdnet_plugin.engine import optimizers
from okdnet_plugin.errors import InputError, UnknownNameError

MATRICES_ONLY = {'Muon'}


def refusal(block):
    with pytest.raises(InputError) as caught:
        optimizers.check('train:optim_g', block)
    assert '\n' not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize('name', optimizers.OPTIMIZERS)
def test_each_optimiser_makes_a_step(name):
    net = nn.Linear(3, 2, bias=name not in MATRICES_ONLY)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    optimizers.check('train:optim_g', {'type': name, 'lr': 0.1})
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
    with pytest.raises(UnknownNameError):
        optimizers.check('train:optim_g', {'type': name, 'lr': 0.1})


def test_near_name_is_suggested():
    assert '(did you mean AdamW' in refusal({'type': 'adamw', 'lr': 0.1})


def test_arguments_of_the_class_are_handed_on():
    arguments = {'lr': 2e-4, 'eps': 1e-6, 'weight_decay': 0.5, 'amsgrad': True}
    optimizers.check('train:optim_g', {'type': 'AdamW', **arguments})
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


@pytest.mark.parametrize('block', [{'type': 'Adam'}, {'type': 'Adam', 'lr': None}])
def test_missing_learning_rate_is_refused(block):
    assert refusal(block) == 'option train:optim_g:lr is missing; add the learning rate'


def test_learning_rate_that_yaml_reads_as_a_string_is_refused():
    assert 'train:optim_g:lr' in refusal({'type': 'Adam', 'lr': '1e-4'})
