"""DenseDepth169: a DenseNet that is unfolded again, and says how far each pixel is."""

from collections.abc import Sequence
from typing import Literal

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import DenseNet

from okdnet_plugin.archs.arch_util import check_size, crop_to, pad_to_multiple

_SKIPS = ('relu0', 'pool0', 'transition1', 'transition2')


class UpProject(nn.Module):
    """Double the size, and join what the encoder had there by two convolutions.

    Source: DenseDepth (Alhashim and Wonka 2018), without the activation between its convolutions.
    """

    def __init__(self, num_in: int, num_out: int):
        super().__init__()
        self.conv1 = nn.Conv2d(num_in, num_out, 3, 1, 1)
        self.conv2 = nn.Conv2d(num_out, num_out, 3, 1, 1)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = F.interpolate(x, skip.shape[-2:], mode='bilinear', align_corners=True)
        return F.leaky_relu(self.conv2(self.conv1(torch.cat([x, skip], 1))), 0.2)


@ARCH_REGISTRY.register()
class DenseDepth169(nn.Module):
    """Depth of a single image by DenseNet-169 and a decoder.

    The defaults have 42,657,689 parameters; `num_feat=32, growth=16, num_blocks=(4, 8, 12, 8)` has 1,541,980.

    Source: the depth estimator of Liang et al., "Image dehazing via self-supervised depth guidance", Pattern
    Recognition 158, 111051 (2025), in the form of the code that its authors released; after Alhashim and Wonka, "High
    quality monocular depth estimation via transfer learning", arXiv 1812.11941. The decoder estimates farthest over
    actual depth, which that code bounds from below by 1, and gives the inverse. Images are not normalised.

    Smaller sizes are ours, and so are `softplus`, the first bias of the last layer, and padding to sides of 64 px,
    where BatchNorm has more than one value at the bottleneck.

    Args:
        num_feat: channels of the encoder's first layer.
        growth: channels that a layer of the encoder adds.
        num_blocks: layers of each of the four dense blocks.
        bound: how the estimate stays above 1: `threshold`, as in the released code, through which no gradient goes
            where the estimate is below 1; or `softplus`, smooth, for a training from nothing.
        classifier: keep the layer for ImageNet's classes, 1,665,000 parameters that nothing reads and nothing trains.

    Raises:
        ValueError: num_blocks are not four numbers of at least 1, or bound is another word.
    """

    def __init__(
        self,
        num_feat: int = 64,
        growth: int = 32,
        num_blocks: Sequence[int] = (6, 12, 32, 32),
        bound: Literal['threshold', 'softplus'] = 'threshold',
        classifier: bool = False,
    ):
        super().__init__()
        if len(num_blocks) != 4 or min(num_blocks) < 1:
            raise ValueError(f'DenseDepth169: num_blocks is {num_blocks}, but must be four numbers of at least 1')
        if bound not in ('threshold', 'softplus'):
            raise ValueError(f"DenseDepth169: bound is {bound!r}, but must be one of 'threshold', 'softplus'")
        self.bound = bound
        densenet = DenseNet(growth, tuple(num_blocks), num_feat)  # type: ignore[arg-type]
        self.encoder = densenet.features
        if classifier:
            self.classifier = densenet.classifier.requires_grad_(False)

        widths = [num_feat, num_feat]  # of the skips
        for count in num_blocks[:2]:
            widths.append((widths[-1] + count * growth) // 2)
        width = densenet.classifier.in_features
        self.middle = nn.Conv2d(width, width, 1)
        self.ups = nn.ModuleList()
        for skip in reversed(widths):
            self.ups.append(UpProject(width + skip, max(1, width // 2)))
            width = max(1, width // 2)
        self.last = nn.Conv2d(width, 1, 3, 1, 1)
        nn.init.constant_(self.last.bias, 2)  # type: ignore[arg-type]  # above the bound, where there is a gradient

    def forward(self, x: Tensor) -> Tensor:
        """
        Args:
            x: RGB images in [0, 1], shape (N, 3, H, W) with H, W >= 16.

        Returns:
            Depth as part of the farthest, in (0, 1], shape (N, 1, H, W).

        Raises:
            ValueError: an image is smaller than 16x16.
        """
        height, width = check_size(self, x)
        padded = pad_to_multiple(x, 32, 64)
        feature, skips = padded, []
        for name, layer in self.encoder.named_children():
            feature = layer(feature)
            if name in _SKIPS:
                skips.append(feature)
        feature = self.middle(F.relu(feature))
        for up in self.ups:
            feature = up(feature, skips.pop())
        inverse = self.last(feature).to(x.dtype)
        inverse = F.interpolate(inverse, padded.shape[-2:], mode='bilinear', align_corners=True)
        inverse = inverse.clamp(min=1) if self.bound == 'threshold' else 1 + F.softplus(inverse)
        return crop_to(1 / inverse, height, width)
