"""The loss by which a transmission and an airlight make the hazy image of one whose contrast was equalised."""

from typing import Literal

import cv2
import numpy as np
import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from okdnet_plugin.losses.smooth_l1 import check_reduction, smooth_l1


def equalise(image: Tensor, clip_limit: float, tiles: int) -> Tensor:
    """Contrast limited adaptive histogram equalisation of the lightness, by OpenCV on the CPU, in 8 bits.

    Source: Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV, 1994.

    Args:
        image: RGB in [0, 1], shape (N, 3, H, W); not differentiated.
        clip_limit: largest count of a bin, as a multiple of the mean.
        tiles: of an edge.

    Returns:
        RGB in [0, 1], of the shape and on the device of image, float32.
    """
    clahe = cv2.createCLAHE(clip_limit, (tiles, tiles))
    pixels = (image.detach().float().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    results = []
    for rgb in pixels:
        lab = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2LAB)
        lab[..., 0] = clahe.apply(np.ascontiguousarray(lab[..., 0]))
        results.append(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB))
    return torch.from_numpy(np.stack(results)).to(image.device).permute(0, 3, 1, 2).float() / 255


@LOSS_REGISTRY.register()
class CLAHELoss(nn.Module):
    """Smooth L1 distance of the hazy image from what the scattering model makes of its equalised form.

    Source: PSD (Chen et al., CVPR 2021), which takes the equalised image for a clear one. Here the lightness is
    equalised; PSD's authors say only CLAHE, and their code equalises the bytes of all channels in one row.

    Args:
        loss_weight: factor of the loss; 1 in PSD.
        reduction: `mean` or `sum` over the pixels.
        clip_limit: largest count of a bin of the histogram, as a multiple of the mean.
        tiles: of an edge of the image.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        reduction: Literal['mean', 'sum'] = 'mean',
        clip_limit: float = 3.0,
        tiles: int = 16,
    ):
        super().__init__()
        check_reduction(self, reduction)
        if clip_limit <= 0 or tiles < 1:
            raise ValueError(f'CLAHELoss: clip_limit is {clip_limit} and tiles {tiles}, but both must be positive')
        self.loss_weight = loss_weight
        self.reduction = reduction
        self.clip_limit = clip_limit
        self.tiles = tiles

    def forward(self, transmission: Tensor, airlight: Tensor, hazy: Tensor) -> Tensor:
        """
        Args:
            transmission: shape (N, 1, H, W).
            airlight: RGB, shape (N, 3, 1, 1).
            hazy: RGB in [0, 1], shape (N, 3, H, W).

        Returns:
            A scalar.
        """
        with torch.autocast(hazy.device.type, enabled=False):
            t = transmission.float()
            again = t * equalise(hazy, self.clip_limit, self.tiles) + (1 - t) * airlight.float()
            return self.loss_weight * smooth_l1(again, hazy, self.reduction)
