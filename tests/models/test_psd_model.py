"""Training DCPDN by its joint loss, and PSD before and in its fine-tuning."""

import copy

import pytest
import torch
from basicsr.archs import build_network
from basicsr.models import build_model
from basicsr.utils import set_random_seed

from okdnet_plugin.engine.torch_versions import allow_counters
from okdnet_plugin.errors import InputError

PSD = {'type': 'PSD', 'backbone_options': {'num_feat': 8, 'num_blocks': 1}}
DCPDN = {'type': 'DCPDN', 'num_feat': 8, 'num_blocks': [1, 1, 1], 't_min': 0.1}
PRIORS = {
    'dark_channel_opt': {'type': 'DarkChannelLoss', 'loss_weight': 2e-3},
    'bright_channel_opt': {'type': 'BrightChannelLoss', 'loss_weight': 3e-2},
    'clahe_opt': {'type': 'CLAHELoss', 'tiles': 4},
    'forgetting_opt': {'type': 'ForgettingLoss'},
    'sky_opt': {'type': 'ForgettingLoss', 'sky_threshold': 0.3},
}


@pytest.fixture
def options(model_options, tmp_path):
    """PSD before its fine-tuning."""
    model_options['path'] |= {'models': str(tmp_path), 'training_states': str(tmp_path)}
    model_options['train'] = {
        'ema_decay': 0,
        'optim_g': {'type': 'Adam', 'lr': 1e-3},
        'scheduler': {'type': 'MultiStepLR', 'milestones': [3], 'gamma': 0.5},
        'total_iter': 4,
        'warmup_iter': -1,
        'pixel_opt': {'type': 'L1Loss'},
    }
    return model_options | {'model_type': 'PSDModel', 'network_g': copy.deepcopy(PSD)}


@pytest.fixture
def finetuning(options, tmp_path):
    """Its fine-tuning, from weights of a file."""
    torch.manual_seed(7)
    torch.save({'params': build_network(copy.deepcopy(PSD)).state_dict()}, tmp_path / 'before.pth')
    del options['train']['pixel_opt']
    options['path']['pretrain_network_g'] = str(tmp_path / 'before.pth')
    options['train'] |= {'before': str(tmp_path / 'before.pth'), **copy.deepcopy(PRIORS)}
    return options


def build(options):
    set_random_seed(0)
    return build_model(copy.deepcopy(options))


def batch(number, with_maps=False):
    generator = torch.Generator().manual_seed(number)
    clear = torch.rand(2, 3, 48, 48, generator=generator)
    t, light = torch.full((2, 1, 48, 48), 0.5), torch.full((2, 3, 1, 1), 0.9)
    made = {'lq': clear * t + light * (1 - t), 'gt': clear, 'lq_path': ['x'] * 2}
    return made | ({'transmission': t, 'airlight': light} if with_maps else {})


def step(model, number, **more):
    model.update_learning_rate(number)
    model.feed_data(batch(number, **more))
    model.optimize_parameters(number)
    return model.get_current_log()


def weights_of(net):
    return [value.clone() for value in net.state_dict().values()]


def are_equal(first, second):
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_psd_is_trained_by_clear_images_first(options):
    assert list(step(build(options), 1)) == ['l_pix']


def test_the_fine_tuning_is_by_priors_and_looks_at_no_clear_image(finetuning):
    model = build(finetuning)
    model.update_learning_rate(1)
    seen = batch(1)
    model.feed_data(seen | {'gt': seen['gt'] * float('nan')})
    model.optimize_parameters(1)
    log = model.get_current_log()
    assert list(log) == ['l_dark', 'l_bright', 'l_clahe', 'l_forget', 'l_sky']
    assert all(torch.isfinite(torch.tensor(value)) for value in log.values())
    assert log['l_bright'] > 0
    assert log['l_clahe'] > 0


def test_what_is_not_to_be_forgotten_is_the_network_before(finetuning):
    model = build(finetuning)
    before = weights_of(model.net_before)
    assert are_equal(before, weights_of(model.net_g))
    first = step(model, 1)
    for number in (2, 3):
        later = step(model, number)
    assert are_equal(before, weights_of(model.net_before))
    assert not are_equal(before, weights_of(model.net_g))
    assert later['l_forget'] > 0
    assert first['l_forget'] < later['l_forget']


def test_a_resumed_fine_tuning_is_the_one_that_was_not_interrupted(finetuning, tmp_path):
    straight = build(finetuning)
    logs = [step(straight, number) for number in (1, 2, 3, 4)]
    model = build(finetuning)
    for number in (1, 2):
        step(model, number)
    model.save(0, 2)
    allow_counters()
    finetuning['path']['pretrain_network_g'] = str(tmp_path / 'net_g_2.pth')
    resumed = build(finetuning)
    resumed.resume_training(torch.load(tmp_path / '2.state', weights_only=True))
    assert [step(resumed, number) for number in (3, 4)] == logs[2:]
    assert are_equal(weights_of(straight.net_g), weights_of(resumed.net_g))


def test_without_the_network_before_nothing_can_be_remembered(finetuning):
    del finetuning['train']['before']
    with pytest.raises(InputError, match='forgetting_opt needs the network before'):
        build(finetuning)
    for key in ('forgetting_opt', 'sky_opt'):
        del finetuning['train'][key]
    assert list(step(build(finetuning), 1)) == ['l_dark', 'l_bright', 'l_clahe']


def test_dcpdn_is_trained_by_its_joint_loss_of_each_channel(options):
    options['train'] |= {
        'transmission_opt': {'type': 'TransmissionLoss', 'gradient_weight': 2.0},
        'airlight_opt': {'type': 'L1Loss'},
    }
    options |= {'model_type': 'OKDNetModel', 'network_g': copy.deepcopy(DCPDN)}
    model = build(options)
    model.feed_data(batch(1, with_maps=True))
    with torch.no_grad():
        losses = model.compute_losses()
        model.net_g.eval()
    assert list(losses) == ['l_pix', 'l_trans', 'l_air']
    alone = copy.deepcopy(options)
    for key in ('pixel_opt', 'transmission_opt'):
        del alone['train'][key]
    alone = build(alone)
    alone.net_g.transmission.register_forward_hook(lambda *_: pytest.fail('the images are computed'))
    assert list(step(alone, 1, with_maps=True)) == ['l_air']
    seen = []
    model.losses['transmission_opt'].register_forward_pre_hook(lambda _, given: seen.append(given))
    log = step(model, 1, with_maps=True)
    (estimated, true) = seen[0]
    assert estimated.shape[1] == 3
    assert true.shape[1] == 1
    assert log['l_trans'] > 0
