"""Mixtures of the pairs of a batch, and sizes that grow within a training."""

import pytest
import torch

from okdnet_plugin.config import check
from okdnet_plugin.engine import trial
from okdnet_plugin.engine.batches import Mixup, ProgressiveSizes, mixed
from okdnet_plugin.errors import InputError
from okdnet_plugin.models.restoration_model import RestorationModel

SIZES = {'iters': [2, 3, 1], 'gt_sizes': [16, 24, 32], 'mini_batch_sizes': [2, 1, 1]}


def pairs(count=4, size=32):
    """Pairs whose clear image is the hazy one plus one; hazy image i is 1 in its column i and 0 in those of others."""
    lq = torch.rand(count, 3, size, size)
    lq[..., :count] = torch.eye(count)[:, None, None]
    return {'lq': lq, 'gt': lq + 1}


# ---------------------------------------------------------------------------------------------------------------- mixup


def test_pairs_are_mixed_alike_each_with_another_one():
    shares = []
    for _ in range(20):
        before = pairs()
        after = mixed(before, Mixup(alpha=1.2))
        torch.testing.assert_close(after['gt'], after['lq'] + 1)
        parts = after['lq'][:, 0, 0, :4]  # of each image, how much of which
        assert ((parts > 0).sum(1) == 2).all()
        assert len(set(parts.diagonal().tolist())) == 1
        torch.testing.assert_close(after['lq'], torch.einsum('ij,jchw->ichw', parts, before['lq']))
        shares.append(parts[0, 0].item())
    assert min(shares) < 0.3
    assert max(shares) > 0.7


def test_probability_is_that_of_a_batch_to_be_mixed():
    batch = pairs()
    assert sum(mixed(batch, Mixup(alpha=1, probability=0.25)) is not batch for _ in range(400)) in range(70, 130)


def test_one_image_stays_as_it_is():
    batch = pairs(1)
    assert torch.equal(mixed(batch, Mixup(alpha=1))['lq'], batch['lq'])


@pytest.mark.parametrize(
    ('batch', 'said'),
    [
        (pairs() | {'depth': torch.rand(4, 1, 32, 32)}, 'the batch is used with depth; take mixup out'),
        ({'lq': torch.rand(2, 3, 8, 8)}, 'there is no gt; take mixup out'),
    ],
)
def test_maps_of_haze_are_not_mixed(batch, said):
    with pytest.raises(InputError, match=said):
        mixed(batch, Mixup(alpha=1))


# -------------------------------------------------------------------------------------------------- progressive_sizes


def test_stages_follow_one_another_and_the_last_one_stays():
    assert [ProgressiveSizes(**SIZES).stage(iteration) for iteration in range(1, 9)] == [0, 0, 1, 1, 1, 2, 2, 2]


def test_all_tensors_of_a_batch_are_cropped_alike_at_random_places():
    sizes, places = ProgressiveSizes(**SIZES), set()
    row, column = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing='ij')
    lq = torch.stack([row, column, row]).expand(4, 3, 32, 32)
    batch = {'lq': lq, 'gt': lq + 1, 'transmission': lq[:, :1], 'airlight': torch.ones(4, 3, 1, 1)}
    for _ in range(30):
        part = sizes.part_of(batch, stage=1, parts=2)
        assert {name: tuple(one.shape) for name, one in part.items()} == {
            'lq': (2, 3, 24, 24), 'gt': (2, 3, 24, 24), 'transmission': (2, 1, 24, 24), 'airlight': (2, 3, 1, 1),
        }  # fmt: skip
        assert torch.equal(part['gt'], part['lq'] + 1)
        assert torch.equal(part['transmission'], part['lq'][:, :1])
        places.add(tuple(part['lq'][0, :2, 0, 0].tolist()))
    assert len(places) > 10
    assert max(max(places)) == 8  # the last row is seen, too


def test_crop_of_a_pair_of_a_scale_is_of_one_place():
    gt = torch.rand(2, 3, 32, 32)
    part = ProgressiveSizes(**SIZES).part_of({'lq': gt[..., ::2, ::2], 'gt': gt}, stage=0, parts=1)
    assert part['lq'].shape == (2, 3, 8, 8)
    assert torch.equal(part['gt'][..., ::2, ::2], part['lq'])


# ------------------------------------------------------------------------------------------------------- in a training


