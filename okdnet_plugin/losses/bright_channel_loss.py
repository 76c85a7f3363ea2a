"""The bright channel prior as a loss of a transmission that needs no clear image."""

from typing import Literal

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from okdnet_plugin.archs.dcp_arch import estimate_airlight, raw_transmission
from okdnet_plugin.losses.smooth_l1 import check_reduction, smooth_l1


@LOSS_REGISTRY.register()
class BrightChannelLoss(nn.Module):
    """Smooth L1 distance of a transmission from that of the bright channel prior.

    The prior says that some pixel of each square is bright in some channel. It is the dark channel prior of the
    negative image, and is computed as that.

    Source: PSD (Chen et al., CVPR 2021), after Wang et al., "Automatic local exposure correction using bright channel
    prior for under-exposed images", Signal Processing 93 (2013). The code that was released with PSD has the largest
    value where the prior asks for the smallest, and averages the airlight over the whole batch.

    Args:
        loss_weight: factor of the loss; 3e-2 in PSD.
        reduction: `mean` or `sum` over the pixels.
        patch_size: side of the bright channel's square in px, odd.
        omega: part of the haze that the prior removes, in (0, 1].
        top: part of the pixels, those with the darkest bright channel, whose mean is the airlight.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        reduction: Literal['mean', 'sum'] = 'mean',
        patch_size: int = 35,
        omega: float = 0.95,
        top: float = 1e-4,
    ):
        super().__init__()
        check_reduction(self, reduction)
        if patch_size < 1 or patch_size % 2 == 0:
            raise ValueError(f'BrightChannelLoss: patch_size is {patch_size}, but must be an odd number of at least 1')
        self.loss_weight = loss_weight
        self.reduction = reduction
        self.patch_size = patch_size
        self.omega = omega
        self.top = top

    def forward(self, transmission: Tensor, hazy: Tensor) -> Tensor:
        """
        Args:
            transmission: shape (N, 1, H, W).
            hazy: RGB in [0, 1], shape (N, 3, H, W).

        Returns:
            A scalar.
        """
        with torch.autocast(hazy.device.type, enabled=False):
            negative = 1 - hazy.detach().float()
            light = estimate_airlight(negative, self.patch_size, self.top, 'mean')
            prior = raw_transmission(negative, light, self.patch_size, self.omega)
            return self.loss_weight * smooth_l1(transmission, prior, self.reduction)
