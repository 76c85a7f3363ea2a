"""Every registered network has the gradients of float64, in both memory formats; a wrong kernel is seen."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from okdnet_plugin.archs import epdn_arch
from okdnet_plugin.archs.arch_util import RDB
from okdnet_plugin.archs.dcp_arch import box_mean
from okdnet_plugin.archs.depthguidedfusenet_arch import DepthGuidedFuseNet
from okdnet_plugin.archs.okdnet_arch import average_of_window
from okdnet_plugin.engine import gradient_check
from okdnet_plugin.engine.gradient_check import (
    INPUT,
    check_gradients,
    reference_gradients,
    small_arguments,
    steady_arguments,
    variants_of,
)

SHAPE = 2, 3, 16, 20
NETWORKS = sorted(gradient_check.registered_networks().items())
# OKDNet has a variant of every kind: a switch, a choice, a number.
VARIANTS = [
    pytest.param(
        network,
        arguments,
        id=f'{name}, {variant}',
        marks=[] if variant == 'default' or name == 'OKDNet' else [pytest.mark.long],
    )
    for name, network in NETWORKS
    for variant, arguments in variants_of(network).items()
]
# A value that rounding takes to the other side of a ReLU changes a gradient by more than rounding does.
TOLERANCE = 5e-3


def small(network, arguments):
    torch.manual_seed(0)
    return network(**{**small_arguments(network), **arguments})


@pytest.mark.parametrize(('network', 'arguments'), VARIANTS)
def test_gradients_are_those_of_float64_in_both_memory_formats(network, arguments):
    net = small(network, arguments)
    reference = reference_gradients(net, SHAPE)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        errors = check_gradients(net, 'cpu', memory_format, shape=SHAPE, reference=reference)
        assert set(errors) == {name.split('.')[0] for name, _ in net.named_parameters()} | {INPUT}
        assert max(errors.values()) < TOLERANCE, (memory_format, errors)


def test_networks_and_their_variants_come_from_the_registry_and_the_signatures():
    networks = gradient_check.registered_networks()
    assert {'OKDNet', 'DCP', 'MSBDN'} <= networks.keys()
    assert 'SwinIR' not in networks  # of BasicSR
    variants = variants_of(networks['OKDNet'])
    assert {'default', 'attention=False', 'multi_scale=False', 'aggregation=fau', 'gate=softmax'} <= variants.keys()


@pytest.mark.parametrize('network', [pytest.param(net, id=name) for name, net in NETWORKS])
def test_each_network_can_be_built_at_its_own_size_to_be_checked(network):
    with torch.device('meta'):
        assert isinstance(network(**steady_arguments(network)), nn.Module)


def test_nothing_is_left_out_by_chance():
    torch.manual_seed(0)
    net = DepthGuidedFuseNet(dim=8, depths=(1, 1), drop_path=0.9)
    assert max(check_gradients(net, shape=SHAPE).values()) < TOLERANCE


def test_a_transmission_that_is_divided_by_makes_little_of_a_rounding():
    network = gradient_check.registered_networks()['DCPDN']
    assert steady_arguments(network)['t_min'] == small_arguments(network)['t_min'] == 0.1


# ------------------------------------------------------------ CUDA's avg_pool2d of channels-last tensors, on a CPU


class FaultyPool(torch.autograd.Function):
    """avg_pool2d whose gradient takes places of the image for places of the padded image."""

    @staticmethod
    def forward(context, x: Tensor, size, padding, count_include_pad) -> Tensor:
        context.size, context.padding, context.count_include_pad = size, padding, count_include_pad
        context.save_for_backward(x)
        return POOL(x, size, 1, padding, count_include_pad=count_include_pad)

    @staticmethod
    def backward(context, *gradients: Tensor):
        [x], [gradient] = context.saved_tensors, gradients
        (rows, columns), (above, left) = context.size, context.padding
        ones = torch.ones(1, 1, rows, columns, dtype=x.dtype)
        area = F.conv2d(torch.ones_like(x[:1, :1]), ones, padding=(above, left))
        planes = (gradient / (rows * columns if context.count_include_pad else area)).flatten(0, 1)[:, None]
        # Every place gets the gradients of the windows that begin at it or up to a window before it: right if unpadded.
        padded = F.pad(planes, (columns - 1, 0, rows - 1, 0))
        summed = F.conv2d(padded, ones)[..., : x.shape[2], : x.shape[3]]
        return summed.reshape(x.shape), None, None, None


POOL = F.avg_pool2d


def pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


@pytest.fixture
def faulty(monkeypatch):
    """Calls of the faulty kernel, which is in the place of avg_pool2d as a GPU would choose it."""
    calls = []

    def pool(x, size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
        is_innermost = x.dim() == 4 and torch._prims_common.suggest_memory_format(x) == torch.channels_last
        if not is_innermost or pair(padding) == (0, 0):
            return POOL(x, size, stride, padding, ceil_mode, count_include_pad, divisor_override)
        calls.append(size)
        return FaultyPool.apply(x, pair(size), pair(padding), count_include_pad)

    monkeypatch.setattr(F, 'avg_pool2d', pool)
    return calls


class OnCuda(Tensor):
    """A tensor of the CPU that says it is on a GPU, as whatever is made of it does."""

    @property
    def device(self):
        return torch.device('cuda', 0)


def gradient_of(function, x, weights):
    x = x.detach().requires_grad_()
    (function(x) * weights).sum().backward()
    return x.grad.as_subclass(Tensor)


def test_the_emulated_kernel_is_wrong_where_it_is_said_to_be(faulty):
    x, weights = torch.rand(2, 4, 9, 11, dtype=torch.float64), torch.rand(2, 4, 9, 11, dtype=torch.float64)

    def pool(x):
        return F.avg_pool2d(x, 5, 1, 2, count_include_pad=False)

    right = gradient_of(pool, x, weights)
    assert faulty == []
    wrong = gradient_of(pool, x.contiguous(memory_format=torch.channels_last), weights)
    assert faulty == [5]
    assert (wrong - right).norm() / right.norm() > 0.1
    unpadded = gradient_of(lambda x: F.avg_pool2d(x, 5, 1), x.contiguous(memory_format=torch.channels_last), 1)
    torch.testing.assert_close(unpadded, gradient_of(lambda x: F.avg_pool2d(x, 5, 1), x, 1))


@pytest.mark.parametrize('size', [3, 5, 7])
def test_average_of_a_window_never_meets_the_faulty_kernel(faulty, size):
    x, weights = (torch.rand(2, 4, 9, 11, dtype=torch.float64) for _ in range(2))
    expected = gradient_of(lambda x: POOL(x, size, 1, size // 2, count_include_pad=False), x, weights)
    # As the part of a tensor whose channels are innermost, on a GPU.
    laid_out = torch.cat([x, x], 1).contiguous(memory_format=torch.channels_last).chunk(2, 1)[0].as_subclass(OnCuda)
    assert laid_out.device.type == 'cuda'
    torch.testing.assert_close(gradient_of(lambda x: average_of_window(x, size), laid_out, weights), expected)
    assert faulty == []


def test_mean_of_a_box_never_meets_the_faulty_kernel(faulty):
    """One channel is innermost by its strides whatever is asked of its layout."""
    x, weights = (torch.rand(2, 1, 9, 11, dtype=torch.float64) for _ in range(2))
    expected = gradient_of(lambda x: box_mean(x, 2), x, weights)
    laid_out = x.contiguous(memory_format=torch.channels_last).as_strided(x.shape, (99, 1, 11, 1))
    torch.testing.assert_close(gradient_of(lambda x: box_mean(x, 2), laid_out, weights), expected)
    assert faulty == []


class Pooling(nn.Module):
    """A network that takes the faulty kernel."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 3, 3, 1, 1)

    def forward(self, x):
        return self.last(F.avg_pool2d(self.first(x), 3, 1, 1))


