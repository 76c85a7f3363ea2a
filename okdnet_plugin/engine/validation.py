"""A validation that all processes share, with the figures of a single one."""

import contextlib
import inspect
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.distributed
from basicsr.metrics import calculate_metric
from basicsr.utils.registry import METRIC_REGISTRY
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from okdnet_plugin.config.registered import needs_clear_image
from okdnet_plugin.engine.signals import leave_signals_to_the_parent
from okdnet_plugin.errors import InputError, named, one_line
from okdnet_plugin.map_dataset import MapDataset

_MOST_THREADS = 8  # for metrics; more would hold memory for images that wait


class MetricValues(NamedTuple):
    """What the metrics say of one image."""

    index: int
    """The image's place in the data set."""
    values: dict[str, float]
    reasons: dict[str, str] = {}  # noqa: RUF012  a NamedTuple's default, which nothing changes
    """Why a metric has no value for it, by metric."""
    path: str = ''
    """Of its hazy image."""


class Mean(NamedTuple):
    """The mean of a metric over a data set."""

    value: float
    """Over the finite values; of an infinite value if all are."""
    infinite: int
    """Images left out: PSNR of an image that equals its reference is infinite."""


class Values(NamedTuple):
    """What metrics give for one image."""

    values: dict[str, float]
    """By metric; finite, but for the PSNR of an image that equals its reference, which is infinite."""
    reasons: dict[str, str]
    """Why a metric that could have a value has none, by metric."""


def loader_of_share(dataset: MapDataset, rank: int, world_size: int, num_workers: int) -> DataLoader:
    """Every `world_size`-th image of a data set, one at a time, read ahead by workers.

    The last key of a batch's dictionary, `index`, is the image's place in the data set.
    """
    return loader_of(dataset, range(rank, len(dataset), world_size), num_workers)


def loader_of(dataset: Dataset, places: Sequence[int], num_workers: int) -> DataLoader:
    """Images of a data set, one at a time, read ahead by workers; `index` is the place of each."""
    return DataLoader(
        _Numbered(dataset, places),
        batch_size=1,
        num_workers=min(num_workers, len(places)),
        worker_init_fn=leave_signals_to_the_parent,
        generator=torch.Generator().manual_seed(0),  # to start draws a number, which would not be the training's
    )


class _Numbered(Subset):
    def __getitem__(self, position: int) -> dict:
        return {**super().__getitem__(position), 'index': self.indices[position]}

    def __getitems__(self, positions: list[int]) -> list[dict]:
        return [self[position] for position in positions]


def metric_values_of(images: Mapping[str, np.ndarray], metrics: Mapping[str, Mapping]) -> Values:
    """Call each metric that the images allow: the one place where metrics are called.

    A metric that takes a clear image is left out where there is none. One that has a parameter `lq` gets the hazy
    image. A metric that fails, or whose value is no number, takes neither the others nor the run with it.

    Args:
        images: result, and perhaps gt and lq, uint8 BGR (H, W, 3); perhaps depth and depth_gt, float32 (H, W), which
            a metric with these parameters gets.
        metrics: block of the option file of each metric, by name.
    """
    found = Values({}, {})
    for name, block in metrics.items():
        try:
            arguments = _arguments_of(block, images)
            if arguments is not None:
                found.values[name] = _value_of(arguments, block)
        except MemoryError:
            raise
        except InputError as error:
            found.reasons[name] = ' '.join(str(error).split())
        except Exception as error:  # a metric of anybody, on an image that it was not made for
            said, (height, width) = named(error, one_line(error, 200).rstrip('.')), images['result'].shape[:2]
            found.reasons[name] = f'{block["type"]} fails: {said}; the image is {height}x{width} (height x width)'
    return found


