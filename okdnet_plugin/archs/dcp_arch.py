"""Dark channel prior: dehazing that learns nothing, with the transmission refined by a guided filter."""

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from okdnet_plugin.archs.arch_util import check_size, luma
from okdnet_plugin.config.types import Odd


def dark_channel(x: Tensor, patch_size: int) -> Tensor:
    """The smallest value of any channel in a square around each pixel, as far as it lies in the image.

    Source: He et al., CVPR 2009, Eq. 5.

    Args:
        x: images of any range, shape (N, C, H, W).
        patch_size: side of the square in px, odd.

    Returns:
        The dark channel on x's scale, shape (N, 1, H, W).
    """
    return -F.max_pool2d(-x.amin(1, keepdim=True), patch_size, 1, patch_size // 2)


def estimate_airlight(x: Tensor, patch_size: int, top: float, kind: str = 'brightest') -> Tensor:
    """The colour of the haze at infinity, among the pixels with the brightest dark channel.

    Source: He et al., CVPR 2009, "Estimating the atmospheric light".

    Args:
        x: hazy images, shape (N, 3, H, W).
        patch_size: of the dark channel, in px, odd.
        top: part of the pixels that are looked at, in (0, 1].
        kind: their `brightest`, or their `mean`.

    Returns:
        One colour an image, on x's scale, shape (N, 3, 1, 1).
    """
    pixels = x.flatten(2)
    count = max(1, int(top * pixels.shape[-1]))
    places = dark_channel(x, patch_size).flatten(1).topk(count).indices
    hazy = pixels.gather(2, places[:, None].expand(-1, 3, -1))
    if kind == 'mean':
        return hazy.mean(2)[..., None, None]
    brightest = hazy.sum(1, keepdim=True).argmax(2, keepdim=True)
    return hazy.gather(2, brightest.expand(-1, 3, -1))[..., None]


def raw_transmission(x: Tensor, airlight: Tensor, patch_size: int, omega: float) -> Tensor:
    """The transmission in squares, before it is refined, at most 1.

    Source: He et al., CVPR 2009, Eq. 12.

    Args:
        x: hazy images in [0, 1], shape (N, 3, H, W).
        airlight: on x's scale, shape (N, 3, 1, 1).
        patch_size: of the dark channel, in px, odd.
        omega: part of the haze that is removed, in (0, 1].

    Returns:
        Shape (N, 1, H, W).
    """
    light = airlight.clamp(min=1 / 255)  # a black image has a black airlight
    return 1 - omega * dark_channel(x / light, patch_size)


def box_mean(x: Tensor, radius: int) -> Tensor:
    """Mean over the part of a square of 2 radius + 1 px that lies in the image, of x's shape (N, C, H, W).

    Rows and columns one after the other, not by differences of running sums, whose rounding error grows with the
    image.
    """
    size = 2 * radius + 1
    # Planes without channels: where channels are innermost, CUDA's gradient of a padded window is wrong (pytorch issue
    # 188344), and a single channel may count as innermost whatever `contiguous` says.
    planes = x.flatten(0, 1)
    planes = F.avg_pool2d(planes, (size, 1), 1, (radius, 0), count_include_pad=False)
    return F.avg_pool2d(planes, (1, size), 1, (0, radius), count_include_pad=False).view(x.shape)


def guided_filter(guide: Tensor, x: Tensor, radius: int, eps: float) -> Tensor:
    """Smooth x where the guide is smooth: the output is locally a linear function of the guide.

    Source: He et al., "Guided image filtering", ECCV 2010, Eq. 5, 6 and 8.

    Args:
        guide: grey images, shape (N, 1, H, W).
        x: what to filter, shape (N, 1, H, W).
        radius: of the square windows, in px.
        eps: variance of the guide, on its scale, below which it counts as smooth.

    Returns:
        The filtered x, of its shape.
    """
    mean_guide, mean_x = box_mean(guide, radius), box_mean(x, radius)
    covariance = box_mean(guide * x, radius) - mean_guide * mean_x
    variance = box_mean(guide * guide, radius) - mean_guide * mean_guide
    slope = covariance / (variance + eps)
    offset = mean_x - slope * mean_guide
    return box_mean(slope, radius) * guide + box_mean(offset, radius)


@ARCH_REGISTRY.register()
class DCP(nn.Module):
    """Single image haze removal using the dark channel prior; it has no parameters and nothing to train.

    Source: He et al., CVPR 2009, whose equations are named here; IEEE TPAMI 33, 2341 (2011). The transmission is
    refined by the guided filter that the authors later put in the place of their soft matting.

    Args:
        patch_size: side of the dark channel's square in px, odd.
        omega: part of the haze that is removed, in (0, 1] (Eq. 12).
        t_min: smallest transmission that is divided by, in (0, 1) (t0 of Eq. 16).
        radius: of the guided filter's windows in px.
        eps: the guided filter's regularisation, for a guide in [0, 1].
        top: part of the pixels, those with the brightest dark channel, among which the airlight is sought.
        airlight: what of them is the airlight: the `brightest` pixel of the hazy image, as in the paper,
            or their `mean`, which one white object misleads less.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        patch_size: Odd = 15,
        omega: Annotated[float, Gt(0), Le(1)] = 0.95,
        t_min: Annotated[float, Gt(0), Le(1)] = 0.1,
        radius: Annotated[int, Ge(1), Le(10000)] = 60,
        eps: Annotated[float, Gt(0)] = 1e-4,
        top: Annotated[float, Gt(0), Le(1)] = 1e-3,
        airlight: Literal['brightest', 'mean'] = 'brightest',
    ):
        super().__init__()
        if patch_size < 1 or patch_size % 2 == 0:
            raise ValueError(f'DCP: patch_size is {patch_size}, but must be an odd number of at least 1')
        for name, value in {'omega': omega, 't_min': t_min, 'top': top}.items():
            if not 0 < value <= 1:
                raise ValueError(f'DCP: {name} is {value}, but must lie between 0 and 1')
        if radius < 1 or eps <= 0:
            raise ValueError(f'DCP: radius is {radius} and eps {eps}, but both must be positive')
        if airlight not in ('brightest', 'mean'):
            raise ValueError(f"DCP: airlight is {airlight!r}, but must be one of 'brightest', 'mean'")
        self.patch_size = patch_size
        self.omega = omega
        self.t_min = t_min
        self.radius = radius
        self.eps = eps
        self.top = top
        self.airlight = airlight

    def forward(self, x: Tensor, airlight: Tensor | None = None) -> Tensor:
        """
        Args:
            x: hazy RGB images in [0, 1], shape (N, 3, H, W) with H, W >= 16.
            airlight: that of the scene, shape (N, 3, 1, 1); by default it is estimated from x.

        Returns:
            The dehazed images, of x's shape; clamped to [0, 1] in eval mode only.

        Raises:
            ValueError: an image is smaller than 16x16.
        """
        check_size(self, x)
        # Differences of means of squares are nothing for half precision.
        with torch.autocast(x.device.type, enabled=False):
            hazy = x.float()
            a = self.estimate_airlight(hazy) if airlight is None else airlight.float()
            t = self.estimate_transmission(hazy, a).clamp(min=self.t_min)
            output = ((hazy - a) / t + a).to(x.dtype)  # Eq. 16
        return output if self.training else output.clamp(0, 1)

    def estimate_airlight(self, x: Tensor) -> Tensor:
        """The colour of the haze at infinity, shape (N, 3, 1, 1)."""
        return estimate_airlight(x, self.patch_size, self.top, self.airlight)

    def estimate_transmission(self, x: Tensor, airlight: Tensor) -> Tensor:
        """The refined transmission, at most about 1, shape (N, 1, H, W) (Eq. 12)."""
        t = raw_transmission(x, airlight, self.patch_size, self.omega)
        return guided_filter(luma(x), t, self.radius, self.eps)
