"""A validation that processes share, with the figures of a single one."""

import math
import random
from functools import reduce
from operator import add

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from conftest import in_two_processes
from okdnet_plugin.engine import validation
from okdnet_plugin.engine.signals import leave_signals_to_the_parent
from okdnet_plugin.engine.validation import Mean, MetricValues

# ---------------------------------------------------------------------------------------------------------------- means


def metric_values_of(values):
    return [MetricValues(index, {'psnr': value, 'ssim': -value}) for index, value in enumerate(values)]


def test_mean_does_not_depend_on_who_worked_out_what():
    values = [random.uniform(0, 1) * 10 ** random.randint(-6, 6) for _ in range(101)]
    figures = metric_values_of(values)
    expected = validation.means_of(figures)
    assert expected['psnr'].value == pytest.approx(np.mean(values))
    plain = set()
    for world_size in range(2, 12):
        shares = [row for rank in range(world_size) for row in figures[rank::world_size]]
        assert validation.means_of(shares) == expected  # equal to the last bit
        plain.add(reduce(add, (row.values['psnr'] for row in shares)))  # sum() corrects itself since Python 3.12
    assert len(plain) > 1  # the order of a sum does matter here


def test_each_metric_has_its_mean():
    assert validation.means_of(metric_values_of([1.0, 2.0, 6.0])) == {'psnr': Mean(3.0, 0), 'ssim': Mean(-3.0, 0)}


def test_infinite_values_are_left_out_and_counted():
    assert validation.means_of(metric_values_of([math.inf, 1.0, math.inf, 2.0]))['psnr'] == Mean(1.5, 2)


@pytest.mark.parametrize('value', [math.inf, -math.inf])
def test_mean_of_infinite_values_is_infinite(value):
    assert validation.means_of(metric_values_of([value] * 3))['psnr'] == Mean(value, 3)


def test_value_that_is_no_number_is_not_left_out():
    mean = validation.means_of(metric_values_of([1.0, math.nan]))['psnr']
    assert math.isnan(mean.value)
    assert mean.infinite == 0


def test_no_image_and_no_metric_have_no_mean():
    assert validation.means_of([]) == {}
    assert validation.means_of([MetricValues(0, {}), MetricValues(1, {})]) == {}


# --------------------------------------------------------------------------------------------------------------- shares


class Images(Dataset):
    def __init__(self, count):
        self.count = count

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        return {'lq': torch.full((3, 2 + index, 4), float(index)), 'lq_path': f'{index}.png'}

    def __len__(self):
        return self.count


@pytest.mark.parametrize('world_size', [1, 2, 3, 4])
@pytest.mark.parametrize('count', range(8))
def test_shares_are_disjoint_and_cover_the_data_set(count, world_size):
    indices = []
    for rank in range(world_size):
        for data in validation.loader_of_share(Images(count), rank, world_size, num_workers=0):
            index = int(data['index'])
            assert data['lq'].shape == (1, 3, 2 + index, 4)
            assert (data['lq'] == index).all()
            assert data['lq_path'] == [f'{index}.png']
            assert list(data)[-1] == 'index'
            indices.append(index)
    assert sorted(indices) == list(range(count))


def test_shares_differ_by_one_image_at_most():
    lengths = [len(validation.loader_of_share(Images(7), rank, 3, 0)) for rank in range(3)]
    assert lengths == [3, 2, 2]


def test_images_read_ahead_are_the_same_in_the_same_order():
    state = torch.get_rng_state()
    loader = validation.loader_of_share(Images(5), 1, 2, num_workers=8)
    assert [int(data['index']) for data in loader] == [1, 3]
    assert loader.num_workers == 2  # not more than there are images
    assert loader.worker_init_fn is leave_signals_to_the_parent
    assert torch.equal(torch.get_rng_state(), state)


# -------------------------------------------------------------------------------------------------------- two processes


def shared(rank):
    net = nn.BatchNorm2d(2)
    net.running_mean.fill_(rank + 5)
    net.weight.data.fill_(rank)
    group = torch.distributed.new_group(backend='gloo')
    validation.share_buffers(net, group)
    gathered = validation.gather({'rank': rank}, group)
    return gathered, net.running_mean.tolist(), net.weight.tolist()


def test_two_processes_gather_in_their_order_and_take_the_buffers_of_the_first(tmp_path):
    gathered = [{'rank': 0}, {'rank': 1}]
    assert in_two_processes(shared, tmp_path) == [(gathered, [5, 5], [0, 0]), (gathered, [5, 5], [1, 1])]


def test_one_process_has_its_own_share_and_buffers():
    net = nn.BatchNorm2d(2)
    validation.share_buffers(net, None)
    assert validation.gather('share', None) == ['share']


# --------------------------------------------------------------------------------------------------------------- strips


def grey(height, width, value=100):
    return np.full((height, width), value, np.uint8)


def colour(height, width, value=(10, 20, 30)):
    return np.full((height, width, 3), value, np.uint8)


def test_images_stand_side_by_side_with_white_between():
    strip = validation.strip({'hazy': colour(80, 100), 'result': colour(80, 60), 'clear': colour(80, 40)})
    assert strip.shape == (80, 100 + 2 + 60 + 2 + 40, 3)
    assert strip.dtype == np.uint8
    assert (strip[:, 100:102] == 255).all()
    assert (strip[:, 162:164] == 255).all()
    for x in (50, 130, 180):
        assert strip[70, x].tolist() == [10, 20, 30]


def test_grey_and_colour_go_together():
    strip = validation.strip({'hazy': grey(80, 90), 'result': colour(80, 90)})
    assert strip.shape == (80, 182, 3)
    assert strip[70, 45].tolist() == [100, 100, 100]
    assert strip[70, 140].tolist() == [10, 20, 30]


@pytest.mark.parametrize(('height', 'width'), [(40, 60), (160, 240), (79, 119)])
def test_other_heights_are_brought_to_the_first_in_proportion(height, width):
    for image in (grey(height, width), colour(height, width)):
        strip = validation.strip({'hazy': colour(80, 100), 'result': image})
        assert strip.shape[0] == 80
        assert strip.shape[1] == pytest.approx(100 + 2 + 120, abs=1)


@pytest.mark.parametrize('height', [16, 80, 700])
def test_names_are_written_on_the_images_and_the_images_stay(height):
    image = colour(height, 200, 100)
    strip = validation.strip({'hazy': image, 'clear': grey(height, 200)})
    for tile in (strip[:, :200], strip[:, 202:]):
        assert tile.max() > 200
        assert tile.min() < 50
    assert not np.array_equal(strip[:, :200], strip[:, 202:])  # their names differ
    assert (image == 100).all()
