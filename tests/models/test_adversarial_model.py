"""Training against a discriminator: losses, turns, parts of a batch, and a resume that is exact."""

import copy

import pytest
import torch
from basicsr.models import build_model
from basicsr.utils import set_random_seed
from torch import nn

from okdnet_plugin.config.check import as_written, check
from okdnet_plugin.engine import checkpoints
from okdnet_plugin.engine.torch_versions import allow_counters
from okdnet_plugin.errors import BadUpdatesError, InputError
from okdnet_plugin.models.adversarial_model import AdversarialModel

DISCRIMINATOR = {'type': 'HiFaceGANDiscriminator', 'num_feat': 4, 'n_layers_d': 2}
EPDN = {'type': 'EPDN', 'num_feat': 4, 'num_downs': 2, 'num_blocks': 1, 'num_fine_blocks': 1}
DA = {'type': 'DADehazer', 'num_feat': 4, 'num_centers': 1, 'num_dilations': 2}


@pytest.fixture
def options(model_options, tmp_path):
    """EPDN with the losses of options/epdn.yml."""
    optimizer = {'type': 'Adam', 'lr': 1e-3, 'betas': [0.5, 0.999]}
    model_options['path'] |= {'models': str(tmp_path), 'training_states': str(tmp_path)}
    model_options['train'] = {
        'ema_decay': 0,
        'optim_g': optimizer,
        'optim_d': dict(optimizer),
        'scheduler': {'type': 'MultiStepLR', 'milestones': [3], 'gamma': 0.5},
        'total_iter': 4,
        'warmup_iter': -1,
        'pixel_opt': {'type': 'MSELoss'},
        'gan_opt': {'type': 'MultiScaleGANLoss', 'gan_type': 'lsgan'},
        'feature_match_opt': {'type': 'L1Loss', 'loss_weight': 10.0},
    }
    return model_options | {'model_type': 'AdversarialModel', 'network_g': dict(EPDN), 'network_d': dict(DISCRIMINATOR)}


def build(options):
    set_random_seed(0)
    return build_model(copy.deepcopy(options))


def batch(number, count=2, size=64):
    generator = torch.Generator().manual_seed(number)
    clear = torch.rand(count, 3, size, size, generator=generator)
    return {'lq': 0.5 * clear + 0.4, 'gt': clear, 'lq_path': ['x'] * count}


def step(model, number, **more):
    model.update_learning_rate(number)
    model.feed_data(batch(number, **more))
    model.optimize_parameters(number)
    return model.get_current_log()


def weights_of(*nets):
    return [value.clone() for net in nets for value in net.state_dict().values()]


def are_equal(first, second):
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_both_networks_learn_from_the_losses_of_the_authors(options):
    model = build(options)
    before, before_d = weights_of(model.net_g), weights_of(model.net_d)
    log = step(model, 1)
    assert list(log) == ['l_pix', 'l_gan', 'l_feat', 'l_d_real', 'l_d_fake']
    assert all(0 < value < 100 for value in log.values())
    assert not are_equal(before, weights_of(model.net_g))
    assert not are_equal(before_d, weights_of(model.net_d))


def test_a_discriminator_learns_to_tell_the_images_apart(options):
    options['train'] |= {'scheduler': {'type': 'MultiStepLR', 'milestones': []}}
    options['train']['optim_g']['lr'] = 1e-9  # it alone learns
    model = build(options)
    first, *_, last = (step(model, number) for number in range(1, 21))
    assert last['l_d_real'] + last['l_d_fake'] < 0.9 * (first['l_d_real'] + first['l_d_fake'])


def test_the_gradient_of_the_network_is_none_of_the_discriminators(options):
    model = build(options)
    model.feed_data(batch(1))
    model.judged = []
    model.optimizer_d.zero_grad()
    torch.stack(list(model.compute_losses().values())).sum().backward()
    assert all(parameter.grad is None for parameter in model.net_d.parameters())
    assert all(parameter.grad is not None for parameter in model.net_g.parameters() if parameter.requires_grad)
    [(_, judged, _)] = model.judged
    assert not judged.requires_grad


