"""AbsRel: how far estimated depth is off, as a part of the true one."""

from typing import Literal

import numpy as np
from basicsr.utils.registry import METRIC_REGISTRY

from okdnet_plugin.errors import InputError
from okdnet_plugin.metrics.metric_util import check_choice


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
