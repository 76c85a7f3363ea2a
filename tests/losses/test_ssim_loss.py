"""Negative SSIM against scikit-image, and as a loss of BasicSR."""

import pytest
import torch
from basicsr.losses import build_loss
from skimage.metrics import structural_similarity

from okdnet_plugin.losses.ssim_loss import SSIMLoss, ssim_map


@pytest.mark.parametrize('noise', [0.01, 0.1, 0.5])
@pytest.mark.parametrize('size', [(11, 11), (40, 57)])
def test_agrees_with_gaussian_ssim_of_scikit_image(noise, size):
    target = torch.rand(2, 3, *size)
    pred = (target + noise * torch.randn_like(target)).clamp(0, 1)
    expected = [
        structural_similarity(
            p.numpy(),
            t.numpy(),
            data_range=1,
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for p, t in zip(pred, target, strict=True)
    ]
    torch.testing.assert_close(
        ssim_map(pred, target).mean((1, 2, 3)), torch.tensor(expected, dtype=torch.float32), atol=1e-4, rtol=0
    )


def test_equal_images_give_minus_the_weight():
    image = torch.rand(1, 3, 16, 16)
    assert SSIMLoss(loss_weight=0.5)(image, image).item() == pytest.approx(-0.5, abs=1e-6)


def test_descending_it_brings_an_image_nearer():
    target = torch.rand(1, 3, 24, 24)
    pred = torch.rand(1, 3, 24, 24, requires_grad=True)
    loss = SSIMLoss()
    before = loss(pred, target)
    before.backward()
    assert loss(pred - 0.5 * pred.grad / pred.grad.abs().max(), target) < before


def test_weight_counts_at_the_centres_of_the_windows():
    pred, target = torch.rand(1, 3, 20, 20), torch.rand(1, 3, 20, 20)
    weight = torch.zeros(1, 1, 20, 20)
    weight[..., 9, 12] = 1
    expected = -ssim_map(pred, target)[..., 4, 7].mean()
    torch.testing.assert_close(SSIMLoss()(pred, target, weight), expected)


def test_autocast_does_not_change_it():
    pred, target = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)
    with torch.autocast('cpu', torch.bfloat16):
        under_autocast = SSIMLoss()(pred, target)
    torch.testing.assert_close(under_autocast, SSIMLoss()(pred, target))


def test_reductions_agree():
    pred, target = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    whole = SSIMLoss(reduction='none')(pred, target)
    assert whole.shape == (2, 3, 6, 6)
    torch.testing.assert_close(SSIMLoss(reduction='sum')(pred, target), whole.sum())
    torch.testing.assert_close(SSIMLoss()(pred, target), whole.mean())


@pytest.mark.parametrize('shapes', [((1, 3, 10, 16), (1, 3, 10, 16)), ((1, 3, 16, 16), (1, 1, 16, 16))])
def test_images_that_have_no_window_are_refused(shapes):
    with pytest.raises(ValueError, match='must be equal in shape and at least 11x11'):
        SSIMLoss()(torch.rand(shapes[0]), torch.rand(shapes[1]))


@pytest.mark.parametrize('wrong', [{'reduction': 'avg'}, {'window_size': 10}])
def test_wrong_argument_is_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SSIMLoss(**wrong)


def test_basicsr_builds_it_from_an_option_block():
    assert build_loss({'type': 'SSIMLoss', 'loss_weight': 2.0}).loss_weight == 2.0
