"""MSBDN: a U-Net whose decoder boosts what it has restored, and whose levels are corrected by all earlier ones."""

from itertools import pairwise
from typing import Annotated

import torch
from annotated_types import Ge, Le
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from okdnet_plugin.archs.arch_util import RDB, ReflectConv, accept_published_keys, check_size, pad_to_multiple
from okdnet_plugin.config.types import Even

# Source: the names of the modules that the authors published (MSBDN-RDFF; without the dense branch, MSBDN-DFF).
_PUBLISHED_KEYS = {
    r'\bconv2d\.': '',
    r'\bdense_layers\.(\d)\.conv\.': r'layers.\1.',
    r'\bconv_1x1\.': 'fuse.',
    r'^conv_input\.': 'head.',
    r'^conv_output\.': 'tail.',
    r'^dehaze\.res(\d+)\.': r'bottom.\1.',
    r'^dense(\d)\.': r'encoders.\1.',
    **{rf'^dense_{4 - i}\.': f'decoders.{i}.' for i in range(4)},
    **{rf'^conv{2 ** (i + 1)}x\.': f'downs.{i}.' for i in range(4)},
    **{rf'^convd{2 ** (4 - i)}x\.': f'ups.{i}.' for i in range(4)},
    **{rf'^conv{i + 1}\.': f'encoder_fusions.{i}.dense.' for i in range(4)},
    **{rf'^conv_{4 - i}\.': f'decoder_fusions.{i}.dense.' for i in range(4)},
    **{rf'^fusion{i + 1}\.': f'encoder_fusions.{i}.projection.' for i in range(4)},
    **{rf'^fusion_{4 - i}\.': f'decoder_fusions.{i}.projection.' for i in range(4)},
    r'^(encoder_.*)\.up_convs\.': r'\1.there.',
    r'^(encoder_.*)\.down_convs\.': r'\1.back.',
    r'^(decoder_.*)\.down_convs\.': r'\1.there.',
    r'^(decoder_.*)\.up_convs\.': r'\1.back.',
    r'\.(there|back)\.(\d)\.(?:de)?conv\.': r'.\1.\2.0.',
    r'\.(there|back)\.(\d)\.act\.': r'.\1.\2.1.',
}


class ResidualBlock(nn.Module):
    """Two convolutions, a tenth of whose result is added to the input.

    Source: MSBDN, after EDSR (Lim et al., CVPRW 2017).
    """

    def __init__(self, num_feat: int):
        super().__init__()
        self.conv1 = ReflectConv(num_feat, num_feat, 3)
        self.conv2 = ReflectConv(num_feat, num_feat, 3)
        self.relu = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * self.conv2(self.relu(self.conv1(x)))


def make_blocks(num_feat: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(num_feat) for _ in range(count)))


class BackProjection(nn.Module):
    """Correct a feature by its differences from those of the levels before, each taken at that level's size.

    Source: MSBDN, "Dense feature fusion module".

    Args:
        widths: channels at this level and at those before, the nearest first.
        to_finer: the levels before have the larger sizes, as in the encoder.
    """

    def __init__(self, widths: list[int], to_finer: bool):
        super().__init__()
        there, back = (nn.ConvTranspose2d, nn.Conv2d) if to_finer else (nn.Conv2d, nn.ConvTranspose2d)
        self.there = nn.ModuleList(nn.Sequential(there(a, b, 4, 2, 1), nn.PReLU()) for a, b in pairwise(widths))
        self.back = nn.ModuleList(nn.Sequential(back(b, a, 4, 2, 1), nn.PReLU()) for a, b in pairwise(widths))

    def forward(self, x: Tensor, earlier: list[Tensor]) -> Tensor:
        """
        Args:
            x: feature of this level.
            earlier: those of the levels before, the farthest first.
        """
        for distance, feature in zip(range(len(earlier), 0, -1), earlier, strict=True):
            projected = x
            for step in self.there[:distance]:
                projected = step(projected)
            error = projected - feature
            for step in reversed(self.back[:distance]):
                error = step(error)
            x = x + error
        return x


