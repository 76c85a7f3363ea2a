"""Padding that goes further than an image, and networks inside networks."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from okdnet_plugin.archs.arch_util import accept_published_keys, build_part, reflect_to_multiple


@pytest.mark.parametrize(('size', 'padded'), [((40, 64), (64, 64)), ((16, 17), (32, 32)), ((33, 95), (64, 96))])
def test_image_is_reflected_to_the_multiple(size, padded):
    image = torch.rand(1, 2, *size)
    expected = image
    while expected.shape[-2:] != padded:
        below, right = (min(wanted - edge, edge - 1) for wanted, edge in zip(padded, expected.shape[-2:], strict=True))
        expected = F.pad(expected, (0, right, 0, below), mode='reflect')
    assert torch.equal(reflect_to_multiple(image, 32), expected)


def test_small_image_is_reflected_as_often_as_it_takes():
    image = torch.arange(4.0).expand(1, 1, 4, 4)
    assert reflect_to_multiple(image, 4, 12)[0, 0, 0].tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1]
    assert reflect_to_multiple(image, 4).data_ptr() == image.data_ptr()


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
    accept_published_keys(net, {r'^fc\.': '', r'^dead\.': None})
    state = {'fc.weight': torch.ones(2, 2), 'fc.bias': torch.ones(2), 'dead.weight': torch.ones(9)}
    net.load_state_dict(state, strict=True)
    assert net.weight.eq(1).all()