def test_parts_of_a_batch_make_the_update_of_the_whole(options, monkeypatch):
    """With a discriminator that remembers nothing: BasicSR's have spectral norms, which change with each image."""
    plain = lambda _: nn.Conv2d(6, 1, 3)  # noqa: E731
    monkeypatch.setattr('okdnet_plugin.models.adversarial_model.build_network', plain)
    options['train'] |= {'gan_opt': {'type': 'GANLoss', 'gan_type': 'lsgan'}, 'feature_match_opt': None}
    whole = build(options)
    of_whole = step(whole, 1, count=4)
    options['train']['accumulate'] = 2
    parts = build(options)
    of_parts = step(parts, 1, count=4)
    assert of_parts == pytest.approx(of_whole, rel=1e-4)
    gradients = zip(whole.net_d.parameters(), parts.net_d.parameters(), strict=True)
    assert all(torch.allclose(one.grad, other.grad, rtol=1e-3, atol=1e-6) for one, other in gradients)


def test_da_is_compared_at_all_sizes(options):
    options['train'] |= {'scales_opt': {'type': 'MSELoss'}, 'feature_match_opt': None}
    options |= {'network_g': dict(DA), 'network_d': DISCRIMINATOR | {'num_d': 1}}
    log = step(build(options), 1)
    assert list(log) == ['l_pix', 'l_scales', 'l_gan', 'l_d_real', 'l_d_fake']
    assert log['l_scales'] > 0


def test_any_network_and_a_discriminator_of_one_output_go_together(options):
    options['train'] |= {'gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla'}, 'feature_match_opt': None}
    unet = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 6, 'num_feat': 4}
    log = step(build(options | {'network_g': {'type': 'AODNet'}, 'network_d': unet}), 1)
    assert list(log) == ['l_pix', 'l_gan', 'l_d_real', 'l_d_fake']


def test_a_resumed_training_is_the_one_that_was_not_interrupted(options, tmp_path):
    straight = build(options)
    for number in (1, 2, 3, 4):
        log = step(straight, number)
    model = build(options)
    for number in (1, 2):
        step(model, number)
    model.save(0, 2)
    allow_counters()
    options['path'] |= {f'pretrain_network_{net}': str(tmp_path / f'net_{net}_2.pth') for net in 'gd'}
    resumed = build(options)
    resumed.resume_training(torch.load(tmp_path / '2.state', weights_only=True))
    for number in (3, 4):
        assert_log = step(resumed, number)
    assert assert_log == log
    assert are_equal(weights_of(straight.net_g, straight.net_d), weights_of(resumed.net_g, resumed.net_d))


def test_a_run_goes_on_from_a_state_with_both_optimisers_and_from_no_other(options, tmp_path):
    model = build(options)
    step(model, 1)
    model.save(0, 1)
    state = checkpoints.load_state(str(tmp_path / '1.state'))
    AdversarialModel.check_state(options, state, '1.state')
    state['optimizers'].pop()
    with pytest.raises(InputError, match='it holds 1 optimisers instead of 2'):
        AdversarialModel.check_state(options, state, '1.state')


def test_a_run_that_ends_in_the_turn_of_the_discriminator_is_not_saved_between_two_turns(options, monkeypatch):
    model = build(options)
    step(model, 1)
    monkeypatch.setattr(model, '_train_discriminator', lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        step(model, 2)
    assert model._save_after_failure() == ''


def test_a_discriminator_that_is_not_finite_is_not_saved(options, tmp_path):
    model = build(options)
    step(model, 1)
    with torch.no_grad():
        next(model.net_d.parameters()).fill_(float('nan'))
    with pytest.raises(BadUpdatesError, match='the discriminator of iteration 1'):
        model.save(0, 1)
    assert not list(tmp_path.glob('net_*'))


def test_an_update_of_the_discriminator_that_is_not_finite_is_left_out(options):
    model = build(options)
    model.feed_data(batch(1))
    model.judged = [(model.lq, model.gt * float('inf'), model.gt)]
    before = [parameter.clone() for parameter in model.net_d.parameters()]
    model._train_discriminator()
    assert are_equal(before, model.net_d.parameters())


@pytest.mark.parametrize('path', [('network_d',), ('train', 'optim_d')])
def test_what_a_training_needs_is_asked_for_by_the_check(options, path):
    block = options
    for name in path[:-1]:
        block = block[name]
    del block[path[-1]]
    mistakes = check(as_written(options), phase='train', look=False)
    assert [mistake.path for mistake in mistakes if mistake.kind == 'missing key'] == [path]


def test_a_test_does_without_the_discriminator(options):
    for name in ('train', 'network_d', 'logger'):
        del options[name]
    options['datasets'] = {'test': options['datasets']['val'] | {'phase': 'test'}}
    model = build(options | {'is_train': False, 'val': {'save_img': False}})
    assert not hasattr(model, 'net_d')
