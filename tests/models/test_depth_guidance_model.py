"""Clear image, haze by depth, depth of the hazy image, dehazed image: what is made of what, and who learns when."""

import copy

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.data import build_dataset
from basicsr.models import build_model
from basicsr.utils import set_random_seed

from okdnet_plugin.engine import validation
from okdnet_plugin.errors import InputError

NETWORK = {
    'type': 'DGDNet',
    'depth': {'num_feat': 4, 'growth': 4, 'num_blocks': [1, 1, 1, 1], 'bound': 'softplus'},
    'fuse': {'dim': 4, 'depths': [1, 1], 'drop_path': 0.0},
}


@pytest.fixture
def rgbd(pairs, tmp_path):
    """Depth of the four clear images, far at the top."""
    (tmp_path / 'depth').mkdir()
    ramp = np.tile(np.linspace(255, 40, 48, dtype=np.uint8)[:, None], (1, 64))
    for number in range(1, 5):
        cv2.imwrite(str(tmp_path / 'depth' / f'{number}.png'), ramp)
    return {'dataroot_gt': str(pairs / 'clear'), 'dataroot_depth': str(tmp_path / 'depth'), 'depth_norm': 'max'}


@pytest.fixture
def options(model_options, rgbd):
    """Depth from a folder, haze from the data set."""
    data = {'name': 'Made', 'type': 'SyntheticHazeDataset', **rgbd, 'preset': 'reside_its', 'return_depth': True}
    loader = {'gt_size': 32, 'num_worker_per_gpu': 0, 'batch_size_per_gpu': 2, 'phase': 'train', 'scale': 1}
    model_options['datasets'] = {'train': data | loader}
    train = model_options['train']
    del train['distill_opt'], train['ssim_opt']
    train |= {'ema_decay': 0, 'depth_opt': {'type': 'L1Loss'}}
    return model_options | {'model_type': 'DepthGuidanceModel', 'network_g': NETWORK}


@pytest.fixture
def with_network(options, rgbd, tmp_path):
    """Depth from a frozen network, haze from the model."""
    torch.manual_seed(1)
    torch.save({'params': build_network(NETWORK).state_dict()}, tmp_path / 'depth.pth')
    clear = {'name': 'Clear', 'type': 'ClearImageDataset', 'dataroot_gt': rgbd['dataroot_gt']}
    keys = ('gt_size', 'num_worker_per_gpu', 'batch_size_per_gpu', 'phase', 'scale')
    options['datasets'] = {'train': clear | {key: options['datasets']['train'][key] for key in keys}}
    source = {'network_d': NETWORK, 'pretrain_network_d': str(tmp_path / 'depth.pth')}
    return options | {'clear_depth': source, 'haze': {'beta': [1.0, 2.0], 'airlight': 0.9}}


def batch_of(options):
    dataset = build_dataset(options['datasets']['train'])
    samples = [dataset[i] for i in range(2)]
    return {key: torch.stack([one[key] for one in samples]) for key in ('lq', 'gt', 'depth') if key in samples[0]}


def step(model, batch, number):
    model.update_learning_rate(number)
    model.feed_data(batch)
    model.optimize_parameters(number)
    return dict(model.get_current_log())


def parts_that_learn(model, batch, number):
    step(model, batch, number)
    names = (name for name, one in model.net_g.named_parameters() if one.grad is not None and one.grad.any())
    return {name.split('.')[0] for name in names}


def test_depth_of_a_folder_teaches_the_depth_of_the_hazy_image(options):
    options['train']['scheduler']['milestones'] = []
    options['train']['optim_g']['lr'] = 0.01
    model, batch = build_model(copy.deepcopy(options)), batch_of(options)
    logs = [step(model, batch, number) for number in range(1, 25)]
    assert list(logs[0]) == ['l_pix', 'l_depth']
    assert logs[-1]['l_depth'] < 0.7 * logs[0]['l_depth']
    assert logs[-1]['l_pix'] < logs[0]['l_pix']
    given = model.restore(return_depth=True)
    assert model.compute_losses()['l_depth'].item() == pytest.approx((given.depth - batch['depth']).abs().mean().item())


def test_model_makes_the_haze_of_the_depth_that_a_frozen_network_tells(with_network):
    model, batch = build_model(copy.deepcopy(with_network)), batch_of(with_network)
    before = copy.deepcopy(model.clear_depth.state_dict())
    set_random_seed(3)
    step(model, batch, 1)
    with torch.no_grad():
        depth = model.clear_depth.depth_net(batch['gt'])
    assert torch.equal(model.depth, depth)
    first = depth.flatten(1)
    distance = (depth - first.min(1)[0].view(2, 1, 1, 1)) / (first.max(1)[0] - first.min(1)[0]).view(2, 1, 1, 1)
    transmission = (model.lq - 0.9) / (batch['gt'] - 0.9)  # where the clear image is far enough from the airlight
    is_sure = (batch['gt'] - 0.9).abs() > 0.3
    beta = (-transmission.clamp(min=0.05).log() / distance.clamp(min=0.05))[is_sure & (distance > 0.2)]
    low, high = np.quantile(beta.numpy(), [0.1, 0.9])
    assert 0.95 <= low <= high <= 2.05
    assert not model.clear_depth.training
    assert all(not one.requires_grad and one.grad is None for one in model.clear_depth.parameters())
    assert all(torch.equal(before[name], one) for name, one in model.clear_depth.state_dict().items())


def test_image_teaches_the_depth_network_and_depth_the_dehazing_network(options):
    del options['train']['depth_opt']
    model, batch = build_model(copy.deepcopy(options)), batch_of(options)
    assert parts_that_learn(model, batch, 1) == {'depth_net', 'fuse_net', 'mix'}
    options['train'] |= {'mutual_opt': {'type': 'L1Loss'}}
    options['train']['pixel_opt']['loss_weight'] = 0.0
    model = build_model(copy.deepcopy(options))
    assert 'fuse_net' in parts_that_learn(model, batch, 1)


