"""Images of any size in tiles: where they lie, and how they are put together again in bounded memory."""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

ALIGN = 16  # px; tiles begin at multiples of it, so that a network's scales see the pixels that they see in the whole
_OVERLAP = 64  # px


def overlap_of(tile: int) -> int:
    """Width in px of what two neighbours share: a quarter of the tile, at most 64 px, a multiple of 16."""
    return max(ALIGN, min(_OVERLAP, tile // 4) // ALIGN * ALIGN)


def spans(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Begin and end of the tiles along one edge of an image.

    They are as equal as the alignment lets them be, so that no small rest is left; neighbours share exactly `overlap`,
    and no more than two lie on one place.

    Args:
        length: of the edge in px.
        tile: largest length of a tile in px, at least three times `overlap`.
        overlap: px that neighbours share, a multiple of 16.
    """
    tile = tile // ALIGN * ALIGN
    if length <= tile:
        return [(0, length)]
    count = math.ceil((length - overlap) / (tile - overlap))
    step = math.ceil((length - overlap) / count / ALIGN) * ALIGN
    found = [(0, step + overlap)]
    while found[-1][1] < length:
        start = found[-1][0] + step
        found.append((start, min(start + step + overlap, length)))
    return found


def places(height: int, width: int, tile: int) -> list[tuple[int, int, int, int]]:
    """`(top, bottom, left, right)` of each tile of an image, in the order in which `restore` asks for them."""
    overlap = overlap_of(tile)
    return [(*rows, *columns) for rows in spans(height, tile, overlap) for columns in spans(width, tile, overlap)]


def restore(
    height: int, width: int, tile: int, run: Callable[[int, int, int, int], Tensor]
) -> Iterator[tuple[int, Tensor]]:
    """Restore an image tile by tile, and give it away in bands, from the top to the bottom.

    Where two tiles overlap, the weight of the second rises smoothly from above 0 to below 1, and that of the first is
    the rest to 1; elsewhere, at the border of the image too, a tile counts alone. So what is the same in both tiles
    stays the same, to the bit. No more than one band of tiles is in memory.

    Args:
        height, width: of the image in px.
        tile: largest side of a tile in px.
        run: gives the restored tile, (N, C, bottom - top, right - left), for `(top, bottom, left, right)`.

    Yields:
        The first row, and the finished rows from there on, (N, C, rows, width).
    """
    overlap = overlap_of(tile)
    rows, columns = spans(height, tile, overlap), spans(width, tile, overlap)
    carried: Tensor | None = None
    ends = [after[0] for _, after in pairwise(rows)] + [height]  # below lies what the next band has its share in
    for (top, bottom), end in zip(rows, ends, strict=True):
        band = _band(width, columns, overlap, lambda left, right, top=top, bottom=bottom: run(top, bottom, left, right))
        if carried is not None:
            band[..., :overlap, :] = carried.lerp(band[..., :overlap, :], _ramp(overlap, band)[:, None])
        yield top, band[..., : end - top, :]
        carried = band[..., end - top :, :].clone()


def _band(width: int, columns: list[tuple[int, int]], overlap: int, run: Callable[[int, int], Tensor]) -> Tensor:
    """The tiles of one row side by side, (N, C, rows, width)."""
    band: Tensor | None = None
    for left, right in columns:
        tile = run(left, right)
        if band is None:
            band = tile.new_empty(*tile.shape[:3], width)
        inner = left
        if left > 0:
            inner = left + overlap
            shared = band[..., left:inner]
            band[..., left:inner] = shared.lerp(tile[..., :overlap], _ramp(overlap, tile))
        band[..., inner:right] = tile[..., inner - left :]
    assert band is not None  # an edge has one tile at least
    return band


def _ramp(length: int, like: Tensor) -> Tensor:
    """Weights between 0 and 1 that rise like half a wave of the cosine; neither end is reached."""
    places = (torch.arange(length, device=like.device, dtype=like.dtype) + 0.5) / length
    return (1 - torch.cos(math.pi * places)) / 2
