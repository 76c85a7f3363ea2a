"""The fast SSIM against BasicSR's."""

import cv2
import numpy as np
import pytest
from basicsr.metrics import calculate_metric, calculate_ssim

from okdnet_plugin.errors import InputError
from okdnet_plugin.metrics import ssim_metric
from okdnet_plugin.metrics.ssim_metric import calculate_fast_ssim


def images(height, width, channels=3):
    rng = np.random.default_rng(height)
    clear = cv2.GaussianBlur(rng.integers(0, 256, (height, width, channels), np.uint8), (5, 5), 0)
    clear = clear.reshape(height, width, channels)
    noisy = np.clip(clear * 0.7 + 60 + rng.normal(0, 5, clear.shape), 0, 255).astype(np.uint8)
    return noisy, clear


@pytest.mark.parametrize('size', [(11, 11), (31, 47), (120, 90)])
@pytest.mark.parametrize(
    'how', [{}, {'test_y_channel': True}, {'crop_border': 3}, {'input_order': 'CHW'}], ids=lambda how: str(how)
)
def test_value_is_from_basicsr(size, how):
    height, width = (edge + 2 * how.get('crop_border', 0) for edge in size)
    ours = images(height, width)
    if 'input_order' in how:
        ours = [image.transpose(2, 0, 1) for image in ours]
    expected = calculate_ssim(*ours, **{'crop_border': 0} | how)
    assert calculate_fast_ssim(*ours, **how) == pytest.approx(expected, abs=1e-12)
    assert expected < 0.99


@pytest.mark.parametrize('places', [1, 1000, 3311])
def test_large_images_are_measured_in_bands_that_are_the_whole(places, monkeypatch):
    monkeypatch.setattr(ssim_metric, '_BAND', places)
    ours = images(97, 53)
    assert calculate_fast_ssim(*ours) == pytest.approx(calculate_ssim(*ours, 0), abs=1e-12)


def test_grey_images_and_flat_ones():
    noisy, clear = images(30, 40, 1)
    assert calculate_fast_ssim(noisy, clear) == pytest.approx(calculate_ssim(noisy, clear, 0), abs=1e-12)
    flat = np.full((20, 20, 3), 7, np.uint8)
    assert calculate_fast_ssim(flat, flat) == 1
    assert calculate_fast_ssim(flat, flat + 90) == pytest.approx(calculate_ssim(flat, flat + 90, 0), abs=1e-12)


def test_basicsr_calls_it():
    noisy, clear = images(30, 40)
    block = {'type': 'calculate_fast_ssim', 'crop_border': 0, 'test_y_channel': False, 'better': 'higher'}
    assert 0 < calculate_metric({'img': noisy, 'img2': clear}, block) < 1


def test_images_of_different_sizes_are_refused():
    with pytest.raises(InputError, match=r'calculate_fast_ssim: the result is 40x30 .*; they must agree'):
        calculate_fast_ssim(images(30, 40)[0], images(30, 41)[0])
