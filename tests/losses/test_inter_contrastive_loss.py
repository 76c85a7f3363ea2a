"""The contrast between images against its formula in float64, and who learns from it."""

import pytest
import torch
from basicsr.losses import build_loss

from okdnet_plugin.losses.inter_contrastive_loss import InterContrastiveLoss

WEIGHTS = {'relu1_1': 1 / 32, 'relu2_1': 1 / 16, 'relu3_1': 1 / 8, 'relu4_1': 1 / 4, 'relu5_1': 1.0}


def small(**options):
    return InterContrastiveLoss(**{'extractor': 'small'} | options)


@pytest.fixture
def clear():
    return torch.rand(2, 3, 32, 32)


@pytest.fixture
def hazy(clear):
    return 0.4 * clear + 0.5


@pytest.fixture
def pred(clear, hazy):
    return ((clear + hazy) / 2).requires_grad_()


def plain(loss, pred, clear, negatives, weights):
    """The formula word by word in float64."""
    extractor = loss.extractor.double()
    features = []
    for images in (pred, clear, *negatives):
        feature, found = images.detach().double(), {}
        for number, layer in extractor.features.named_children():
            feature = found[extractor.names[number]] = layer(feature)
        features.append(found)
    total = 0
    for name, weight in WEIGHTS.items():
        ours, theirs, *others = (found[name] for found in features)
        far = sum(share * (ours - other).abs().mean() for share, other in zip(weights, others, strict=True))
        total += weight * (ours - theirs).abs().mean() / (far + 1e-7)
    return total


def test_it_is_the_formula_of_contrastive_regularisation(pred, clear, hazy):
    loss = small(loss_weight=1)
    found = loss(pred, clear, hazy)
    torch.testing.assert_close(found.double(), plain(loss, pred, clear, [hazy], [1]), rtol=1e-5, atol=0)


@pytest.mark.parametrize(('weights', 'shares'), [(None, [0.5, 0.5]), ([3, 1], [0.75, 0.25]), ([0, 2], [0, 1])])
def test_negatives_share_the_denominator(pred, clear, hazy, weights, shares):
    loss, negatives = small(loss_weight=1, negative_weights=weights), [hazy, 0.8 * clear]
    found = loss(pred, clear, negatives)
    torch.testing.assert_close(found.double(), plain(loss, pred, clear, negatives, shares), rtol=1e-5, atol=0)


def test_clear_image_costs_nothing_and_the_hazy_one_much(pred, clear, hazy):
    loss = small()
    assert loss(clear, clear, hazy) == 0
    assert 0 < loss(pred, clear, hazy) < 100 < loss(hazy, clear, hazy)


def test_loss_of_the_hazy_image_is_bounded_by_eps(clear, hazy):
    bounded = small(loss_weight=1, eps=1.0)(hazy, clear, hazy)
    assert bounded < 10
    torch.testing.assert_close(small(loss_weight=1, eps=1e-3)(hazy, clear, hazy), 1e3 * bounded)


def test_only_the_dehazed_image_gets_a_gradient(pred, clear, hazy):
    loss, others = small(), [clear.requires_grad_(), hazy.requires_grad_(), (0.8 * clear).detach().requires_grad_()]
    loss(pred.detach().requires_grad_(), others[0], others[1:]).backward()
    assert [image.grad for image in others] == [None] * 3
    assert all(parameter.grad is None for parameter in loss.parameters())
    pred = pred.detach().requires_grad_()
    loss(pred, *others[:2]).backward()
    assert pred.grad.any()


def test_descending_it_brings_the_image_nearer(pred, clear, hazy):
    loss = small()
    loss(pred, clear, hazy).backward()
    moved = pred - 0.01 * pred.grad / pred.grad.abs().max()
    assert loss(moved, clear, hazy) < loss(pred, clear, hazy)


def test_it_is_the_same_each_time(pred, clear, hazy):
    assert torch.equal(small()(pred, clear, hazy), small()(pred, clear, hazy))


def test_layers_may_be_others(pred, clear, hazy):
    loss = small(layer_weights={'relu2_1': 2.0})
    assert list(loss.extractor.names.values())[-1] == 'relu2_1'
    twice = small(layer_weights={'relu2_1': 1.0}, loss_weight=0.2)
    torch.testing.assert_close(loss(pred, clear, hazy), twice(pred, clear, hazy))


@pytest.mark.parametrize(('weights', 'count'), [([1, 1], 1), ([1], 2), (None, 0)])
def test_other_number_of_negatives_is_refused(pred, clear, hazy, weights, count):
    with pytest.raises(ValueError, match=f'there are {count} negatives'):
        small(negative_weights=weights)(pred, clear, [hazy] * count)


@pytest.mark.parametrize('weights', [[], [0, 0], [-1, 2]])
def test_weights_that_make_no_share_are_refused(weights):
    with pytest.raises(ValueError, match='negative_weights is'):
        small(negative_weights=weights)


def test_denominator_without_a_bound_is_refused():
    with pytest.raises(ValueError, match='eps is 0'):
        small(eps=0)


def test_basicsr_builds_it_from_an_option_block():
    assert build_loss({'type': 'InterContrastiveLoss', 'extractor': 'small'}).layer_weights == WEIGHTS
