"""An order and an augmentation that depend on the seed alone: not on workers, processes, or interruptions."""

import random
from itertools import chain

import numpy as np
import pytest
import torch
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.data.prefetch_dataloader import CPUPrefetcher, PrefetchDataLoader
from torch.utils.data import DataLoader, Dataset

from okdnet_plugin.data.seeded_order import SeededSampler, in_seeded_order
from okdnet_plugin.engine import randomness
from okdnet_plugin.engine.signals import leave_signals_to_the_parent


class Images(Dataset):
    """Images that say their number, and what random numbers their augmentation draws."""

    def __init__(self, count=7):
        self.count = count

    def __getitem__(self, index):
        return {'index': index, 'drawn': [random.random(), np.random.rand(), torch.rand(()).item()]}

    def __len__(self):
        return self.count


def loader_of(
    *,
    count=7,
    ratio=2,
    batch_size=2,
    rank=0,
    replicas=1,
    prefetch=False,
    seed=3,
    start_iter=0,
    accumulate=1,
    **more,
):
    """What BasicSR builds for `prefetch_mode: cpu` or none, drawing by the seed."""
    sampler = EnlargedSampler(Images(count), replicas, rank, ratio)
    arguments = {'batch_size': batch_size, 'sampler': sampler, 'drop_last': True} | more
    kind = PrefetchDataLoader if prefetch else DataLoader
    arguments |= {'num_prefetch_queue': 1} if prefetch else {}
    return in_seeded_order(kind(dataset=Images(count), **arguments), sampler, seed, start_iter, accumulate)


def trained(iterations=17, **arguments):
    """Batches as BasicSR's training loop sees them: pairs of the images' numbers and of what was drawn."""
    loader, sampler = loader_of(**arguments)
    prefetcher = CPUPrefetcher(loader)
    abandoned, batches, epoch = prefetcher.loader, [], sampler.epoch
    while len(batches) < iterations:
        sampler.set_epoch(epoch)
        prefetcher.reset()
        while (batch := prefetcher.next()) is not None:
            batches.append((batch['index'].tolist(), torch.stack(batch['drawn'], 1).tolist()))
        epoch += 1
    if arguments.get('prefetch'):
        for _ in abandoned:  # its thread would hold its workers until this process ends
            pass
    return batches[:iterations]


def order_of(epoch, seed=3, **arguments):
    _, sampler = loader_of(seed=seed, **arguments)
    sampler.set_epoch(epoch)
    return [tuple(draw) for draw in sampler]


@pytest.fixture(scope='module')
def undisturbed():
    """17 iterations, of which an epoch has 7."""
    return trained()


# ---------------------------------------------------------------------------------------------------------------- order


def test_order_depends_on_seed_and_epoch_alone():
    expected = order_of(4)
    random.random(), np.random.rand(), torch.rand(3)
    assert order_of(4) == expected
    orders = [tuple(number for _, number in order_of(epoch, seed)) for epoch in range(4) for seed in (0, 1, -1, 2**40)]
    assert len(set(orders)) == len(orders)


def test_epoch_has_every_image_as_often_as_the_ratio_says():
    order = order_of(2, count=5, ratio=3)
    assert sorted(order) == [(2, number) for number in range(15)]
    assert order != sorted(order)


def test_batches_are_full_and_their_number_is_known():
    loader, sampler = loader_of(count=7, ratio=1)
    assert (len(loader), len(sampler)) == (3, 7)
    assert [len(batch['index']) for batch in loader] == [2, 2, 2]


