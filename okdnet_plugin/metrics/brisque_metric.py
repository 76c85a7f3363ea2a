"""BRISQUE by the optional package `brisque`, which ships its trained model."""

import functools
import math
from typing import Literal

import numpy as np
from basicsr.utils.registry import METRIC_REGISTRY

from okdnet_plugin.errors import InputError
from okdnet_plugin.metrics.metric_util import as_picture, check_options, optional_package, three_channels


@functools.cache
def _scorer(svm: str | None, ranges: str | None):
    package = optional_package(
        'BRISQUE', 'brisque', 'pip install brisque; it builds libsvm, which takes a C++ compiler'
    )

    class Scorer(package.BRISQUE):
        def scale_features(self, features):
            # The package mixes numbers with arrays of one, which NumPy 2.4 no longer takes for numbers.
            return super().scale_features(np.concatenate([np.ravel(feature) for feature in features]))

    return Scorer(url=False, model_path={'svm': svm, 'normalize': ranges} if svm else None)


@METRIC_REGISTRY.register()
def calculate_brisque(
    img: np.ndarray,
    crop_border: int = 0,
    input_order: Literal['HWC', 'CHW', 'HW'] = 'HWC',
    svm: str | None = None,
    ranges: str | None = None,
    **pictures: np.ndarray,
) -> float:
    """BRISQUE of a picture, a quality without a reference; less is better.

    Source: Mittal, Moorthy, Bovik, "No-reference image quality assessment in the spatial domain", IEEE TIP 21 (2012),
    as the package `brisque` computes it. The model that version 0.2.0 ships is an epsilon-SVR with a radial kernel:
    gamma 0.05, rho -155.845, 770 support vectors. Other implementations have other models, borders and resizing, and
    their values differ by tens: name the package with each number.

    Args:
        img: the result, uint8 BGR, shape as `input_order` says, or (H, W).
        crop_border: pixels to leave out at each edge.
        input_order: `HWC`, `CHW` or `HW`.
        svm, ranges: files of another model and of the ranges of its features, both or neither. The second is a pickle,
            which may run code: take it only from whom you trust.
        pictures: the clear and the hazy picture, which it does not look at.

    Returns:
        About 0 to 100, at times beyond.

    Raises:
        InputError: the package is not installed, an option or the picture is not as said above, or the picture is too
            small or flat.
    """
    check_options(calculate_brisque, pictures)
    picture = three_channels(as_picture('BRISQUE', 'img', img, crop_border, input_order))
    if (svm is None) != (ranges is None):
        raise InputError('BRISQUE: svm and ranges go together; give both files or neither')
    scorer = _scorer(svm, ranges)
    size = f'{picture.shape[1]}x{picture.shape[0]}'
    if min(picture.shape[:2]) < 16:
        raise InputError(f'BRISQUE: a picture of {size} is too small; it takes at least 16x16')
    with np.errstate(divide='ignore', invalid='ignore'):
        score = float(scorer.score(np.ascontiguousarray(picture[..., ::-1])))
    if not math.isfinite(score):
        raise InputError(f'BRISQUE: a picture of {size} has too little texture to have a value')
    return score
