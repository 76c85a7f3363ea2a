"""Tiles cover an image, and what is cut comes together again."""

from itertools import pairwise

import pytest
import torch

from okdnet_plugin.inference import tiling


@pytest.mark.parametrize('length', [1, 16, 127, 128, 129, 145, 300, 511, 1000, 4099])
@pytest.mark.parametrize('tile', [128, 200, 512])
def test_tiles_cover_an_edge_and_share_one_width_with_their_neighbours(length, tile):
    overlap = tiling.overlap_of(tile)
    spans = tiling.spans(length, tile, overlap)
    assert (spans[0][0], spans[-1][1]) == (0, length)
    for (_, stop), (start, _) in pairwise(spans):
        assert stop - start == overlap
    for (_, stop), (start, _) in zip(spans, spans[2:], strict=False):
        assert stop <= start, 'three tiles on one place'
    for start, stop in spans:
        assert start % tiling.ALIGN == 0
        assert stop - start <= tile
    assert length <= tile or min(stop - start for start, stop in spans) > overlap


def put_together(image, tile, change):
    height, width = image.shape[-2:]
    bands = tiling.restore(
        height, width, tile, lambda top, bottom, left, right: change(image[..., top:bottom, left:right])
    )
    result, row = [], 0
    for top, band in bands:
        assert top == row
        result.append(band)
        row += band.shape[-2]
    return torch.cat(result, -2)


@pytest.mark.parametrize('size', [(128, 128), (129, 300), (301, 777), (20, 1000), (1000, 16)])
def test_what_is_done_pixel_by_pixel_is_the_same_in_tiles(size):
    image = torch.rand(2, 3, *size)
    assert torch.allclose(put_together(image, 128, lambda tile: tile.square()), image.square(), atol=1e-6)


def test_a_constant_image_stays_constant_to_the_bit_up_to_its_border():
    image = torch.full((1, 3, 333, 555), 0.7321)
    assert torch.equal(put_together(image, 128, torch.clone), image)


@pytest.mark.parametrize('size', [(128, 200), (200, 128)])
def test_where_tiles_disagree_the_change_is_gradual(size):
    image = torch.zeros(1, 1, *size)
    tiles = iter((0.0, 1.0))
    result = put_together(image, 128, lambda tile: torch.full_like(tile, next(tiles)))[0, 0]
    line = result[0] if size[1] == 200 else result[:, 0]
    assert (line[0], line[-1]) == (0, 1)
    assert (line.diff() >= 0).all()
    assert line.diff().max() < 0.06
    assert ((line > 0) & (line < 1)).sum() == tiling.overlap_of(128)
