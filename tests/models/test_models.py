"""The models in one process: which losses they read, which networks they train, and what they refuse."""

import copy

import pytest
import torch
from basicsr.data import build_dataset
from basicsr.models import build_model
from basicsr.utils import set_random_seed

from okdnet_plugin.compat.checking import prepare
from okdnet_plugin.errors import InputError, UnknownNameError

RIDNET = {'type': 'RIDNet', 'in_channels': 3, 'mid_channels': 16, 'out_channels': 3, 'num_block': 1}
SWINIR = {
    'type': 'SwinIR', 'upscale': 1, 'img_size': 32, 'window_size': 8, 'depths': [2], 'embed_dim': 12, 'num_heads': [2],
    'mlp_ratio': 2, 'upsampler': '', 'in_chans': 3,
}  # fmt: skip


def train(options, steps=2):
    model = build_model(options)
    dataset = build_dataset(options['datasets']['train'])
    batch = {key: torch.stack([dataset[i][key] for i in range(2)]) for key in ('lq', 'gt')}
    history = []
    for step in range(1, steps + 1):
        model.update_learning_rate(step)
        model.feed_data(batch)
        model.optimize_parameters(step)
        history.append(dict(model.get_current_log()))
    return model, history


def test_okdnet_model_adds_up_the_three_terms(model_options):
    model, _ = train(model_options, steps=1)
    assert list(model.get_current_log()) == ['l_pix', 'l_ssim', 'l_distill']


def test_okdnet_model_learns(model_options):
    model_options['train']['scheduler']['milestones'] = []
    _, history = train(model_options, steps=40)
    assert sum(history[-1].values()) < sum(history[0].values()) - 0.3


@pytest.mark.parametrize('left_out', ['pixel_opt', 'ssim_opt', 'distill_opt'])
def test_each_term_can_be_left_out(model_options, left_out):
    del model_options['train'][left_out]
    _, history = train(model_options, steps=1)
    assert len(history[0]) == 2


def test_every_parameter_gets_a_gradient(model_options):
    model, _ = train(model_options, steps=1)
    assert [name for name, parameter in model.net_g.named_parameters() if parameter.grad is None] == []


def test_average_follows_the_network(model_options):
    """At a vanishing learning rate the averaged network restores like the raw one, once it has seen the statistics."""
    model_options['train'] |= {'ema_decay': 0.5}
    model_options['train']['optim_g']['lr'] = 1e-7
    model, _ = train(model_options, steps=40)
    with torch.no_grad():
        raw, average = model.net_g.eval()(model.lq), model.net_g_ema(model.lq)
    assert not model.net_g_ema.training
    assert (raw - average).abs().mean() < 0.01


def test_channels_last_changes_the_layout_and_not_the_result(model_options):
    results = {}
    for channels_last in (False, True):
        set_random_seed(0)
        options = copy.deepcopy(model_options) | {'channels_last': channels_last}
        model, history = train(options, steps=1)
        assert model.lq.is_contiguous(memory_format=torch.channels_last) == channels_last
        assert model.net_g_ema.to_image.weight.shape == (3, 8, 1, 1)
        results[channels_last] = history[0]
    assert results[True] == pytest.approx(results[False], rel=1e-4)


def test_plain_sr_model_trains_okdnet(model_options):
    model_options['model_type'] = 'SRModel'
    for block in ('ssim_opt', 'distill_opt'):
        del model_options['train'][block]
    _, history = train(model_options)
    assert list(history[0]) == ['l_pix']


@pytest.mark.parametrize('network', [RIDNET, SWINIR], ids=lambda network: network['type'])
@pytest.mark.parametrize('model_type', ['SRModel', 'RestorationModel'])
def test_basicsr_network_trains_on_the_pairs_with_these_losses(model_options, network, model_type):
    del model_options['train']['distill_opt']
    if model_type == 'SRModel':
        model_options['train']['pixel_opt'] = model_options['train'].pop('ssim_opt')
    _, history = train(model_options | {'network_g': network, 'model_type': model_type}, steps=3)
    assert sum(history[-1].values()) < sum(history[0].values())


