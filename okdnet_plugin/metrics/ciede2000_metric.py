"""CIEDE2000: how different the colours of two images look."""

from typing import Literal

import cv2
import numpy as np
from basicsr.utils.registry import METRIC_REGISTRY

from okdnet_plugin.metrics.metric_util import as_image, check_same_size, three_channels

# Linear BGR of ITU-R BT.709 primaries to XYZ, each row over that component of D65 (2 degrees): X/Xn, Y/Yn, Z/Zn.
_FROM_BGR = np.array(
    [
        [0.180423, 0.357580, 0.412453],
        [0.072169, 0.715160, 0.212671],
        [0.950227, 0.119193, 0.019334],
    ]
) / np.array([[0.95047], [1.0], [1.08883]])
_CODES = np.arange(256) / 255
_LINEAR = np.where(_CODES > 0.04045, ((_CODES + 0.055) / 1.055) ** 2.4, _CODES / 12.92)
# As many pixels at a time as the caches hold with all that is made of them.
_CHUNK = 1 << 13


def lab_of(pixels: np.ndarray) -> np.ndarray:
    """CIELAB of sRGB pixels.

    Source: IEC 61966-2-1 (sRGB), CIE 15 (L*a*b*), white point D65 of the 2 degree observer.

    Args:
        pixels: uint8 BGR, shape (N, 3).

    Returns:
        float64, shape (3, N): L in [0, 100], a and b in about [-108, 99].

    Example:
        >>> lab_of(np.array([[0, 0, 255]], np.uint8)).ravel().round(2)
        array([53.24, 80.09, 67.2 ])
    """
    cube = _FROM_BGR @ cv2.LUT(pixels, _LINEAR).T
    small = cube <= 0.008856
    roots = np.cbrt(cube)
    if small.any():
        np.copyto(roots, 7.787 * cube + 16 / 116, where=small)
    x, y, z = roots
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def ciede2000(lab: np.ndarray, lab2: np.ndarray) -> np.ndarray:
    """Colour difference CIEDE2000 with kL = kC = kH = 1; symmetric in its arguments.

    Source: Sharma, Wu, Dalal, "The CIEDE2000 color-difference formula: implementation notes, supplementary test data,
    and mathematical observations", Color Res. Appl. 30 (2005), Eqs. 2 to 22.

    Args:
        lab, lab2: CIELAB, equal in shape, (3, ...).

    Returns:
        float64 from 0, the shape of one plane. About 1 can just be seen; black and white differ by 100.

    Raises:
        ValueError: the arguments differ in shape or do not begin with three planes.

    Example:
        >>> float(ciede2000(np.array([50, 2.5, 0]), np.array([73, 25, -18])).round(4))
        27.1492
    """
    lab, lab2 = np.asarray(lab, np.float64), np.asarray(lab2, np.float64)
    if lab.shape != lab2.shape or lab.shape[:1] != (3,):
        raise ValueError(f'CIEDE2000: Lab of {lab.shape} and {lab2.shape} must be equal in shape and begin with 3')
    (l1, a1, b1), (l2, a2, b2) = lab, lab2

    # Eqs. 2 to 7: a* is stretched near grey; chroma and hue of that.
    stretch = 1.5 - 0.5 * _chroma_term((np.sqrt(a1 * a1 + b1 * b1) + np.sqrt(a2 * a2 + b2 * b2)) / 2)
    a1, a2 = stretch * a1, stretch * a2
    chroma1, chroma2 = np.sqrt(a1 * a1 + b1 * b1), np.sqrt(a2 * a2 + b2 * b2)
    hue1, hue2 = _hue(a1, b1), _hue(a2, b2)

    # Eqs. 8 to 14: differences and means. Of opposite hues the paper counts half a turn as the short way.
    product = chroma1 * chroma2
    hue_step = hue2 - hue1
    is_long = np.abs(hue_step) > np.pi + 1e-12
    mean_hue = (hue1 + hue2) / 2
    mean_hue += np.where(is_long, np.where(mean_hue < np.pi, np.pi, -np.pi), 0)
    hue_step -= np.where(is_long, np.copysign(2 * np.pi, hue_step), 0)
    is_grey = product == 0
    if is_grey.any():  # grey has no hue: the other one's counts
        mean_hue, hue_step = np.where(is_grey, hue1 + hue2, mean_hue), np.where(is_grey, 0, hue_step)
    d_hue = 2 * np.sqrt(product) * _cos_sin(hue_step / 2)[1]
    d_chroma = chroma2 - chroma1
    mean_chroma = (chroma1 + chroma2) / 2

    # Eq. 15, with the cosines of multiples of the hue from those of the hue.
    cos, sin = _cos_sin(mean_hue)
    cos2, sin2 = 2 * cos * cos - 1, 2 * sin * cos
    cos3, sin3 = cos * (2 * cos2 - 1), sin * (2 * cos2 + 1)
    cos4, sin4 = 2 * cos2 * cos2 - 1, 2 * sin2 * cos2
    weight = (
        1
        - 0.17 * _cos_minus(cos, sin, 30)
        + 0.24 * cos2
        + 0.32 * _cos_minus(cos3, sin3, -6)
        - 0.20 * _cos_minus(cos4, sin4, 63)
    )

    # Eqs. 16 to 22.
    turn = np.deg2rad(60) * np.exp(-(((mean_hue - np.deg2rad(275)) / np.deg2rad(25)) ** 2))
    rotation = -2 * _chroma_term(mean_chroma) * _cos_sin(turn)[1]
    middle = ((l1 + l2) / 2 - 50) ** 2
    d_lightness = (l2 - l1) / (1 + 0.015 * middle / np.sqrt(20 + middle))
    d_chroma /= 1 + 0.045 * mean_chroma
    d_hue /= 1 + 0.015 * mean_chroma * weight
    square = d_lightness**2 + d_chroma**2 + d_hue**2 + rotation * d_chroma * d_hue
    return np.sqrt(np.maximum(square, 0))


