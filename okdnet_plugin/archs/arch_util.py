"""What two or more networks share: sizes of pictures, names of published weights, blocks."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SMALLEST = 16
"""Shortest side of an image in px that every network of the plugin takes."""


def check_size(net: nn.Module, x: Tensor) -> tuple[int, int]:
    """Height and width of pictures, shape (N, 3, H, W).

    Raises:
        ValueError: a side is shorter than `SMALLEST`.
    """
    height, width = x.shape[-2:]
    if min(height, width) < SMALLEST:
        raise ValueError(
            f'{type(net).__name__}: a picture of {height}x{width} is too small; each side must be {SMALLEST} or more'
        )
    return height, width


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Reflect at the right and bottom, to the multiple, at most 16, that the scales of a network need."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % multiple, 0, -height % multiple), mode='reflect')


def accept_published_keys(net: nn.Module, renames: Mapping[str, str]) -> None:
    """Let a network read the weights that its authors published beside those of its own.

    The maps follow the names and shapes that were published, and a strict load says what does not fit. No file of the
    authors is part of the tests: what a published network makes of an image has been compared for none of them.

    Args:
        net: the network, whose own keys no pattern may match.
        renames: pattern -> replacement, as for re.sub; all are applied to a key, in their order.
    """
    # Its public name has been there since torch 2.5 only.
    net._register_load_state_dict_pre_hook(partial(_rename_keys, renames=dict(renames)), with_module=True)


def _rename_keys(net: nn.Module, state_dict: dict, prefix: str, *_: object, renames: Mapping[str, str]) -> None:
    for key in [key for key in state_dict if key.startswith(prefix)]:
        name = key[len(prefix) :]
        for pattern, replacement in renames.items():
            name = re.sub(pattern, replacement, name)
        state_dict[prefix + name] = state_dict.pop(key)


class RDB(nn.Module):
    """Residual dense block: four 3x3 convolutions, each of all that came before, a 1x1 fusion and the input added.

    Source: GridDehazeNet (Liu et al., ICCV 2019), after Zhang et al., CVPR 2018. OKDNet (Lan et al. 2022)
    takes its configuration over.

    A convolution of concatenated features is the sum of the convolutions of its parts. So each feature is convolved
    once, as soon as it is there, for all the layers that will read it; to concatenate it anew for each of them, and to
    add up the gradients of the pieces, takes half as long again.
    """

    def __init__(self, num_feat: int, growth: int = 16, num_layers: int = 4, bias: bool = True):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(num_feat + i * growth, growth, 3, 1, 1, bias=bias) for i in range(num_layers)
        )
        self.fuse = nn.Conv2d(num_feat + num_layers * growth, num_feat, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        layers: list[Any] = list(self.layers)
        # The weights of each layer by the feature that they meet. A split has one concatenation as its gradient; each
        # slice would have one of the whole weight's size, filled with zeros and added to the others.
        widths = [x.shape[1], *(layer.out_channels for layer in layers)]
        weights = [layer.weight.split(widths[: i + 1], 1) for i, layer in enumerate(layers)]
        features, rest = [x], None
        for i, layer in enumerate(layers):
            weight = torch.cat([parts[i] for parts in weights[i:]])
            has_bias = i == 0 and layer.bias is not None
            bias = torch.cat([layer.bias for layer in layers]) if has_bias else None
            parts = F.conv2d(features[-1], weight, bias, 1, 1)
            if rest is not None:
                parts = parts + rest
            now, rest = parts.split([layer.out_channels, parts.shape[1] - layer.out_channels], 1)
            features.append(F.relu(now))
        return self.fuse(torch.cat(features, 1)) + x


def make_down(kind: str, num_feat: int) -> nn.Sequential:
    """Halve the size and double the channels: one strided convolution (`conv`) or GridDehazeNet's two (`grid`)."""
    if kind == 'conv':
        return nn.Sequential(nn.Conv2d(num_feat, 2 * num_feat, 3, 2, 1), nn.ReLU(inplace=True))
    return nn.Sequential(
        nn.Conv2d(num_feat, num_feat, 3, 2, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(num_feat, 2 * num_feat, 3, 1, 1),
        nn.ReLU(inplace=True),
    )


def make_up(kind: str, num_feat: int) -> nn.Sequential:
    """Double the size, halve the channels: a 4x4 (`deconv4`) or 3x3 (`deconv3`) transposed convolution, or `grid`."""
    if kind == 'deconv4':
        return nn.Sequential(nn.ConvTranspose2d(num_feat, num_feat // 2, 4, 2, 1), nn.ReLU(inplace=True))
    if kind == 'deconv3':
        return nn.Sequential(nn.ConvTranspose2d(num_feat, num_feat // 2, 3, 2, 1, 1), nn.ReLU(inplace=True))
    return nn.Sequential(
        nn.ConvTranspose2d(num_feat, num_feat, 3, 2, 1, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(num_feat, num_feat // 2, 3, 1, 1),
        nn.ReLU(inplace=True),
    )