class DenseFeatureFusion(nn.Module):
    """Back-projection of a level's feature; with a dense branch, of half of it, and a dense block of the other half.

    Source: MSBDN, "Dense feature fusion module". The dense branch is that of MSBDN-RDFF.

    Args:
        widths: channels that are fused at this level and at those before, the nearest first.
        to_finer: the levels before have the larger sizes.
        dense_branch: as many channels again go through a residual dense block.
    """

    def __init__(self, widths: list[int], to_finer: bool, dense_branch: bool):
        super().__init__()
        self.projection = BackProjection(widths, to_finer)
        self.dense = RDB(widths[0], widths[0], bias=False) if dense_branch else None

    def forward(self, x: Tensor, earlier: list[Tensor]) -> tuple[Tensor, Tensor]:
        """
        Returns:
            The fused feature, of x's shape, and what of it later levels are corrected by.
        """
        if self.dense is None:
            fused = self.projection(x, earlier)
            return fused, fused
        first, second = x.chunk(2, 1)
        fused = self.projection(first, earlier)
        return torch.cat([fused, self.dense(second)], 1), fused


@ARCH_REGISTRY.register()
class MSBDN(nn.Module):
    """Multi-scale boosted dehazing network with dense feature fusion.

    The defaults have 28,712,861 parameters, the 28.71 M of OKDNet's Table 1: the authors' later network, MSBDN-RDFF.
    With `dense_branch=False` it is that of the paper, MSBDN-DFF, of 31,353,061.

    Source: Dong et al., "Multi-Scale Boosted Dehazing Network with Dense Feature Fusion", CVPR 2020.

    Args:
        num_feat: channels at full size, an even number; doubled at each of the four smaller sizes.
        num_blocks: residual blocks at each level of encoder and decoder.
        num_bottom_blocks: residual blocks at the smallest size.
        dense_branch: half of a level's channels are fused, half go through a dense block; without it all are fused.
    """

    def __init__(
        self,
        num_feat: Even = 16,
        num_blocks: Annotated[int, Ge(1), Le(1000)] = 3,
        num_bottom_blocks: Annotated[int, Ge(1), Le(1000)] = 18,
        dense_branch: bool = True,
    ):
        super().__init__()
        widths = [num_feat * 2**level for level in range(5)]
        fused = [width // 2 for width in widths] if dense_branch else widths
        self.dense_branch = dense_branch

        self.head = ReflectConv(3, num_feat, 11)
        self.encoders = nn.ModuleList(make_blocks(width, num_blocks) for width in widths[:-1])
        self.downs = nn.ModuleList(ReflectConv(a, b, 3, 2) for a, b in pairwise(widths))
        self.encoder_fusions = nn.ModuleList(
            DenseFeatureFusion(fused[level::-1], True, dense_branch) for level in range(1, 5)
        )
        self.bottom = make_blocks(widths[-1], num_bottom_blocks)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(a, b, 3, 2) for a, b in pairwise(reversed(widths)))
        self.decoders = nn.ModuleList(make_blocks(width, num_blocks) for width in widths[-2::-1])
        self.decoder_fusions = nn.ModuleList(
            DenseFeatureFusion(fused[level:], False, dense_branch) for level in range(3, -1, -1)
        )
        self.tail = ReflectConv(num_feat, 3, 3)
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
        output = self.tail(self.features(pad_to_multiple(x, 16)))[..., :height, :width].to(x.dtype)
        return output if self.training else output.clamp(0, 1)

    def features(self, x: Tensor) -> Tensor:
        """What the tail makes an image of.

        Args:
            x: hazy images whose sides are multiples of 16, shape (N, 3, H, W).

        Returns:
            Shape (N, num_feat, H, W).
        """
        feature = self.head(x)
        skips, earlier = [], [self._fused_part(feature)]
        for encoder, down, fusion in zip(self.encoders, self.downs, self.encoder_fusions, strict=True):
            skips.append(encoder(feature) + feature)
            feature, part = fusion(down(skips[-1]), earlier)
            earlier.append(part)

        feature = self._boost(self.bottom, feature, feature)
        earlier = [self._fused_part(feature)]
        for up, decoder, fusion in zip(self.ups, self.decoders, self.decoder_fusions, strict=True):
            skip = skips.pop()
            restored = F.interpolate(up(feature), skip.shape[-2:], mode='bilinear', align_corners=False)
            feature, part = fusion(self._boost(decoder, skip, restored), earlier)
            earlier.append(part)
        return feature

    def _fused_part(self, feature: Tensor) -> Tensor:
        return feature.chunk(2, 1)[0] if self.dense_branch else feature

    @staticmethod
    def _boost(blocks: nn.Module, skip: Tensor, restored: Tensor) -> Tensor:
        """Strengthen what is restored by the encoder's feature, operate on it, subtract what was there."""
        strengthened = skip + restored
        return blocks(strengthened) + strengthened - restored
