"""SSIM, in a seventh of BasicSR's time."""

from collections.abc import Iterator
from typing import Literal

import cv2
import numpy as np
from basicsr.metrics.metric_util import to_y_channel
from basicsr.utils.registry import METRIC_REGISTRY

from okdnet_plugin.errors import InputError
from okdnet_plugin.metrics.metric_util import as_image, check_same_size

_SIZE, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_BAND = 500_000  # places of a band, each of which takes some 300 bytes


def ssim_map(img: np.ndarray, img2: np.ndarray) -> np.ndarray:
    """Structural similarity at each place where the window fits.

    The Gaussian window is applied row by row and column by column, which gives the sums of the whole window.

    Source: Wang et al., "Image quality assessment: from error visibility to structural similarity", TIP 2004, with its
    constants; it is BasicSR's `calculate_ssim` before the mean.

    Args:
        img, img2: shape (H, W, C), in [0, 255], at least 11x11.

    Returns:
        Shape (H - 10, W - 10, C), float64, at most 1.
    """
    window = cv2.getGaussianKernel(_SIZE, _SIGMA)
    edge = _SIZE // 2

    def mean(values):
        blurred = cv2.sepFilter2D(values, -1, window, window).reshape(values.shape)
        return blurred[edge : values.shape[0] - edge, edge : values.shape[1] - edge]

    x, y = (image.astype(np.float64) for image in (img, img2))
    mean_x, mean_y = mean(x), mean(y)
    xx, yy, xy = mean_x * mean_x, mean_y * mean_y, mean_x * mean_y
    variance_x, variance_y, covariance = mean(x * x) - xx, mean(y * y) - yy, mean(x * y) - xy
    return ((2 * xy + _C1) * (2 * covariance + _C2)) / ((xx + yy + _C1) * (variance_x + variance_y + _C2))


@METRIC_REGISTRY.register()
def calculate_fast_ssim(
    img: np.ndarray,
    img2: np.ndarray,
    crop_border: int = 0,
    input_order: Literal['HWC', 'CHW'] = 'HWC',
    test_y_channel: bool = False,
    **_: object,
) -> float:
    """SSIM as BasicSR's `calculate_ssim` gives it, to the rounding of float64.

    Args:
        img, img2: uint8 BGR, shape (H, W, 3), or grey (H, W, 1) or (H, W).
        crop_border: pixels to leave out at each edge.
        input_order: `HWC` or `CHW`.
        test_y_channel: of the luma of YCbCr.

    Returns:
        Mean over places and channels, 1 for equal images.

    Raises:
        InputError: the images differ in size, are no such arrays, or smaller than the window of 11x11.
    """
    name = 'calculate_fast_ssim'
    images = [as_image(name, key, image, crop_border, input_order) for key, image in {'img': img, 'img2': img2}.items()]
    check_same_size(name, images[0], 'img2', images[1])
    height, width = images[0].shape[:2]
    if min(height, width) < _SIZE:
        raise InputError(f'{name}: {width}x{height} pixels are left; its window takes at least {_SIZE}x{_SIZE}')
    if test_y_channel:
        images = [to_y_channel(image) for image in images]
    total = sum(float(ssim_map(*bands).sum()) for bands in _bands(*images))
    places = (height - _SIZE + 1) * (width - _SIZE + 1) * (1 if images[0].ndim == 2 else images[0].shape[2])
    return total / places


def _bands(img: np.ndarray, img2: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images from the top to the bottom in bands, whose places together are those of the whole, once each."""
    height, width = img.shape[:2]
    rows = max(1, _BAND // width)
    for top in range(0, height - _SIZE + 1, rows):
        yield img[top : top + rows + _SIZE - 1], img2[top : top + rows + _SIZE - 1]
