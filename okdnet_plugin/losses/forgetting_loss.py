"""The loss that keeps a network which is fine-tuned near what it was."""

from typing import Literal

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from okdnet_plugin.archs.dcp_arch import dark_channel
from okdnet_plugin.losses.smooth_l1 import check_reduction, smooth_l1


@LOSS_REGISTRY.register()
class ForgettingLoss(nn.Module):
    """Smooth L1 distance of features or images from those of the network before it was fine-tuned.

    Source: PSD (Chen et al., CVPR 2021), after Li and Hoiem, "Learning without forgetting", ECCV 2016. PSD has it three
    times with a weight of 1: of the features of synthetic and of real images, and of the dehazed sky.

    Args:
        loss_weight: factor of the loss.
        reduction: `mean` or `sum` over the pixels that count.
        sky_threshold: dark channel of the hazy image above which a pixel counts as sky, 0.6 in PSD; only the sky counts
            then. By default everything does.
        patch_size: side of that dark channel's square in px, odd.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        reduction: Literal['mean', 'sum'] = 'mean',
        sky_threshold: float | None = None,
        patch_size: int = 15,
    ):
        super().__init__()
        check_reduction(self, reduction)
        if patch_size < 1 or patch_size % 2 == 0:
            raise ValueError(f'ForgettingLoss: patch_size is {patch_size}, but must be an odd number of at least 1')
        self.loss_weight = loss_weight
        self.reduction = reduction
        self.sky_threshold = sky_threshold
        self.patch_size = patch_size

    def forward(self, pred: Tensor, target: Tensor, hazy: Tensor | None = None) -> Tensor:
        """
        Args:
            pred: of the network that learns, shape (N, C, H, W).
            target: of the network as it was, of pred's shape; it gets no gradient.
            hazy: RGB in [0, 1], shape (N, 3, H, W); needed for the sky.

        Returns:
            A scalar; 0 if there is no sky.

        Raises:
            ValueError: the sky is to be found in no hazy image.
        """
        target = target.detach()
        if self.sky_threshold is None:
            return self.loss_weight * smooth_l1(pred, target, self.reduction)
        if hazy is None:
            raise ValueError('ForgettingLoss: sky_threshold is given, but no hazy images to find the sky in')
        sky = (dark_channel(hazy.detach(), self.patch_size) > self.sky_threshold).float()
        # Products, not a choice of pixels, so that the sizes do not depend on the image.
        distances = smooth_l1(pred * sky, target * sky, 'sum')
        count = sky.sum() * pred.shape[1] if self.reduction == 'mean' else torch.ones_like(distances)
        return self.loss_weight * distances / count.clamp(min=1)
