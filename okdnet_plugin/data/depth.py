"""Depth of an image: from the bytes of a file to distances that haze is computed with, or made up."""

import io
from typing import NamedTuple

import cv2
import numpy as np

from okdnet_plugin.data.options import require
from okdnet_plugin.errors import InputError

DEPTH_EXTENSIONS = ('.png', '.tif', '.tiff', '.npy', '.npz')
KINDS = ('depth', 'inverse')
NORMS = ('none', 'max', 'minmax')

_NPY, _ZIP = b'\x93NUMPY', b'PK'
_FARTHEST = 1000  # times the nearest place: where inverse depth is zero, or next to it


class DepthRule(NamedTuple):
    """What the values of a depth file mean.

    Args:
        kind: `depth`, or `inverse` for values that are large where it is near.
        norm: `none`; `max`, so that the farthest place of each image has depth 1; or `minmax`, so that the nearest
            one has depth 0 too.
        scale: values are divided by it; None for values that are distances already.
        smooth: radius, in px, of the filter of `smoothed`, for whole numbers; 0 for none.
    """

    kind: str = 'depth'
    norm: str = 'none'
    scale: float | None = None
    smooth: int = 0


def decode_depth(content: bytes, label: str) -> np.ndarray:
    """Values of a depth file's content: PNG, TIFF, NPY or NPZ, whatever it is named.

    Args:
        content: the whole file. An NPZ holds one array, or several with one named `depth`.
        label: what messages call it.

    Returns:
        The values as they are stored, (H, W), whole numbers or floating point.

    Raises:
        InputError: it is empty, damaged, or not one channel of numbers. Pickled objects are never loaded.
    """
    require(len(content) > 0, f'{label} is empty (0 bytes); make the depth again or take the image out')
    values = _array(content, label) if content.startswith((_NPY, _ZIP)) else _image(content, label)
    require(
        values.ndim == 2,
        f'{label} is of shape {values.shape}, but depth has one channel, (height, width); save the depth itself, not a '
        'coloured image of it',
    )
    require(values.size > 0, f'{label} holds no values, its shape is {values.shape}; make the depth again')
    require(
        values.dtype.kind in 'uif', f'{label} holds values of type {values.dtype}; save whole or floating-point numbers'
    )
    return values


def distances(values: np.ndarray, rule: DepthRule, label: str) -> np.ndarray:
    """Distances from the camera that the values of a depth file stand for.

    Inverse depth is taken to be at least a thousandth of its largest value: no place is more than a thousand times as
    far as the nearest one, not even where the values are zero.

    Args:
        values: (H, W), whole numbers or floating point.
        rule: what they mean.
        label: what messages call the file.

    Returns:
        (H, W), float32, finite and >= 0.

    Raises:
        InputError: values are not finite or negative, or the rule cannot be used for them.
    """
    require(
        values.dtype.kind == 'f' or rule.scale is not None or rule.norm != 'none',
        f'{label} holds whole numbers ({values.dtype}), and nothing says what they are a multiple of; give depth_scale '
        '(depth = value / depth_scale), or depth_norm: max',
    )
    with np.errstate(over='ignore'):  # what overflows is counted below
        depth = values.astype(np.float32)
        if rule.smooth and values.dtype.kind == 'u':
            depth = smoothed(depth, rule.smooth)
        if rule.scale is not None:
            depth /= rule.scale
    if values.dtype.kind != 'u':
        _refuse_some(~np.isfinite(depth), 'not finite (NaN or infinite)', label)
        _refuse_some(depth < 0, 'negative', label)
    if rule.kind == 'inverse':
        smallest = depth.max() / _FARTHEST
        require(
            smallest >= np.finfo(np.float32).tiny, f'{label} is zero everywhere, which has no inverse; make it again'
        )
        depth = 1 / np.maximum(depth, smallest)
    if rule.norm == 'none':
        return depth
    nearest = depth.min() if rule.norm == 'minmax' else 0
    extent = depth.max() - nearest
    require(
        extent > 0,
        f'{label} is {"zero" if rule.norm == "max" else "the same"} everywhere, so that depth_norm: {rule.norm} would '
        'divide by zero; make the depth again, or take the image out',
    )
    depth -= nearest
    depth /= extent
    return depth


