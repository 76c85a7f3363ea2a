"""The dark channel prior as a loss of a transmission that needs no clear image."""

from typing import Literal

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from okdnet_plugin.archs.dcp_arch import estimate_airlight, raw_transmission
from okdnet_plugin.losses.smooth_l1 import check_reduction


def unexplained_variance(transmission: Tensor, image: Tensor, eps: float) -> Tensor:
    """What of the transmission's variance in each 3x3 window no linear function of the colour explains.

    Source: Levin et al., "A closed-form solution to natural image matting", TPAMI 30 (2008), Eq. 6, whose cost of a
    window this is, divided by its nine pixels.

    Args:
        transmission: shape (N, 1, H, W) with H, W >= 3.
        image: colours in [0, 1], shape (N, 3, H, W).
        eps: variance of a colour below which a window counts as smooth.

    Returns:
        Shape (N, (H - 2) * (W - 2)).
    """
    t = F.unfold(transmission, 3)  # (N, 9, windows)
    t = t - t.mean(1, keepdim=True)
    colour = F.unfold(image, 3)
    colour = colour.view(len(image), 3, 9, -1)
    colour = (colour - colour.mean(2, keepdim=True)).permute(0, 3, 1, 2)  # (N, windows, 3, 9)
    t = t.transpose(1, 2)[..., None]
    covariance = colour @ colour.transpose(2, 3) / 9 + eps / 9 * torch.eye(3, device=image.device)
    with_t = colour @ t / 9
    # Without a look at whether it can be solved, for which a GPU would be waited.
    explained = (with_t * torch.linalg.solve_ex(covariance, with_t)[0]).sum((2, 3))
    return t.square().mean((2, 3)) - explained


@LOSS_REGISTRY.register()
class DarkChannelLoss(nn.Module):
    """How far a transmission is from that of the dark channel prior, and from following the colours of the hazy image.

    Source: Golts et al., "Unsupervised single image dehazing using dark channel prior loss", IEEE TIP 29 (2020), the
    energy function; PSD (Chen et al., CVPR 2021) fine-tunes with it. The smoothness is the paper's: the code that was
    released with PSD pairs every weight of a window with every difference, by which the weights drop out.

    Args:
        loss_weight: factor of the loss; 2e-3 in PSD, whose batch of 6 is summed.
        reduction: `mean` or `sum` over the images of a batch; of pixels it is the mean.
        smoothness: factor of the matting cost of the 3x3 windows.
        fidelity: factor of the squared distance to the prior's transmission.
        patch_size: side of the dark channel's square in px, odd.
        omega: part of the haze that the prior removes, in (0, 1].
        eps: regularisation of the matting cost, for an image in [0, 1].
        top: part of the pixels, those with the brightest dark channel, among which the airlight is sought.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        reduction: Literal['mean', 'sum'] = 'mean',
        smoothness: float = 1.0,
        fidelity: float = 1e-2,
        patch_size: int = 15,
        omega: float = 0.95,
        eps: float = 1e-5,
        top: float = 1e-3,
    ):
        super().__init__()
        check_reduction(self, reduction)
        if patch_size < 1 or patch_size % 2 == 0:
            raise ValueError(f'DarkChannelLoss: patch_size is {patch_size}, but must be an odd number of at least 1')
        self.loss_weight = loss_weight
        self.reduction = reduction
        self.smoothness = smoothness
        self.fidelity = fidelity
        self.patch_size = patch_size
        self.omega = omega
        self.eps = eps
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
            t, hazy = transmission.float(), hazy.detach().float()
            light = estimate_airlight(hazy, self.patch_size, self.top)
            prior = raw_transmission(hazy, light, self.patch_size, self.omega)
            # The sum over the 81 pairs of a window of weight times squared difference is 18 such variances.
            smooth = 18 * unexplained_variance(t, hazy, self.eps).mean(1)
            losses = self.smoothness * smooth + self.fidelity * (t - prior).square().mean((1, 2, 3))
        return self.loss_weight * (losses.mean() if self.reduction == 'mean' else losses.sum())
