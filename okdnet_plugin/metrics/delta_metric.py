"""Delta: the share of pixels whose estimated depth is nearly right."""

from typing import Annotated, Literal

import numpy as np
from annotated_types import Gt
from basicsr.utils.registry import METRIC_REGISTRY

from okdnet_plugin.metrics.metric_util import known_depth


@METRIC_REGISTRY.register()
def calculate_delta(
    img: np.ndarray,
    depth: np.ndarray,
    depth_gt: np.ndarray,
    crop_border: int = 0,
    align: Literal['none', 'median'] = 'none',
    threshold: Annotated[float, Gt(1)] = 1.25,
    **_: object,
) -> float:
    """Share of the pixels whose estimated and true depth are no more than a factor apart, in [0, 1].

    Source: Ladicky, Shi and Pollefeys, CVPR 2014; Eigen et al., NIPS 2014: max(d / d*, d* / d) < 1.25, 1.25^2, 1.25^3.

    Args:
        img: the result, which it does not look at.
        depth, depth_gt: estimated and true depth, shape (H, W); see `calculate_abs_rel`.
        crop_border: pixels to leave out at each edge.
        align: `median` brings the median of the estimate to that of the truth first.
        threshold: the factor.

    Raises:
        InputError: the maps differ in size, or no depth is known.
    """
    estimate, truth = known_depth('delta', depth, depth_gt, crop_border, align)
    return float(np.mean(np.maximum(estimate / truth, truth / estimate) < threshold))