def smoothed(values: np.ndarray, radius: int) -> np.ndarray:
    """Whole numbers without their steps: a guided filter that is guided by the values themselves.

    What varies by much less than one in its neighbourhood is averaged, what varies by more stays as it is: of depth
    that is stored with 8 bits, the terraces of floors and walls become slopes, and outlines remain.

    Source: He, Sun and Tang, "Guided image filtering", TPAMI 2013, Eq. 5, 6 and 8, with eps = 1.

    Args:
        values: (H, W), float32, on the scale of the whole numbers.
        radius: of the square windows, in px.

    Returns:
        (H, W), float32, within the range of the values.
    """
    side = (2 * radius + 1,) * 2
    exact = values.astype(np.float64)  # the variance is a small difference of large numbers

    def mean(plane: np.ndarray) -> np.ndarray:
        return cv2.blur(plane, side, borderType=cv2.BORDER_REFLECT)

    means = mean(exact)
    variance = np.maximum(mean(exact * exact) - means * means, 0)
    slope = variance / (variance + 1)
    result = mean(slope) * exact + mean(means - slope * means)
    return np.clip(result, values.min(), values.max()).astype(np.float32)


def painted_depth(image: np.ndarray) -> np.ndarray:
    """Made-up depth in [0.2, 1]: far at the top and near at the bottom, warm colours in front of cool ones.

    It keeps to the outlines of the image. Of its range, six tenths follow the row and four tenths the warmth, the sum
    of Lab's a and b after a median over 31 px.

    Source: none; the two rules are those of aerial perspective in painting.

    Args:
        image: uint8 BGR, (H, W, 3).

    Returns:
        (H, W), float64.
    """
    lab = cv2.cvtColor(image, cv2.COLOR_BGR2LAB)
    # A wide median flattens texture and leaves outlines.
    red, yellow = (cv2.medianBlur(lab[..., channel], 31).astype(np.float64) for channel in (1, 2))
    warmth = red + yellow
    coolness = (warmth.max() - warmth) / max(np.ptp(warmth), 1)
    height = np.linspace(1, 0, image.shape[0])[:, None]
    return 0.2 + 0.8 * (0.6 * height + 0.4 * coolness)


def _image(content: bytes, label: str) -> np.ndarray:
    try:
        values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        values = None
    if values is None:
        raise InputError(
            f'{label} cannot be decoded: it is damaged, cut short, or not PNG, TIFF, NPY or NPZ; make the depth again '
            'or take the image out'
        )
    return values


def _array(content: bytes, label: str) -> np.ndarray:
    try:
        loaded = np.load(io.BytesIO(content), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            names = [name for name in loaded.files if isinstance(loaded[name], np.ndarray)]
            chosen = names[0] if len(names) == 1 else 'depth'
            if chosen in names:
                return loaded[chosen]
    except Exception as error:  # of a damaged file, numpy and zipfile raise many kinds
        if 'allow_pickle' in str(error):
            raise InputError(
                f'{label} holds pickled objects, which are not loaded; save one array of numbers with numpy.save'
            ) from None
        raise InputError(
            f'{label} cannot be read as an array ({" ".join(str(error).split())}); make the depth again'
        ) from None
    found = f'{len(names)} arrays ({", ".join(names)}), none of them named depth' if names else 'no array'
    raise InputError(f"{label} holds {found}; save one array, or name it 'depth'")


def _refuse_some(odd: np.ndarray, complaint: str, label: str) -> None:
    count = np.count_nonzero(odd)
    require(
        count == 0,
        f'{label} has {count} of {odd.size} values that are {complaint}; fill them in, or take the image out',
    )
