"""Several data sets in one training, in stated shares."""

import random
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import accumulate

from basicsr.utils import get_root_logger
from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor
from torch.utils.data import Dataset

from okdnet_plugin.data import options
from okdnet_plugin.data.dehaze_dataset import DehazeDataset
from okdnet_plugin.data.options import located, require
from okdnet_plugin.errors import InputError

_OWN = ('parts', 'epoch_length')
_NOT_SHARED = (*_OWN, 'name', 'type', 'weight', *options.OF_THE_LOADER)
_KEYS = ('lq', 'gt', 'lq_path', 'gt_path')


@DATASET_REGISTRY.register()
class MixedDataset(DehazeDataset):
    """Samples of several data sets, ours or the toolbox's, for training.

    An epoch has `epoch_length` samples, of which each part gives the share of its weight. A part with more pictures
    than its share gives others in every epoch, one from each stretch of equal length, so that in the long run all of
    its pictures are seen equally often; a part with fewer repeats them evenly.

    Args:
        opt: a data set's block of an option file; it is not changed. Its keys:

            - name; phase: train.
            - parts: a block for each part, under a name of its own: `type` and the keys of that data set, and
              `weight`, a number above 0. Default: the part's number of pictures, so that all are seen once.
            - epoch_length: samples of an epoch. Default: the pictures of all parts.
            - any other key is a default for all parts, as `gt_size: 256`.

    Raises:
        InputError: an option or a part cannot be used. Reading a picture raises it too.
    """

    def _open(self) -> None:
        opt = self.opt
        require(
            opt.get('phase') == 'train', f"phase is '{opt.get('phase')}'; give each data set a block val_N of its own"
        )
        parts, length = opt.get('parts'), opt.get('epoch_length')
        require(
            isinstance(parts, Mapping) and len(parts) > 0,
            "option 'parts' is missing or empty; write `parts: {NAME: {type: …, weight: …, …}, …}`",
        )
        require(length is None or options.is_count(length), f'epoch_length is {length}; write a whole number from 1')
        self.names = list(parts)
        blocks = {name: self._block_of(name) for name in parts}
        _check_sizes(blocks)
        self.parts = [self._part(name, block) for name, block in blocks.items()]
        sizes = [len(part) for part in self.parts]
        weights = [
            size if parts[name].get('weight') is None else parts[name]['weight']
            for name, size in zip(parts, sizes, strict=True)
        ]
        self.counts = shares(weights, length or sum(sizes))
        self._ends = list(accumulate(self.counts))
        told = ', '.join(
            f'{name} {count} (of {size})' for name, count, size in zip(parts, self.counts, sizes, strict=True)
        )
        get_root_logger().info(f'{self.where}: an epoch has {len(self)} samples: {told}')

    def __len__(self) -> int:
        return self._ends[-1]

    def _sample(self, index: int) -> dict[str, Tensor | str]:
        """Read a sample of a part.

        Returns:
            lq, gt, lq_path and gt_path, as the part gives them.
        """
        number = bisect_right(self._ends, index)
        name, part, count = self.names[number], self.parts[number], self.counts[number]
        place = index - self._ends[number] + count
        if count != len(part):
            place = min(int((place + random.random()) * len(part) / count), len(part) - 1)
        with located(f'part {name}'):
            try:
                sample = part[place]
            except InputError:
                raise
            except Exception as error:  # the toolbox's data sets do not say which picture it was
                raise InputError(
                    f'{type(part).__name__} fails at its sample {place}: {type(error).__name__}: {error}; look at that '
                    'picture, or take the part out'
                ) from error
            missing = [key for key in _KEYS if key not in sample]
            require(
                not missing, f'{type(part).__name__} gives no {", ".join(missing)}, which training needs; take it out'
            )
        return {key: sample[key] for key in _KEYS}

    def _block_of(self, name: str) -> dict:
        block = self.opt['parts'][name]
        with located(f'parts:{name}'):
            require(
                isinstance(block, Mapping) and block.get('type') is not None,
                f"it is {block}; write a block with 'type', the name of a data set",
            )
            weight = block.get('weight')
            require(
                weight is None or (options.is_number(weight) and 0 < weight < float('inf')),
                f'weight is {weight}; write a number above 0, or take the part out',
            )
        shared = {key: value for key, value in self.opt.items() if key not in _NOT_SHARED}
        own = {key: value for key, value in block.items() if key != 'weight'}
        return deepcopy({'name': f'{self.opt.get("name")}/{name}', **shared, **own})

    def _part(self, name: str, block: dict) -> Dataset:
        with located(f'parts:{name}'):
            try:
                part = DATASET_REGISTRY.get(block['type'])(block)
            except InputError:
                raise
            except Exception as error:  # the toolbox's data sets complain in many ways
                raise InputError(
                    f'{block["type"]} cannot be made of its block: {type(error).__name__}: {error}; see its docstring'
                ) from error
            require(len(part) > 0, f'{block["type"]} finds no picture; correct its paths, or take the part out')
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


def _check_sizes(blocks: Mapping[str, Mapping]) -> None:
    """Refuse parts whose samples do not fit into one batch."""
    sizes = {}
    for name, block in blocks.items():
        height, width = options.size_of(block.get('resize')) or (block.get('gt_size'),) * 2
        sizes[name] = f'{height}x{width}'
    require(
        len(set(sizes.values())) == 1,
        f'the parts give samples of different sizes ({", ".join(f"{name}: {size}" for name, size in sizes.items())}); '
        'write one gt_size beside parts, for all of them',
    )
