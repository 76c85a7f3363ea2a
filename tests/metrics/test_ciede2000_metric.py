"""CIEDE2000 against the pairs published with it, and images against scikit-image."""

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from okdnet_plugin.errors import InputError
from okdnet_plugin.metrics import ciede2000_metric
from okdnet_plugin.metrics.ciede2000_metric import calculate_ciede2000, ciede2000, lab_of

# Sharma, Wu, Dalal 2005, Table 1: L, a, b, L, a, b, difference.
PUBLISHED = [
    (50.0, 2.6772, -79.7751, 50.0, 0.0, -82.7485, 2.0425),
    (50.0, 3.1571, -77.2803, 50.0, 0.0, -82.7485, 2.8615),
    (50.0, 2.8361, -74.0200, 50.0, 0.0, -82.7485, 3.4412),
    (50.0, -1.3802, -84.2814, 50.0, 0.0, -82.7485, 1.0000),
    (50.0, -1.1848, -84.8006, 50.0, 0.0, -82.7485, 1.0000),
    (50.0, -0.9009, -85.5211, 50.0, 0.0, -82.7485, 1.0000),
    (50.0, 0.0, 0.0, 50.0, -1.0, 2.0, 2.3669),
    (50.0, -1.0, 2.0, 50.0, 0.0, 0.0, 2.3669),
    (50.0, 2.49, -0.001, 50.0, -2.49, 0.0009, 7.1792),
    (50.0, 2.49, -0.001, 50.0, -2.49, 0.0010, 7.1792),
    (50.0, 2.49, -0.001, 50.0, -2.49, 0.0011, 7.2195),
    (50.0, 2.49, -0.001, 50.0, -2.49, 0.0012, 7.2195),
    (50.0, -0.001, 2.49, 50.0, 0.0009, -2.49, 4.8045),
    (50.0, -0.001, 2.49, 50.0, 0.0010, -2.49, 4.8045),
    (50.0, -0.001, 2.49, 50.0, 0.0011, -2.49, 4.7461),
    (50.0, 2.5, 0.0, 50.0, 0.0, -2.5, 4.3065),
    (50.0, 2.5, 0.0, 73.0, 25.0, -18.0, 27.1492),
    (50.0, 2.5, 0.0, 61.0, -5.0, 29.0, 22.8977),
    (50.0, 2.5, 0.0, 56.0, -27.0, -3.0, 31.9030),
    (50.0, 2.5, 0.0, 58.0, 24.0, 15.0, 19.4535),
    (50.0, 2.5, 0.0, 50.0, 3.1736, 0.5854, 1.0000),
    (50.0, 2.5, 0.0, 50.0, 3.2972, 0.0, 1.0000),
    (50.0, 2.5, 0.0, 50.0, 1.8634, 0.5757, 1.0000),
    (50.0, 2.5, 0.0, 50.0, 3.2592, 0.3350, 1.0000),
    (60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644),
    (63.0109, -31.0961, -5.8663, 62.8187, -29.7946, -4.0864, 1.2630),
    (61.2901, 3.7196, -5.3901, 61.4292, 2.2480, -4.9620, 1.8731),
    (35.0831, -44.1164, 3.7933, 35.0232, -40.0716, 1.5901, 1.8645),
    (22.7233, 20.0904, -46.6940, 23.0331, 14.9730, -42.5619, 2.0373),
    (36.4612, 47.8580, 18.3852, 36.2715, 50.5065, 21.2231, 1.4146),
    (90.8027, -2.0831, 1.4410, 91.1528, -1.6435, 0.0447, 1.4441),
    (90.9257, -0.5406, -0.9208, 88.6381, -0.8985, -0.7239, 1.5381),
    (6.7747, -0.2908, -2.4247, 5.8714, -0.0985, -2.2286, 0.6377),
    (2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082),
]


def of_scikit_image(*images):
    return deltaE_ciede2000(*[rgb2lab(image[..., ::-1]) for image in images])


@pytest.mark.parametrize('pair', PUBLISHED, ids=range(1, 35))
def test_published_pairs_in_both_orders(pair):
    first, second, expected = np.array(pair[:3]), np.array(pair[3:6]), pair[6]
    assert round(float(ciede2000(first, second)), 4) == expected
    assert round(float(ciede2000(second, first)), 4) == expected
    # Of exactly opposite hues, rounding decides which mean scikit-image takes; it differs between versions of NumPy.
    if first[1] * second[2] != first[2] * second[1]:
        assert float(ciede2000(first, second)) == pytest.approx(deltaE_ciede2000(first, second), abs=1e-9)


@pytest.mark.parametrize('size', [(1, 1), (37, 53), (120, 200)])
def test_random_images_agree_with_scikit_image(size):
    images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    assert calculate_ciede2000(*images) == pytest.approx(of_scikit_image(*images).mean(), abs=1e-9)
    labs = [lab_of(image.reshape(-1, 3)) for image in images]
    np.testing.assert_allclose(ciede2000(*labs).reshape(size), of_scikit_image(*images), atol=1e-9)


def test_dark_colours_agree_with_scikit_image():
    images = np.random.default_rng(0).integers(0, 24, (2, 40, 50, 3), np.uint8)
    assert calculate_ciede2000(*images) == pytest.approx(of_scikit_image(*images).mean(), abs=1e-9)


def test_equal_images_and_opposites():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    assert calculate_ciede2000(image, image) == 0
    assert calculate_ciede2000(np.zeros_like(image), np.full_like(image, 255)) == pytest.approx(100, abs=1e-4)


def test_border_order_and_grey_count():
    images = np.random.default_rng(0).integers(0, 256, (2, 30, 40, 3), np.uint8)
    inner = calculate_ciede2000(*[image[3:-3, 3:-3] for image in images])
    assert calculate_ciede2000(*images, crop_border=3) == inner
    turned = [image.transpose(2, 0, 1) for image in images]
    assert calculate_ciede2000(*turned, crop_border=3, input_order='CHW') == inner
    grey = images[..., 0]
    assert calculate_ciede2000(*grey) == calculate_ciede2000(*[plane[..., None].repeat(3, 2) for plane in grey])


def test_parts_make_the_same_mean(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (2, 30, 41, 3), np.uint8)
    whole = calculate_ciede2000(*images)
    monkeypatch.setattr(ciede2000_metric, '_CHUNK', 100)
    assert calculate_ciede2000(*images) == pytest.approx(whole, rel=1e-12)


def test_what_it_cannot_do_is_named():
    image = np.zeros((20, 30, 3), np.uint8)
    with pytest.raises(InputError, match=r'CIEDE2000: the result is 30x20 .* the clear image \(img2\) 29x20'):
        calculate_ciede2000(image, image[:, 1:])
    with pytest.raises(InputError, match=r'CIEDE2000: the result \(img\) is float32'):
        calculate_ciede2000(image.astype(np.float32), image)
    for wrong in (np.zeros((3, 5)), np.zeros((4, 4))):
        with pytest.raises(ValueError, match='must be equal in shape and begin with 3'):
            ciede2000(wrong, np.zeros((4, 4)))
