"""Self-ensemble: the mean of what a network makes of an image in its eight orientations.

Source: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017, section 3.3.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_FLIPS = ((), (-1,), (-2,), (-2, -1))


def of_eight(run: Callable[[Tensor], Sequence[Tensor]], hazy: Tensor) -> list[Tensor]:
    """
    Args:
        run: gives results of images, each of the size of the images by some factor.
        hazy: images, (N, C, H, W).

    Returns:
        The mean of the results over four flips of the image and of its transpose, each turned back.
    """
    total: list[Tensor] = []
    for is_transposed in (False, True):
        for flips in _FLIPS:
            image = hazy.flip(flips) if flips else hazy
            results = run(image.transpose(-2, -1).contiguous() if is_transposed else image)
            back = [result.transpose(-2, -1) if is_transposed else result for result in results]
            back = [result.flip(flips) if flips else result for result in back]
            total = [torch.add(*pair) for pair in zip(total, back, strict=True)] if total else back
    return [result / 8 for result in total]