class Seen(RestorationModel):
    """Keeps the batches that its losses are of."""

    def compute_losses(self):
        self.seen = [*getattr(self, 'seen', []), (self.lq, self.gt, list(self.lq_path))]
        return super().compute_losses()


@pytest.fixture
def plain(model_options):
    for key in ('distill_opt', 'ssim_opt'):
        del model_options['train'][key]
    return model_options | {'model_type': 'RestorationModel'}


def steps(options, count, size=32):
    model = Seen(options)
    for iteration in range(1, count + 1):
        model.update_learning_rate(iteration)
        model.feed_data({**pairs(4, size), 'lq_path': ['a', 'b', 'c', 'd']})
        model.optimize_parameters(iteration)
    return model.seen


def test_training_sees_the_size_and_the_number_of_its_stage(plain):
    plain['train'] |= {'progressive_sizes': SIZES, 'accumulate': 2}
    plain['network_g'] = {'type': 'RIDNet', 'in_channels': 3, 'mid_channels': 16, 'out_channels': 3, 'num_block': 1}
    seen = steps(plain, 6)
    of_an_iteration = [seen[number : number + 2] for number in range(0, 12, 2)]
    assert [[tuple(lq.shape) for lq, *_ in one] for one in of_an_iteration] == [
        *[[(2, 3, 16, 16)] * 2] * 2, *[[(1, 3, 24, 24)] * 2] * 3, [(1, 3, 32, 32)] * 2,
    ]  # fmt: skip
    assert [len(one[0][2]) for one in of_an_iteration] == [4, 4, 2, 2, 2, 2]


def test_training_sees_mixtures(plain):
    plain['train']['mixup'] = {'alpha': 1.0}
    (lq, gt, _), *_ = steps(plain, 1)
    torch.testing.assert_close(gt, lq + 1)
    assert ((lq[:, 0, 0, :4] > 0).sum(1) == 2).all()


@pytest.mark.parametrize(
    ('train', 'message'),
    [
        ({'mixup': {'alpha': 0}}, 'train:mixup:alpha is 0; write a number above 0 and to 100'),
        ({'mixup': {}}, 'option train:mixup:alpha is missing'),
        ({'mixup': 0.4}, 'train:mixup is 0.4; write a block'),
        ({'mixup': {'alpha': 1, 'probabilty': 1}}, 'mixup:probabilty: nothing reads it (did you mean probability?)'),
        ({'mixup': {'alpha': 1}, 'datasets:batch_size_per_gpu': 1}, 'train:mixup mixes images of one batch'),
        ({'mixup': {'alpha': 1}, 'transmission_opt': {'type': 'L1Loss'}}, 'train:mixup: two hazes laid over'),
        ({'progressive_sizes': SIZES | {'iters': [1, 2]}}, 'gt_sizes: there are 3, but 2 iters; write one each'),
        ({'progressive_sizes': SIZES | {'gt_sizes': [16, 24]}}, 'gt_sizes: there are 2, but 3 iters; write one each'),
        ({'progressive_sizes': SIZES | {'gt_sizes': [16, 32, 48]}}, 'gt_sizes:2 is 48, more than datasets:'),
        ({'progressive_sizes': SIZES | {'mini_batch_sizes': [3, 2, 1]}}, 'sizes:0 is 3, more than datasets:'),
        ({'progressive_sizes': SIZES | {'iters': [2, 2, 9]}}, 'warning: option train:progressive_sizes:iters reach'),
        ({'progressive_sizes': SIZES | {'gt_sizes': [8, 16, 32]}}, 'does not take a batch of shape [2, 3, 8, 8]'),
        ({'progressive_sizes': SIZES}, 'OKDNet cannot train on one image per GPU'),
        ({'progressive_sizes': SIZES, 'datasets:gt_size': None, 'datasets:resize': 24}, 'takes crops of 32 px of them'),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_before(train_options, train, message):
    for key, value in train.items():
        where = train_options['datasets']['train'] if key.startswith('datasets:') else train_options['train']
        where[key.removeprefix('datasets:')] = value
    wrong = check.check(train_options)
    mistakes = wrong if any(not one.is_warning for one in wrong) else [*wrong, *trial.attempts(train_options, 'train')]
    lines = [str(mistake) for mistake in mistakes]
    assert any(message in line for line in lines), lines
