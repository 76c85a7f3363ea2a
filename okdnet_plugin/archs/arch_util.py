"""What two or more networks share: sizes and borders of images, published weights, networks inside networks, blocks."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.jit._trace import is_tracing
from torch.nn import functional as F

SMALLEST = 16
"""Shortest side of an image in px that every network of the plugin takes."""


def check_size(net: nn.Module, x: Tensor) -> tuple[int, int]:
    """Height and width of images, shape (N, 3, H, W).

    Raises:
        ValueError: a side is shorter than `SMALLEST`.
    """
    height, width = x.shape[-2:]
    if min(height, width) < SMALLEST:
        raise ValueError(
            f'{type(net).__name__}: an image of {height}x{width} is too small; each side must be {SMALLEST} or more'
        )
    return height, width


def pad_to_multiple(x: Tensor, multiple: int, smallest: int = 0) -> Tensor:
    """Reflect at the right and bottom, to the multiple that the scales of a network need.

    Args:
        x: shape (N, C, H, W) with H, W >= 16.
        multiple: of each side, in px.
        smallest: no side gets shorter than this, itself a multiple.
    """
    height, width = x.shape[-2:]
    if multiple <= 16 and not smallest:
        return F.pad(x, (0, -width % multiple, 0, -height % multiple), mode='reflect')
    bottom, right = (_larger(edge + -edge % multiple, smallest) - edge for edge in (height, width))
    # Not by F.pad, whose borders end with the image, so that a traced graph is right at any size.
    rows, columns = _reflected(height, 0, bottom, x.device), _reflected(width, 0, right, x.device)
    return x.index_select(-2, rows).index_select(-1, columns)


def is_exported() -> bool:
    """Whether a network is being written down for another program, where there is no gradient."""
    return is_tracing() or getattr(torch.compiler, 'is_exporting', bool)()


def crop_to(x: Tensor, height: int, width: int) -> Tensor:
    """The upper left corner; of a slice, torch.export would not know that it is as large as it says."""
    return x.narrow(-2, 0, height).narrow(-1, 0, width)


def luma(x: Tensor) -> Tensor:
    """Brightness of RGB images, shape (N, 3, H, W), on their scale, shape (N, 1, H, W). Source: ITU-R BT.601."""
    red, green, blue = x.split(1, 1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


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


def _larger(one: int, other: int) -> int:
    """The larger number, also of numbers that stand for any size: of torch.export, or of a trace."""
    if isinstance(one, torch.SymInt) or isinstance(other, torch.SymInt):
        larger: Any = torch.sym_max(one, other)
        return larger
    return (one + other + abs(one - other)) // 2


def reflect(x: Tensor, border: tuple[int, int, int, int]) -> Tensor:
    """Continue a feature by its reflection; where the border is wider than the feature, again and again.

    Args:
        x: shape (N, C, H, W).
        border: px at the left, right, top and bottom.
    """
    height, width = x.shape[-2:]
    left, right, top, bottom = border
    if max(left, right) < width and max(top, bottom) < height:
        return F.pad(x, border, mode='reflect')
    rows, columns = _reflected(height, top, bottom, x.device), _reflected(width, left, right, x.device)
    return x.index_select(-2, rows).index_select(-1, columns)


def _reflected(length: int, before: int, after: int, device: torch.device) -> Tensor:
    """Which place of an edge stands at each place of the edge with its border."""
    period = max(2 * (length - 1), 1)
    place = torch.arange(-before, length + after, device=device) % period
    return torch.minimum(place, period - place) if length > 1 else place


class ReflectConv(nn.Conv2d):
    """Convolution of a feature that is reflected at its border, whose size only the stride changes."""

    def __init__(
        self,
        num_in: int,
        num_out: int,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ):
        super().__init__(num_in, num_out, kernel, stride, dilation=dilation, groups=groups, bias=bias)
        self.border = dilation * (kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        border = self.border
        return super().forward(reflect(x, (border, border, border, border)))


class PyramidHead(nn.Module):
    """An image in [-1, 1], of a feature and its means over squares of 32, 16, 8 and 4 px, each one channel.

    Source: DCPDN (Zhang and Patel, CVPR 2018), "Multi-level pyramid pooling module"; EPDN (Qu et al., CVPR 2019) takes
    it over for its enhancer. The sides of the feature are multiples of 32 px.
    """

    scales = (32, 16, 8, 4)

    def __init__(self, num_feat: int):
        super().__init__()
        self.squeeze = nn.ModuleList(nn.Conv2d(num_feat, 1, 1) for _ in self.scales)
        self.out = nn.Conv2d(num_feat + len(self.scales), 3, 3, 1, 1)

    def forward(self, feature: Tensor) -> Tensor:
        means = [F.avg_pool2d(feature, self.scales[-1])]
        for _ in self.scales[1:]:  # the mean of a larger square is that of the means of its quarters
            means.insert(0, F.avg_pool2d(means[0], 2))
        parts = [
            F.interpolate(F.leaky_relu(conv(mean), 0.2), scale_factor=float(scale), mode='nearest')
            for conv, mean, scale in zip(self.squeeze, means, self.scales, strict=True)
        ]
        return torch.tanh(self.out(torch.cat([*parts, feature], 1)))


PYRAMID_KEYS = {
    **{rf'\bconv10{i + 1}0\.': f'head.squeeze.{i}.' for i in range(4)},
    r'\brefine3\.': 'head.out.',
}
"""Names of a PyramidHead's layers in the networks that were published with one, of a module that has it as `head`."""


def accept_published_keys(net: nn.Module, renames: Mapping[str, str], unused: Sequence[str] = ()) -> None:
    """Let a network read the weights that its authors published beside those of its own.

    The maps follow the names and shapes that were published, and a strict load says what does not fit. No file of the
    authors is part of the tests: what a published network makes of an image has been compared for none of them.

    Args:
        net: the network, whose own keys no pattern may match.
        renames: pattern -> replacement, as for re.sub; all are applied to a key, in their order.
        unused: patterns of published keys, as for re.search, that this network does without.
    """
    # Its public name has been there since torch 2.5 only.
    rename = partial(_rename_keys, renames=dict(renames), unused=tuple(unused))
    net._register_load_state_dict_pre_hook(rename, with_module=True)


def _rename_keys(
    net: nn.Module, state_dict: dict, prefix: str, *_: object, renames: Mapping[str, str], unused: Sequence[str]
) -> None:
    for key in [key for key in state_dict if key.startswith(prefix)]:
        name, tensor = key[len(prefix) :], state_dict.pop(key)
        if any(re.search(pattern, name) for pattern in unused):
            continue
        for pattern, replacement in renames.items():
            name = re.sub(pattern, replacement, name)
        state_dict[prefix + name] = tensor


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
