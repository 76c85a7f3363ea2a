"""The size of the samples of a training: images resized, cropped, or resized and then cropped."""

import random
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from okdnet_plugin.config.messages import shown
from okdnet_plugin.data.haze import WHOLE, Window
from okdnet_plugin.data.images import check_large_enough
from okdnet_plugin.data.options import is_count, require, scale_of


class Resize(NamedTuple):
    """The option `resize`.

    Args:
        size: height and width in px; None if the shorter side is given.
        shorter: range in px from which the shorter side is drawn anew for each sample, evenly over the whole numbers.
    """

    size: tuple[int, int] | None = None
    shorter: tuple[int, int] | None = None

    @property
    def smallest(self) -> int:
        """The shortest side, in px, that an image may come to have."""
        return min(self.size or self.shorter or (0,))

    def draw(self, height: int, width: int) -> tuple[int, int]:
        """Height and width to which an image of that height and width is brought."""
        if self.size is not None:
            return self.size
        assert self.shorter is not None, 'one of both is given'
        wanted, shorter = random.randint(*self.shorter), min(height, width)
        return round(height * wanted / shorter), round(width * wanted / shorter)


class Sample(NamedTuple):
    """What of an image becomes a sample."""

    window: Window
    """The part that is taken."""
    size: tuple[int, int] | None
    """Height and width to which it is brought; None for its own."""


def resize_of(value: Any) -> Resize | None:
    """What the option `resize` says: `n`, `[height, width]`, `{shorter: n}` or `{shorter: [low, high]}`.

    Raises:
        InputError: it says nothing that is known.
    """
    if value is None:
        return None
    message = f'resize is {shown(value)}; write a number of px, [height, width], or {{shorter: [low, high]}}'
    if isinstance(value, Mapping):
        require(set(value) == {'shorter'}, message)
        sides = _pair(value['shorter'], message)
        require(sides[0] <= sides[1], f'resize is {shown(value)}, whose low end is above the high one; swap them')
        return Resize(shorter=sides)
    return Resize(size=_pair(value, message))


def draw_resized_crop(resize: Resize, edge: int, height: int, width: int) -> Sample:
    """A random crop of a resized image, as the part of the image itself that is to be brought to the crop's size.

    So only that part needs to have haze made for it, and to be resized.

    Args:
        resize: the option; no side of the resized image is shorter than `edge`.
        edge: of the crop, in px of the resized image.
        height, width: of the image.
    """
    window = []
    for length, resized in zip((height, width), resize.draw(height, width), strict=True):
        begin = random.randint(0, resized - edge)
        first, last = (round(place * length / resized) for place in (begin, begin + edge))
        window.append(slice(first, max(last, first + 1)))
    return Sample((window[0], window[1]), (edge, edge))


def whole(resize: Resize | None, height: int, width: int) -> Sample:
    """The whole image, resized if that is asked for."""
    return Sample(WHOLE, resize.draw(height, width) if resize else None)


def of_a_sample(opt: Mapping, resize: Resize | None, img: np.ndarray, label: str) -> Sample:
    """What of a clear image becomes a sample; of a crop alone the random numbers are those of BasicSR's.

    Args:
        opt: the block of the data set, of which `phase` and `gt_size` count.
        resize: its option `resize`.
        img: (H, W, ...).
        label: what messages call the image.

    Raises:
        InputError: the image is smaller than the crop.
    """
    edge = opt.get('gt_size')
    if opt['phase'] != 'train' or edge is None:
        return whole(resize, *img.shape[:2])
    if resize:
        return draw_resized_crop(resize, edge, *img.shape[:2])
    check_large_enough(img, edge, label)
    top, left = (random.randint(0, length - edge) for length in img.shape[:2])
    return Sample(np.s_[top : top + edge, left : left + edge], None)


def check_training(opt: Mapping) -> None:
    """Check how images get a size and are turned: gt_size, resize, use_hflip and use_rot.

    Raises:
        InputError: they cannot be used, or contradict one another.
    """
    phase, scale, edge, resize = opt['phase'], scale_of(opt), opt.get('gt_size'), resize_of(opt.get('resize'))
    require(
        phase != 'train' or edge is not None or resize is not None,
        "option 'gt_size' (random crop) or 'resize' is missing; training needs one of them",
    )
    require(edge is None or edge % scale == 0, f'gt_size {edge} is no multiple of scale {scale}; change it')
    if resize is None:
        return
    require(scale == 1, f'resize makes both images one size, but scale is {scale}; use gt_size')
    require(
        edge is None or resize.smallest >= edge,
        f'gt_size {edge} does not fit into what resize makes, {shown(opt["resize"])}; lower gt_size or raise resize',
    )
    if resize.size is None:
        require(
            phase != 'train' or edge is not None,
            "option 'gt_size' is missing: with shorter, resize keeps the shape of each image, and a batch has one "
            'size; add the crop',
        )
        require(
            phase == 'train' or resize.shorter == (resize.smallest,) * 2,
            f'resize draws from {shown(opt["resize"])}, which is for training; write one number in phase {phase}',
        )
    elif edge is None:
        require(
            resize.size[0] == resize.size[1] or not opt.get('use_rot'),
            f'use_rot turns {list(resize.size)} on its side, so that a batch has two sizes; use a square resize, or '
            'use_rot: false',
        )


def _pair(value: Any, message: str) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, list | tuple) else (value, value)
    require(len(pair) == 2 and all(is_count(edge) for edge in pair), message)
    return pair[0], pair[1]