def _chroma_term(chroma: np.ndarray) -> np.ndarray:
    cube = chroma * chroma * chroma
    seventh = cube * cube * chroma
    return np.sqrt(seventh / (seventh + 25.0**7))


def _hue(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle from 0 to a whole turn; 0 of grey."""
    angle = np.arctan2(b, a)
    return angle + 2 * np.pi * (angle < 0)


def _cos_sin(angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both from one tangent, which NumPy computes a good deal faster than either."""
    tan = np.tan(angle / 2)
    square = tan * tan
    scale = 1 / (1 + square)
    return (1 - square) * scale, 2 * tan * scale


def _cos_minus(cos: np.ndarray, sin: np.ndarray, degrees: float) -> np.ndarray:
    """Cosine of an angle less some degrees."""
    return cos * np.cos(np.deg2rad(degrees)) + sin * np.sin(np.deg2rad(degrees))


@METRIC_REGISTRY.register()
def calculate_ciede2000(
    img: np.ndarray, img2: np.ndarray, crop_border: int = 0, input_order: Literal['HWC', 'CHW', 'HW'] = 'HWC'
) -> float:
    """Mean CIEDE2000 between two sRGB images; less is better, 0 if they are equal.

    See `ciede2000` for the source.

    Args:
        img: the result, uint8 BGR, shape as `input_order` says, or (H, W) of grey.
        img2: the clear image, equal in shape.
        crop_border: pixels to leave out at each edge.
        input_order: `HWC` or `CHW`.

    Returns:
        A value from 0 to about 100.

    Raises:
        InputError: an option or an image is not as said above.
    """
    result = as_image('CIEDE2000', 'img', img, crop_border, input_order)
    clear = as_image('CIEDE2000', 'img2', img2, crop_border, input_order)
    check_same_size('CIEDE2000', result, 'img2', clear)
    result, clear = (np.ascontiguousarray(three_channels(image)).reshape(-1, 3) for image in (result, clear))
    total = 0.0
    for start in range(0, len(result), _CHUNK):
        part = slice(start, start + _CHUNK)
        total += float(ciede2000(lab_of(result[part]), lab_of(clear[part])).sum())
    return total / len(result)