@pytest.mark.parametrize(
    'network',
    [
        {'type': 'DCPDN', 'num_feat': 8, 'num_blocks': [1, 1, 1], 't_min': 0.1},
        {'type': 'EPDN', 'num_feat': 4, 'num_blocks': 1, 'num_fine_blocks': 1},
        {'type': 'DADehazer', 'num_feat': 4, 'num_centers': 1},
        {'type': 'PSD', 'backbone': 'gca', 'backbone_options': {'num_feat': 8}},
        {'type': 'gUNet', 'num_feat': 8, 'num_blocks': [1, 1, 1]},
        {'type': 'DehazeFormer', 'num_feat': 12, 'num_blocks': [1, 1, 1, 1, 1]},
    ],
    ids=lambda network: network['type'],
)
def test_network_of_the_comparison_trains_and_leaves_its_unused_weights_alone(model_options, network):
    del model_options['train']['distill_opt']
    model, history = train(model_options | {'network_g': network, 'model_type': 'RestorationModel'}, steps=8)
    assert sum(history[-1].values()) < sum(history[0].values())
    frozen = [tensor for tensor in model.net_g.parameters() if not tensor.requires_grad]
    assert bool(frozen) == (network['type'] in ('DCPDN', 'EPDN', 'PSD'))
    assert all(tensor.grad is None for tensor in frozen)


def test_branches_that_are_no_students_are_named(model_options):
    model_options['network_g'] = {'type': 'PSD', 'backbone': 'gca', 'backbone_options': {'num_feat': 8}}
    with pytest.raises(InputError, match='PSD has no branches model_free, model_based, shared'):
        train(model_options, steps=1)


def test_network_without_branches_is_refused(model_options):
    with pytest.raises(InputError, match='RIDNet has none; use model_type: RestorationModel'):
        build_model(model_options | {'network_g': RIDNET})


def test_batch_of_one_is_refused_before_the_first_step(model_options):
    model_options['datasets']['train']['batch_size_per_gpu'] = 1
    with pytest.raises(InputError, match=r'OKDNet does not take a batch of shape \[1, 3, 32, 32\]: .* one image'):
        prepare(model_options)


def test_batch_of_one_is_let_pass_where_batch_norm_is_frozen(model_options):
    model_options['datasets']['train']['batch_size_per_gpu'] = 1
    model_options['train']['freeze'] = ['airlight.*']
    prepare(model_options)
    history = train(model_options, steps=2)[1]
    assert len(history) == 2


def test_misspelt_loss_block_is_refused(model_options):
    model_options['train']['distil_opt'] = model_options['train'].pop('distill_opt')
    with pytest.raises(InputError, match=r'train:distil_opt: .*did you mean distill_opt'):
        build_model(model_options)


def test_distillation_of_a_model_that_has_none_is_refused(model_options):
    with pytest.raises(InputError, match='train:distill_opt: RestorationModel knows no such loss'):
        build_model(model_options | {'model_type': 'RestorationModel'})


def test_no_loss_at_all_is_refused(model_options):
    for block in ('pixel_opt', 'ssim_opt', 'distill_opt'):
        del model_options['train'][block]
    with pytest.raises(InputError, match='no loss is given'):
        build_model(model_options)


def test_misspelt_metric_is_refused_before_the_first_step(model_options):
    model_options['val']['metrics']['psnr']['type'] = 'calculate_pnsr'
    with pytest.raises(UnknownNameError, match='did you mean calculate_psnr'):
        build_model(model_options)


def test_average_is_read_back_from_a_saved_network(model_options, tmp_path):
    model_options['path']['models'] = str(tmp_path)
    model, _ = train(model_options)
    model.save_network([model.net_g, model.net_g_ema], 'net_g', 2, param_key=['params', 'params_ema'])
    model_options['path']['pretrain_network_g'] = str(tmp_path / 'net_g_2.pth')
    model_options['train']['optim_g']['type'] = 'Adam'
    model_options['train']['scheduler']['type'] = 'MultiStepLR'
    again = build_model(model_options)
    for key, value in model.net_g_ema.state_dict().items():
        assert torch.equal(again.net_g_ema.state_dict()[key], value)


def batch_of(model_options, **more):
    dataset = build_dataset(model_options['datasets']['train'])
    batch = {key: torch.stack([dataset[i][key] for i in range(4)]) for key in ('lq', 'gt')}
    return batch | more


