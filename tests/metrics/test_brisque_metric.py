"""BRISQUE by a package that stands in for the optional one, and by that one where it is installed."""

import importlib.util
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
from basicsr.metrics import calculate_metric

from okdnet_plugin.errors import InputError
from okdnet_plugin.metrics import brisque_metric
from okdnet_plugin.metrics.brisque_metric import calculate_brisque

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


@pytest.fixture(autouse=True)
def _nothing_kept():
    brisque_metric._scorer.cache_clear()
    yield
    brisque_metric._scorer.cache_clear()


@pytest.fixture
def package(monkeypatch):
    """A package whose value is the mean of the red channel; `calls` has what it was made with and shown."""
    calls = []

    class BRISQUE:
        def __init__(self, url, model_path):
            calls.append((url, model_path))

        def score(self, image):
            calls.append(image)
            return image[..., 0].mean()

        def scale_features(self, features):
            return features

    package = SimpleNamespace(BRISQUE=BRISQUE, calls=calls)
    monkeypatch.setitem(sys.modules, 'brisque', package)
    return package


def test_absent_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'brisque', None)
    with pytest.raises(InputError, match=r'^BRISQUE is not available: .*brisque.*\(pip install brisque; '):
        calculate_brisque(IMAGE)


def test_package_sees_rgb_without_the_border(package):
    value = calculate_metric({'img': IMAGE, 'img2': IMAGE}, {'type': 'calculate_brisque', 'crop_border': 2})
    assert value == IMAGE[2:-2, 2:-2, 2].mean()
    assert package.calls[0] == (False, None)
    np.testing.assert_array_equal(package.calls[1], IMAGE[2:-2, 2:-2, ::-1])


def test_model_is_loaded_once(package):
    for _ in range(2):
        calculate_brisque(IMAGE.transpose(2, 0, 1), input_order='CHW')
        calculate_brisque(IMAGE[..., 0], svm='a.txt', ranges='a.pickle')
    made = [call for call in package.calls if isinstance(call, tuple)]
    assert made == [(False, None), (False, {'svm': 'a.txt', 'normalize': 'a.pickle'})]
    assert package.calls[-1].shape == (20, 30, 3)


@pytest.mark.usefixtures('package')
@pytest.mark.parametrize(
    ('image', 'options', 'message'),
    [
        (IMAGE, {'svm': 'a.txt'}, 'svm and ranges go together'),
        (IMAGE[:15], {}, 'an image of 30x15 is too small; it takes at least 16x16'),
        (IMAGE / 255, {}, 'is float64'),
    ],
)
def test_what_it_cannot_do_is_named(image, options, message):
    with pytest.raises(InputError, match=message):
        calculate_brisque(image, **options)


def test_value_that_is_none_is_named(package, monkeypatch):
    monkeypatch.setattr(package.BRISQUE, 'score', lambda self, image: np.nan)
    with pytest.raises(InputError, match='an image of 30x20 has too little texture'):
        calculate_brisque(IMAGE)


@pytest.mark.usefixtures('package')
def test_package_gets_numbers_where_it_has_arrays_of_one():
    mixed = np.array([np.array([1.5]), 2.5, np.float64(3)], dtype=object)
    np.testing.assert_array_equal(
        [float(one) for one in brisque_metric._scorer(None, None).scale_features(mixed)], [1.5, 2.5, 3]
    )


@pytest.mark.skipif(importlib.util.find_spec('brisque') is None, reason='brisque is not installed')
def test_installed_package_gives_its_values():
    values = [
        calculate_brisque(skimage.data.astronaut()[..., ::-1]),
        calculate_brisque(skimage.data.coffee()[..., ::-1]),
    ]
    assert values == pytest.approx([10.795, 3.048], abs=1e-2)  # of version 0.2.0
