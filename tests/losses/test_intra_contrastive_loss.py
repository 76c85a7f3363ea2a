"""The contrast inside an image: which patches are taken, the formula in float64, and who learns from it."""

import pytest
import torch
from basicsr.losses import build_loss

from okdnet_plugin.losses.intra_contrastive_loss import IntraContrastiveLoss, brightest_and_darkest, cut_patches


def small(**options):
    return IntraContrastiveLoss(**{'extractor': 'small', 'patch_size': 8, 'num_patches': 3} | options)


@pytest.fixture
def clear():
    """Patches of 8 px, each with a brightness and a texture of its own."""
    brightness = torch.rand(2, 1, 4, 5).repeat_interleave(8, 2).repeat_interleave(8, 3)
    return 0.7 * brightness + 0.3 * torch.rand(2, 3, 32, 40)


@pytest.fixture
def hazy(clear):
    return 0.3 * clear + 0.6


def test_patches_are_cut_row_by_row_and_the_rest_is_left_out():
    image = torch.rand(2, 3, 19, 26)
    patches = cut_patches(image, 8)
    assert patches.shape == (2, 6, 3, 8, 8)
    for number in range(6):
        row, column = divmod(number, 3)
        part = image[..., 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        assert torch.equal(patches[:, number], part)


def test_brightest_and_darkest_patches_of_a_crafted_image_are_found():
    means = torch.tensor([[0.5, 0.1, 0.9], [0.3, 1.0, 0.2]])
    image = means.repeat_interleave(8, 0).repeat_interleave(8, 1).expand(1, 3, 16, 24)
    places = brightest_and_darkest(image, 8, 2)
    assert places.tolist() == [[[4, 2], [1, 5]]]
    assert brightest_and_darkest(image, 8, 100).tolist() == [[[4, 2, 0], [1, 5, 3]]]


def test_brightness_is_the_luminance_not_the_mean():
    image = torch.zeros(1, 3, 8, 24)
    image[:, 2, :, :8] = 1  # blue
    image[:, 1, :, 8:16] = 0.5  # green, darker by the mean
    assert brightest_and_darkest(image, 8, 1).tolist() == [[[1], [2]]]


@pytest.mark.parametrize(
    'image', [torch.ones(1, 3, 16, 16), torch.ones(1, 3, 16, 16).index_fill(3, torch.tensor(15), 2)]
)
def test_no_patch_is_bright_and_dark(image):
    bright, dark = brightest_and_darkest(image, 8, 2)[0].tolist()
    assert sorted(bright + dark) == [0, 1, 2, 3]


def plain(loss, pred, clear, negatives):
    """The formula word by word in float64, one patch after the other."""
    extractor = loss.extractor.double()

    def embed(image, place):
        row, column = divmod(place, image.shape[2] // 8)
        feature = image[None, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].detach().double()
        feature = extractor.features(feature).mean((2, 3))[0]
        return feature / feature.norm()

    terms = []
    for i in range(len(pred)):
        luminance = 0.299 * clear[i, 0] + 0.587 * clear[i, 1] + 0.114 * clear[i, 2]
        means = [part.mean() for rows in luminance.split(8) for part in rows.split(8, 1)]
        order = sorted(range(len(means)), key=lambda place: means[place])
        bright, dark = order[-3:], order[:3]
        for own, opposite in ((bright, dark), (dark, bright)):
            for place in own:
                query = embed(pred[i], place)
                keys = [embed(clear[i], place), *(embed(clear[i], other) for other in opposite)]
                keys += [embed(negative[i], place) for negative in negatives]
                similar = torch.stack([query @ key for key in keys]) / 0.07
                terms.append(similar.logsumexp(0) - similar[0])
    return torch.stack(terms).mean()


@pytest.mark.parametrize('count', [0, 1, 2])
def test_it_is_the_cross_entropy_of_the_patches(clear, hazy, count):
    loss, pred, negatives = small(loss_weight=1), (clear + hazy) / 2, [hazy, 0.8 * clear][:count]
    found = loss(pred, clear, negatives)
    torch.testing.assert_close(found.double(), plain(loss, pred, clear, negatives), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('layer', ['relu1_1', 'relu2_1', 'relu3_1'])
def test_clear_image_costs_less_than_one_half_dehazed_and_that_less_than_the_hazy_one(clear, hazy, layer):
    loss = small(layer=layer)
    costs = [loss(image, clear, hazy) for image in (clear, (clear + hazy) / 2, hazy)]
    assert costs == sorted(costs)
    assert costs[0] < costs[1] < costs[2]


def test_only_the_dehazed_image_gets_a_gradient(clear, hazy):
    loss, pred = small(), ((clear + hazy) / 2).requires_grad_()
    clear.requires_grad_()
    hazy.requires_grad_()
    loss(pred, clear, hazy).backward()
    assert clear.grad is None
    assert hazy.grad is None
    assert all(parameter.grad is None for parameter in loss.parameters())
    assert pred.grad.any()
    assert cut_patches(pred.grad, 8).abs().sum((2, 3, 4)).bool().sum(1).tolist() == [6, 6]  # of 20 patches


def test_choice_of_patches_does_not_follow_the_network(clear, hazy):
    pred = hazy.clone().requires_grad_()
    small()(pred, clear, hazy).backward()
    touched = cut_patches(pred.grad, 8).abs().sum((2, 3, 4)).bool()
    chosen = torch.zeros_like(touched)
    chosen.scatter_(1, brightest_and_darkest(clear, 8, 3).flatten(1), True)
    assert torch.equal(touched, chosen)


def test_descending_it_makes_it_less(clear, hazy):
    loss, pred = small(), hazy.clone().requires_grad_()
    before = loss(pred, clear, hazy)
    before.backward()
    assert loss(pred - 0.01 * pred.grad / pred.grad.abs().max(), clear, hazy) < before


def test_it_is_the_same_each_time(clear, hazy):
    pred = (clear + hazy) / 2
    assert torch.equal(small()(pred, clear, hazy), small()(pred, clear, hazy))


def test_small_crop_gives_as_many_patches_as_it_has(clear, hazy):
    part = (..., slice(0, 8), slice(0, 16))
    assert small()(hazy[part], clear[part], hazy[part]) > 0
    with pytest.raises(ValueError, match='images of 8x8 have 1 patches of 8x8'):
        small()(hazy[..., :8, :8], clear[..., :8, :8], hazy[..., :8, :8])


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'num_patches': 0}, 'num_patches is 0'),
        ({'temperature': 0}, 'temperature 0'),
        ({'patch_size': 4, 'layer': 'relu4_1'}, 'patch_size is 4, but relu4_1 needs 8 px'),
        ({'layer': 'relu9_1'}, "'relu9_1' is no layer"),
    ],
)
def test_wrong_argument_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        small(**wrong)


def test_basicsr_builds_it_from_an_option_block():
    assert build_loss({'type': 'IntraContrastiveLoss', 'extractor': 'small'}).patch_size == 16
