import numpy as np
import pytest

from okdnet_plugin.data.haze import add_haze, transmission


@pytest.fixture
def clear():
    return np.random.default_rng(0).random((5, 7, 3))


@pytest.fixture
def depth():
    return np.linspace(0, 1, 35).reshape(5, 7)


def test_transmission_falls_exponentially_with_depth(depth):
    t = transmission(depth, beta=1.2)
    assert t[0, 0] == 1
    assert t[-1, -1] == pytest.approx(np.exp(-1.2))
    assert (np.diff(t.ravel()) < 0).all()


def test_transmission_keeps_the_dtype(depth):
    assert transmission(depth.astype(np.float32), 0.6).dtype == np.float32


def test_no_distance_means_no_haze(clear):
    np.testing.assert_array_equal(add_haze(clear, np.ones((5, 7)), 0.9), clear)


def test_endless_distance_shows_the_airlight_alone(clear):
    np.testing.assert_allclose(add_haze(clear, np.zeros((5, 7)), 0.9), 0.9)


def test_haze_mixes_picture_and_airlight_by_the_transmission(clear, depth):
    t = transmission(depth, 1.0)
    hazy = add_haze(clear, t, np.array([0.7, 0.8, 0.9]))
    expected = [clear[3, 4, c] * t[3, 4] + (0.7, 0.8, 0.9)[c] * (1 - t[3, 4]) for c in range(3)]
    np.testing.assert_allclose(hazy[3, 4], expected)


def test_hazy_values_stay_between_picture_and_airlight(clear, depth):
    hazy = add_haze(clear, transmission(depth, 1.8), 1.0)
    assert (hazy >= clear).all()
    assert (hazy <= 1).all()


@pytest.mark.parametrize('bad', [-0.1, np.nan, np.inf])
def test_impossible_depth_is_refused(depth, bad):
    depth[2, 2] = bad
    with pytest.raises(ValueError, match='depth must be finite'):
        transmission(depth, 1.0)


def test_negative_beta_is_refused(depth):
    with pytest.raises(ValueError, match='beta'):
        transmission(depth, -1.0)


def test_sizes_that_would_only_broadcast_are_refused(clear):
    with pytest.raises(ValueError, match='differ in size'):
        add_haze(clear, np.ones((1, 7)), 0.9)
