"""Borders of images and features, networks inside networks, published keys, and the pyramid head."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from okdnet_plugin.archs.arch_util import (
    PyramidHead,
    ReflectConv,
    accept_published_keys,
    build_part,
    pad_to_multiple,
    reflect,
)


@pytest.mark.parametrize(('size', 'padded'), [((40, 64), (64, 64)), ((16, 17), (32, 32)), ((33, 95), (64, 96))])
def test_image_is_reflected_to_the_multiple(size, padded):
    image = torch.rand(1, 2, *size)
    expected = image
    while expected.shape[-2:] != padded:
        below, right = (min(wanted - edge, edge - 1) for wanted, edge in zip(padded, expected.shape[-2:], strict=True))
        expected = F.pad(expected, (0, right, 0, below), mode='reflect')
    assert torch.equal(pad_to_multiple(image, 32), expected)


def test_small_image_is_reflected_as_often_as_it_takes():
    image = torch.arange(4.0).expand(1, 1, 4, 4)
    assert pad_to_multiple(image, 4, 12)[0, 0, 0].tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1]


def test_part_is_built_with_its_arguments_and_the_block_stays():
    block = {'type': 'AODNet', 'num_feat': 4}
    assert build_part(nn.Identity(), 'part', block).convs[0].out_channels == 4
    assert block == {'type': 'AODNet', 'num_feat': 4}


@pytest.mark.parametrize(
    ('block', 'message'),
    [
        ({}, "Identity: part has no 'type'"),
        ({'type': 'AODNett'}, r'Identity: part: AODNett cannot be built: .*did you mean AODNet'),
        ({'type': 'AODNet', 'widht': 1}, 'Identity: part: AODNet cannot be built: .*widht'),
    ],
)
def test_part_that_cannot_be_built_is_one_line(block, message):
    with pytest.raises(ValueError, match=message) as raised:
        build_part(nn.Identity(), 'part', block)
    assert '\n' not in str(raised.value)


def test_published_key_of_a_layer_that_nothing_reads_is_dropped():
    net = nn.Linear(2, 2)
    accept_published_keys(net, {r'^fc\.': ''}, [r'^dead\.'])
    state = {'fc.weight': torch.ones(2, 2), 'fc.bias': torch.ones(2), 'dead.weight': torch.ones(9)}
    net.load_state_dict(state, strict=True)
    assert net.weight.eq(1).all()


@pytest.mark.parametrize('size', [(1, 1), (1, 4), (2, 3), (7, 5)])
@pytest.mark.parametrize('border', [(0, 0, 0, 0), (1, 2, 0, 1), (9, 4, 3, 11)])
def test_reflection_goes_on_where_the_border_is_wider_than_the_feature(size, border):
    x = torch.rand(2, 3, *size)
    left, right, top, bottom = border
    expected = np.pad(x.numpy(), ((0, 0), (0, 0), (top, bottom), (left, right)), mode='reflect')
    assert torch.equal(reflect(x, border), torch.from_numpy(expected))


@pytest.mark.parametrize(('size', 'padded'), [((16, 17), (64, 64)), ((64, 65), (64, 96)), ((70, 96), (96, 96))])
def test_images_grow_to_a_multiple_and_to_no_less_than_the_smallest(size, padded):
    x = torch.rand(1, 3, *size)
    output = pad_to_multiple(x, 32, smallest=64)
    assert output.shape[-2:] == padded
    assert torch.equal(output[..., : size[0], : size[1]], x)


def test_reflecting_convolution_is_that_of_torch():
    ours = ReflectConv(4, 6, 3, stride=2, dilation=2, groups=2)
    theirs = torch.nn.Conv2d(4, 6, 3, 2, 2, 2, 2, padding_mode='reflect')
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(1, 4, 9, 10)
    assert torch.equal(ours(x), theirs(x))


def test_pyramid_is_made_of_the_means_over_squares():
    head, feature = PyramidHead(5), torch.rand(2, 5, 64, 96)
    parts = []
    for conv, scale in zip(head.squeeze, (32, 16, 8, 4), strict=True):
        mean = F.leaky_relu(conv(F.avg_pool2d(feature, scale)), 0.2)
        parts.append(mean.repeat_interleave(scale, 2).repeat_interleave(scale, 3))
    torch.testing.assert_close(head(feature), torch.tanh(head.out(torch.cat([*parts, feature], 1))))
