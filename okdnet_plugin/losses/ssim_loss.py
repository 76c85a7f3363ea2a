"""Structural similarity and its negative as a loss."""

from typing import Annotated, Literal

import torch
from annotated_types import Gt
from basicsr.losses.loss_util import weight_reduce_loss
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from okdnet_plugin.config.types import Odd


def ssim_map(
    pred: Tensor, target: Tensor, window_size: int = 11, sigma: float = 1.5, data_range: float = 1.0
) -> Tensor:
    """Structural similarity of each window that lies wholly inside the image, for each channel.

    Source: Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP 13 (2004),
    Eq. 13, with K1 = 0.01 and K2 = 0.03. Computed in float32 whatever autocast says: the variances are differences of
    nearly equal numbers.

    Args:
        pred, target: images in [0, data_range], shape (N, C, H, W) with H, W >= window_size.
        window_size, sigma: Gaussian window in pixels.
        data_range: difference of the largest and the smallest possible value.

    Returns:
        Values in [-1, 1], shape (N, C, H - window_size + 1, W - window_size + 1).

    Raises:
        ValueError: the images differ in shape or are smaller than the window.
    """
    if pred.shape != target.shape or min(pred.shape[-2:]) < window_size:
        raise ValueError(
            f'SSIM: images of {tuple(pred.shape)} and {tuple(target.shape)} must be equal in shape and at least '
            f'{window_size}x{window_size}'
        )
    with torch.autocast(pred.device.type, enabled=False):
        pred, target = pred.float(), target.float()
        window = torch.arange(window_size, dtype=torch.float32, device=pred.device) - window_size // 2
        window = torch.exp(-(window**2) / (2 * sigma**2))
        window /= window.sum()

        moments = torch.cat([pred, target, pred * pred, target * target, pred * target], 1)
        num = moments.shape[1]
        blurred = _laid_out(moments)
        blurred = F.conv2d(blurred, window.view(1, 1, -1, 1).expand(num, 1, -1, 1), groups=num)
        blurred = F.conv2d(blurred, window.view(1, 1, 1, -1).expand(num, 1, 1, -1), groups=num)
        mean_p, mean_t, square_p, square_t, product = blurred.chunk(5, 1)

        c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        luminance = (2 * mean_p * mean_t + c1) / (mean_p**2 + mean_t**2 + c1)
        variances = square_p - mean_p**2 + square_t - mean_t**2
        return luminance * (2 * (product - mean_p * mean_t) + c2) / (variances + c2)


def _laid_out(moments: Tensor) -> Tensor:
    """In the layout in which depthwise convolutions are fast and exact: channels last on a CPU, first elsewhere.

    On a GPU channels last would take them to cuDNN, which may round to TF32, and the variances are differences of
    nearly equal numbers.
    """
    is_cpu = moments.device.type == 'cpu'
    return moments.contiguous(memory_format=torch.channels_last if is_cpu else torch.contiguous_format)


@LOSS_REGISTRY.register()
class SSIMLoss(nn.Module):
    """Negative structural similarity, -1 for equal images.

    Source: OKDNet (Lan et al. 2022), Eq. 5.

    Args:
        loss_weight: factor of the loss.
        reduction: `mean`, `sum` or `none` over the windows.
        window_size, sigma: Gaussian window in pixels; the defaults are those of Wang et al. 2004.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        reduction: Literal['none', 'mean', 'sum'] = 'mean',
        window_size: Odd = 11,
        sigma: Annotated[float, Gt(0)] = 1.5,
    ):
        super().__init__()
        if reduction not in ('none', 'mean', 'sum'):
            raise ValueError(f'SSIMLoss: reduction is {reduction!r}, but must be one of none, mean, sum')
        if window_size % 2 == 0:
            raise ValueError(f'SSIMLoss: window_size is {window_size}, but must be odd')
        self.loss_weight = loss_weight
        self.reduction = reduction
        self.window_size = window_size
        self.sigma = sigma

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """
        Args:
            pred, target: RGB images in [0, 1], shape (N, C, H, W).
            weight: element-wise weights, shape (N, C or 1, H, W); those at the windows' centres count.

        Returns:
            A scalar, or the map with reduction `none`.
        """
        loss = -ssim_map(pred, target, self.window_size, self.sigma)
        if weight is not None:
            border = self.window_size // 2
            weight = weight[..., border:-border, border:-border]
        return self.loss_weight * weight_reduce_loss(loss, weight, self.reduction)
