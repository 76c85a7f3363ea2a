"""Parts of DehazeFormer and gUNet against their definitions, and arguments that they refuse."""

import math

import pytest
import torch
from torch.nn import functional as F

from okdnet_plugin.archs import dehazeformer_arch
from okdnet_plugin.archs.arch_util import reflect
from okdnet_plugin.archs.dehazeformer_arch import DehazeFormer, RescaleNorm, WindowMixer, log_distances
from okdnet_plugin.archs.gunet_arch import SKFusion, gUNet


def test_fusion_is_the_softmax_of_two_weights_a_channel():
    fusion, first, second = SKFusion(6), torch.rand(2, 6, 5, 4), torch.rand(2, 6, 5, 4)
    weights = fusion.mlp((first + second).mean((2, 3), keepdim=True)).view(2, 2, 6, 1, 1).softmax(1)
    torch.testing.assert_close(fusion(first, second), weights[:, 0] * first + weights[:, 1] * second)


def test_distances_are_signed_logarithms_down_and_across():
    distances = log_distances(4)
    assert distances.shape == (16, 16, 2)
    assert distances[4 * 3 + 1, 2].tolist() == pytest.approx([math.log(4), -math.log(2)])


@pytest.mark.parametrize('shift', [0, 2])
@pytest.mark.parametrize('size', [(3, 4), (8, 9)])
def test_attention_weighs_the_values_of_each_window(shift, size):
    mixer, x = WindowMixer(6, num_heads=2, window=4, shift=shift).double(), torch.rand(2, 6, *size, dtype=torch.float64)
    parts = torch.cat([mixer.query_key(x), mixer.value(x)], 1)
    height, width = size
    padded = reflect(parts, (shift, -(width + shift) % 4, shift, -(height + shift) % 4))
    bias = mixer.position(mixer.distances)
    expected = padded.new_zeros(2, 6, *padded.shape[-2:])
    for row in range(0, padded.shape[-2], 4):
        for column in range(0, padded.shape[-1], 4):
            window = padded[..., row : row + 4, column : column + 4].flatten(2)
            for head in range(2):
                query, key, value = (window[:, 6 * i + 3 * head : 6 * i + 3 * head + 3] for i in range(3))
                weights = (query.transpose(1, 2) @ key / math.sqrt(3) + bias[..., head]).softmax(-1)
                out = value @ weights.transpose(1, 2)
                expected[:, 3 * head : 3 * head + 3, row : row + 4, column : column + 4] = out.view(2, 3, 4, 4)
    expected = expected[..., shift : shift + height, shift : shift + width]
    torch.testing.assert_close(mixer(x), mixer.project(mixer.conv(mixer.value(x)) + expected))


def test_windows_beyond_what_a_kernel_takes_are_attended_to_in_pieces(monkeypatch):
    mixer, x, counts = WindowMixer(6, num_heads=2, window=4, shift=2), torch.rand(2, 6, 13, 18), []
    expected, attend = mixer(x), F.scaled_dot_product_attention

    def counted(query, *others, **keywords):
        counts.append(len(query))
        return attend(query, *others, **keywords)

    monkeypatch.setattr(F, 'scaled_dot_product_attention', counted)
    monkeypatch.setattr(dehazeformer_arch, '_MOST_WINDOWS', 16)
    torch.testing.assert_close(mixer(x), expected)
    assert counts == [16, 16, 8]


def test_normalisation_tells_what_brings_the_feature_back():
    norm, x = RescaleNorm(4), 3 * torch.rand(2, 4, 6, 5) + 1
    for layer in (norm.rescale, norm.rebias):
        torch.nn.init.ones_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    normalised, rescale, rebias = norm(x)
    torch.testing.assert_close(normalised.mean((1, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalised * rescale + rebias, x, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('net', [gUNet(num_feat=8, num_blocks=(1, 1, 1)), DehazeFormer(num_feat=12)])
def test_without_a_tail_the_image_comes_back(net):
    torch.nn.init.zeros_(net.tail.weight)
    torch.nn.init.zeros_(net.tail.bias)
    hazy = torch.rand(1, 3, 21, 34)
    assert torch.equal(net(hazy), hazy)


@pytest.mark.parametrize(
    ('network', 'options', 'message'),
    [
        (gUNet, {'num_blocks': (1, 1)}, r'num_blocks is \(1, 1\)'),
        (gUNet, {'kernel': 4}, 'kernel is 4'),
        (DehazeFormer, {'num_blocks': (1, 1)}, r'num_blocks is \(1, 1\)'),
        (DehazeFormer, {'num_heads': (5, 4, 6, 1, 1)}, 'heads must divide'),
        (DehazeFormer, {'attention': (0, 0, 2, 0, 0)}, 'at most 1'),
        (DehazeFormer, {'window': 7}, 'window is 7'),
    ],
)
def test_wrong_argument_is_named(network, options, message):
    with pytest.raises(ValueError, match=message):
        network(**options)