def _arguments_of(block: Mapping, images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray | None] | None:
    """What a metric is called with; None if it needs a clear image or depth, and the data set has none.

    Raises:
        InputError: it compares depth that was not estimated with the true one.
    """
    parameters = _parameters_of(block['type'])
    given: dict[str, np.ndarray | None] = {'img': images['result']}
    if 'lq' in parameters:
        given['lq'] = images.get('lq')
    for name in ('depth', 'depth_gt'):
        if name in parameters and name not in images:
            if 'depth_gt' in images:
                raise InputError('the depth of images that are restored in tiles is not estimated; write val:tile: 0')
            return None
        given |= {name: images[name]} if name in parameters else {}
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    if 'gt' in images and ('img2' in parameters or takes_any):
        given['img2'] = images['gt']
    elif needs_clear_image(block['type']) or block.get('reference') == 'gt':
        return None
    return given


def _value_of(arguments: Mapping[str, Any], block: Mapping) -> float:
    """
    Raises:
        InputError: the border takes all of the image, or the value is not finite.
    """
    height, width = arguments['img'].shape[:2]
    border = block.get('crop_border')
    if isinstance(border, int) and 0 < min(height, width) <= 2 * border:
        raise InputError(
            f'crop_border {border} leaves nothing of {height}x{width} (height x width); write a smaller one'
        )
    value = float(calculate_metric(arguments, block))
    if math.isfinite(value) or (value == math.inf and 'psnr' in block['type'].lower()):
        return value
    raise InputError(f'{block["type"]} gives {value} for {height}x{width} (height x width), which is no value')


def _parameters_of(metric: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(METRIC_REGISTRY.get(metric)).parameters


def gather(share: object, group: torch.distributed.ProcessGroup | None) -> list:
    """What each process has to say, in their order; `[share]` without a group."""
    if group is None:
        return [share]
    shares: list[Any] = [None] * torch.distributed.get_world_size(group)
    torch.distributed.all_gather_object(shares, share, group)
    return shares


def means_of(figures: Sequence[MetricValues]) -> dict[str, Mean]:
    """Means by metric, summed in the order of the data set, so that they do not depend on who worked out what.

    The mean of a metric is that of the images for which it has a value.
    """
    ordered = sorted(figures, key=lambda row: row.index)
    names = dict.fromkeys(name for row in ordered for name in row.values)
    return {name: _mean_of([row.values[name] for row in ordered if name in row.values]) for name in names}


def _mean_of(values: list[float]) -> Mean:
    finite = [value for value in values if not math.isinf(value)]
    return Mean(sum(finite) / len(finite) if finite else values[0], len(values) - len(finite))


def metric_threads(world_size: int) -> int:
    """How many threads work out metrics beside the network, in each process.

    Args:
        world_size: processes of the run; launchers say how many of them are on this machine.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    neighbours = int(os.environ.get('LOCAL_WORLD_SIZE') or world_size)
    return max(1, min(_MOST_THREADS, cores // max(1, neighbours)))


@contextlib.contextmanager
def without_kernel_search() -> Iterator[None]:
    """Let cuDNN take a kernel by rule: a search pays where sizes repeat, and images of a validation have many.

    Not by `torch.backends.cudnn.flags()`, which without arguments switches cuDNN off.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark
    cudnn.benchmark = False
    try:
        yield
    finally:
        cudnn.benchmark = before


def share_buffers(net: nn.Module, group: torch.distributed.ProcessGroup | None) -> None:
    """Give all processes the buffers of the first: BatchNorm's statistics are each one's own in training.

    Args:
        net: its buffers lie where the default group of processes can broadcast them.
        group: None for a single process.
    """
    if group is not None:
        for buffer in net.buffers():
            torch.distributed.broadcast(buffer, 0)


def strip(images: Mapping[str, np.ndarray]) -> np.ndarray:
    """Images of a scene side by side, each with its name, at the height of the first.

    Args:
        images: by name, shape (H, W, 3) or (H, W), uint8.
    """
    tiles = []
    height = next(iter(images.values())).shape[0]
    for name, image in images.items():
        tile = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image.copy()
        if tile.shape[0] != height:
            tile = cv2.resize(tile, (round(tile.shape[1] * height / tile.shape[0]), height))
        size = max(0.35, height / 700)
        for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            cv2.putText(tile, name, (6, 8 + round(18 * size)), cv2.FONT_HERSHEY_SIMPLEX, size, colour, thickness, 16)
        tiles += [tile, np.full((height, 2, 3), 255, np.uint8)]
    return np.concatenate(tiles[:-1], 1)
