"""NIQE with the values of BasicSR's `calculate_niqe`, in a fraction of its time."""

import functools
import importlib.resources
from typing import Literal, NamedTuple

import cv2
import numpy as np
from basicsr.utils.registry import METRIC_REGISTRY
from scipy.special import gamma

from okdnet_plugin.errors import InputError
from okdnet_plugin.metrics.metric_util import as_image, check_choice, check_options, imresize

_BLOCK = 96
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))


def niqe(luma: np.ndarray) -> float:
    """Naturalness of an image without a reference, less is better.

    Source: Mittal et al., "Making a completely blind image quality analyzer", IEEE SPL 20 (2013), with the model of
    natural images that BasicSR ships. The steps that decide the last bits are those of BasicSR: its
    float32 sums put an estimate on one or the other of two neighbours in a table of shapes.

    Args:
        luma: whole numbers from 0 to 255 as float32, shape (H, W), of which 96x96 blocks count from the top left.

    Returns:
        A value of about 2 to 20.

    Raises:
        InputError: the image has fewer than two blocks, or fewer than two with any texture.
    """
    rows, columns = luma.shape[0] // _BLOCK, luma.shape[1] // _BLOCK
    size = f'{luma.shape[1]}x{luma.shape[0]}'
    if rows * columns < 2:
        raise InputError(
            f'NIQE: an image of {size} has {rows * columns} blocks of {_BLOCK}x{_BLOCK}; it takes at least two, a '
            f'image of {2 * _BLOCK}x{_BLOCK} or {_BLOCK}x{2 * _BLOCK}'
        )
    luma = luma[: rows * _BLOCK, : columns * _BLOCK]
    half = imresize(luma / np.float32(255), luma.shape[0] // 2, luma.shape[1] // 2) * np.float32(255)
    with np.errstate(divide='ignore', invalid='ignore'):  # a flat block has no shape: its features are nan
        features = np.concatenate([_features(luma, _BLOCK), _features(half, _BLOCK // 2)], axis=1)
    textured = features[~np.isnan(features).any(axis=1)]
    if len(textured) < 2:
        raise InputError(
            f'NIQE: of the {len(features)} blocks of {_BLOCK}x{_BLOCK} in an image of {size}, {len(textured)} have '
            'texture; it takes at least two, so that this image has no NIQE'
        )
    model = _model()
    difference = model.mean - np.nanmean(features, axis=0)
    covariance = (model.covariance + np.cov(textured, rowvar=False)) / 2
    return float(np.sqrt(difference @ np.linalg.pinv(covariance) @ difference.T).item())


def _features(luma: np.ndarray, block: int) -> np.ndarray:
    """18 features of each block, shape (blocks, 18), the blocks column by column."""
    kernel = _model().kernel
    # In float64 and rounded once: then the order of the sum leaves no trace.
    wide = luma.astype(np.float64)
    mean, mean_square = (
        cv2.sepFilter2D(plane, cv2.CV_64F, kernel, kernel, borderType=cv2.BORDER_REPLICATE).astype(np.float32)
        for plane in (wide, np.square(luma).astype(np.float64))
    )
    deviation = np.sqrt(np.abs(mean_square - np.square(mean)))
    normalized = (luma - mean) / (deviation + 1)

    rows, columns = luma.shape[0] // block, luma.shape[1] // block
    blocks = normalized.reshape(rows, block, columns, block).transpose(2, 0, 1, 3).reshape(-1, block, block)
    alpha, left, right, _ = _fit(blocks)
    features = [alpha, (left + right) / 2]
    for shift in _SHIFTS:
        alpha, left, right, mean_factor = _fit(blocks * np.roll(blocks, shift, axis=(1, 2)))
        features += [alpha, (right - left) * mean_factor, left, right]
    return np.stack(features, axis=1)


def _fit(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Asymmetric generalized Gaussians of blocks: shapes, left and right scales, and what a mean is a multiple of."""
    values = blocks.reshape(len(blocks), -1)
    squares = np.square(values)
    count = np.float32(values.shape[1])
    mean_abs = np.add.reduce(np.abs(values), axis=1) / count
    mean_square = np.add.reduce(squares, axis=1) / count
    signs = (values >= 0).view(np.uint8) + (values > 0).view(np.uint8)
    sums = [_one_sided_deviations(*block) for block in zip(squares, signs, strict=True)]
    ratios = [
        _shape_ratio(left, right, one, two) for (left, right), one, two in zip(sums, mean_abs, mean_square, strict=True)
    ]
    table = _shapes()
    index = table.nearest(np.array(ratios, np.float64))
    left, right = np.array(sums, np.float64).T * table.scale[index]
    return table.alpha[index], left, right, table.mean_factor[index]


def _one_sided_deviations(squares: np.ndarray, signs: np.ndarray) -> tuple[np.float32, np.float32]:
    """Square roots of the mean squares of the negative (sign 0) and the positive values (sign 2)."""
    positive = np.count_nonzero(signs == 2)
    negative = np.count_nonzero(signs == 0)
    # For two masks in one go: a stable sort of bytes is by counting, and keeps the order of each side.
    ordered = squares.take(signs.argsort(kind='stable'))
    left = np.add.reduce(ordered[:negative]) / np.float32(negative)
    right = np.add.reduce(ordered[ordered.size - positive :]) / np.float32(positive)
    return np.sqrt(left), np.sqrt(right)


def _shape_ratio(left: np.float32, right: np.float32, mean_abs: np.float32, mean_square: np.float32) -> np.floating:
    # Scalars one at a time: powers of an array are rounded differently.
    gamma_hat = left / right
    ratio = mean_abs**2 / mean_square
    return (ratio * (gamma_hat**3 + 1) * (gamma_hat + 1)) / ((gamma_hat**2 + 1) ** 2)


class _Shapes(NamedTuple):
    """Shapes of a generalized Gaussian in steps of 0.001, and what follows from each."""

    alpha: np.ndarray
    ratio: np.ndarray
    """Squared mean of the absolute values over the mean square; rises with alpha."""
    scale: np.ndarray
    mean_factor: np.ndarray

    def nearest(self, ratios: np.ndarray) -> np.ndarray:
        """Index of the nearest ratio, the lower one of two; 0 where there is none, as of a flat block."""
        above = np.searchsorted(self.ratio, ratios).clip(1, self.ratio.size - 1)
        nearer_below = (self.ratio[above - 1] - ratios) ** 2 <= (self.ratio[above] - ratios) ** 2
        return np.where(np.isfinite(ratios), above - nearer_below, 0)


@functools.cache
def _shapes() -> _Shapes:
    alpha = np.arange(0.2, 10.001, 0.001)
    inverse = np.reciprocal(alpha)
    ratio = np.square(gamma(inverse * 2)) / (gamma(inverse) * gamma(inverse * 3))
    one = gamma(1 / alpha)
    return _Shapes(alpha, ratio, np.sqrt(one / gamma(3 / alpha)), gamma(2 / alpha) / one)


class _Model(NamedTuple):
    """BasicSR's model of natural images, and the window that it was made with."""

    mean: np.ndarray
    covariance: np.ndarray
    kernel: np.ndarray


@functools.cache
def _model() -> _Model:
    with (importlib.resources.files('basicsr.metrics') / 'niqe_pris_params.npz').open('rb') as file:
        parameters = np.load(file)
        window = parameters['gaussian_window']
        kernel = window[window.shape[0] // 2] / np.sqrt(window.max())  # the window is the product of two of these
        return _Model(parameters['mu_pris_param'], parameters['cov_pris_param'], kernel)


def luma_of(image: np.ndarray, convert_to: str = 'y') -> np.ndarray:
    """Whole-numbered luma of an image, as BasicSR rounds it.

    Args:
        image: uint8 BGR or grey, shape (H, W, 3) or (H, W, 1).
        convert_to: `y` of MATLAB's YCbCr, or `gray`. The only channel of a grey image is taken as it is.

    Returns:
        Whole numbers from 0 to 255, float32, shape (H, W).
    """
    if image.shape[2] == 1:
        return image[..., 0].astype(np.float32)
    # float32 in the places where BasicSR has it: they decide about values that end in a half.
    unit = np.arange(256, dtype=np.float32) / np.float32(255)
    if convert_to == 'gray':
        luma = cv2.cvtColor(cv2.LUT(np.ascontiguousarray(image), unit), cv2.COLOR_BGR2GRAY)
    else:
        wide = cv2.LUT(np.ascontiguousarray(image), unit.astype(np.float64))
        luma = (cv2.transform(wide, np.array([[24.966, 128.553, 65.481, 16.0]])) / 255).astype(np.float32)
    return (luma * np.float32(255)).round()


@METRIC_REGISTRY.register()
def calculate_fast_niqe(
    img: np.ndarray,
    crop_border: int = 0,
    input_order: Literal['HWC', 'CHW', 'HW'] = 'HWC',
    convert_to: Literal['y', 'gray'] = 'y',
    **images: np.ndarray,
) -> float:
    """NIQE of an image, equal to BasicSR's `calculate_niqe`; less is better.

    See `niqe` for the source. MATLAB's own `niqe` has another model of natural images, and so other values.

    Args:
        img: the result, uint8 BGR, shape as `input_order` says, or (H, W).
        crop_border: pixels to leave out at each edge.
        input_order: `HWC`, `CHW` or `HW`.
        convert_to: `y` of MATLAB's YCbCr, BasicSR's default, or `gray`, that of MMagic.
        images: the clear and the hazy image, which it does not look at.

    Returns:
        A value of about 2 to 20.

    Raises:
        InputError: an option or the image is not as said above, or the image is too small or flat.
    """
    check_options(calculate_fast_niqe, images)
    check_choice('NIQE', 'convert_to', convert_to, ('y', 'gray'))
    return niqe(luma_of(as_image('NIQE', 'img', img, crop_border, input_order), convert_to))
