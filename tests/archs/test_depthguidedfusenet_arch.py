"""The depth-guided transformer: who asks, who answers, and how its images are put together."""

import pytest
import torch
from torch import nn

from okdnet_plugin.archs.depthguidedfusenet_arch import (
    AttentionBlock,
    DepthGuidedFuseNet,
    ReducedAttention,
    SmoothUp,
)


def small(**options):
    return DepthGuidedFuseNet(**{'dim': 8, 'depths': (1, 1), 'heads': (1, 2)} | options)


@pytest.mark.parametrize(('heads', 'reduction'), [(1, 1), (2, 1), (2, 2)])
def test_attention_is_the_softmax_of_scaled_products(heads, reduction):
    attention = ReducedAttention(8, heads, reduction).double()
    asking, answering = torch.rand(2, 2, 24, 8, dtype=torch.float64)
    reduced = answering
    if reduction > 1:
        feature = attention.reduce(answering.transpose(1, 2).reshape(2, 8, 4, 6))
        reduced = attention.norm(feature.flatten(2).transpose(1, 2))
    query, (key, value) = attention.query(asking), attention.key_value(reduced).split(8, 2)
    found = []
    for head in range(heads):
        part = slice(head * 8 // heads, (head + 1) * 8 // heads)
        weights = (query[..., part] @ key[..., part].mT / (8 / heads) ** 0.5).softmax(2)
        found.append(weights @ value[..., part])
    torch.testing.assert_close(attention(asking, answering, 4, 6), attention.project(torch.cat(found, 2)))


def test_guide_asks_and_the_image_answers_and_is_what_is_added_to():
    block = AttentionBlock(8, 1, 1, 2, 0, is_guided=True)
    tokens, guide = torch.rand(2, 1, 24, 8)
    seen = {}
    block.attention.register_forward_hook(lambda _, inputs, __: seen.update(asking=inputs[0], answering=inputs[1]))
    block(tokens, 4, 6, guide)
    assert torch.equal(seen['asking'], block.norm_guide(guide))
    assert torch.equal(seen['answering'], block.norm1(tokens))
    for layer in (block.attention.project, block.mlp.fc2):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    assert torch.equal(block(tokens, 4, 6, guide), tokens)


def test_guide_makes_a_difference_and_is_the_image_by_default():
    net, hazy, guide = small().eval(), torch.rand(1, 3, 16, 24), torch.rand(1, 3, 16, 24)
    assert torch.equal(net(hazy), net(hazy, guide=hazy))
    assert not torch.equal(net(hazy), net(hazy, guide=guide))


def test_size_that_is_no_multiple_is_that_of_its_reflection():
    net, hazy = small().eval(), torch.rand(1, 3, 20, 24)
    padded = nn.functional.pad(hazy, (0, 0, 0, 4), mode='reflect')
    torch.testing.assert_close(net(hazy), net(padded)[..., :20, :])


@pytest.mark.parametrize('sr', [(1, 1), (8, 2), (4, 8)])
def test_any_reduction_takes_any_size(sr):
    assert small(sr=sr)(torch.rand(1, 3, 17, 19)).shape == (1, 3, 17, 19)


def test_blocks_are_left_out_at_the_published_rates_and_only_in_training():
    net = DepthGuidedFuseNet()
    rates = [block.drop_path.p for block in [*net.cross, *net.self_blocks]]
    assert rates == pytest.approx([0, 0.1 / 7, 0.2 / 7, 0.3 / 7])
    block = AttentionBlock(8, 1, 1, 2, 0.999, is_guided=False)
    tokens = torch.rand(1, 24, 8)
    assert torch.equal(block(tokens, 4, 6), tokens)
    assert not torch.equal(block.eval()(tokens, 4, 6), tokens)


def test_checkerboard_is_averaged_away():
    """A transposed convolution whose taps differ makes a checkerboard of an even map."""
    up, even = SmoothUp(1), torch.ones(1, 1, 6, 6)
    with torch.no_grad():
        up.conv.weight.copy_(torch.tensor([1.0, 3.0, 1.0, 3.0]).expand(1, 1, 4, 4))
        up.conv.bias.zero_()
    inner = (..., slice(3, -3), slice(3, -3))
    assert up.conv(even)[inner].std() > 1
    assert up(even)[inner].std() == 0
    assert up(even).shape == (1, 1, 12, 12)


def test_image_is_that_of_a_tanh():
    net = small()
    nn.init.constant_(net.tail[2].bias, -100)
    hazy = torch.rand(1, 3, 16, 16)
    assert net(hazy).eq(-1).all()
    assert net.eval()(hazy).eq(0).all()


def test_names_of_the_weights_stay():
    def of(*modules):
        return [f'{module}.{part}' for module in modules for part in ('weight', 'bias')]

    inside = ('query', 'key_value', 'project', 'reduce', 'norm')
    attention = [f'attention.{part}' for part in inside]
    block = ['norm1', *attention, 'norm2', 'mlp.fc1', 'mlp.conv', 'mlp.fc2']
    assert list(small().state_dict()) == of(
        *('embed_guide.conv', 'embed_guide.norm', 'embed.conv', 'embed.norm'),
        *(f'cross.0.{part}' for part in ('norm_guide', *block)),
        *('norm_cross', 'embed_half.conv', 'embed_half.norm'),
        *(f'self_blocks.0.{part}' for part in block),
        *('norm_self', 'ups.0.conv', 'ups.1.conv', 'tail.0', 'tail.1', 'tail.2'),
    )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'depths': (1,)}, 'depths is'),
        ({'heads': (0, 1)}, 'heads is'),
        ({'sr': (1, 2, 3)}, 'sr is'),
        ({'dim': 9}, 'dim is 9'),
        ({'drop_path': 1}, 'drop_path is 1'),
    ],
)
def test_wrong_argument_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)
