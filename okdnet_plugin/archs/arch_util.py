"""What two or more networks share: sizes of pictures, names of published weights, networks inside networks, blocks."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
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


def reflect_to_multiple(x: Tensor, multiple: int, smallest: int = 0) -> Tensor:
    """Reflect at the right and bottom, as often as it takes, to a multiple of any size and to a smallest side.

    Args:
        x: shape (N, C, H, W) with H, W >= 2.
        multiple: of which the sides become multiples.
        smallest: a multiple of `multiple`, below which no side stays.

    Returns:
        x, or shape (N, C, H', W') with x in its upper left corner.
    """
    height, width = (max(edge + -edge % multiple, smallest) for edge in x.shape[-2:])
    if (height, width) == tuple(x.shape[-2:]):
        return x
    rows, columns = (
        (edge - 1) - (torch.arange(wanted, device=x.device) % (2 * edge - 2) - (edge - 1)).abs()
        for wanted, edge in zip((height, width), x.shape[-2:], strict=True)
    )
    return x[..., rows, :][..., columns]


def crop_to(x: Tensor, height: int, width: int) -> Tensor:
    """The upper left corner; of a slice, torch.export would not know that it is as large as it says."""
    return x.narrow(-2, 0, height).narrow(-1, 0, width)


def build_part(owner: nn.Module, key: str, block: Mapping[str, Any]) -> nn.Module:
    """A registered network that is a part of another.

    Args:
        owner: the network that it becomes a part of, for messages.
        key: the argument that holds the block.
        block: `type`, a registered name, and the arguments of that network.

    Raises:
        ValueError: the block names no network, or the network refuses its arguments.
    """
    arguments = dict(block)
    kind = arguments.pop('type', None)
    if not isinstance(kind, str):
        raise ValueError(f"{type(owner).__name__}: {key} has no 'type'; add the name of a network")
    try:
        return ARCH_REGISTRY.get(kind)(**arguments)
    except Exception as error:  # a network may refuse its arguments as it likes
        said = ' '.join(str(error).split())
        raise ValueError(f'{type(owner).__name__}: {key}: {kind} cannot be built: {said}') from error


def accept_published_keys(net: nn.Module, renames: Mapping[str, str | None]) -> None:
    """Let a network read the weights that its authors published beside those of its own.

    The maps follow the names and shapes that were published, and a strict load says what does not fit. No file of the
    authors is part of the tests: what a published network makes of an image has been compared for none of them.

    Args:
        net: the network, whose own keys no pattern may match.
        renames: pattern -> replacement, as for re.sub; all are applied to a key, in their order. None drops the key: it
            is of a layer that the published network has and never reads.
    """
    # Its public name has been there since torch 2.5 only.
    net._register_load_state_dict_pre_hook(partial(_rename_keys, renames=dict(renames)), with_module=True)


def _rename_keys(net: nn.Module, state_dict: dict, prefix: str, *_: object, renames: Mapping[str, str | None]) -> None:
    for key in [key for key in state_dict if key.startswith(prefix)]:
        name, value = key[len(prefix) :], state_dict.pop(key)
        for pattern, replacement in renames.items():
            if replacement is not None:
                name = re.sub(pattern, replacement, name)
            elif re.search(pattern, name):
                break
        else:
            state_dict[prefix + name] = value


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
