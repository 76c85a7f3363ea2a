"""Lightness order error: how far a restored image changes which places are lighter than which."""

from typing import Literal

import cv2
import numpy as np
from basicsr.utils.registry import METRIC_REGISTRY

from okdnet_plugin.errors import InputError
from okdnet_plugin.metrics.metric_util import as_image, check_choice, check_same_size, imresize

_SMALLEST = {'wang': 50, 'formula': 50, 'bimef': 100}


def loe(reference: np.ndarray, enhanced: np.ndarray) -> float:
    """Mean number of places whose lightness order against a place differs between two maps.

    Source: Wang et al., "Naturalness preserved enhancement algorithm for non-uniform illumination images", IEEE TIP 22
    (2013), its measure LOE: the mean over x of the sum over y of U(L(x), L(y)) xor U(Le(x), Le(y)), where U(a, b) is 1
    if a >= b. Exact, but from the joint histogram of the maps, so that the time does not grow with the pairs.

    Args:
        reference, enhanced: lightness, uint8, equal in shape, with m places.

    Returns:
        A value from 0 (the same order) to m. It is not divided by m again, as in the literature.

    Raises:
        ValueError: the maps are not uint8 or differ in shape.

    Example:
        >>> loe(np.array([10, 20, 30], np.uint8), np.array([10, 30, 20], np.uint8))
        0.6666666666666666
    """
    if reference.dtype != np.uint8 or enhanced.dtype != np.uint8 or reference.shape != enhanced.shape:
        raise ValueError(
            f'LOE: maps of {reference.dtype} {reference.shape} and {enhanced.dtype} {enhanced.shape} must both be '
            'uint8 and equal in shape'
        )
    cells = reference.ravel().astype(np.intp) * 256 + enhanced.ravel()
    joint = np.bincount(cells, minlength=256 * 256).reshape(256, 256)
    # A place (a, b) disagrees with those that are at most a in one map, but more than b in the other.
    at_most_both = joint.cumsum(0).cumsum(1)
    at_most_one = at_most_both[:, -1:] + at_most_both[-1:]
    return float((joint * (at_most_one - 2 * at_most_both)).sum() / cells.size)


def lightness_map(image: np.ndarray, variant: str = 'wang') -> np.ndarray:
    """Lightness of an image, the largest of its channels, at the places that a variant of LOE compares.

    Args:
        image: uint8, shape (H, W, C).
        variant: `wang`: the largest lightness of 15x15 pixels at each n-th row and column, n = floor(min(H, W) / 50),
            as in the code that goes by the authors' name. `formula`: the image shrunk by 50 / min(H, W) with bicubic
            antialiasing, as the paper words it, rounded to whole values. `bimef`: 100x100 single pixels, as in the
            code of BIMEF (Ying et al. 2017).

    Returns:
        uint8; 51x68 (wang), 50x67 (formula) or 100x100 (bimef) places of an image of 460x620.

    Raises:
        InputError: the image is smaller than 50x50, or 100x100 with bimef; the variant is unknown.
    """
    check_choice('LOE', 'variant', variant, tuple(_SMALLEST))
    height, width, channels = image.shape
    smallest = _SMALLEST[variant]
    if min(height, width) < smallest:
        raise InputError(
            f'LOE: an image of {width}x{height} is too small for variant {variant}, which needs {smallest}x{smallest}'
        )
    lightness = image[..., 0]
    for channel in range(1, channels):
        lightness = np.maximum(lightness, image[..., channel])
    if variant == 'wang':
        # The authors mirror the border, which brings nothing into a window that is not in it already.
        lightness = cv2.dilate(np.ascontiguousarray(lightness), np.ones((15, 15), np.uint8))
        step = min(height, width) // 50
        return lightness[step - 1 :: step, step - 1 :: step]
    if variant == 'bimef':
        rows, columns = (np.rint(np.linspace(0, edge - 1, 100)).astype(np.intp) for edge in (height, width))
        return lightness[np.ix_(rows, columns)]
    rows, columns = (int(edge * 50 / min(height, width) + 0.5) for edge in (height, width))
    return imresize(lightness.astype(np.float32), rows, columns).round().clip(0, 255).astype(np.uint8)


@METRIC_REGISTRY.register()
def calculate_loe(
    img: np.ndarray,
    lq: np.ndarray | None = None,
    img2: np.ndarray | None = None,
    crop_border: int = 0,
    input_order: Literal['HWC', 'CHW', 'HW'] = 'HWC',
    variant: Literal[tuple(_SMALLEST)] = 'wang',  # type: ignore[valid-type]
    reference: Literal['input', 'gt'] = 'input',
) -> float:
    """Lightness order error of a restored image; less is better.

    Values of different variants or references cannot be compared: name both with each number. See `loe` for the source
    and `lightness_map` for the variants.

    Args:
        img: the result, uint8 BGR, shape as `input_order` says, or (H, W).
        lq: the hazy image, equal in shape, which reference `input` compares with. Whoever calls the metrics is to
            pass it to those that have a parameter of this name: `RestorationModel` does, BasicSR's models do not.
        img2: the clear image, equal in shape, which reference `gt` compares with.
        crop_border: pixels to leave out at each edge.
        input_order: `HWC` or `CHW`.
        variant: `wang`, `formula` or `bimef`.
        reference: `input`, as Wang et al. define it, or `gt`.

    Returns:
        A value from 0 to the number of compared places, 3,468 (wang), 3,350 (formula) or 10,000 (bimef) at 620x460.

    Raises:
        InputError: an option or an image is not as said above, or the image to compare with is missing.
    """
    check_choice('LOE', 'reference', reference, ('input', 'gt'))
    name, other = ('lq', lq) if reference == 'input' else ('img2', img2)
    if other is None:
        raise InputError(
            'LOE: reference input needs the hazy image (lq), which only RestorationModel passes; use that model, or '
            'write reference: gt'
            if reference == 'input'
            else 'LOE: reference gt needs the clear image (img2), of which there is none; write reference: input'
        )
    result = as_image('LOE', 'img', img, crop_border, input_order)
    other = as_image('LOE', name, other, crop_border, input_order)
    check_same_size('LOE', result, name, other)
    return loe(lightness_map(other, variant), lightness_map(result, variant))
