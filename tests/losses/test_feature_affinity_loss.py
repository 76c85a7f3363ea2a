"""Affinity distillation against the formula with its whole matrices, and what it takes of memory."""

import pytest
import torch
from basicsr.losses import build_loss
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from okdnet_plugin.losses.feature_affinity_loss import FeatureAffinityLoss


@pytest.fixture
def student():
    return torch.rand(2, 3, 24, 32, requires_grad=True)


@pytest.fixture
def teacher():
    return torch.rand(2, 3, 48, 64)


def plain(student, teacher, pools, norm='l2', normalize=False, reduction='n2'):
    """The formula word by word, with both P x P matrices, in float64."""
    matrices = []
    for image, pool in zip((student, teacher), pools, strict=True):
        feature = F.avg_pool2d(image.detach().double(), pool).flatten(2)
        if normalize:
            feature = feature / feature.square().sum(1, keepdim=True).sqrt()
        matrices.append(feature.transpose(1, 2) @ feature)
    difference = matrices[0] - matrices[1]
    places = difference.shape[1]
    if norm == 'l1':
        return difference.abs().sum() / places**2 if reduction == 'n2' else difference.abs().mean()
    total = difference.square()
    return total.sum().sqrt() / places**2 if reduction == 'n2' else total.mean().sqrt()


@pytest.mark.parametrize('norm', ['l2', 'l1'])
@pytest.mark.parametrize('normalize', [False, True])
@pytest.mark.parametrize('reduction', ['n2', 'mean'])
def test_it_is_the_formula_with_the_whole_matrices(student, teacher, norm, normalize, reduction):
    loss = FeatureAffinityLoss(1, norm=norm, normalize=normalize, reduction=reduction)(student, teacher)
    expected = plain(student, teacher, (4, 8), norm, normalize, reduction)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize('norm', ['l2', 'l1'])
def test_gradient_is_that_of_the_whole_matrices(student, teacher, norm):
    def whole(x):
        ours, theirs = F.avg_pool2d(x, 4).flatten(2), F.avg_pool2d(teacher, 8).flatten(2)
        difference = (ours.mT @ ours - theirs.mT @ theirs).double()
        return difference.norm() if norm == 'l2' else difference.abs().sum()

    loss = FeatureAffinityLoss(48**2, norm=norm)(student, teacher)
    (expected,) = torch.autograd.grad(whole(student), student)
    (found,) = torch.autograd.grad(loss, student)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_images_that_hardly_differ_keep_their_digits(student):
    """The difference of the matrices' own norms would have lost them: it is 1e-12 of either."""
    target = (student + 1e-6 * torch.rand_like(student)).detach()
    loss = FeatureAffinityLoss(1, student_pool=1)(student, target)
    torch.testing.assert_close(loss.double(), plain(student, target, (1, 1)), rtol=1e-6, atol=0)


@pytest.mark.parametrize('norm', ['l2', 'l1'])
def test_equal_features_have_no_distance_and_a_finite_gradient(student, norm):
    loss = FeatureAffinityLoss(norm=norm)(student, student)
    loss.backward()
    assert loss == 0
    assert not student.grad.any()


def test_images_whose_pools_are_equal_have_no_distance(student):
    larger = F.interpolate(student.detach(), scale_factor=2, mode='nearest')
    assert FeatureAffinityLoss()(student, larger).item() == pytest.approx(0, abs=1e-8)


def test_no_gradient_reaches_the_teacher(student, teacher):
    teacher.requires_grad_()
    FeatureAffinityLoss()(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad.any()


def test_released_weight_and_pools_are_the_defaults(student, teacher):
    expected = FeatureAffinityLoss(loss_weight=0.25, student_pool=4, teacher_pool=8)(student, teacher)
    assert torch.equal(FeatureAffinityLoss()(student, teacher), expected)
    torch.testing.assert_close(expected.double(), 0.25 * plain(student, teacher, (4, 8)), rtol=1e-6, atol=0)


def test_teacher_may_have_other_channels_and_another_scale(student):
    teacher = torch.rand(2, 7, 24, 32)
    loss = FeatureAffinityLoss(1, student_pool=2)(student, teacher)
    torch.testing.assert_close(loss.double(), plain(student, teacher, (2, 2)), rtol=1e-6, atol=0)


def test_mean_does_not_depend_on_the_size_and_the_batch(student, teacher):
    loss = FeatureAffinityLoss(reduction='mean')
    once, twice = loss(student, teacher), loss(student.repeat(2, 1, 1, 2), teacher.repeat(2, 1, 1, 2))
    torch.testing.assert_close(once, twice)


def test_descending_it_brings_the_affinities_nearer(student, teacher):
    loss = FeatureAffinityLoss(reduction='mean')
    before = loss(student, teacher)
    before.backward()
    assert loss(student - 0.1 * student.grad / student.grad.norm(), teacher) < before


class Allocated(TorchDispatchMode):
    """Bytes of all that operations give, as if none of it were freed."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        given = {leaf.untyped_storage().data_ptr() for leaf in tree_flatten((args, kwargs))[0] if torch.is_tensor(leaf)}
        for leaf in tree_flatten(result)[0]:
            if torch.is_tensor(leaf) and leaf.untyped_storage().data_ptr() not in given:
                self.bytes += leaf.untyped_storage().nbytes()
        return result


def test_batch_of_two_whole_images_takes_less_than_100_mb_with_its_gradient():
    """One affinity matrix of it would take 2.5 GB."""
    student, teacher = torch.rand(2, 3, 460, 620, requires_grad=True), torch.rand(2, 3, 920, 1240)
    with Allocated() as allocated:
        FeatureAffinityLoss()(student, teacher).backward()
    assert student.grad.any()
    assert 0 < allocated.bytes < 100e6


def test_autocast_does_not_change_it(student, teacher):
    with torch.autocast('cpu', torch.bfloat16):
        under_autocast = FeatureAffinityLoss()(student, teacher)
    assert torch.equal(under_autocast, FeatureAffinityLoss()(student, teacher))


@pytest.mark.parametrize(
    ('shape', 'message'),
    [
        ((2, 3, 48, 72), 'must be equal in number and size'),
        ((1, 3, 48, 64), 'must be equal in number and size'),
        ((2, 3, 3, 4), 'cannot be pooled by 4 and 0'),
    ],
)
def test_features_that_do_not_fit_are_refused(student, shape, message):
    with pytest.raises(ValueError, match=message):
        FeatureAffinityLoss()(student, torch.rand(shape))


@pytest.mark.parametrize('wrong', [{'norm': 'l3'}, {'reduction': 'sum'}, {'student_pool': 0}, {'teacher_pool': 0}])
def test_wrong_argument_is_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FeatureAffinityLoss(**wrong)


def test_basicsr_builds_it_from_an_option_block():
    assert build_loss({'type': 'FeatureAffinityLoss', 'norm': 'l1'}).norm == 'l1'
