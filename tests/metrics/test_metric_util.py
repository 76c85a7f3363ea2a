"""Names and calls of the metrics, images that they cannot look at, and resizing."""

import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_metric
from basicsr.utils.matlab_functions import imresize as basicsr_imresize
from basicsr.utils.registry import METRIC_REGISTRY

from okdnet_plugin.engine.validation import metric_values_of
from okdnet_plugin.errors import InputError
from okdnet_plugin.metrics.metric_util import as_image, check_same_size, imresize

RESULT, CLEAR, HAZY = np.random.default_rng(0).integers(0, 256, (3, 100, 192, 3), np.uint8)
ALL = {'img': RESULT, 'img2': CLEAR, 'lq': HAZY}


def test_names_are_registered():
    names = ('loe', 'fast_niqe', 'ciede2000', 'brisque', 'pi', 'pyiqa_nr', 'pyiqa_fr')
    assert all(f'calculate_{name}' in METRIC_REGISTRY for name in names)


@pytest.mark.parametrize(
    ('block', 'needs_clear'),
    [
        ({'type': 'calculate_fast_niqe'}, False),
        ({'type': 'calculate_loe'}, False),
        ({'type': 'calculate_ciede2000'}, True),
        ({'type': 'calculate_pyiqa_fr', 'metric': 'lpips'}, True),
    ],
)
def test_validation_calls_it_with_the_images_that_there_are(block, needs_clear):
    images = {'result': RESULT, 'lq': HAZY}
    assert (metric_values_of(images, {'one': block}).values == {}) == needs_clear
    if 'pyiqa' not in block['type']:
        assert metric_values_of(images | {'gt': CLEAR}, {'one': block}).values['one'] > 0


@pytest.mark.parametrize('crop_border', [0, 4])
@pytest.mark.parametrize('block', [{'type': 'calculate_fast_niqe'}, {'type': 'calculate_ciede2000'}])
def test_basicsr_calls_it(block, crop_border):
    images = {'img': np.tile(RESULT, (2, 2, 1)), 'img2': np.tile(CLEAR, (2, 2, 1))}
    assert calculate_metric(images | {'crop_border': crop_border}, block) > 0
    assert isinstance(calculate_metric(images, block), float)


def test_basicsr_calls_loe():
    block = {'type': 'calculate_loe', 'variant': 'bimef'}
    to_hazy, to_clear = calculate_metric(ALL, block), calculate_metric(ALL, block | {'reference': 'gt'})
    assert to_hazy != to_clear
    assert to_clear == calculate_metric({'img': RESULT, 'img2': CLEAR}, block | {'reference': 'gt'})


@pytest.mark.parametrize('name', ['fast_niqe', 'brisque', 'pi', 'pyiqa_nr'])
def test_misspelt_option_of_a_metric_that_takes_any_image_is_named(name):
    block = {'type': f'calculate_{name}', 'crop_boarder': 1} | ({'metric': 'musiq'} if name == 'pyiqa_nr' else {})
    with pytest.raises(
        InputError, match=r'has no option crop_boarder \(did you mean crop_border.*\?\); it has .*order'
    ):
        calculate_metric(ALL, block)


def test_image_is_turned_and_cropped():
    expected = RESULT[2:-2, 2:-2]
    np.testing.assert_array_equal(as_image('X', 'img', RESULT, 2), expected)
    np.testing.assert_array_equal(as_image('X', 'img', RESULT.transpose(2, 0, 1), 2, 'CHW'), expected)
    for order in ('HWC', 'CHW', 'HW'):
        np.testing.assert_array_equal(as_image('X', 'img', RESULT[..., 0], 2, order), expected[..., :1])


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((None,), r'X: the clear image \(img2\) is missing'),
        ((RESULT / 255,), 'is float64; give a uint8 array'),
        ((RESULT.tolist(),), 'is list; give a uint8 array'),
        ((RESULT, 0, 'CHW'), r'has the shape \(100, 192, 3\), which is not CHW with 1 or 3 channels'),
        ((RESULT, 0, 'HW'), 'which is not HW'),
        ((RESULT[None],), 'has the shape'),
        ((RESULT[..., :2],), 'has the shape'),
        ((RESULT, 0, 'WHC'), r'input_order is WHC \(did you mean'),
        ((RESULT, 50), '192x100 pixels, of which crop_border 50 leaves none'),
        ((RESULT, -1), 'crop_border is -1; write a whole number from 0'),
        ((RESULT, 1.5), 'crop_border is 1.5'),
        ((RESULT, True), 'crop_border is True'),
    ],
)
def test_wrong_image_is_named(arguments, message):
    with pytest.raises(InputError, match=message):
        as_image('X', 'img2', *arguments)


@pytest.mark.parametrize('other', [CLEAR[:-1], CLEAR[..., :1]])
def test_images_of_different_shape_are_refused(other):
    with pytest.raises(InputError, match=r'the result is 192x100 with 3 channels, but the clear image \(img2\) 192x'):
        check_same_size('X', RESULT, 'img2', other)


@pytest.mark.parametrize(('scale', 'size'), [(0.5, (50, 96)), (0.25, (25, 48)), (2, (200, 384))])
def test_resizes_like_basicsr_to_the_bit(scale, size):
    plane = np.random.default_rng(0).random((100, 192), np.float32)
    np.testing.assert_array_equal(imresize(plane, *size), basicsr_imresize(plane, scale))


def test_resizes_to_any_size_like_an_antialiased_cubic():
    plane = torch.rand(460, 61)
    expected = torch.nn.functional.interpolate(
        plane[None, None, 40:-40, 8:-8].double(), size=(38, 5), mode='bicubic', antialias=True
    )
    # The inner part of another implementation, whose borders and parameter of the cubic differ.
    ours = imresize(plane.numpy()[40:-40, 8:-8], 38, 5)
    np.testing.assert_allclose(ours[4:-4, 2:-2], expected[0, 0, 4:-4, 2:-2], atol=2e-6)
