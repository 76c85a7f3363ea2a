"""gUNet: a U-Net of gated depthwise convolutions, whose skips are fused by attention over their channels."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from okdnet_plugin.archs.arch_util import ReflectConv, accept_published_keys, check_size, pad_to_multiple

# Source: the names of the modules that the authors published. Their file holds the weights under `state_dict`.
_PUBLISHED_KEYS = {
    r'^inconv\.proj\.': 'head.',
    r'^outconv\.proj\.0\.': 'tail.',
    r'^layers\.(\d+)\.blocks\.': r'stages.\1.',
    r'^(stages\.\d+\.\d+)\.conv\.Wv\.': r'\1.value.',
    r'^(stages\.\d+\.\d+)\.conv\.Wg\.0\.': r'\1.gate.',
    r'^(stages\.\d+\.\d+)\.conv\.proj\.': r'\1.project.',
    r'^downs\.(\d+)\.proj\.': r'downs.\1.',
    r'^ups\.(\d+)\.proj\.0\.': r'ups.\1.0.',
    r'^fusions\.(\d+)\.mlp\.1\.': r'fusions.\1.mlp.0.',
    r'^fusions\.(\d+)\.mlp\.3\.': r'fusions.\1.mlp.2.',
}


def init_residual(module: nn.Module, num_blocks: int, gain: float | None = None) -> None:
    """Draw the weights of convolutions narrower, the more residual blocks a network has.

    Source: gUNet and DehazeFormer as published.

    Args:
        module: whose convolutions are meant.
        num_blocks: of the whole network.
        gain: of the standard deviation; by default that of so many blocks.
    """
    factor = (8 * num_blocks) ** -0.25 if gain is None else gain
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(layer.weight)
            nn.init.trunc_normal_(layer.weight, std=factor * math.sqrt(2 / (fan_in + fan_out)))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class SKFusion(nn.Module):
    """Sum of two features, each channel of which weighs both, from the mean of their sum.

    Source: gUNet, "Selective kernel fusion", after Li et al., "Selective kernel networks", CVPR 2019. DehazeFormer, by
    the same authors, has it too.
    """

    def __init__(self, num_feat: int):
        super().__init__()
        num_hidden = max(num_feat // 8, 4)
        self.mlp = nn.Sequential(
            nn.Conv2d(num_feat, num_hidden, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(num_hidden, 2 * num_feat, 1, bias=False),
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        mean = (first + second).mean((2, 3), keepdim=True)
        # Two weights that sum to one are one sigmoid of their difference.
        weights, others = self.mlp(mean).chunk(2, 1)
        return second + torch.sigmoid(weights - others) * (first - second)


class GatedConvBlock(nn.Module):
    """BatchNorm, a depthwise convolution times a gate, a projection, and the input added.

    Source: gUNet, "Gated convolution block".
    """

    def __init__(self, num_feat: int, kernel: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(num_feat)
        self.value = nn.Sequential(
            nn.Conv2d(num_feat, num_feat, 1), ReflectConv(num_feat, num_feat, kernel, groups=num_feat)
        )
        self.gate = nn.Conv2d(num_feat, num_feat, 1)
        self.project = nn.Conv2d(num_feat, num_feat, 1)

    def forward(self, x: Tensor) -> Tensor:
        feature = self.norm(x)
        return x + self.project(self.value(feature) * torch.sigmoid(self.gate(feature)))


@ARCH_REGISTRY.register()
class gUNet(nn.Module):  # the authors' name
    """U-Net of gated convolution blocks; what it estimates is the difference of the clear and the hazy image.

    The defaults are gUNet-T, `num_blocks=(4, 4, 4, 8, 4, 4, 4)` is gUNet-S. As released they have 844,899 and 1,477,059
    parameters; the paper says 0.805 M and 1.413 M, counted in units of 2**20 (0.806 and 1.409). Images are taken to
    [-1, 1] inside.

    Source: Song et al., "Rethinking performance gains in image dehazing networks", arXiv 2209.11448.

    Args:
        num_feat: channels at full size; doubled at each smaller one.
        num_blocks: blocks of each stage, from full size to the smallest and back; an odd count of numbers.
        kernel: of the depthwise convolutions, odd, in px.

    Raises:
        ValueError: num_blocks are no odd count of 3 to 9 numbers, or the kernel is even.
    """

    def __init__(self, num_feat: int = 24, num_blocks: Sequence[int] = (2, 2, 2, 4, 2, 2, 2), kernel: int = 5):
        super().__init__()
        if len(num_blocks) % 2 == 0 or not 3 <= len(num_blocks) <= 9 or min(num_blocks) < 0:
            raise ValueError(f'gUNet: num_blocks is {num_blocks}, but must be 3, 5, 7 or 9 numbers of at least 0')
        if kernel % 2 == 0:
            raise ValueError(f'gUNet: kernel is {kernel}, but must be odd')
        depth = len(num_blocks) // 2
        widths = [num_feat * 2**level for level in range(depth + 1)]
        self.depth = depth

        self.head = ReflectConv(3, num_feat, 3)
        self.stages = nn.ModuleList(
            nn.Sequential(*(GatedConvBlock(width, kernel) for _ in range(count)))
            for width, count in zip(widths + widths[-2::-1], num_blocks, strict=True)
        )
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 2, 2) for a, b in pairwise(widths))
        self.skips = nn.ModuleList(nn.Conv2d(width, width, 1) for width in widths[:-1])
        self.ups = nn.ModuleList(nn.Sequential(nn.Conv2d(b, 4 * a, 1), nn.PixelShuffle(2)) for a, b in pairwise(widths))
        self.fusions = nn.ModuleList(SKFusion(width) for width in widths[:-1])
        self.tail = ReflectConv(num_feat, 3, 3)
        init_residual(self.stages, sum(num_blocks))
        accept_published_keys(self, _PUBLISHED_KEYS)

    def forward(self, x: Tensor) -> Tensor:
        """
        Args:
            x: hazy RGB images in [0, 1], shape (N, 3, H, W) with H, W >= 16.

        Returns:
            The dehazed images, of x's shape; clamped to [0, 1] in eval mode only.

        Raises:
            ValueError: an image is smaller than 16x16.
        """
        height, width = check_size(self, x)
        feature = self.head(pad_to_multiple(2 * x - 1, 2**self.depth))
        skips = []
        for stage, skip, down in zip(self.stages, self.skips, self.downs, strict=False):
            feature = stage(feature)
            skips.append(skip(feature))
            feature = down(feature)
        feature = self.stages[self.depth](feature)
        for level in reversed(range(self.depth)):
            feature = self.fusions[level](self.ups[level](feature), skips[level])
            feature = self.stages[2 * self.depth - level](feature)
        residual = self.tail(feature)[..., :height, :width].to(x.dtype)
        output = x + residual / 2  # [-1, 1] is twice as wide
        return output if self.training else output.clamp(0, 1)
