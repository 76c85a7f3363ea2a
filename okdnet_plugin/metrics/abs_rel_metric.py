"""AbsRel: how far estimated depth is off, as a part of the true one."""

from typing import Literal

import numpy as np
from basicsr.utils.registry import METRIC_REGISTRY

from okdnet_plugin.metrics.metric_util import known_depth


@METRIC_REGISTRY.register()
def calculate_abs_rel(
    img: np.ndarray,
    depth: np.ndarray,
    depth_gt: np.ndarray,
    crop_border: int = 0,
    align: Literal['none', 'median'] = 'none',
    **_: object,
) -> float:
    """Mean of |d - d*| / d* over the pixels whose depth d* is known; less is better.

    Source: Eigen, Puhrsch and Fergus, "Depth map prediction from a single image using a multi-scale deep network",
    NIPS 2014, "abs relative difference".

    Args:
        img: the result, which it does not look at.
        depth: what the network estimates, shape (H, W). DepthGuidanceModel passes it to metrics with this parameter.
        depth_gt: the true depth, of a data set with `return_depth: true`.
        crop_border: pixels to leave out at each edge.
        align: `median` brings the median of the estimate to that of the truth first, for depth up to a factor.

    Raises:
        InputError: the maps differ in size, or no depth is known.
    """
    estimate, truth = known_depth('AbsRel', depth, depth_gt, crop_border, align)
    return float(np.mean(np.abs(estimate - truth) / truth))
