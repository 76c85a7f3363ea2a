"""What the metrics share: looking at their images and options, and resizing like MATLAB."""

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from types import ModuleType

import numpy as np
import torch
from basicsr.utils.matlab_functions import calculate_weights_indices

from okdnet_plugin.errors import InputError, did_you_mean

_IMAGES = {'img': 'the result', 'img2': 'the clear image', 'lq': 'the hazy image'}


def check_options(metric: Callable, others: Mapping) -> None:
    """See that what a metric was called with beyond its parameters are images that it does not look at.

    BasicSR hands the clear image to every metric, so that one without a reference has to take anything.

    Raises:
        InputError: it is something else, a misspelt option.
    """
    for name in sorted(others.keys() - _IMAGES.keys()):
        parameters = inspect.signature(metric).parameters.values()
        options = [one.name for one in parameters if one.name not in _IMAGES and one.kind is not one.VAR_KEYWORD]
        raise InputError(
            f'{metric.__name__} has no option {name}{did_you_mean(name, options)}; it has {", ".join(options)}'
        )


def check_choice(metric: str, option: str, value: object, choices: tuple[str, ...]) -> None:
    """
    Raises:
        InputError: the value is none of the choices.
    """
    if value not in choices:
        raise InputError(
            f'{metric}: {option} is {value}{did_you_mean(value, choices)}; write one of {", ".join(choices)}'
        )


def optional_package(metric: str, name: str, cure: str) -> ModuleType:
    """A package that is not among the requirements.

    Raises:
        InputError: it cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f'{metric} is not available: {error} ({cure})') from error


def as_image(metric: str, name: str, image: np.ndarray, crop_border: int = 0, input_order: str = 'HWC') -> np.ndarray:
    """An image as height, width, channels, without its border.

    Args:
        metric, name: what a message calls the metric and the image.
        image: uint8, shape (H, W, C) or (C, H, W) as `input_order` says, or (H, W); C is 1 or 3, in the order BGR.
        crop_border: pixels to leave out at each edge.
        input_order: `HWC`, `CHW`, or `HW` for (H, W) alone.

    Returns:
        A view, uint8, shape (H, W, C).

    Raises:
        InputError: the image is missing or no such array, or nothing is left inside the border.
    """
    what = f'{metric}: {_IMAGES[name]} ({name})'
    if image is None:
        raise InputError(f'{what} is missing; pass it')
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f'{what} is {kind}; give a uint8 array with values from 0 to 255')
    check_choice(metric, 'input_order', input_order, ('HWC', 'CHW', 'HW'))
    shape = image.shape
    if image.ndim == 2:
        image = image[..., None]
    elif input_order == 'CHW' and image.ndim == 3:
        image = image.transpose(1, 2, 0)
    if image.ndim != 3 or image.shape[2] not in (1, 3) or (input_order == 'HW' and len(shape) != 2):
        raise InputError(f'{what} has the shape {shape}, which is not {input_order} with 1 or 3 channels')
    if isinstance(crop_border, bool) or not isinstance(crop_border, int | np.integer) or crop_border < 0:
        raise InputError(f'{metric}: crop_border is {crop_border}; write a whole number from 0')
    height, width = image.shape[:2]
    if min(height, width) <= 2 * crop_border:
        raise InputError(f'{what} has {width}x{height} pixels, of which crop_border {crop_border} leaves none')
    return image[crop_border : height - crop_border, crop_border : width - crop_border]


def three_channels(image: np.ndarray) -> np.ndarray:
    """An image of shape (H, W, 1 or 3) with three channels, those of grey alike."""
    return image if image.shape[2] == 3 else image.repeat(3, axis=2)


def check_same_size(metric: str, image: np.ndarray, name: str, reference: np.ndarray) -> None:
    """
    Raises:
        InputError: the result and the image that it is compared with differ in shape.
    """
    if image.shape != reference.shape:
        sizes = [f'{array.shape[1]}x{array.shape[0]} with {array.shape[2]} channels' for array in (image, reference)]
        raise InputError(
            f'{metric}: the result is {sizes[0]}, but {_IMAGES[name]} ({name}) {sizes[1]}; they must agree'
        )


def imresize(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """MATLAB's `imresize` to a size: bicubic, with antialiasing where it shrinks.

    Equal to BasicSR's function of that name to the last bit where that has the same scale (its scale is one number
    and it rounds sizes up), because it makes the same products; it looks the weights up once and writes in place.

    Args:
        plane: float32, shape (H, W).

    Returns:
        float32, shape (height, width).
    """
    weights, first, before, after = _weights(plane.shape[0], height)
    padded = torch.from_numpy(np.pad(plane, ((before, after), (0, 0)), mode='symmetric'))
    lines = torch.empty(height, plane.shape[1])
    for line, weight, start in zip(lines, weights, first, strict=True):
        torch.mv(padded[start : start + len(weight)].t(), weight, out=line)
    weights, first, before, after = _weights(plane.shape[1], width)
    padded = torch.from_numpy(np.pad(lines.numpy(), ((0, 0), (before, after)), mode='symmetric'))
    columns = torch.empty(width, height)
    for column, weight, start in zip(columns, weights, first, strict=True):
        torch.mv(padded[:, start : start + len(weight)], weight, out=column)
    return np.ascontiguousarray(columns.numpy().T)


@functools.lru_cache(maxsize=32)
def _weights(length: int, new_length: int) -> tuple[tuple[torch.Tensor, ...], list[int], int, int]:
    """Weights of each new place, the padded place where they begin, and the padding before and after."""
    weights, indices, before, after = calculate_weights_indices(
        length, new_length, new_length / length, 'cubic', 4, True
    )
    return weights.unbind(), indices[:, 0].int().tolist(), before, after


def known_depth(
    metric: str, depth: np.ndarray, depth_gt: np.ndarray, crop_border: int, align: str
) -> tuple[np.ndarray, np.ndarray]:
    """Estimated and true depth of the pixels whose depth is known, which is above 0.

    Args:
        metric: what messages call the metric.
        depth, depth_gt: shape (H, W), in one unit, or in any two with `align`.
        crop_border: pixels to leave out at each edge.
        align: `none`, or `median`: bring the median of the estimate to that of the truth.

    Returns:
        Two arrays (P,), float64, the estimate above 0.

    Raises:
        InputError: the maps differ in size, or no depth is known.
    """
    check_choice(metric, 'align', align, ('none', 'median'))
    if depth.shape != depth_gt.shape:
        raise InputError(f'{metric}: depth is {depth.shape}, but the true one is {depth_gt.shape}; they must agree')
    inner = np.s_[crop_border : depth.shape[0] - crop_border, crop_border : depth.shape[1] - crop_border]
    is_known = depth_gt[inner] > 0
    if not is_known.any():
        raise InputError(f'{metric}: the true depth is 0 everywhere; give depth of this image, or leave it out')
    estimate, truth = (one[inner][is_known].astype(np.float64) for one in (depth, depth_gt))
    estimate = np.maximum(estimate, 1e-6)
    if align == 'median':
        estimate = estimate * (np.median(truth) / np.median(estimate))
    return estimate, truth
