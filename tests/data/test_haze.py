import numpy as np
import pytest

from okdnet_plugin.data.haze import add_haze, equivalent_distance, patches, sine_of_elevation, transmission


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


def test_haze_mixes_image_and_airlight_by_the_transmission(clear, depth):
    t = transmission(depth, 1.0)
    hazy = add_haze(clear, t, np.array([0.7, 0.8, 0.9]))
    expected = [clear[3, 4, c] * t[3, 4] + (0.7, 0.8, 0.9)[c] * (1 - t[3, 4]) for c in range(3)]
    np.testing.assert_allclose(hazy[3, 4], expected)


def test_hazy_values_stay_between_image_and_airlight(clear, depth):
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


# ------------------------------------------------------------------------------------------------ values of all sizes


def test_transmission_never_reaches_zero_in_float32():
    t = transmission(np.float32([[0, 1, 1e6]]), 50.0)
    assert t.dtype == np.float32
    assert (t > 0).all()
    assert (t <= 1).all()


def test_beta_may_differ_from_pixel_to_pixel(depth):
    beta = np.linspace(0, 2, 35).reshape(5, 7)
    np.testing.assert_allclose(transmission(depth, beta), np.exp(-beta * depth))


def test_one_negative_beta_of_many_is_refused(depth):
    with pytest.raises(ValueError, match='beta'):
        transmission(depth, np.where(depth > 0.5, -0.1, 1.0))


@pytest.mark.parametrize('airlight', [0.9, (0.7, 0.8, 0.9)], ids=['grey', 'coloured'])
def test_an_image_of_bytes_gives_the_same_haze_in_float32(depth, airlight):
    clear = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    t = transmission(depth, 1.0)
    hazy = add_haze(clear, t.astype(np.float32), 255 * np.float32(airlight))
    assert hazy.dtype == np.float32
    np.testing.assert_allclose(hazy / 255, add_haze(clear / 255, t, np.array(airlight)), atol=1e-6)


# ---------------------------------------------------------------------------------------- haze that thins with height


@pytest.mark.parametrize('sine', [-0.5, -0.1, -1e-6, 0, 1e-6, 0.1, 0.5])
@pytest.mark.parametrize('falloff', [0, 0.3, 2])
def test_equivalent_distance_is_the_integral_along_the_ray(sine, falloff):
    length, steps = 3.0, 2000
    points = (np.arange(steps) + 0.5) * length / steps
    integral = np.exp(-falloff * points * sine).sum() * length / steps
    distance = equivalent_distance(np.array([[length]]), np.array([[sine]]), falloff)
    np.testing.assert_allclose(distance, integral, rtol=1e-6)


def test_rays_without_height_or_falloff_keep_their_length():
    depth = np.linspace(0, 9, 12, dtype=np.float32).reshape(3, 4)
    for sine, falloff in ((np.zeros((3, 1), np.float32), 2.0), (np.full((3, 1), 0.4, np.float32), 0.0)):
        distance = equivalent_distance(depth, sine, falloff)
        assert distance.dtype == np.float32
        np.testing.assert_array_equal(distance, depth)


def test_near_the_horizon_no_digits_are_lost_in_float32():
    distance = equivalent_distance(np.float32([[1, 1]]), np.float32([[1e-7, -1e-7]]), 1.0)
    np.testing.assert_allclose(distance, 1, rtol=1e-6)


def test_a_ray_that_rises_for_ever_meets_a_finite_amount_of_haze():
    np.testing.assert_allclose(equivalent_distance(np.float32([[1e6]]), np.float32([[0.5]]), 2.0), 1.0)


def test_a_ray_that_falls_for_ever_stays_finite():
    assert np.isfinite(equivalent_distance(np.float32([[1e5]]), np.float32([[-1]]), 9.0)).all()


def test_elevation_follows_the_field_of_view():
    sine = sine_of_elevation(480, 60)
    assert sine.shape == (480, 1)
    np.testing.assert_allclose(sine, -sine[::-1], atol=1e-7)
    assert (np.diff(sine[:, 0]) < 0).all()
    # Rows are taken at their middle: the edge of the image, at half of the angle, is half a row further.
    np.testing.assert_allclose(np.degrees(np.arcsin(sine[0, 0])), 30, atol=0.1)


# -------------------------------------------------------------------------------------------------------- patchy haze


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize('size', [(46, 62), (62, 46), (17, 200), (3, 3)])
@pytest.mark.parametrize('patchiness', [0.3, 1])
def test_patches_have_mean_1_and_are_never_negative(size, patchiness):
    for seed in range(5):
        field = patches(*size, patchiness, rng(seed))
        assert field.shape == size
        assert field.dtype == np.float32
        assert field.min() >= 0
        assert field.mean() == pytest.approx(1, abs=1e-3)


def test_patchiness_says_how_thin_the_thinnest_place_is():
    assert patches(460, 620, 1, rng()).min() == pytest.approx(0, abs=0.02)
    assert patches(460, 620, 0.4, rng()).min() == pytest.approx(0.6, abs=0.02)
    np.testing.assert_array_equal(patches(460, 620, 0, rng()), 1)


def test_patches_are_smooth_but_of_several_sizes():
    field = patches(460, 620, 1, rng())
    steps = np.abs(np.diff(field, axis=1))
    assert steps.max() < 0.1
    # A field of the largest cells alone turns at most a few times along a row.
    turns = (np.diff(np.sign(np.diff(field, axis=1)), axis=1) != 0).sum(1)
    assert np.median(turns) >= 4


def test_a_window_shows_the_patches_of_the_whole_image():
    window = np.s_[11:40, 20:55]
    np.testing.assert_allclose(patches(46, 62, 0.8, rng(), window), patches(46, 62, 0.8, rng())[window], atol=1e-5)


def test_patches_follow_the_generator():
    assert np.array_equal(patches(46, 62, 1, rng(1)), patches(46, 62, 1, rng(1)))
    assert not np.allclose(patches(46, 62, 1, rng(1)), patches(46, 62, 1, rng(2)))
