"""Parameters that stay, rates by name, and schedules of torch, in a training step."""

import copy
from typing import Any

import pytest
import torch
from basicsr.models import build_model
from basicsr.models.base_model import BaseModel
from torch import nn
from torch.optim import lr_scheduler
from torchvision.ops import StochasticDepth

from okdnet_plugin.config import check
from okdnet_plugin.config.registered import SCHEDULES
from okdnet_plugin.engine import checkpoints, finetuning
from okdnet_plugin.errors import InputError
from okdnet_plugin.models import restoration_model
from okdnet_plugin.models.restoration_model import RestorationModel


def net():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1))


def batch():
    return {'lq': torch.rand(2, 3, 32, 32), 'gt': torch.rand(2, 3, 32, 32), 'lq_path': ['a', 'b']}


def step(model, iteration):
    model.update_learning_rate(iteration, model.opt['train']['warmup_iter'])
    model.feed_data(batch())
    model.optimize_parameters(iteration)


def test_frozen_parameters_and_their_statistics_stay_through_steps_and_a_validation(model_options):
    model_options['train'] |= {'freeze': ['airlight*', '*.bias'], 'ema_decay': 0}
    model = build_model(model_options)
    before = {name: value.clone() for name, value in model.net_g.state_dict().items()}
    step(model, 1)
    model.test()
    step(model, 2)
    after = model.net_g.state_dict()
    stays = {name for name in after if name.startswith('airlight')}
    assert any('running_mean' in name for name in stays)
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert not changed & stays
    assert not {name for name in changed if name.endswith('.bias')}
    assert changed


def test_dropout_of_a_frozen_part_is_off_in_training_and_that_of_others_is_not(model_options):
    model_options['train']['freeze'] = ['airlight*']
    model = build_model(model_options)
    step(model, 1)
    dropouts = [module for module in model.net_g.airlight.modules() if isinstance(module, nn.Dropout2d)]
    assert dropouts
    assert not any(module.training for module in dropouts)
    model_options['train']['freeze'] = ['airlight.downs*']
    model = build_model(model_options)
    step(model, 1)
    assert all(module.training for module in model.net_g.airlight.modules() if isinstance(module, nn.Dropout2d))


def test_stochastic_depth_of_a_frozen_part_is_among_what_computes_as_in_use():
    frozen, other = (nn.Sequential(nn.Conv2d(3, 3, 1), StochasticDepth(0.5, 'row')) for _ in range(2))
    layers = finetuning.freeze(nn.Sequential(frozen, other), ['0.*'])
    assert layers == [frozen[1]]


def test_frozen_batch_norm_is_that_which_sync_bn_has_put_in_place(model_options, monkeypatch):
    """On a GPU torch makes new layers; what is set to eval has to be of the network that is trained."""
    model_options['train']['freeze'] = ['airlight*']
    model = build_model(model_options)
    model.opt |= {'sync_bn': True, 'dist': True}
    replace = nn.SyncBatchNorm.convert_sync_batchnorm
    monkeypatch.setattr(restoration_model, 'synchronise', lambda net, _: replace(net))
    monkeypatch.setattr(BaseModel, 'model_to_device', lambda _, net: net)
    net = model.model_to_device(model.net_g)
    norms = [layer for layer in model._frozen_layers if isinstance(layer, nn.SyncBatchNorm)]
    assert norms
    assert set(norms) <= set(net.modules())


def test_rates_go_by_the_first_pattern_that_fits():
    groups = finetuning.groups(net(), {'2.*': 0.1, '*.bias': 2, '2.weight': 9}, 0.5)
    assert [(group['lr'], len(group['params'])) for group in groups] == [(0.5, 2), (1.0, 2), (0.05, 2)]


def test_rates_follow_the_schedule_each_from_its_own(model_options):
    model_options['train']['lr_factors'] = {'airlight*': 0.1}
    model = build_model(model_options)
    for iteration in range(1, 5):
        step(model, iteration)
    assert model.get_current_learning_rate() == pytest.approx([5e-4, 5e-5])


