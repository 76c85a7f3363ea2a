"""The average of a network: its decay, and that a few operations on lists give what an operation a tensor gives."""

import copy

import pytest
import torch
from torch import nn

from okdnet_plugin.engine.average import Average, decay_after


@pytest.mark.parametrize(
    ('updates', 'expected'), [(0, 0.1), (1, 2 / 11), (90, 0.91), (8989, 8990 / 8999), (10**6, 0.999)]
)
def test_decay_grows_with_the_updates_to_the_one_that_is_asked_for(updates, expected):
    assert decay_after(updates, 0.999) == expected


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
        self.register_buffer('mask', torch.zeros(2))
        self.register_buffer('index', torch.zeros(3, dtype=torch.long))

    def change(self):
        with torch.no_grad():
            for tensor in self.state_dict().values():
                tensor.add_(torch.rand_like(tensor) if tensor.is_floating_point() else 1)


def test_average_is_that_of_the_plain_formula_to_the_last_bit():
    net = Net()
    average, expected = copy.deepcopy(net), copy.deepcopy(net).state_dict()
    lists = Average(average, net)
    for updates in range(5):
        net.change()
        decay = decay_after(updates, 0.5)
        lists.update(decay)
        for name, value in net.state_dict().items():
            is_averaged = value.is_floating_point() and name != 'mask'
            expected[name] = expected[name] * decay + value * (1 - decay) if is_averaged else value.clone()
    found = average.state_dict()
    assert found['index'].tolist() == [5, 5, 5]
    for name, value in expected.items():
        if name.endswith(('weight', 'bias', 'mean', 'var')):
            torch.testing.assert_close(found[name], value, rtol=1e-6, atol=0)
        else:
            assert torch.equal(found[name], value), name


def test_lists_are_bit_equal_to_the_formula_of_basicsr_tensor_by_tensor():
    net = Net()
    average, theirs = copy.deepcopy(net), copy.deepcopy(net)
    lists = Average(average, net)
    for _ in range(3):
        net.change()
        lists.update(0.7)
        for mine, source in zip(theirs.parameters(), net.parameters(), strict=True):
            mine.data.mul_(0.7).add_(source.data, alpha=1 - 0.7)
    assert all(torch.equal(a, b) for a, b in zip(average.parameters(), theirs.parameters(), strict=True))


def test_a_decay_of_zero_copies():
    net = Net()
    average = copy.deepcopy(net)
    net.change()
    Average(average, net).update(0)
    assert all(torch.equal(value, average.state_dict()[name]) for name, value in net.state_dict().items())


def test_a_channels_last_network_has_a_contiguous_average():
    net = Net().to(memory_format=torch.channels_last)
    average = Net()
    Average(average, net).update(0)
    assert torch.equal(average.layers[0].weight, net.layers[0].weight)
