"""The loss of an estimated transmission where the true one is known."""

from typing import Literal

import torch
from basicsr.losses.basic_loss import l1_loss
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from okdnet_plugin.losses.smooth_l1 import check_reduction


@LOSS_REGISTRY.register()
class TransmissionLoss(nn.Module):
    """L1 distance of a transmission and of its differences across and down from the true ones.

    Source: DCPDN (Zhang and Patel, CVPR 2018), the edge-preserving loss without its features of VGG; the norm and the
    weights are those of the authors' code.

    Args:
        loss_weight: factor of the loss.
        reduction: `mean` or `sum` over the pixels.
        gradient_weight: factor of each of the two distances of differences.
    """

    def __init__(
        self, loss_weight: float = 1.0, reduction: Literal['mean', 'sum'] = 'mean', gradient_weight: float = 2.0
    ):
        super().__init__()
        check_reduction(self, reduction)
        self.loss_weight = loss_weight
        self.reduction = reduction
        self.gradient_weight = gradient_weight

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """
        Args:
            pred: estimated transmission, shape (N, C, H, W).
            target: the true one, shape (N, C or 1, H, W).
            weight: element-wise weights, shape (N, C or 1, H, W); a difference has those of its second pixel.

        Returns:
            A scalar.
        """
        target = target.expand_as(pred)
        loss = l1_loss(pred, target, weight, reduction=self.reduction)
        for axis in (-1, -2):
            of_differences = None if weight is None else weight.narrow(axis, 1, weight.shape[axis] - 1)
            loss = loss + self.gradient_weight * l1_loss(
                torch.diff(pred, dim=axis), torch.diff(target, dim=axis), of_differences, reduction=self.reduction
            )
        return self.loss_weight * loss
