"""What a batch of a training becomes before a step: a part of it, of a size that grows, and mixtures of its pairs."""

import random
from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate
from typing import Annotated

import numpy as np
from annotated_types import Len
from pydantic import BaseModel, Field
from torch import Tensor

from okdnet_plugin.config.types import IterationCount, Pixels
from okdnet_plugin.errors import InputError


class Mixup(BaseModel):
    """`train: mixup`."""

    alpha: float = Field(gt=0, le=100, description='shares are drawn from Beta(alpha, alpha)')
    probability: float = Field(default=1.0, ge=0, le=1, description='of a batch to be mixed')


class ProgressiveSizes(BaseModel):
    """`train: progressive_sizes`: lists of equal length, a stage each."""

    iters: Annotated[list[IterationCount], Len(1)] = Field(
        description='iterations of the stages; the last one lasts as long as the training'
    )
    gt_sizes: Annotated[list[Pixels], Len(1)] = Field(description='edges in px of the crops of the stages')
    mini_batch_sizes: list[IterationCount] | None = Field(
        None, description='images of the stages, at most batch_size_per_gpu; all by default'
    )

    def stage(self, iteration: int) -> int:
        """Number, from 0, of the stage to which an iteration belongs; the first iteration is 1."""
        return min(bisect_left(list(accumulate(self.iters)), iteration), len(self.iters) - 1)

    def part_of(self, batch: Mapping[str, Tensor], stage: int, parts: int) -> dict[str, Tensor]:
        """The first images of a batch, cropped at one random place.

        Source: Restormer (Zamir et al., CVPR 2022), section 4 and the released training.

        Args:
            batch: lq, (N, C, H, W); gt, as large or larger by the scale; and maps of lq's size, or of one pixel.
            stage: whose sizes count.
            parts: of which a batch consists, each of so many images.

        Returns:
            The tensors of the batch, `min(N, parts * mini_batch_sizes[stage])` images of `gt_sizes[stage]` px of gt.
        """
        height, width = batch['lq'].shape[-2:]
        scale = batch.get('gt', batch['lq']).shape[-1] // width
        edge = self.gt_sizes[stage] // scale
        count = len(batch['lq']) if self.mini_batch_sizes is None else parts * self.mini_batch_sizes[stage]
        top, left = (random.randint(0, length - edge) for length in (height, width))

        def crop(images: Tensor) -> Tensor:
            times = images.shape[-1] // width
            if times == 0:  # an airlight
                return images[:count]
            rows, columns = (slice(times * first, times * (first + edge)) for first in (top, left))
            return images[:count, :, rows, columns]

        return {name: crop(images) for name, images in batch.items()}


def mixed(batch: Mapping[str, Tensor], mixup: Mixup) -> Mapping[str, Tensor]:
    """Each pair of a batch mixed with another one of it, all by one share; a batch of one image stays as it is.

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018.

    Args:
        batch: lq and gt, (N, C, H, W).
        mixup: how.

    Returns:
        Both, of the same shapes.

    Raises:
        InputError: the batch holds other tensors or no gt. Of two hazes laid over one another there is no transmission,
            airlight or depth.
    """
    others = sorted(batch.keys() ^ {'lq', 'gt'})
    if others:
        raise InputError(
            'option train:mixup mixes pairs of a hazy and a clear image, but '
            f'{"there is no" if others == ["gt"] else "the batch is used with"} {", ".join(others)}; take mixup out'
        )
    count = len(batch['lq'])
    if count < 2 or random.random() >= mixup.probability:
        return batch
    share, distance = float(np.random.beta(mixup.alpha, mixup.alpha)), random.randrange(1, count)
    return {name: images.lerp(images.roll(distance, 0), 1 - share) for name, images in batch.items()}
