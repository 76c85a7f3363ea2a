"""The losses of PSD and of DCPDN's transmission: against their definitions, and what they teach."""

import cv2
import numpy as np
import pytest
import torch
from basicsr.losses import build_loss
from torch.nn import functional as F

from okdnet_plugin.archs.dcp_arch import DCP, dark_channel
from okdnet_plugin.losses.bright_channel_loss import BrightChannelLoss
from okdnet_plugin.losses.clahe_loss import CLAHELoss, equalise
from okdnet_plugin.losses.dark_channel_loss import DarkChannelLoss, unexplained_variance
from okdnet_plugin.losses.forgetting_loss import ForgettingLoss
from okdnet_plugin.losses.transmission_loss import TransmissionLoss

NAMES = ['DarkChannelLoss', 'BrightChannelLoss', 'CLAHELoss', 'ForgettingLoss', 'TransmissionLoss']


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def hazy():
    return F.interpolate(torch.rand(2, 3, 6, 8), scale_factor=6.0, mode='bilinear') * 0.5 + 0.4


def test_smoothness_is_the_sum_over_pairs_of_the_matting_weights():
    image, t, eps = torch.rand(1, 3, 5, 6, dtype=torch.float64), torch.rand(1, 1, 5, 6, dtype=torch.float64), 1e-2
    expected = []
    for row in range(3):
        for column in range(4):
            colours = image[0, :, row : row + 3, column : column + 3].reshape(3, 9).T
            centred = colours - colours.mean(0)
            inverse = torch.linalg.inv(centred.T @ centred / 9 + eps / 9 * torch.eye(3, dtype=torch.float64))
            weights = (1 + centred @ inverse @ centred.T) / 9
            values = t[0, 0, row : row + 3, column : column + 3].reshape(9)
            expected.append((weights * (values[:, None] - values).square()).sum())
    found = 18 * unexplained_variance(t.float(), image.float(), eps)
    torch.testing.assert_close(found[0].double(), torch.stack(expected), atol=1e-5, rtol=1e-4)
    loss = DarkChannelLoss(fidelity=0, eps=eps)(t.float(), image.float())
    assert loss.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-4)


def test_dark_channel_loss_asks_for_the_transmission_of_the_prior(hazy):
    dcp = DCP()
    light = dcp.estimate_airlight(hazy)
    prior = 1 - 0.95 * dark_channel(hazy / light, 15)
    loss = DarkChannelLoss(smoothness=0, fidelity=1)
    assert loss(prior, hazy) == 0
    assert loss(prior + 0.1, hazy).item() == pytest.approx(0.01, rel=1e-4)
    assert DarkChannelLoss(smoothness=0, fidelity=1, reduction='sum')(prior + 0.1, hazy).item() == pytest.approx(0.02)


def test_transmission_that_is_linear_in_the_colours_is_smooth(hazy):
    loss = DarkChannelLoss(fidelity=0)
    linear = 0.2 + 0.5 * hazy[:, :1] - 0.3 * hazy[:, 2:]
    assert loss(linear, hazy) < 1e-4 * loss(torch.rand_like(linear), hazy)


def test_bright_channel_loss_asks_for_the_transmission_of_haze_over_bright_squares():
    clear = torch.rand(1, 3, 96, 96) * 0.6
    clear[..., ::8, ::8] = 1  # each square has a bright pixel
    clear[..., 40:, 40:] = 0.3  # but far away is nothing but haze
    t = torch.full((1, 1, 96, 96), 0.7)
    t[..., 40:, 40:] = 0
    hazy = clear * t + 0.3 * (1 - t)
    loss = BrightChannelLoss(patch_size=9, omega=1, top=1e-3)
    near = torch.zeros_like(t)
    near[..., :30, :30] = 1
    right, wrong = loss(t, hazy), loss(t + 0.2 * near, hazy)
    assert right < wrong
    assert right < loss(t - 0.2 * near, hazy)
    torch.testing.assert_close(right, torch.zeros(()), atol=1e-2, rtol=0)


