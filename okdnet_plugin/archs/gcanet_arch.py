"""GCANet: smoothed dilated convolutions, and a gate that fuses features of three depths."""

from typing import Annotated

import torch
from annotated_types import Ge, Le
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from okdnet_plugin.archs.arch_util import accept_published_keys, check_size, pad_to_multiple

# Source: the weights that the authors published (wacv_gcanet_dehaze.pth).
_PUBLISHED_KEYS = {
    **{rf'^conv{i + 1}\.': f'encoder.{3 * i}.' for i in range(3)},
    **{rf'^norm{i + 1}\.': f'encoder.{3 * i + 1}.' for i in range(3)},
    **{rf'^res{i + 1}\.': f'blocks.{i}.' for i in range(7)},
    r'^(blocks\.\d)\.pre_conv(\d)\.': r'\1.smooth\2.',
    r'^deconv3\.': 'decoder.0.',
    r'^norm4\.': 'decoder.1.',
    r'^deconv2\.': 'decoder.3.',
    r'^norm5\.': 'decoder.4.',
    r'^deconv1\.': 'decoder.6.',
}


def edge_map(x: Tensor) -> Tensor:
    """How much a pixel differs from its four neighbours, on average over them and the channels.

    Source: the edge channel of GCANet's input, in the form that its published weights ask for. At the border the
    missing neighbours count as no difference.

    Args:
        x: images of any range, shape (N, C, H, W).

    Returns:
        The differences, on x's scale, shape (N, 1, H, W).
    """
    rows = (x[..., 1:, :] - x[..., :-1, :]).abs()
    columns = (x[..., 1:] - x[..., :-1]).abs()
    above, below = F.pad(rows, (0, 0, 1, 0)), F.pad(rows, (0, 0, 0, 1))
    left, right = F.pad(columns, (1, 0)), F.pad(columns, (0, 1))
    return ((above + below + left + right) / 4).mean(1, keepdim=True)


class SharedConv(nn.Module):
    """One k x k filter for every channel: the separable and shared convolution that smooths before a dilated one.

    Source: GCANet, "Smoothed dilated convolution", after Wang and Ji, "Smoothed dilated convolutions for
    improved dense prediction", KDD 2018. It begins as the identity.
    """

    def __init__(self, kernel: int):
        super().__init__()
        self.padding = kernel // 2  # a number, which a trace of torch 2.1 does not make of the weight's shape
        self.weight = nn.Parameter(torch.zeros(1, 1, kernel, kernel))
        with torch.no_grad():
            self.weight[..., kernel // 2, kernel // 2] = 1

    def forward(self, x: Tensor) -> Tensor:
        num_feat = x.shape[1]
        return F.conv2d(x, self.weight.expand(num_feat, -1, -1, -1), padding=self.padding, groups=num_feat)


class SmoothDilatedBlock(nn.Module):
    """Residual block of two dilated convolutions, smoothed first where neighbouring outputs would share no input.

    Source: GCANet, the residual blocks between its encoder and decoder.
    """

    def __init__(self, num_feat: int, dilation: int):
        super().__init__()
        self.smooth1 = SharedConv(2 * dilation - 1) if dilation > 1 else nn.Identity()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, 1, dilation, dilation, bias=False)
        self.norm1 = nn.InstanceNorm2d(num_feat, affine=True)
        self.smooth2 = SharedConv(2 * dilation - 1) if dilation > 1 else nn.Identity()
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, 1, dilation, dilation, bias=False)
        self.norm2 = nn.InstanceNorm2d(num_feat, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        feature = F.relu(self.norm1(self.conv1(self.smooth1(x))))
        feature = self.norm2(self.conv2(self.smooth2(feature)))
        return F.relu(x + feature)


@ARCH_REGISTRY.register()
class GCANet(nn.Module):
    """Gated context aggregation network: what it estimates is the difference of the clear and the hazy image.

    The defaults have 702,818 parameters, as many as the published weights.

    Source: Chen et al., "Gated Context Aggregation Network for Image Dehazing and Deraining", WACV 2019.
    Images are taken to [-128, 127] inside, as the published weights ask.

    Args:
        num_feat: channels of all layers.
        edges: give the network the edge map of an image as a fourth channel.
    """

    dilations = (2, 2, 2, 4, 4, 4, 1)
    fused_depths = (0, 4, 7)
    """After how many blocks the features are taken that the gate fuses, as in the published network."""

    def __init__(self, num_feat: Annotated[int, Ge(1), Le(4096)] = 64, edges: bool = True):
        super().__init__()
        self.edges = edges
        self.encoder = nn.Sequential(
            *self._conv_norm_relu(nn.Conv2d(4 if edges else 3, num_feat, 3, 1, 1, bias=False)),
            *self._conv_norm_relu(nn.Conv2d(num_feat, num_feat, 3, 1, 1, bias=False)),
            *self._conv_norm_relu(nn.Conv2d(num_feat, num_feat, 3, 2, 1, bias=False)),
        )
        self.blocks = nn.ModuleList(SmoothDilatedBlock(num_feat, dilation) for dilation in self.dilations)
        self.gate = nn.Conv2d(len(self.fused_depths) * num_feat, len(self.fused_depths), 3, 1, 1)
        self.decoder = nn.Sequential(
            *self._conv_norm_relu(nn.ConvTranspose2d(num_feat, num_feat, 4, 2, 1)),
            *self._conv_norm_relu(nn.Conv2d(num_feat, num_feat, 3, 1, 1)),
            nn.Conv2d(num_feat, 3, 1),
        )
        accept_published_keys(self, _PUBLISHED_KEYS)

    @staticmethod
    def _conv_norm_relu(conv: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
        return [conv, nn.InstanceNorm2d(conv.out_channels, affine=True), nn.ReLU(inplace=True)]

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
        feature = self.features(pad_to_multiple(x, 2))
        residual = self.decoder[3:](feature)[..., :height, :width].to(x.dtype)
        output = x + residual / 255
        return output if self.training else output.clamp(0, 1)

    def features(self, x: Tensor) -> Tensor:
        """What the last two convolutions make an image of.

        Args:
            x: hazy images in [0, 1] whose sides are even, shape (N, 3, H, W).

        Returns:
            Shape (N, num_feat, H, W).
        """
        pixels = 255 * x
        if self.edges:
            pixels = torch.cat([pixels, edge_map(pixels)], 1)
        features = [self.encoder(pixels - 128)]
        for block in self.blocks:
            features.append(block(features[-1]))
        levels = [features[depth] for depth in self.fused_depths]
        gates = self.gate(torch.cat(levels, 1)).split(1, 1)
        fused = sum(level * gate for level, gate in zip(levels, gates, strict=True))
        return self.decoder[:3](fused)
