"""The loss by which a network learns how a teacher relates the places of an image to one another."""

from typing import Literal

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

_ENTRIES = 2**20  # of an affinity matrix that are held at once


def squared_distance(pred: Tensor, target: Tensor) -> Tensor:
    """Sum of squares of the difference of two affinity matrices, without the matrices.

    With d = a - b and s = a + b, a'a - b'b is half of d's and its transpose; the sum of its squares is
    (<dd', ss'> + tr(sd' sd')) / 2, of C x C matrices alone. All of it shrinks with d, so no digits are lost.

    Args:
        pred, target: features a and b, shape (N, C, P).

    Returns:
        |a'a - b'b|^2 over all N, a scalar; float64.
    """
    pred, target = pred.double(), target.double()
    difference, total = pred - target, pred + target
    mixed = total @ difference.mT
    outer = (difference @ difference.mT) * (total @ total.mT)
    return (outer.sum() + (mixed @ mixed).diagonal(dim1=1, dim2=2).sum()) / 2


def absolute_distance(pred: Tensor, target: Tensor) -> Tensor:
    """Sum of the absolute difference of two affinity matrices, of which only some rows are there at once.

    Args:
        pred, target: features, shape (N, C, P).

    Returns:
        A scalar; float64.
    """

    def of_rows(rows: Tensor, others: Tensor, target_rows: Tensor, target_others: Tensor) -> Tensor:
        return (rows.mT @ others - target_rows.mT @ target_others).abs().sum(dtype=torch.float64)

    size = max(1, _ENTRIES // (len(pred) * pred.shape[2]))
    parts = zip(pred.split(size, 2), target.split(size, 2), strict=True)
    sums = [checkpoint(of_rows, rows, pred, theirs, target, use_reentrant=False) for rows, theirs in parts]
    return torch.stack(sums).sum()  # type: ignore[arg-type]


@LOSS_REGISTRY.register()
class FeatureAffinityLoss(nn.Module):
    """Distance of the affinities of what two networks give: the inner products of all pairs of places.

    Source: Mitheran et al., "Rich Feature Distillation with Feature Affinity Module for Efficient Image Dehazing",
    arXiv 2207.11250 (2022), in the form of the code that its authors released, whose features are the images that the
    networks give; after Wang et al., "Dual super-resolution learning for semantic segmentation", CVPR 2020. By default
    it is the released one: average pooling, no normalisation, the Frobenius norm over the whole batch divided by the
    square of the number of places P. That number is so large that the loss hardly counts: two images of 460x620 that
    differ by 0.05 are about 1e-5 apart. `normalize` is DSRL's; `reduction: mean` and pools by the sizes are ours.

    The P x P matrices are never made: see `squared_distance`, which is exact.

    Args:
        loss_weight: factor of the loss; 0.25 in the released code.
        student_pool: side of the squares over which the student's features are averaged.
        teacher_pool: the same for the teacher, 8 in the released code, whose teacher enlarges by 2; by default as many
            times the student's as the teacher's features are larger.
        norm: `l2`, as in the released code, or `l1`, as in DSRL, which takes time with the square of P.
        normalize: bring the features of each place to length 1, so that an affinity is a cosine.
        reduction: `n2`: the norm over P^2, as in the released code; or `mean`: the root mean square, or the mean
            absolute, difference of two affinities, whatever the size and the batch.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        loss_weight: float = 0.25,
        student_pool: int = 4,
        teacher_pool: int | None = None,
        norm: Literal['l2', 'l1'] = 'l2',
        normalize: bool = False,
        reduction: Literal['n2', 'mean'] = 'n2',
    ):
        super().__init__()
        for name, value, choices in (('norm', norm, ('l2', 'l1')), ('reduction', reduction, ('n2', 'mean'))):
            if value not in choices:
                raise ValueError(f'FeatureAffinityLoss: {name} is {value!r}, but must be one of {", ".join(choices)}')
        for name, pool in {'student_pool': student_pool, 'teacher_pool': teacher_pool}.items():
            if pool is not None and pool < 1:
                raise ValueError(f'FeatureAffinityLoss: {name} is {pool}, but must be at least 1')
        self.loss_weight = loss_weight
        self.student_pool = student_pool
        self.teacher_pool = teacher_pool
        self.norm = norm
        self.normalize = normalize
        self.reduction = reduction

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """
        Args:
            pred: features of the student, such as its dehazed images, shape (N, C, H, W).
            target: those of the teacher, shape (N, C', H', W'), whose channels and size may be others. No gradient goes
                into them.

        Returns:
            A scalar.

        Raises:
            ValueError: the features differ in number or, pooled, in size, or are smaller than a pool.
        """
        with torch.autocast(pred.device.type, enabled=False):
            ours, theirs = self._features(pred.float(), target.detach().float())
            count = ours.shape[2] ** 2
            if self.norm == 'l1':
                distance = absolute_distance(ours, theirs)
                divisor = count if self.reduction == 'n2' else count * len(ours)
            else:
                squared = squared_distance(ours, theirs)
                is_apart = squared > 0  # at equal features the root has no gradient: take 0
                distance = torch.where(is_apart, squared, 1).sqrt() * is_apart
                divisor = count if self.reduction == 'n2' else (count * len(ours)) ** 0.5
            return self.loss_weight * (distance / divisor).float()

    def _features(self, pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features with their places in a row, of equal shapes, (N, C, P)."""
        teacher_pool = self.teacher_pool or self.student_pool * target.shape[-1] // pred.shape[-1]
        pools = self.student_pool, teacher_pool
        if min(pools) < 1 or any(min(x.shape[-2:]) < pool for x, pool in zip((pred, target), pools, strict=True)):
            raise ValueError(
                f'FeatureAffinityLoss: features of {tuple(pred.shape)} and {tuple(target.shape)} cannot be pooled by '
                f'{pools[0]} and {pools[1]}; give smaller pools'
            )
        ours, theirs = F.avg_pool2d(pred, pools[0]), F.avg_pool2d(target, pools[1])
        if (len(ours), *ours.shape[-2:]) != (len(theirs), *theirs.shape[-2:]):
            raise ValueError(
                f'FeatureAffinityLoss: features of {tuple(pred.shape)} and {tuple(target.shape)}, pooled by {pools[0]} '
                f'and {pools[1]}, become {tuple(ours.shape)} and {tuple(theirs.shape)}; they must be equal in number '
                'and size'
            )
        if self.normalize:
            ours, theirs = F.normalize(ours), F.normalize(theirs)
        # A channel of zeros changes no inner product.
        channels = max(ours.shape[1], theirs.shape[1])
        ours, theirs = (F.pad(x.flatten(2), (0, 0, 0, channels - x.shape[1])) for x in (ours, theirs))
        return ours, theirs
