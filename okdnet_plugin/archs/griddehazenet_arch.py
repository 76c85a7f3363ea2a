"""GridDehazeNet: a grid of dense blocks, three sizes by six columns, whose crossings weigh what meets there."""

from collections.abc import Sequence
from typing import Annotated, cast

import torch
from annotated_types import Ge, Le
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from okdnet_plugin.archs.arch_util import (
    RDB,
    accept_published_keys,
    check_size,
    make_down,
    make_up,
    pad_to_multiple,
)
from okdnet_plugin.config.types import Even

# Source: the names of the modules that the authors published.
_PUBLISHED_KEYS = {
    r'\.residual_dense_layers\.(\d+)\.conv\.': r'.layers.\1.',
    r'\.conv_1x1\.': '.fuse.',
    r'^rdb_module\.(\d)_(\d)\.': r'rows.\1.\2.',
    r'^downsample_module\.(\d)_(\d)\.conv1\.': r'downs.\1.\2.0.',
    r'^downsample_module\.(\d)_(\d)\.conv2\.': r'downs.\1.\2.2.',
    **{rf'^upsample_module\.(\d)_{3 + i}\.deconv\.': rf'ups.\1.{i}.0.' for i in range(3)},
    **{rf'^upsample_module\.(\d)_{3 + i}\.conv\.': rf'ups.\1.{i}.2.' for i in range(3)},
}


@ARCH_REGISTRY.register()
class GridDehazeNet(nn.Module):
    """Attention-based multi-scale network: features go right and down, then right and up.

    The defaults have 958,051 parameters. Images are taken to [-1, 1] inside, but come out in [0, 1].

    Source: Liu et al., "GridDehazeNet: Attention-Based Multi-Scale Network for Image Dehazing", ICCV
    2019. Its pre-processing is the first convolution and block, its post-processing the last.

    Args:
        num_feat: channels at full size; doubled at each smaller one.
        num_rows: sizes, each half the one before.
        num_columns: blocks at each size, an even number; in the first half features go down, in the second up.
        growth: channels that each convolution of a residual dense block adds.
        num_layers: convolutions of a residual dense block, before the one that fuses them.

    Raises:
        ValueError: the number of rows is not 2 to 5, or that of columns not even.
    """

    def __init__(
        self,
        num_feat: Annotated[int, Ge(1), Le(4096)] = 16,
        num_rows: Annotated[int, Ge(2), Le(5)] = 3,
        num_columns: Even = 6,
        growth: Annotated[int, Ge(1), Le(4096)] = 16,
        num_layers: Annotated[int, Ge(1), Le(100)] = 4,
    ):
        super().__init__()
        if not 2 <= num_rows <= 5:  # the last would halve images of 16 px to nothing
            raise ValueError(f'GridDehazeNet: num_rows is {num_rows}, but must be 2 to 5')
        if num_columns < 2 or num_columns % 2:
            raise ValueError(f'GridDehazeNet: num_columns is {num_columns}, but must be an even number of at least 2')
        widths = [num_feat * 2**row for row in range(num_rows)]
        self.num_down = num_columns // 2
        self.multiple = 2 ** (num_rows - 1)

        self.conv_in = nn.Conv2d(3, num_feat, 3, 1, 1)
        self.rdb_in = RDB(num_feat, growth, num_layers)
        self.rows = nn.ModuleList(
            nn.ModuleList(RDB(width, growth, num_layers) for _ in range(num_columns - 1)) for width in widths
        )
        self.downs = nn.ModuleList(
            nn.ModuleList(make_down('grid', width) for _ in range(self.num_down)) for width in widths[:-1]
        )
        self.ups = nn.ModuleList(
            nn.ModuleList(make_up('grid', width) for _ in range(self.num_down)) for width in widths[1:]
        )
        # As wide as the widest row everywhere, and also where nothing meets: so the published network counts them.
        self.coefficient = nn.Parameter(torch.ones(num_rows, num_columns, 2, widths[-1]))
        self.rdb_out = RDB(num_feat, growth, num_layers)
        self.conv_out = nn.Conv2d(num_feat, 3, 3, 1, 1)
        accept_published_keys(self, _PUBLISHED_KEYS)

    def forward(self, x: Tensor) -> Tensor:
        """
        Args:
            x: hazy RGB images in [0, 1], shape (N, 3, H, W) with H, W >= 16.

        Returns:
            The dehazed images, of x's shape, not below 0; clamped to [0, 1] in eval mode.

        Raises:
            ValueError: an image is smaller than 16x16.
        """
        height, width = check_size(self, x)
        hazy = 2 * pad_to_multiple(x, self.multiple) - 1

        # A ModuleList does not tell type checkers what it holds.
        rows, downs, ups = (cast('Sequence[nn.ModuleList]', blocks) for blocks in (self.rows, self.downs, self.ups))
        features = [self.rdb_in(self.conv_in(hazy))]  # of one column, from full size to the smallest
        for down in downs:
            features.append(down[0](features[-1]))
        for column in range(1, self.num_down):
            rights = [row[column - 1](feature) for row, feature in zip(rows, features, strict=True)]
            features = rights[:1]
            for i, down in enumerate(downs, 1):
                features.append(self._merge(i, column, rights[i], down[column](features[-1])))
        for column in range(self.num_down, 2 * self.num_down):
            rights = [row[column - 1](feature) for row, feature in zip(rows, features, strict=True)]
            features = rights[-1:]
            for i in reversed(range(len(ups))):
                from_below = ups[i][column - self.num_down](features[0])
                features.insert(0, self._merge(i, column, rights[i], from_below))

        output = F.relu(self.conv_out(self.rdb_out(features[0])))[..., :height, :width].to(x.dtype)
        return output if self.training else output.clamp(max=1)

    def _merge(self, row: int, column: int, from_left: Tensor, from_other_row: Tensor) -> Tensor:
        """The channel-wise weighted sum of what meets at a crossing; one weight a channel and side."""
        num_feat = from_left.shape[1]
        weights = self.coefficient[row, column, :, :num_feat, None, None].to(from_left.dtype)
        return weights[0] * from_left + weights[1] * from_other_row
