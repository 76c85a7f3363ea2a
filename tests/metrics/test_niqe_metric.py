"""NIQE against BasicSR's, to the bit."""

import importlib
import itertools
import warnings

import cv2
import numpy as np
import pytest
import skimage.data
from basicsr.metrics import calculate_niqe
from basicsr.metrics.metric_util import to_y_channel

from okdnet_plugin.errors import InputError
from okdnet_plugin.metrics.niqe_metric import _shapes, calculate_fast_niqe, luma_of

basicsr_niqe = importlib.import_module('basicsr.metrics.niqe')


@pytest.fixture(scope='module')
def photo():
    return np.ascontiguousarray(skimage.data.astronaut()[..., ::-1])


def both(image, **options):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # means of nothing, of BasicSR's
        expected = calculate_niqe(image, **({'crop_border': 0} | options))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        return calculate_fast_niqe(image, **options), expected


def assert_equal(image, **options):
    ours, expected = both(image, **options)
    assert ours == pytest.approx(expected, rel=0, abs=1e-6)


@pytest.mark.parametrize('size', [(96, 192), (192, 96), (97, 291), (200, 220), (300, 311), (460, 620)])
def test_sizes(photo, size):
    assert_equal(cv2.resize(photo, size[::-1], interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize(
    'options', [{'convert_to': 'gray'}, {'crop_border': 3}, {'crop_border': 5, 'convert_to': 'gray'}]
)
def test_options(photo, options):
    assert_equal(photo[:300, :320], **options)


def test_orders_and_grey(photo):
    photo = photo[:200, :300]
    assert_equal(photo.transpose(2, 0, 1), input_order='CHW')
    assert_equal(photo[..., 1], input_order='HW')
    assert_equal(photo[..., 1])
    assert_equal(photo[..., 1:2])
    assert calculate_fast_niqe(photo[..., 1:2], convert_to='gray') == calculate_fast_niqe(photo[..., 1])


def flat_parts(photo):
    photo[:100] = 255
    photo[100:, :120] = (3, 200, 77)
    return photo


@pytest.mark.parametrize(
    'change',
    [
        flat_parts,
        lambda photo: np.clip(photo.astype(int) * 3 - 300, 0, 255).astype(np.uint8),
        lambda photo: photo // 64 * 64,
        lambda photo: cv2.GaussianBlur(photo, (0, 0), 9),
        lambda photo: np.random.default_rng(0).integers(0, 256, photo.shape, np.uint8),
        lambda photo: np.random.default_rng(0).integers(100, 102, photo.shape, np.uint8),
        lambda photo: np.where(np.random.default_rng(0).random(photo.shape) < 1e-3, 200, 0).astype(np.uint8),
    ],
    ids=['flat parts', 'clipped', 'few levels', 'blurred', 'noise', 'faint noise', 'sparse'],
)
def test_unnatural_images(photo, change):
    assert_equal(change(photo[:300, :320].copy()))


def test_photograph_has_a_value_that_does_not_change(photo):
    # Of BasicSR, whose value of its own test image is that of MATLAB to four digits.
    assert calculate_fast_niqe(photo) == pytest.approx(both(photo)[1], abs=1e-6)
    assert 3 < calculate_fast_niqe(photo) < 6
    assert calculate_fast_niqe(cv2.GaussianBlur(photo, (0, 0), 3)) > calculate_fast_niqe(photo) + 1


def test_luma_rounds_like_basicsr_where_it_nearly_ends_in_a_half():
    # 24.966 B + 128.553 G + 65.481 R in 255000ths, with the halves within a float32's precision.
    blue, green, red = np.ogrid[0:256:5, :256, :256]
    rest = (24966 * blue + 128553 * green + 65481 * red) % 255000
    near = np.abs(rest - 127500) <= 30
    colours = (np.argwhere(near) * (5, 1, 1)).astype(np.uint8)[None]
    assert colours.shape[1] > 500
    np.testing.assert_array_equal(luma_of(colours), to_y_channel(colours)[..., 0].round())


def test_shapes_rise_and_the_nearest_is_from_basicsr():
    table = _shapes()
    assert (np.diff(table.ratio) > 0).all()
    middle = (table.ratio[:-1] + table.ratio[1:]) / 2
    asked = np.concatenate([table.ratio[::500], middle[::400], middle[::400] + 1e-12, [0, 1, np.nan, np.inf]])
    np.testing.assert_array_equal(table.nearest(asked), [np.argmin((table.ratio - one) ** 2) for one in asked])


@pytest.mark.parametrize('size', [(95, 400), (191, 191), (96, 96), (1, 1)])
def test_too_small_an_image_is_named(size):
    blocks = size[0] // 96 * (size[1] // 96)
    with pytest.raises(
        InputError, match=f'image of {size[1]}x{size[0]} has {blocks} blocks of 96x96; .* at least two, .* of 192x96'
    ):
        calculate_fast_niqe(np.zeros((*size, 3), np.uint8))


@pytest.mark.parametrize('textured', [0, 1])
def test_flat_image_is_named(photo, textured):
    image = np.full((96 * 2, 96 * 2, 3), 128, np.uint8)
    if textured:  # as far from its neighbours as they reach
        image[20:76, 20:76] = photo[:56, :56]
    message = f'of the 4 blocks of 96x96 in an image of 192x192, {textured}'
    with pytest.raises(InputError, match=message):
        calculate_fast_niqe(image)


def test_other_colour_is_named(photo):
    with pytest.raises(InputError, match=r'convert_to is grey \(did you mean gray\?\)'):
        calculate_fast_niqe(photo, convert_to='grey')


def test_blocks_of_any_arrangement_agree(photo):
    tiles = [photo[row : row + 96, column : column + 96] for row, column in itertools.product((0, 100, 200), (0, 150))]
    for rows, columns in ((1, 6), (6, 1), (2, 3)):
        assert_equal(np.block([[[tiles[row * columns + column]] for column in range(columns)] for row in range(rows)]))
