"""The distance that several losses have in common."""

from torch import Tensor
from torch.nn import functional as F


def smooth_l1(pred: Tensor, target: Tensor, reduction: str) -> Tensor:
    """Half the square of differences below 1, and their size less a half above.

    Source: Girshick, "Fast R-CNN", ICCV 2015, Eq. 3. In float32 whatever autocast says.

    Args:
        pred, target: of one shape.
        reduction: `mean` or `sum`.
    """
    return F.smooth_l1_loss(pred.float(), target.float(), reduction=reduction)


def check_reduction(loss: object, reduction: str) -> None:
    """
    Raises:
        ValueError: the reduction is neither `mean` nor `sum`.
    """
    if reduction not in ('mean', 'sum'):
        raise ValueError(f'{type(loss).__name__}: reduction is {reduction!r}, but must be one of mean, sum')