def test_the_check_sees_a_wrong_kernel_in_the_memory_format_that_has_it(faulty):
    assert max(check_gradients(Pooling(), 'cpu', torch.contiguous_format).values()) < 1e-4
    errors = check_gradients(Pooling(), 'cpu', torch.channels_last)
    assert errors['last'] < 1e-4
    assert errors['first'] > 0.05
    assert errors[INPUT] > 0.05


@pytest.mark.parametrize('name', sorted(gradient_check.registered_networks()))
def test_no_network_takes_a_padded_pool_with_innermost_channels(name, faulty):
    net = small(gradient_check.registered_networks()[name], {}).to(memory_format=torch.channels_last)
    hazy = torch.rand(SHAPE).contiguous(memory_format=torch.channels_last)
    net(hazy.requires_grad_()).sum().backward()
    assert faulty == []


def test_a_padded_pool_of_an_image_does_not_rely_on_how_it_is_padded(faulty, monkeypatch):
    monkeypatch.setattr(
        epdn_arch, 'pad_to_multiple', lambda *_, **__: hazy.contiguous(memory_format=torch.channels_last)
    )
    hazy = torch.rand(2, 3, 64, 64).requires_grad_()
    small(epdn_arch.EPDN, {})(hazy).sum().backward()
    assert faulty == []


def test_a_gradient_that_is_missing_on_one_side_is_an_infinite_error():
    class Forgets(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = RDB(3)

        def forward(self, x):
            return self.block(x) if x.dtype == torch.float64 else x

    assert check_gradients(Forgets())['block'] == float('inf')