def test_a_run_with_frozen_parameters_and_several_rates_goes_on_from_its_state(model_options, tmp_path):
    model_options['train'] |= {'freeze': ['airlight*'], 'lr_factors': {'*.bias': 0.1}}
    model_options['path'] |= {'models': str(tmp_path), 'training_states': str(tmp_path)}
    model: Any = build_model(copy.deepcopy(model_options))
    step(model, 1)
    model.save(0, 1)
    state = checkpoints.load_state(str(tmp_path / '1.state'))
    model.check_state(model_options, state, '1.state')
    build_model(copy.deepcopy(model_options)).resume_training(state)
    del model_options['train']['freeze']
    with pytest.raises(InputError, match='train:freeze'):
        model.check_state(model_options, state, '1.state')


def test_a_state_of_a_model_with_optimisers_of_its_own_is_left_to_it(model_options):
    class Own(RestorationModel):
        def setup_optimizers(self):
            super().setup_optimizers()

    Own.check_state(model_options, {'optimizers': []}, '1.state')


def test_a_factor_of_nothing_is_refused_as_a_schedule_may_raise_it(train_options):
    train_options['train']['lr_factors'] = {'airlight*': 0}
    (line,) = map(str, check.check(train_options, look=False))
    assert 'lr_factors:airlight* is 0; write a number above 0' in line
    assert 'belongs into train:freeze' in line


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'freeze': ['airlihgt*']}, "option train:freeze: 'airlihgt.' fits no parameter .did you mean airlight"),
        ({'lr_factors': {'nothing': 2}}, "option train:lr_factors: 'nothing' fits no parameter; the names begin with"),
        ({'freeze': ['*']}, 'option train:freeze leaves nothing to train'),
        ({'scheduler': {'type': 'CyclicLR', 'base_lr': 1e-4, 'max_lr': 1e-3, 'mode': 'x'}}, 'CyclicLR cannot be made'),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_built(options, message, model_options):
    model_options['train'] |= options
    with pytest.raises(InputError, match=message):
        build_model(model_options)


@pytest.mark.parametrize(
    'schedule',
    [
        {'type': 'CosineAnnealingLR', 'T_max': 9},
        {'type': 'ExponentialLR', 'gamma': 0.9},
        {'type': 'OneCycleLR', 'max_lr': 1e-2, 'total_steps': 12},
        {'type': 'PolynomialLR', 'total_iters': 9, 'power': 2.0},
    ],
)
def test_schedules_of_torch_run_as_in_torch_and_a_warm_up_leaves_them_alone(schedule, model_options):
    model_options |= {'model_type': 'RestorationModel', 'network_g': {'type': 'AODNet'}}
    model_options['train'] |= {'scheduler': schedule, 'warmup_iter': 3, 'total_iter': 8}
    del model_options['train']['distill_opt']
    model, found = build_model(model_options), []
    for iteration in range(1, 9):
        step(model, iteration)
        found += model.get_current_learning_rate()
    optimizer = torch.optim.Adam(net().parameters(), lr=1e-3)
    arguments = {key: one for key, one in schedule.items() if key != 'type'}
    plain, expected = getattr(lr_scheduler, schedule['type'])(optimizer, **arguments), []
    for _ in range(8):
        optimizer.step()
        expected += plain.get_last_lr()
        plain.step()
    assert found[3:] == pytest.approx(expected[3:], rel=1e-12)
    assert found[0] < found[1]


def test_check_knows_the_schedules_of_torch(train_options):
    assert {'CosineAnnealingLR', 'OneCycleLR'} <= set(SCHEDULES)
    train_options['train']['scheduler'] = {'type': 'CosineAnnealingLR', 'T_max': 4, 'eta_mim': 0}
    assert 'no such argument (did you mean eta_min' in str(check.check(train_options, look=False)[0])
    del train_options['train']['scheduler']['eta_mim']
    assert check.check(train_options, look=False) == []
    train_options['train']['scheduler'] = {'type': 'OneCycleLR', 'max_lr': 0.1, 'total_steps': 2}
    assert 'ends after 2 iterations, before total_iter 4' in str(check.check(train_options, look=False)[0])
