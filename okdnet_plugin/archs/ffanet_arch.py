"""FFA-Net: residual groups with channel and pixel attention, and attention that fuses the groups."""

from typing import Annotated

import torch
from annotated_types import Ge, Le
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from okdnet_plugin.archs.arch_util import accept_published_keys, check_size

# Source: the names of the modules that the authors published. Their file holds the weights under `model`.
_PUBLISHED_KEYS = {
    r'^pre\.0\.': 'head.',
    **{rf'^g{i + 1}\.gp\.': f'groups.{i}.layers.' for i in range(3)},
    r'\.calayer\.ca\.': '.channel_attention.mlp.',
    r'\bpalayer\.pa\.': 'pixel_attention.mlp.',
    r'^ca\.1\.': 'group_attention.0.',
    r'^ca\.3\.': 'group_attention.2.',
    r'^post\.': 'tail.',
}


def make_mlp(num_in: int, num_hidden: int, num_out: int) -> nn.Sequential:
    """Two 1x1 convolutions; a width that a small network reduces to nothing stays 1."""
    num_hidden = max(1, num_hidden)
    return nn.Sequential(nn.Conv2d(num_in, num_hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(num_hidden, num_out, 1))


class ChannelAttention(nn.Module):
    """One weight a channel, from the channels' means.

    Source: FFA-Net, "Feature attention".
    """

    def __init__(self, num_feat: int):
        super().__init__()
        self.mlp = make_mlp(num_feat, num_feat // 8, num_feat)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.mlp(x.mean((2, 3), keepdim=True)))


class PixelAttention(nn.Module):
    """One weight a pixel, from its channels.

    Source: FFA-Net, "Feature attention".
    """

    def __init__(self, num_feat: int):
        super().__init__()
        self.mlp = make_mlp(num_feat, num_feat // 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.mlp(x))


class FFABlock(nn.Module):
    """Two convolutions, the input added after each, with both attentions after the second.

    Source: FFA-Net, "Basic block structure".
    """

    def __init__(self, num_feat: int):
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.channel_attention = ChannelAttention(num_feat)
        self.pixel_attention = PixelAttention(num_feat)

    def forward(self, x: Tensor) -> Tensor:
        feature = self.conv2(F.relu(self.conv1(x)) + x)
        return self.pixel_attention(self.channel_attention(feature)) + x


class FFAGroup(nn.Module):
    """Blocks and a convolution, and the input added.

    Source: FFA-Net, "Group architecture".
    """

    def __init__(self, num_feat: int, num_blocks: int):
        super().__init__()
        self.layers = nn.Sequential(
            *(FFABlock(num_feat) for _ in range(num_blocks)), nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + x


@ARCH_REGISTRY.register()
class FFANet(nn.Module):
    """Feature fusion attention network.

    The defaults have 4,455,913 parameters; `num_feat=16, num_blocks=6` is a student of 96,007.

    Source: Qin et al., "FFA-Net: Feature Fusion Attention Network for Single Image Dehazing", AAAI 2020.
    As in the published network, images are normalised inside by the mean and deviation of hazy ones, and it is the
    normalised image that is added to make the clear one.

    Args:
        num_feat: channels of all layers.
        num_groups: groups, each of whose outputs takes part in the fusion.
        num_blocks: blocks of each group.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        num_feat: Annotated[int, Ge(16), Le(4096)] = 64,
        num_groups: Annotated[int, Ge(1), Le(100)] = 3,
        num_blocks: Annotated[int, Ge(1), Le(1000)] = 19,
    ):
        super().__init__()
        self.register_buffer('mean', torch.tensor([0.64, 0.6, 0.58]).view(3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor([0.14, 0.15, 0.152]).view(3, 1, 1), persistent=False)
        self.head = nn.Conv2d(3, num_feat, 3, 1, 1)
        self.groups = nn.ModuleList(FFAGroup(num_feat, num_blocks) for _ in range(num_groups))
        self.group_attention = make_mlp(num_groups * num_feat, num_feat // 16, num_groups * num_feat)
        self.pixel_attention = PixelAttention(num_feat)
        self.tail = nn.Sequential(nn.Conv2d(num_feat, num_feat, 3, 1, 1), nn.Conv2d(num_feat, 3, 3, 1, 1))
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
        check_size(self, x)
        hazy = (x - self.mean) / self.std
        output = hazy + self.tail(self.features(hazy)).to(x.dtype)
        return output if self.training else output.clamp(0, 1)

    def features(self, hazy: Tensor) -> Tensor:
        """What the tail makes an image of.

        Args:
            hazy: normalised images, shape (N, 3, H, W).

        Returns:
            Shape (N, num_feat, H, W).
        """
        feature, of_groups = self.head(hazy), []
        for group in self.groups:
            feature = group(feature)
            of_groups.append(feature)
        means = torch.cat([feature.mean((2, 3), keepdim=True) for feature in of_groups], 1)
        weights = torch.sigmoid(self.group_attention(means)).chunk(len(of_groups), 1)
        fused = sum(weight * feature for weight, feature in zip(weights, of_groups, strict=True))
        return self.pixel_attention(fused)
