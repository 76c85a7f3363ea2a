"""DADehazer: the dehazing network of DA, a U-Net that gives an image at each of four sizes."""

from typing import NamedTuple

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from okdnet_plugin.archs.arch_util import ReflectConv, accept_published_keys, check_size, pad_to_multiple

# Source: the names of the modules that the authors published.
_PUBLISHED_KEYS = {
    r'^conv1\.1\.': 'head.',
    r'^conv1\.2\.': 'head_norm.',
    r'^conv1\.3\.': 'activation.',
    **{rf'^conv{i + 2}\.model\.': f'encoders.{i}.' for i in range(3)},
    **{rf'^deconv{4 - i}\.model\.': f'decoders.{i + 1}.' for i in range(3)},
    **{rf'^output{4 - i}\.model\.1\.': f'outputs.{i}.' for i in range(4)},
    r'^center\.(\d+)\.layer(\d)\.1\.': r'center.\1.convs.\2.',
    r'^center\.(\d+)\.branch1x1\.1\.': r'center.\1.fuse.',
    r'^center\.\d+\.model\.': 'decoders.0.',
    r'^(encoders\.\d)\.0\.': r'\1.conv1.',
    r'^(encoders\.\d)\.1\.': r'\1.norm1.',
    r'^(encoders\.\d)\.3\.': r'\1.conv2.',
    r'^(encoders\.\d)\.4\.': r'\1.norm2.',
    r'^(decoders\.\d)\.1\.': r'\1.conv1.',
    r'^(decoders\.\d)\.2\.': r'\1.norm1.',
    r'^(decoders\.\d)\.4\.': r'\1.conv2.',
    r'^(decoders\.\d)\.5\.': r'\1.norm2.',
}
# The one PReLU of the network has a name in each of its blocks.
_REPEATED = (
    r'^conv\d\.model\.[25]\.',
    r'^deconv\d\.model\.[36]\.',
    r'^center\.\d+\.model\.[36]\.',
    r'^center\.\d+\.nonlinearity\.',
)


class DABranches(NamedTuple):
    """What a dehazing network of DA says of one batch; images are RGB."""

    output: Tensor
    """The dehazed images at full size, shape (N, 3, H, W); in [0, 1]."""
    smaller: list[Tensor]
    """The same at an eighth, a quarter and half of the size, which is rounded up to a multiple of 16; in [0, 1]."""
    feature: Tensor
    """What comes out of the encoder, for a discriminator of features, shape (N, 8 num_feat, H / 16, W / 16)."""


class TwoConvs(nn.Module):
    """Two convolutions, each with BatchNorm and an activation that the network's blocks share."""

    def __init__(self, conv1: nn.Module, conv2: nn.Module, num_mid: int, num_out: int):
        super().__init__()
        self.conv1 = conv1
        self.norm1 = nn.BatchNorm2d(num_mid)
        self.conv2 = conv2
        self.norm2 = nn.BatchNorm2d(num_out)

    def forward(self, x: Tensor, activation: nn.Module) -> Tensor:
        return activation(self.norm2(self.conv2(activation(self.norm1(self.conv1(x))))))


def _encoder(num_in: int, num_out: int) -> TwoConvs:
    conv1 = nn.Conv2d(num_in, num_out, 3, 1, 1, bias=False)
    return TwoConvs(conv1, nn.Conv2d(num_out, num_out, 3, 1, 1, bias=False), num_out, num_out)


def _decoder(num_in: int, num_mid: int, num_out: int) -> TwoConvs:
    """One that doubles the size."""
    conv1 = ReflectConv(num_in, num_mid, 3, bias=False)
    return TwoConvs(conv1, nn.ConvTranspose2d(num_mid, num_out, 3, 2, 1, 1), num_mid, num_out)


class InceptionBlock(nn.Module):
    """Convolutions of several dilations side by side, one that fuses them, and the input added.

    Source: the network that the authors of DA published.
    """

    def __init__(self, num_feat: int, num_dilations: int):
        super().__init__()
        self.convs = nn.ModuleList(
            ReflectConv(num_feat, num_feat, 3, dilation=2 * i + 1, bias=False) for i in range(num_dilations)
        )
        self.norm1 = nn.BatchNorm2d(num_dilations * num_feat)
        self.fuse = ReflectConv(num_dilations * num_feat, num_feat, 3, bias=False)
        self.norm2 = nn.BatchNorm2d(num_feat)

    def forward(self, x: Tensor, activation: nn.Module) -> Tensor:
        feature = activation(self.norm1(torch.cat([conv(x) for conv in self.convs], 1)))
        return activation(self.norm2(self.fuse(feature)) + x)