MAPS = {'transmission': torch.full((4, 1, 32, 32), 0.5), 'airlight': torch.full((4, 3, 1, 1), 0.9)}


def test_with_the_loss_of_airlight_alone_nothing_else_is_computed(model_options):
    for key in ('pixel_opt', 'ssim_opt', 'distill_opt'):
        del model_options['train'][key]
    model_options['train'] |= {'airlight_opt': {'type': 'L1Loss'}}
    model = build_model(model_options)
    model.net_g.preprocess.register_forward_hook(lambda *_: pytest.fail('the images are computed'))
    calls = []  # of what DistributedDataParallel wraps: a method beside forward would not share gradients
    model.net_g.register_forward_hook(lambda *given: calls.append(given))
    model.feed_data(batch_of(model_options, **MAPS))
    set_random_seed(0)
    losses = model.compute_losses()
    set_random_seed(0)  # for the dropout
    estimated = model.net_g.estimate_airlight(model.lq)
    assert {name: loss.item() for name, loss in losses.items()} == {
        'l_air': pytest.approx((estimated - 0.9).abs().mean().item(), rel=1e-4)
    }
    model.optimize_parameters(1)
    assert len(calls) == 2
    assert model.net_g.airlight.downs[0].weight.grad.abs().sum() > 0


def test_losses_of_branches_and_maps_have_their_values_and_gradients(model_options):
    model_options['train'] |= {
        'branch_opt': {'type': 'L1Loss', 'loss_weight': 0.5},
        'transmission_opt': {'type': 'L1Loss', 'loss_weight': 2.0},
        'airlight_opt': {'type': 'MSELoss'},
    }
    model = build_model(model_options)
    model.feed_data(batch_of(model_options, **MAPS))
    set_random_seed(0)
    losses = model.compute_losses()
    set_random_seed(0)  # for the dropout
    branches = model.net_g(model.lq, return_branches=True)
    students = (branches.model_free, branches.model_based, branches.shared)
    assert losses['l_branch'].item() == pytest.approx(
        sum(0.5 * (s - model.gt).abs().mean().item() for s in students), rel=1e-4
    )
    assert losses['l_trans'].item() == pytest.approx(2 * (branches.transmission - 0.5).abs().mean().item(), rel=1e-4)
    assert losses['l_air'].item() == pytest.approx((branches.airlight - 0.9).square().mean().item(), rel=1e-4)
    losses['l_trans'].backward()
    assert model.net_g.transmission[0].weight.grad.abs().sum() > 0
    assert model.net_g.airlight.downs[0].weight.grad is None
    model.net_g.zero_grad(set_to_none=True)
    model.compute_losses()['l_air'].backward()
    assert model.net_g.airlight.downs[0].weight.grad.abs().sum() > 0
    assert model.net_g.transmission[0].weight.grad is None


def test_maps_are_divided_with_the_batch(model_options):
    """Each part of two samples is compared with its own transmission, so that the loss is the mean over all."""
    model_options['train'] = {**model_options['train'], 'accumulate': 2, 'transmission_opt': {'type': 'L1Loss'}}
    for key in ('pixel_opt', 'ssim_opt', 'distill_opt'):
        del model_options['train'][key]
    model = build_model(model_options)
    transmission = torch.tensor([0.1, 0.1, 0.9, 0.9])[:, None, None, None].expand(4, 1, 32, 32)
    seen = []
    model.losses['transmission_opt'].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1].mean().item()))
    model.feed_data(batch_of(model_options, transmission=transmission))
    model.optimize_parameters(1)
    assert seen == pytest.approx([0.1, 0.9])
    assert torch.equal(model.transmission, transmission)


@pytest.mark.parametrize('name', ['transmission', 'airlight'])
def test_a_data_set_without_maps_is_one_line(model_options, name):
    model_options['train'][f'{name}_opt'] = {'type': 'L1Loss'}
    model = build_model(model_options)
    model.feed_data(batch_of(model_options))
    with pytest.raises(InputError, match=f'train:{name}_opt needs the {name} .*return_maps: true'):
        model.compute_losses()
