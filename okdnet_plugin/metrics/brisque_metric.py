"""BRISQUE by the optional package `brisque`, which ships its trained model."""

import functools
import math
from typing import Literal

import numpy as np
from basicsr.utils.registry import METRIC_REGISTRY

from okdnet_plugin.errors import InputError
from okdnet_plugin.metrics.metric_util import as_image, check_options, optional_package, three_channels


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
    **images: np.ndarray,
) -> float:
    """BRISQUE of an image, a quality without a reference; less is better.

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
        images: the clear and the hazy image, which it does not look at.

    Returns:
        About 0 to 100, at times beyond.

    Raises:
        InputError: the package is not installed, an option or the image is not as said above, or the image is too
            small or flat.
    """
    check_options(calculate_brisque, images)
    image = three_channels(as_image('BRISQUE', 'img', img, crop_border, input_order))
    if (svm is None) != (ranges is None):
        raise InputError('BRISQUE: svm and ranges go together; give both files or neither')
    scorer = _scorer(svm, ranges)
    size = f'{image.shape[1]}x{image.shape[0]}'
    if min(image.shape[:2]) < 16:
        raise InputError(f'BRISQUE: an image of {size} is too small; it takes at least 16x16')
    with np.errstate(divide='ignore', invalid='ignore'):
        score = float(scorer.score(np.ascontiguousarray(image[..., ::-1])))
    if not math.isfinite(score):
        raise InputError(f'BRISQUE: an image of {size} has too little texture to have a value')
    return score