@ARCH_REGISTRY.register()
class DADehazer(nn.Module):
    """One dehazing network of DA (domain adaptation): a U-Net whose skips count little, with images of four sizes.

    The defaults have 54,591,388 parameters (54.59 M in OKDNet's Table 1). The whole of DA trains two of them, one on
    synthetic and one on real haze, and two networks that translate between the kinds of haze.

    Source: Shao et al., "Domain adaptation for image dehazing", CVPR 2020; layers as released. Images are taken to
    [-1, 1] inside, and are reflected to multiples of 16 px and at least 32.

    Args:
        num_feat: channels at full size, even; eight times as many at the smallest size.
        num_centers: inception blocks at the smallest size.
        num_dilations: dilations of an inception block: 1, 3, 5, …
        skip_weight: of the encoder's feature at an eighth of the size; half of it at a quarter, a tenth at half size.

    Raises:
        ValueError: num_feat is odd.
    """

    def __init__(self, num_feat: int = 64, num_centers: int = 3, num_dilations: int = 3, skip_weight: float = 0.1):
        super().__init__()
        if num_feat % 2:
            raise ValueError(f'DADehazer: num_feat is {num_feat}, but must be even')
        n = num_feat
        self.skip_weights = (skip_weight, skip_weight * 0.5, skip_weight * 0.1)
        self.head = ReflectConv(3, n, 7, bias=False)
        self.head_norm = nn.BatchNorm2d(n)
        self.activation = nn.PReLU()
        self.encoders = nn.ModuleList(_encoder(n * 2**i, n * 2 ** (i + 1)) for i in range(3))
        self.center = nn.ModuleList(InceptionBlock(8 * n, num_dilations) for _ in range(num_centers))
        self.decoders = nn.ModuleList(
            [
                _decoder(8 * n, 8 * n, 4 * n),
                _decoder(8 * n, 8 * n, 2 * n),
                _decoder(4 * n + 3, 4 * n, n),
                _decoder(2 * n + 3, 2 * n, n // 2),
            ]
        )
        self.outputs = nn.ModuleList(
            ReflectConv(num_in, 3, kernel, bias=False)
            for num_in, kernel in ((8 * n, 3), (4 * n + 3, 3), (2 * n + 3, 3), (n // 2 + 3, 7))
        )
        accept_published_keys(self, _PUBLISHED_KEYS, _REPEATED)

    def forward(self, x: Tensor, return_scales: bool = False) -> Tensor | DABranches:
        """
        Args:
            x: hazy RGB images in [0, 1], shape (N, 3, H, W) with H, W >= 16.
            return_scales: give the smaller images and the encoder's feature too, as DA's losses need them.

        Returns:
            The dehazed images, of x's shape, in [0, 1]. With return_scales, a DABranches.

        Raises:
            ValueError: an image is smaller than 16x16.
        """
        height, width = check_size(self, x)
        hazy = pad_to_multiple(2 * x - 1, 16, smallest=32)
        skips = [F.avg_pool2d(self.activation(self.head_norm(self.head(hazy))), 2)]
        for encoder in self.encoders:
            skips.append(F.avg_pool2d(encoder(skips[-1], self.activation), 2))
        encoded = feature = skips.pop()
        for block in self.center:
            feature = block(feature, self.activation)
        feature = self.decoders[0](feature, self.activation)

        images: list[Tensor] = []
        for decoder, output, weight in zip(self.decoders[1:], self.outputs, self.skip_weights, strict=False):
            feature = self._with_image([feature, skips.pop() * weight], images)
            images.append(torch.tanh(output(feature)))
            feature = decoder(feature, self.activation)
        images.append(torch.tanh(self.outputs[3](self._with_image([feature], images))))

        *smaller, output = ((image.to(x.dtype) + 1) / 2 for image in images)
        output = output[..., :height, :width]
        return DABranches(output, smaller, encoded) if return_scales else output

    @staticmethod
    def _with_image(features: list[Tensor], images: list[Tensor]) -> Tensor:
        """Features and, if there is one, the image of the size before, at twice its size."""
        larger = [F.interpolate(image, scale_factor=2.0, mode='nearest') for image in images[-1:]]
        return torch.cat([*features, *larger], 1)