@pytest.mark.parametrize('replicas', [2, 4])
def test_processes_share_each_batch_of_a_single_one(replicas):
    single = trained(count=6, ratio=2, batch_size=4)
    shares = [
        trained(count=6, ratio=2, batch_size=4 // replicas, rank=rank, replicas=replicas) for rank in range(replicas)
    ]
    for batch, parts in zip(single, zip(*shares, strict=True), strict=True):
        assert sorted(images_of(batch)) == sorted(chain.from_iterable(map(images_of, parts)))


def images_of(batch):
    return [(index, *drawn) for index, drawn in zip(*batch, strict=True)]


def test_processes_have_no_place_in_common():
    orders = [set(order_of(1, count=7, ratio=1, rank=rank, replicas=3)) for rank in range(3)]
    assert [len(order) for order in orders] == [3, 3, 3]
    assert len(set.union(*orders)) == 9


def test_batches_that_accumulate_are_drawn_as_one(undisturbed):
    doubled = trained(6, accumulate=2)
    assert [len(indices) for indices, _ in doubled] == [4] * 6
    images = list(chain.from_iterable(map(images_of, undisturbed[:6])))
    assert list(chain.from_iterable(map(images_of, doubled[:3]))) == images
    assert trained(3, accumulate=2, start_iter=3) == doubled[3:]  # three batches of four are an epoch of fourteen


# ------------------------------------------------------------------------------------------------------------- going on


@pytest.mark.parametrize('start_iter', [1, 6, 7, 8, 14, 16])
def test_run_that_goes_on_sees_the_rest_of_the_order(undisturbed, start_iter):
    assert trained(17 - start_iter, start_iter=start_iter) == undisturbed[start_iter:]


@pytest.mark.parametrize('start_iter', [2, 3, 4])
def test_images_that_fill_no_batch_are_not_made_up_for(start_iter):
    expected = trained(9, count=7, ratio=1)
    assert trained(9 - start_iter, count=7, ratio=1, start_iter=start_iter) == expected[start_iter:]


def test_run_that_goes_on_says_its_epoch():
    assert [loader_of(start_iter=start)[1].epoch for start in (0, 6, 7, 13, 14)] == [0, 0, 1, 1, 2]


def test_epoch_that_is_begun_again_skips_the_same_images():
    _, sampler = loader_of(start_iter=3)
    sampler.set_epoch(0)
    rest = list(sampler)
    assert list(sampler) == rest
    assert rest == [(0, number) for _, number in order_of(0)][6:]


def test_only_the_first_epoch_is_skipped_into():
    _, sampler = loader_of(start_iter=3)
    sampler.set_epoch(1)
    assert len(list(sampler)) == 14
    sampler.set_epoch(0)
    assert len(list(sampler)) == 14


def test_fewer_images_than_a_batch_can_be_counted():
    sampler = EnlargedSampler(Images(1), 1, 0, 1)
    assert SeededSampler(sampler, 0, batch_size=4, start_iter=5).epoch == 5


# ------------------------------------------------------------------------------------------------------ ways of loading


@pytest.mark.parametrize('start_iter', [0, 5])
@pytest.mark.parametrize(
    'way',
    [
        {'num_workers': 2},
        {'num_workers': 2, 'persistent_workers': True},
        {'num_workers': 2, 'prefetch': True},
        {'num_workers': 0, 'prefetch': True},
    ],
    ids=str,
)
def test_images_and_augmentation_do_not_depend_on_who_reads(undisturbed, way, start_iter):
    assert trained(17 - start_iter, start_iter=start_iter, **way) == undisturbed[start_iter:]


@pytest.mark.parametrize('num_workers', [0, 2])
def test_numbers_of_the_training_are_not_touched(num_workers):
    state = randomness.get_state()
    expected = random.random(), np.random.rand(), torch.rand(3).tolist()
    randomness.set_state(state)
    trained(9, num_workers=num_workers)
    assert (random.random(), np.random.rand(), torch.rand(3).tolist()) == expected


def test_image_that_comes_twice_is_augmented_differently(undisturbed):
    epoch = list(chain.from_iterable(map(images_of, undisturbed[:7])))
    assert sorted(index for index, *_ in epoch) == sorted([*range(7)] * 2)
    for values in list(zip(*epoch, strict=True))[1:]:
        assert len(set(values)) == 14


def test_augmentation_differs_from_epoch_to_epoch_and_from_seed_to_seed(undisturbed):
    other_seed = list(chain.from_iterable(map(images_of, trained(seed=4))))
    drawn = [values for _, *values in chain(chain.from_iterable(map(images_of, undisturbed)), other_seed)]
    assert len(set(map(tuple, drawn))) == len(drawn)


def test_settings_of_the_loader_stay():
    def collate(batch):
        return [item['index'] for item in batch]

    loader, _ = loader_of(num_workers=1, collate_fn=collate, timeout=30, prefetch=True)
    assert isinstance(loader, PrefetchDataLoader)
    assert (loader.num_prefetch_queue, loader.num_workers, loader.timeout) == (1, 1, 30)
    assert loader.drop_last
    assert loader.collate_fn is collate
    assert loader.worker_init_fn is leave_signals_to_the_parent


@pytest.mark.parametrize('prefetch', [False, True])
def test_workers_stay_unless_two_threads_would_read_them(prefetch):
    """BasicSR's prefetcher begins an epoch twice, and a thread of each would read the workers that stay."""
    loader, _ = loader_of(num_workers=1, persistent_workers=True, prefetch=prefetch)
    assert loader.persistent_workers != prefetch


def test_thread_that_reads_ahead_has_a_worker():
    """Threads share their random numbers, which a seeded block would change under the training."""
    assert loader_of(prefetch=True, num_workers=0)[0].num_workers == 1
