"""AbsRel and delta, by hand."""

import numpy as np
import pytest

from okdnet_plugin.errors import InputError
from okdnet_plugin.metrics.abs_rel_metric import calculate_abs_rel
from okdnet_plugin.metrics.delta_metric import calculate_delta

TRUTH = np.array([[1.0, 2.0], [4.0, 0.0]], np.float32)  # one pixel of unknown depth
FOUND = np.array([[1.1, 1.0], [4.0, 9.0]], np.float32)
IMAGE = np.zeros((2, 2, 3), np.uint8)


def test_values_are_those_of_the_known_pixels():
    assert calculate_abs_rel(IMAGE, FOUND, TRUTH) == pytest.approx((0.1 + 0.5 + 0) / 3, rel=1e-5)
    assert calculate_delta(IMAGE, FOUND, TRUTH) == pytest.approx(2 / 3)
    assert calculate_delta(IMAGE, FOUND, TRUTH, threshold=2.1) == 1


def test_alignment_forgets_a_factor():
    assert calculate_abs_rel(IMAGE, 3 * TRUTH, TRUTH) == pytest.approx(2)
    assert calculate_abs_rel(IMAGE, 3 * TRUTH, TRUTH, align='median') == pytest.approx(0)
    assert calculate_delta(IMAGE, 3 * TRUTH, TRUTH, align='median') == 1


def test_border_is_left_out():
    truth = np.pad(np.ones((2, 2), np.float32), 1, constant_values=5)
    assert calculate_abs_rel(np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), np.float32), truth, crop_border=1) == 0


def test_maps_of_two_sizes_and_unknown_depth_are_refused():
    with pytest.raises(InputError, match='must agree'):
        calculate_abs_rel(IMAGE, FOUND[:1], TRUTH)
    with pytest.raises(InputError, match='0 everywhere'):
        calculate_delta(IMAGE, FOUND, 0 * TRUTH)