def test_equalised_image_is_that_of_opencv(hazy):
    rgb = (hazy[1].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(3.0, (4, 4)).apply(lab[..., 0].copy())
    expected = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    assert np.array_equal((equalise(hazy, 3.0, 4)[1] * 255).round().byte().permute(1, 2, 0).numpy(), expected)


def test_clahe_loss_is_nothing_where_the_model_makes_the_hazy_image_again(hazy):
    clear, light, t = equalise(hazy, 3.0, 16), torch.rand(2, 3, 1, 1), torch.rand(2, 1, 36, 48)
    loss = CLAHELoss()
    again = clear * t + (1 - t) * light
    assert loss(t, light, hazy).item() == pytest.approx(F.smooth_l1_loss(again, hazy).item(), rel=1e-5)
    flat = torch.full_like(hazy, 0.5)
    same = equalise(flat, 3.0, 16)
    assert loss(torch.ones_like(t), light, same).item() == pytest.approx(
        F.smooth_l1_loss(equalise(same, 3.0, 16), same).item(), abs=1e-6
    )


def test_forgetting_loss_counts_the_sky_alone_when_asked():
    hazy = torch.full((1, 3, 40, 40), 0.2)
    hazy[..., :20, :] = 0.9
    before, pred = torch.zeros(1, 4, 40, 40), torch.zeros(1, 4, 40, 40)
    pred[..., 20:, :] = 9  # below the sky
    assert ForgettingLoss()(pred, before) > 1
    loss = ForgettingLoss(sky_threshold=0.6, patch_size=3)
    assert loss(pred, before, hazy) == 0
    pred[..., :19, :] = 0.5  # the last row of sky is beside the ground
    assert loss(pred, before, hazy).item() == pytest.approx(0.125)
    assert loss(pred, before, hazy / 2) == 0
    with pytest.raises(ValueError, match='no hazy images'):
        loss(pred, before)


def test_network_as_it_was_gets_no_gradient():
    pred, before = torch.rand(1, 4, 8, 8, requires_grad=True), torch.rand(1, 4, 8, 8, requires_grad=True)
    ForgettingLoss()(pred, before).backward()
    assert pred.grad.any()
    assert before.grad is None


def test_transmission_loss_is_the_distance_and_twice_that_of_the_differences():
    pred, target = torch.rand(2, 3, 5, 6), torch.rand(2, 1, 5, 6)
    error = pred - target
    across, down = error[..., 1:] - error[..., :-1], error[..., 1:, :] - error[..., :-1, :]
    expected = error.abs().mean() + 2 * across.abs().mean() + 2 * down.abs().mean()
    torch.testing.assert_close(TransmissionLoss()(pred, target), expected)
    torch.testing.assert_close(TransmissionLoss()(pred, target, torch.ones(2, 1, 5, 6)), expected)
    assert TransmissionLoss(gradient_weight=5)(target + 0.5, target).item() == pytest.approx(0.5)


@pytest.mark.parametrize('name', NAMES)
def test_loss_is_weighed_reduced_and_teaches(name, hazy):
    t = torch.rand(2, 1, 36, 48, requires_grad=True)
    arguments = {
        'CLAHELoss': (t, torch.rand(2, 3, 1, 1), hazy),
        'ForgettingLoss': (t, torch.rand(2, 1, 36, 48)),
        'TransmissionLoss': (t, torch.rand(2, 1, 36, 48)),
    }.get(name, (t, hazy))
    once, thrice = (build_loss({'type': name, 'loss_weight': weight})(*arguments) for weight in (1.0, 3.0))
    torch.testing.assert_close(thrice, 3 * once)
    assert build_loss({'type': name, 'reduction': 'sum'})(*arguments) > once
    once.backward()
    assert torch.isfinite(t.grad).all()
    loss = build_loss({'type': name})
    step = 1e-3 * t.grad / t.grad.abs().max()
    assert loss(t - step, *arguments[1:]) < once
    with torch.autocast('cpu', torch.bfloat16):
        assert loss(*arguments).dtype == torch.float32


@pytest.mark.parametrize('name', NAMES)
def test_wrong_reduction_is_named(name):
    with pytest.raises(ValueError, match=f'{name}: reduction'):
        build_loss({'type': name, 'reduction': 'none'})


@pytest.mark.parametrize('name', ['DarkChannelLoss', 'BrightChannelLoss', 'ForgettingLoss'])
def test_even_square_is_named(name):
    with pytest.raises(ValueError, match=f'{name}: patch_size is 4'):
        build_loss({'type': name, 'patch_size': 4})