def test_judge_of_the_dehazed_image_is_the_frozen_network_where_there_is_one(with_network):
    with_network['train'] |= {'mutual_opt': {'type': 'L1Loss'}}
    model, batch = build_model(copy.deepcopy(with_network)), batch_of(with_network)
    log = step(model, batch, 1)
    assert set(log) == {'l_pix', 'l_depth', 'l_mutual'}
    with torch.no_grad():
        expected = (model.clear_depth.depth_net(model.output) - model.depth).abs().mean()
    assert log['l_mutual'] == pytest.approx(expected.item(), rel=1e-5)


def test_depth_network_learns_alone_at_first_and_no_more_when_it_is_frozen(options):
    options['train'] |= {'depth_iter': 2, 'freeze_depth': True}
    model, batch = build_model(copy.deepcopy(options)), batch_of(options)
    assert parts_that_learn(model, batch, 1) == {'depth_net'}
    assert list(step(model, batch, 2)) == ['l_depth']
    statistics = copy.deepcopy(model.net_g.depth_net.state_dict())
    assert parts_that_learn(model, batch, 3) == {'fuse_net', 'mix'}
    assert all(torch.equal(statistics[name], one) for name, one in model.net_g.depth_net.state_dict().items())


def test_validation_measures_depth_where_there_is_truth(options):
    model = build_model(copy.deepcopy(options))
    dataset = build_dataset({**options['datasets']['train'], 'phase': 'val', 'gt_size': None})
    sample = dataset[0]
    data = {key: one[None] if isinstance(one, torch.Tensor) else [one] for key, one in sample.items()}
    images = model.restore_image(data)
    assert images['depth'].shape == images['depth_gt'].shape == (48, 64)
    np.testing.assert_array_equal(images['depth_gt'], sample['depth'][0].numpy())
    metrics = {'abs_rel': {'type': 'calculate_abs_rel'}, 'delta': {'type': 'calculate_delta'}}
    values, reasons = validation.metric_values_of(images, metrics)
    error = np.abs(images['depth'] - images['depth_gt']) / images['depth_gt']
    assert not reasons
    assert values['abs_rel'] == pytest.approx(error.mean(), rel=1e-4)
    assert 0 <= values['delta'] <= 1
    del data['depth']
    assert validation.metric_values_of(model.restore_image(data), metrics) == ({}, {})


def test_depth_of_an_image_that_is_restored_in_tiles_is_not_that_of_the_image_before_and_has_a_reason(options):
    options['val'] = {'tile': 128}
    model = build_model(options)
    sample = build_dataset(options['datasets']['train'])[0]
    batch = {key: value[None] for key, value in sample.items() if isinstance(value, torch.Tensor)} | {'lq_path': ['a']}
    assert 'depth' in model.restore_image(batch)
    large = {key: value.repeat(1, 1, 1, 6) if torch.is_tensor(value) else value for key, value in batch.items()}
    found = model.restore_image(large)
    assert 'depth' not in found
    values, reasons = validation.metric_values_of(found, {'rel': {'type': 'calculate_abs_rel'}})
    assert (values, list(reasons)) == ({}, ['rel'])
    assert 'restored in tiles is not estimated; write val:tile: 0' in reasons['rel']


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'network_g': {'type': 'AODNet'}}, 'trains networks that depth guides, as DGDNet, and AODNet is none'),
        ({'haze': {'beta': 1.0, 'airlight': 0.9}}, 'option haze needs clear_depth'),
        ({'return_depth': False}, 'nothing tells the depth of the training images; write return_depth: true'),
        ({'depth_iter': 2, 'depth_opt': None}, 'option train:depth_iter needs the loss train:depth_opt'),
    ],
)
def test_mistake_is_told_in_one_line(options, change, message):
    options |= {key: change[key] for key in ('network_g', 'haze') if key in change}
    options['train'] |= {key: change[key] for key in ('depth_iter', 'depth_opt') if key in change}
    options['datasets']['train']['return_depth'] = change.get('return_depth', True)
    with pytest.raises(InputError, match=message) as caught:
        step(build_model(copy.deepcopy(options)), batch_of(options), 1)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'haze': {'beta': [2.0, 1.0], 'airlight': 0.9}}, 'option haze: beta is the range'),
        ({'haze': {'airlight': 0.9}}, "option haze: option 'beta' is missing"),
        ({'haze': None}, 'option clear_depth needs haze'),
        ({'clear_depth': {'network_d': NETWORK}}, 'option clear_depth: DGDNet has weights to load'),
    ],
)
def test_mistake_of_the_haze_that_the_model_makes_is_told_in_one_line(with_network, change, message):
    with pytest.raises(InputError, match=message) as caught:
        build_model(copy.deepcopy(with_network | change))
    assert '\n' not in str(caught.value)


def test_network_that_gives_no_depth_is_refused(with_network):
    aod = {'network_d': {'type': 'DCP'}}
    model = build_model(copy.deepcopy(with_network | {'clear_depth': aod}))
    with pytest.raises(InputError, match=r'DCP gives \(2, 3, 32, 32\) of images, but depth is \(2, 1, 32, 32\)'):
        step(model, batch_of(with_network), 1)


def test_the_loss_of_both_networks_does_not_reach_a_frozen_one(options):
    options['train'] |= {'freeze_depth': True, 'mutual_opt': {'type': 'L1Loss'}}
    model, batch = build_model(copy.deepcopy(options)), batch_of(options)
    assert parts_that_learn(model, batch, 1) == {'fuse_net', 'mix'}
