"""Several data sets in one training, in stated shares."""

import random
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from itertools import accumulate
from typing import Annotated, Any

import lmdb
from annotated_types import Len
from basicsr.utils import get_root_logger
from basicsr.utils.registry import DATASET_REGISTRY
from pydantic import BaseModel, Field

from okdnet_plugin.config.blocks import Loader
from okdnet_plugin.config.keys import Parts
from okdnet_plugin.config.messages import shown
from okdnet_plugin.data import options
from okdnet_plugin.data.dehaze_dataset import DehazeDataset, where
from okdnet_plugin.data.options import located, require
from okdnet_plugin.data.sizes import resize_of
from okdnet_plugin.errors import InputError, StoreError
from okdnet_plugin.map_dataset import MapDataset

_OWN = ('parts', 'epoch_length')
_OF_THE_LOADER = tuple(Loader.model_fields)
_NOT_SHARED = (*_OWN, 'name', 'type', *_OF_THE_LOADER)
_KEYS = ('lq', 'gt', 'lq_path', 'gt_path')
_MAPS = ('transmission', 'airlight')


@DATASET_REGISTRY.register()
class MixedDataset(DehazeDataset):
    """Samples of several data sets, ours or BasicSR's, for training.

    An epoch has `epoch_length` samples, of which each part gives the share of its weight. A part with more images
    than its share gives others in every epoch, one from each stretch of equal length, so that in the long run all of
    its images are seen equally often; a part with fewer repeats them evenly.

    Args:
        opt: a data set's block of an option file; it is not changed. See `Options`; any other key is a default for all
            parts, as `gt_size: 256`. Keys of the loader stand here only.

    Raises:
        InputError: an option or a part cannot be used. Reading an image raises it too.
    """

    class Options(DehazeDataset.Options):
        class Part(BaseModel):
            weight: Annotated[float, Field(gt=0, le=10**9)] | None = Field(
                None, description='share of the part; by default its number of images, so that all are seen once'
            )

        parts: Annotated[dict[str, dict], Len(1), Parts(Part)] = Field(
            description='data sets that are mixed, each a block with its type under a name of its own'
        )
        epoch_length: Annotated[int, Field(ge=1, le=10**9)] | None = Field(
            None, description='samples of an epoch; by default the images of all parts'
        )

    def _open(self) -> None:
        opt, parts, length = self.opt, self.opt['parts'], self.options.epoch_length
        require(
            opt.get('phase') == 'train',
            f'phase is {shown(opt.get("phase"))}; give each data set a block val_N of its own',
        )
        require('weight' not in opt, 'weight is the share of one part; write it in a block of parts')
        self.names = list(parts)
        self._blocks = [self._block_of(name) for name in parts]
        _check_likeness(dict(zip(parts, self._blocks, strict=True)))
        self._maps = _MAPS if self._blocks[0].get('return_maps') else ()
        self.parts: list[MapDataset] = [
            self._part(name, block) for name, block in zip(parts, self._blocks, strict=True)
        ]
        sizes = [len(part) for part in self.parts]
        weights = [
            size if parts[name].get('weight') is None else parts[name]['weight']
            for name, size in zip(parts, sizes, strict=True)
        ]
        self.counts = shares(weights, length or sum(sizes))
        self._ends = list(accumulate(self.counts))
        self._ends_of_images = list(accumulate(sizes))
        told = ', '.join(
            f'{name} {count} (of {size})' for name, count, size in zip(parts, self.counts, sizes, strict=True)
        )
        get_root_logger().info(f'{self.where}: an epoch has {len(self)} samples: {told}')

    def __len__(self) -> int:
        return self._ends[-1]

    def _count(self) -> int:
        return self._ends_of_images[-1]

    def _image(self, index: int) -> int:
        """Number of the image among those of all parts."""
        number = bisect_right(self._ends, index)
        count, size = self.counts[number], len(self.parts[number])
        place = index - self._ends[number] + count
        if count != size:
            place = min(int((place + random.random()) * size / count), size - 1)
        return self._ends_of_images[number] - size + place

    def _sample(self, index: int) -> dict[str, Any]:
        """Read a sample of a part.

        Returns:
            lq, gt, lq_path and gt_path, as the part gives them; transmission and airlight, if all parts have them.
        """
        number = bisect_right(self._ends_of_images, index)
        name, part = self.names[number], self.parts[number]
        place = index - self._ends_of_images[number] + len(part)
        with _said_once(f'part {name}', self._blocks[number]):
            try:
                sample = part[place]
            except InputError:
                raise
            except Exception as error:  # BasicSR's data sets do not say which image it was
                kind = StoreError if isinstance(error, lmdb.Error) else InputError
                raise kind(
                    f'{type(part).__name__} fails at its sample {place}: {type(error).__name__}: {error}; look at that '
                    'image, or take the part out'
                ) from error
            missing = [key for key in (*_KEYS, *self._maps) if key not in sample]
            require(
                not missing, f'{type(part).__name__} gives no {", ".join(missing)}, which training needs; take it out'
            )
        return {key: sample[key] for key in (*_KEYS, *self._maps)}

    def _block_of(self, name: str) -> dict:
        block = self.opt['parts'][name]
        with located(f'parts:{name}'):
            require(
                isinstance(block, Mapping) and isinstance(block.get('type'), str),
                f"it is {shown(block)}; write a block with 'type', the name of a data set",
            )
            of_a_mixture = () if block['type'] == type(self).__name__ else _OWN
            for key in (*of_a_mixture, *_OF_THE_LOADER):
                require(
                    key not in block,
                    f'{key} is for all parts, of which one loader reads; write it beside parts (the share of a part is '
                    'its weight)',
                )
            require(
                block.get('phase') in (None, 'train'), f'phase is {shown(block.get("phase"))}; remove it, a part trains'
            )
        shared = {key: value for key, value in self.opt.items() if key not in _NOT_SHARED}
        own = {key: value for key, value in block.items() if key != 'weight'}
        return deepcopy({'name': f'{self.opt.get("name")}/{name}', **shared, **own})

    def _part(self, name: str, block: dict) -> MapDataset:
        with _said_once(f'parts:{name}', block):
            try:
                part = DATASET_REGISTRY.get(block['type'])(block)
            except InputError:
                raise
            except Exception as error:  # BasicSR's data sets complain in many ways
                raise InputError(
                    f'{block["type"]} cannot be made of its block: {type(error).__name__}: {error}; see its docstring'
                ) from error
            require(len(part) > 0, f'{block["type"]} finds no image; correct its paths, or take the part out')
        return part


