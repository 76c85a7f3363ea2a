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


def test_those_of_basicsr_are_there():
    assert {'Adam', 'AdamW', 'Adamax', 'SGD', 'ASGD', 'RMSprop', 'Rprop'} <= optimizers.OPTIMIZERS.keys()


@pytest.mark.parametrize(
    'name', ['Optimizer', 'LBFGS', 'SparseAdam', 'lr_scheduler', 'Any', '__name__', 'OKDNet', None]
)
def test_what_is_no_fit_optimiser_is_refused(name):
    message = refusal({'type': name, 'lr': 0.1})
    assert message.startswith(f"option train:optim_g:type: there is no optimiser '{name}'")
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


# ------------------------------------------------------------------------------------------------------- fused kernels


class OnCuda(torch.Tensor):
    """A tensor of the CPU that says it is on a GPU."""

    @property
    def device(self):
        return torch.device('cuda', 0)


@pytest.fixture
def kernels(monkeypatch):
    """The fused kernels of a torch with CUDA, which is asked for them by (operator, dispatch key)."""
    known = {(f'aten::_fused_{name}_', 'CUDA') for name in ('adam', 'adamw', 'sgd')}
    monkeypatch.setattr(torch._C, '_dispatch_has_kernel_for_dispatch_key', lambda *asked: asked in known)


@pytest.mark.parametrize(('name', 'is_fused'), [('Adagrad', False), ('SGD', True), ('Adam', True)])
def test_fused_is_left_out_where_the_device_has_no_kernel(kernels, name, is_fused, monkeypatch):
    made = {}
    monkeypatch.setitem(optimizers.OPTIMIZERS, name, lambda params, **options: made.update(options))
    parameter = torch.zeros(2).as_subclass(OnCuda).requires_grad_()
    optimizers.build(name, [parameter], lr=0.1, fused=True)
    assert made['fused'] is is_fused


def test_kernels_of_this_torch_are_found():
    cpu = torch.device('cpu')
    assert optimizers.has_fused_kernel('Adam', cpu) == hasattr(torch.serialization, 'add_safe_globals')
    assert not optimizers.has_fused_kernel('Rprop', cpu)


def fused_sgd(momentum):
    parameters = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=momentum)
    optimizer.param_groups[0]['fused'] = True  # as on a GPU; the steps below are not fused
    return optimizer, parameters


def test_momentum_that_nobody_has_filled_is_no_matter_of_a_flag():
    optimizer, parameters = fused_sgd(0.9)
    for parameter in parameters:
        parameter.grad = torch.ones(2)
    assert not optimizers.heeds_flag(optimizer)
    optimizer.param_groups[0]['fused'] = False
    optimizer.step()
    assert not optimizers.heeds_flag(optimizer)
    optimizer.param_groups[0]['fused'] = True
    assert optimizers.heeds_flag(optimizer)


def test_sgd_without_momentum_heeds_the_flag_from_the_first_step():
    optimizer, _ = fused_sgd(0)
    assert optimizers.heeds_flag(optimizer)


@pytest.mark.skipif(not optimizers.has_fused_kernel('Adam', torch.device('cpu')), reason='no fused kernels of the CPU')
@pytest.mark.parametrize(
    ('before', 'after'),
    [(torch.contiguous_format, torch.channels_last), (torch.channels_last, torch.contiguous_format)],
    ids=['to channels last', 'to channels first'],
)
def test_moments_keep_to_their_weights_when_the_layout_changes(before, after):
    """What a fused kernel makes of a state that was saved in the other layout is what it makes of one in its own."""
    torch.manual_seed(0)
    weight, gradients = torch.rand(4, 6, 3, 3), [torch.rand(4, 6, 3, 3) for _ in range(3)]

    def run(layouts):
        parameter, state = None, None
        for layout, gradient in zip(layouts, gradients, strict=True):
            values = weight if parameter is None else parameter.detach()
            parameter = nn.Parameter(values.clone(memory_format=layout))
            optimizer = torch.optim.Adam([parameter], lr=0.1, fused=True)
            if state is not None:
                optimizer.load_state_dict(state)
                optimizers.restore_layout(optimizer)
            parameter.grad = gradient.clone(memory_format=layout)
            optimizer.step()
            state = optimizer.state_dict()
            assert optimizer.state[parameter]['exp_avg'].stride() == parameter.stride()
        return parameter.detach()

    assert torch.equal(run([before, after, after]), run([before, before, before]))
