"""An order of images, and an augmentation of each, that depend on the seed and on nothing else.

Neither the number of workers, nor where a run was interrupted, nor what else draws random numbers, changes what a
training sees.
"""

from collections.abc import Iterator
from typing import NamedTuple, cast

import torch
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.data.prefetch_dataloader import PrefetchDataLoader
from torch.utils.data import DataLoader, Dataset, Sampler

from okdnet_plugin.engine import randomness
from okdnet_plugin.engine.signals import leave_signals_to_the_parent
from okdnet_plugin.map_dataset import MapDataset


class Draw(NamedTuple):
    """An image's place in the training: in its epoch, which holds every image `dataset_enlarge_ratio` times."""

    epoch: int
    number: int


class SeededSampler(Sampler):
    """BasicSR's EnlargedSampler, with an order by (seed, epoch) and a place to begin at.

    Args:
        sampler: says how many images an epoch has, and which share of them is this process's.
        seed: equal in all processes.
        batch_size: images that this process takes in an iteration.
        start_iter: iterations that the run has behind it.
    """

    def __init__(self, sampler: EnlargedSampler, seed: int, batch_size: int, start_iter: int = 0):
        self.rank, self.num_replicas = sampler.rank, sampler.num_replicas
        self.num_samples, self.total_size = sampler.num_samples, sampler.total_size
        self.seed = seed
        self.epoch, batches = divmod(start_iter, max(1, self.num_samples // batch_size))
        self._skipped = batches * batch_size

    def set_epoch(self, epoch: int) -> None:
        if epoch != self.epoch:
            self._skipped = 0
        self.epoch = epoch

    def __iter__(self) -> Iterator[Draw]:
        generator = torch.Generator()
        generator.manual_seed(randomness.seed_of(self.seed, self.epoch) % 2**63)
        numbers = torch.randperm(self.total_size, generator=generator)[self.rank :: self.num_replicas]
        # Not forgotten here: BasicSR's prefetcher begins an epoch twice.
        epoch = self.epoch
        return (Draw(epoch, number) for number in numbers[self._skipped :].tolist())

    def __len__(self) -> int:
        return self.num_samples


class SeededDataset(Dataset):
    """Gives the image of a Draw, with random numbers that depend on (seed, epoch, number) alone."""

    def __init__(self, dataset: MapDataset, seed: int):
        self.dataset = dataset
        self.seed = seed

    def __getitem__(self, draw: Draw) -> dict:
        with randomness.seeded(self.seed, *draw):
            return self.dataset[draw.number % len(self.dataset)]

    def __len__(self) -> int:
        return len(self.dataset)


def in_seeded_order(
    loader: DataLoader, sampler: EnlargedSampler, seed: int, start_iter: int = 0, accumulate: int = 1
) -> tuple[DataLoader, SeededSampler]:
    """BasicSR's loader of a training, made anew to draw by the seed.

    Args:
        loader: what BasicSR has built; it has not been iterated.
        sampler: that loader's.
        seed: equal in all processes.
        start_iter: iterations that the run has behind it.
        accumulate: batches of the option file's size that one iteration takes.
    """
    assert loader.batch_size is not None  # BasicSR never leaves the batches to a data set
    batch_size = loader.batch_size * accumulate
    ordered = SeededSampler(sampler, seed, batch_size, start_iter)
    arguments = {
        'dataset': SeededDataset(cast(MapDataset, loader.dataset), seed),
        'sampler': ordered,
        'batch_size': batch_size,
        'num_workers': loader.num_workers,
        'collate_fn': loader.collate_fn,
        'pin_memory': loader.pin_memory and torch.cuda.is_available(),
        'drop_last': loader.drop_last,
        'timeout': loader.timeout,
        'worker_init_fn': leave_signals_to_the_parent,
        'persistent_workers': loader.persistent_workers,
        # Its own: to start an epoch draws a number, and a run that goes on starts one more epoch.
        'generator': torch.Generator().manual_seed(0),
    }
    if not isinstance(loader, PrefetchDataLoader):
        return DataLoader(**arguments), ordered
    # A thread reads ahead here, and threads share their random numbers: a worker process has its own. Workers that
    # stayed would be read by two threads, because BasicSR's prefetcher begins an epoch twice.
    arguments |= {'num_workers': max(1, loader.num_workers), 'persistent_workers': False}
    return PrefetchDataLoader(loader.num_prefetch_queue, **arguments), ordered