def shares(weights: Sequence[float], length: int) -> list[int]:
    """Whole numbers in the proportion of the weights, whose sum is `length`; none is 0 if there is enough for all."""
    exact = [length * weight / sum(weights) for weight in weights]
    counts = [int(share) for share in exact]
    # What rounding down has left goes to those who lost most; who has nothing then gets one from who has most.
    for number in sorted(range(len(exact)), key=lambda number: counts[number] - exact[number])[: length - sum(counts)]:
        counts[number] += 1
    while 0 in counts and max(counts) > 1:
        counts[counts.index(max(counts))] -= 1
        counts[counts.index(0)] += 1
    return counts


@contextmanager
def _said_once(place: str, block: Mapping) -> Iterator[None]:
    """Put the place of a part before a message, in which a part of ours has put its own."""
    try:
        yield
    except InputError as error:
        raise type(error)(f'{place}: {str(error).removeprefix(f"{where(block)}: ")}') from None


def _check_likeness(blocks: Mapping[str, Mapping]) -> None:
    """Refuse parts whose samples do not fit into one batch, or mean different things by their values."""
    for key in ('scale', 'color', 'mean', 'std', 'return_maps'):
        values = {name: shown(_plain(key, block)) for name, block in blocks.items()}
        require(
            len(set(values.values())) == 1,
            f'the parts differ in {key} ({_listed(values)}); write one {key} beside parts, for all of them',
        )
    sizes = {}
    for name, block in blocks.items():
        resize, edge = resize_of(block.get('resize')), block.get('gt_size')
        height, width = (edge, edge) if edge is not None or resize is None else resize.size or ('?', '?')
        sizes[name] = f'{height}x{width}'
    require(
        len(set(sizes.values())) == 1,
        f'the parts give samples of different sizes ({_listed(sizes)}); write one gt_size beside parts, for all of '
        'them',
    )


def _plain(key: str, block: Mapping) -> object:
    """A value as others that mean the same have it, too."""
    value = block.get(key)
    if key == 'scale':
        return options.scale_of(block)
    if key == 'return_maps':
        return bool(value)
    if key == 'color':
        return value or 'rgb'
    return value[0] if isinstance(value, list | tuple) and value and value.count(value[0]) == len(value) else value


def _listed(values: Mapping[str, str]) -> str:
    return ', '.join(f'{name}: {value}' for name, value in values.items())
