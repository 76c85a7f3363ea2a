"""LOE against its formula, and the places that each variant compares."""

import cv2
import numpy as np
import pytest

from okdnet_plugin.errors import InputError
from okdnet_plugin.metrics.loe_metric import calculate_loe, lightness_map, loe

VARIANTS = ('wang', 'formula', 'bimef')


def all_pairs(reference, enhanced):
    pairs = [np.greater_equal.outer(plane.ravel(), plane.ravel()) for plane in (reference, enhanced)]
    return np.logical_xor(*pairs).sum() / reference.size


@pytest.fixture(scope='module')
def images():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (2, 12, 15, 3), np.uint8)
    return [cv2.resize(image, (130, 107), interpolation=cv2.INTER_CUBIC) for image in coarse]


@pytest.mark.parametrize('levels', [2, 5, 256])
@pytest.mark.parametrize('size', [(1, 1), (1, 7), (13, 29)])
def test_equals_all_pairs_with_ties(levels, size):
    rng = np.random.default_rng(levels)
    reference, enhanced = rng.integers(0, levels, (2, *size), np.uint8)
    assert loe(reference, enhanced) == all_pairs(reference, enhanced)
    assert loe(enhanced, reference) == loe(reference, enhanced)


def test_ties_count_as_the_formula_says():
    flat, two = np.array([7, 7], np.uint8), np.array([3, 4], np.uint8)
    assert loe(flat, two) == 0.5  # 7 >= 7 both ways, but 3 >= 4 is not: one of two places has one error
    assert loe(two, two[::-1]) == 1  # each place is wrong about the other


def test_monotonous_change_is_no_error():
    reference = np.random.default_rng(0).integers(0, 100, (20, 30), np.uint8)
    assert loe(reference, 2 * reference + 17) == 0


@pytest.mark.parametrize('variant', VARIANTS)
def test_equals_all_pairs_of_the_maps(images, variant):
    hazy, result = images
    expected = all_pairs(lightness_map(hazy, variant), lightness_map(result, variant))
    assert calculate_loe(result, lq=hazy, variant=variant) == expected
    assert calculate_loe(result, img2=hazy, reference='gt', variant=variant) == expected
    assert expected > 0


@pytest.mark.parametrize('variant', VARIANTS)
def test_equal_images_have_none(images, variant):
    assert calculate_loe(images[0], lq=images[0], variant=variant) == 0


@pytest.mark.parametrize(('variant', 'size'), [('wang', (51, 68)), ('formula', (50, 67)), ('bimef', (100, 100))])
def test_places_of_an_image_of_460x620(variant, size):
    image = np.random.default_rng(0).integers(0, 256, (460, 620, 3), np.uint8)
    for shown, expected in ((image, size), (image.transpose(1, 0, 2), size[::-1])):
        lightness = lightness_map(shown, variant)
        assert lightness.shape == expected
        assert lightness.dtype == np.uint8


def test_wang_takes_the_largest_of_15x15_with_mirrored_borders(images):
    image = images[0]
    padded = np.pad(image.max(2), 7, mode='reflect')
    expected = [
        [padded[row - 1 : row + 14, column - 1 : column + 14].max() for column in range(2, 131, 2)]
        for row in range(2, 108, 2)  # MATLAB counts from 1; step floor(107 / 50)
    ]
    np.testing.assert_array_equal(lightness_map(image, 'wang'), expected)


def test_bimef_takes_single_pixels_from_edge_to_edge(images):
    lightness = images[0].max(2)
    rows, columns = ([round(place * (edge - 1) / 99) for place in range(100)] for edge in (107, 130))
    np.testing.assert_array_equal(lightness_map(images[0], 'bimef'), lightness[rows][:, columns])


def test_formula_shrinks_to_fifty():
    rising = np.arange(200, dtype=np.uint8)[:, None].repeat(400, 1)
    lightness = lightness_map(rising[..., None], 'formula')
    assert lightness.shape == (50, 100)
    # Means of four neighbouring rows, 1.5, 5.5 and so on, rounded; the border is mirrored.
    np.testing.assert_allclose(lightness[4:-4, 50], np.arange(50)[4:-4] * 4 + 1.5, atol=0.51)
    assert (lightness == lightness[:, :1]).all()
    assert (lightness_map(np.full((64, 80, 3), 255, np.uint8), 'formula') == 255).all()


def test_border_order_and_grey_count(images):
    hazy, result = images
    inner = calculate_loe(result[5:-5, 5:-5].copy(), lq=hazy[5:-5, 5:-5].copy())
    assert calculate_loe(result, lq=hazy, crop_border=5) == inner
    turned = [image.transpose(2, 0, 1) for image in images]
    assert calculate_loe(turned[1], lq=turned[0], input_order='CHW', crop_border=5) == inner
    grey = [image.max(2) for image in images]
    assert calculate_loe(grey[1], lq=grey[0], crop_border=5) == inner


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({}, 'reference input needs the hazy image .* write reference: gt'),
        ({'reference': 'gt'}, 'reference gt needs the clear image .* write reference: input'),
        ({'reference': 'lq'}, 'reference is lq'),
        ({'lq': np.zeros((60, 60, 3), np.uint8), 'variant': 'whang'}, r'variant is whang \(did you mean wang\?\)'),
        ({'lq': np.zeros((60, 61, 3), np.uint8)}, r'the hazy image \(lq\) 61x60'),
        ({'lq': np.zeros((60, 60, 3), np.uint8), 'crop_border': 6}, '48x48 is too small for variant wang, .* 50x50'),
        (
            {'lq': np.zeros((60, 60, 3), np.uint8), 'variant': 'bimef'},
            '60x60 is too small for variant bimef, .* 100x100',
        ),
    ],
)
def test_what_it_cannot_do_is_named(options, message):
    with pytest.raises(InputError, match=message):
        calculate_loe(np.zeros((60, 60, 3), np.uint8), **options)


@pytest.mark.parametrize('wrong', [np.zeros((2, 3)), np.zeros((3, 2), np.uint8)])
def test_maps_must_be_alike(wrong):
    with pytest.raises(ValueError, match='must both be uint8 and equal in shape'):
        loe(np.zeros((2, 3), np.uint8), wrong)
