"""BatchNorm statistics that are estimated anew are those of the layers' inputs over whole images."""

import copy

import pytest
import torch
from basicsr.models import build_model
from torch import nn

from okdnet_plugin.engine import bn_recalibration, checkpoints


def test_statistics_are_those_of_all_images_one_layer_after_the_other():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 5, 1),
        nn.BatchNorm2d(5),
        nn.Conv2d(5, 2, 1),
        nn.BatchNorm2d(2),
    )
    for layer in (net[1], net[4], net[6]):
        layer.running_mean.fill_(3)
        layer.running_var.fill_(50)
    images = [torch.rand(1, 3, 8, 8) * scale for scale in (0.2, 1.0, 3.0)]
    assert bn_recalibration.recalibrate(net, lambda: images) == 3
    batch = torch.cat(images)  # of one size: every image counts alike, so the moments are those of the batch
    for number in (1, 4, 6):
        with torch.no_grad():
            got = net.eval()[:number](batch)
        layer = net[number]
        assert torch.allclose(layer.running_mean, got.mean((0, 2, 3)), rtol=0.02, atol=0.02)
        assert torch.allclose(layer.running_var, got.var((0, 2, 3), unbiased=False), rtol=0.04)


def test_images_count_alike_whatever_their_size_and_the_mode_stays():
    net = nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 1, 1)).train()
    images = [torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 40, 40)]
    bn_recalibration.recalibrate(net, lambda: images)
    assert net.training
    assert net[0].running_mean.item() == pytest.approx(0.5)
    assert net[0].running_var.item() == pytest.approx(0.25)


def test_a_layer_that_sees_one_value_of_an_image_keeps_its_statistics():
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3), nn.Conv2d(3, 1, 1))
    before = copy.deepcopy(net[1].state_dict())
    assert bn_recalibration.recalibrate(net, lambda: [torch.rand(1, 3, 8, 8)]) == 0
    assert all(torch.equal(value, before[name]) for name, value in net[1].state_dict().items())


def test_no_kernels_are_searched_for_the_many_sizes_of_whole_images(monkeypatch):
    net, searched = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 1, 1)), []
    monkeypatch.setattr(torch.backends.cudnn, 'benchmark', True)
    net.register_forward_hook(lambda *_: searched.append(torch.backends.cudnn.benchmark))
    bn_recalibration.recalibrate(net, lambda: [torch.rand(1, 3, 8, 8)])
    assert set(searched) == {False}
    assert torch.backends.cudnn.benchmark


def test_a_network_without_batch_norm_is_left_alone():
    assert bn_recalibration.recalibrate(nn.Conv2d(3, 3, 1), lambda: pytest.fail('no image is needed')) == 0


def test_images_are_whole_ones_of_the_training_set_spread_over_it(model_options):
    images = bn_recalibration.images_of_training(model_options, 4)
    assert [tuple(image.shape) for image in images] == [(1, 3, 48, 64)] * 4
    assert len({image.sum().item() for image in images}) == 4


def test_the_parts_of_a_mixture_give_their_shares(model_options):
    train = model_options['datasets']['train']
    part = {key: train[key] for key in ('type', 'dataroot_lq', 'dataroot_gt', 'layout', 'io_backend')}
    parts = {'many': {**part, 'weight': 3}, 'few': {**part, 'weight': 1, 'resize': 32}}
    model_options['datasets']['train'] = {
        'name': 'Mix',
        'phase': 'train',
        'type': 'MixedDataset',
        'gt_size': 16,
        'parts': parts,
    }
    assert len(bn_recalibration.images_of_training(model_options, 4)) == 4


def test_a_training_ends_with_them_saved_and_validated(model_options, monkeypatch):
    model_options['train']['recalibrate_bn'] = 3
    model = build_model(model_options)
    before = copy.deepcopy(model.net_g_ema.state_dict())
    saved = []
    model.save_network = lambda nets, *_, **__: saved.append(
        [net.state_dict()['preprocess.1.running_var'].clone() for net in nets]
    )
    model.save_training_state = lambda *_: None
    monkeypatch.setattr(checkpoints, 'link', lambda *_: None)
    model.opt['path'] |= {'models': '', 'training_states': ''}
    model.current_iter = model._saved_iter = 4
    model._validated = {(4, 'Held')}
    model.save(-1, -1)
    ((_, average),) = saved
    assert not torch.allclose(average, before['preprocess.1.running_var'])
    assert model._validated == set()
