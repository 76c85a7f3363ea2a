"""DCPDN: a transmission map, an airlight and the scattering model in one network, and a refinement of the result."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import DenseNet

from okdnet_plugin.archs.arch_util import (
    PYRAMID_KEYS,
    PyramidHead,
    accept_published_keys,
    check_size,
    pad_to_multiple,
)
from okdnet_plugin.archs.okdnet_arch import ANet


def _unet_keys(published: str, own: str) -> dict[str, str]:
    """Names of the layers of an ANet in the authors' files."""
    keys = {rf'^{published}\.layer1\.layer1\.': f'{own}.downs.0.'}
    for i in range(1, 8):
        keys[rf'^{published}\.layer{i + 1}\.layer{i + 1}\.conv\.'] = f'{own}.downs.{i}.1.'
        keys[rf'^{published}\.layer{i + 1}\.layer{i + 1}\.bn\.'] = f'{own}.downs.{i}.2.'
        keys[rf'^{published}\.dlayer{9 - i}\.dlayer{9 - i}\.tconv\.'] = f'{own}.ups.{i - 1}.1.'
        keys[rf'^{published}\.dlayer{9 - i}\.dlayer{9 - i}\.bn\.'] = f'{own}.ups.{i - 1}.2.'
    return keys | {rf'^{published}\.dlayer1\.dlayer1\.tconv\.': f'{own}.last.1.'}


# Source: the names of the modules that the authors published.
_PUBLISHED_KEYS = {
    r'^tran_dense\.conv0\.': 'transmission.stem.0.',
    r'^tran_dense\.norm0\.': 'transmission.stem.1.',
    # Older versions of torchvision wrote norm.1 for norm1.
    r'^(tran_dense\.dense_block[123]\.denselayer\d+\.)(norm|conv)\.([12])\.': r'\1\2\3.',
    **{rf'^tran_dense\.dense_block{i + 1}\.': f'transmission.downs.{i}.0.' for i in range(3)},
    **{rf'^tran_dense\.trans_block{i + 1}\.': f'transmission.downs.{i}.1.' for i in range(3)},
    **{rf'^tran_dense\.dense_block{i + 4}\.': f'transmission.ups.{i}.dense.' for i in range(5)},
    **{rf'^tran_dense\.trans_block{i + 4}\.': f'transmission.ups.{i}.transition.' for i in range(5)},
    r'^(transmission\.ups\.\d\.\w+)\.bn1\.': r'\1.0.',
    r'^(transmission\.ups\.\d\.\w+)\.conv1\.': r'\1.2.',
    r'^(transmission\.ups\.\d\.\w+)\.bn2\.': r'\1.3.',
    r'^(transmission\.ups\.\d\.\w+)\.conv2\.': r'\1.5.',
    r'^tran_dense\.conv_refin\.': 'transmission.refine.',
    r'^tran_dense\.': 'transmission.',
    **_unet_keys('atp_est', 'airlight'),
    **_unet_keys('tran_est', 'unused_generator.unet'),
    r'^tran_est\.dlayerfinal\.dlayer1\.conv\.': 'unused_generator.last.',
    r'^tran_est\.': 'unused_generator.',
    r'^refine1\.': 'refine.0.',
    r'^refine2\.': 'refine.2.',
    r'^batch1\.': 'unused_norm.',
    **PYRAMID_KEYS,
}


class DCPDNBranches(NamedTuple):
    """What DCPDN says of one batch."""

    output: Tensor
    """J, the dehazed images, RGB, shape (N, 3, H, W); clamped to [0, 1] in eval mode."""
    transmission: Tensor
    """t, the mean over the channels, in [0, 1], shape (N, 1, H, W)."""
    airlight: Tensor
    """A, one colour an image, RGB on the scale of the images, not bounded, shape (N, 3, 1, 1)."""
    transmission_rgb: Tensor
    """t as the network estimates it and the joint loss has it: of each channel, in [-1, 1], shape (N, 3, H, W)."""
    model_based: Tensor
    """What solves the scattering model, before it is refined; not bounded, shape (N, 3, H, W)."""


class DenseUp(nn.Module):
    """A bottleneck whose output is joined to its input, a 1x1 transition, and twice the size.

    Source: DCPDN, Fig. 3, after DenseNet (Huang et al., CVPR 2017).
    """

    def __init__(self, num_in: int, growth: int, num_out: int):
        super().__init__()
        self.dense = nn.Sequential(
            nn.BatchNorm2d(num_in),
            nn.ReLU(inplace=True),
            nn.Conv2d(num_in, 4 * growth, 1, bias=False),
            nn.BatchNorm2d(4 * growth),
            nn.ReLU(inplace=True),
            nn.Conv2d(4 * growth, growth, 3, 1, 1, bias=False),
        )
        self.transition = nn.Sequential(
            nn.BatchNorm2d(num_in + growth),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(num_in + growth, num_out, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.transition(torch.cat([x, self.dense(x)], 1))
        return F.interpolate(x, scale_factor=2.0, mode='nearest')


class TransmissionNet(nn.Module):
    """Densely connected encoder and decoder with a pyramid of means, for the transmission of each channel.

    Source: DCPDN, "Pyramid densely connected transmission map estimation network". The encoder is that of DenseNet-121
    down to its third transition.
    """

    def __init__(self, num_feat: int, num_blocks: Sequence[int]):
        super().__init__()
        first, second, third = num_blocks
        encoder = DenseNet(num_feat // 2, (first, second, third, 1), num_feat).features
        widths, width = [], num_feat
        for count in num_blocks:
            width = (width + count * (num_feat // 2)) // 2
            widths.append(width)
        self.stem = nn.Sequential(*(encoder.get_submodule(f'{name}0') for name in ('conv', 'norm', 'relu', 'pool')))
        self.downs = nn.ModuleList(
            nn.Sequential(encoder.get_submodule(f'denseblock{i}'), encoder.get_submodule(f'transition{i}'))
            for i in (1, 2, 3)
        )
        self.ups = nn.ModuleList(
            [
                DenseUp(widths[2], 4 * num_feat, 2 * num_feat),
                DenseUp(2 * num_feat + widths[1], 4 * num_feat, 2 * num_feat),
                DenseUp(2 * num_feat + widths[0], 2 * num_feat, num_feat),
                DenseUp(num_feat, num_feat, num_feat // 2),
                DenseUp(num_feat // 2, num_feat // 2, num_feat // 4),
            ]
        )
        self.refine = nn.Conv2d(num_feat // 4 + 3, 20, 3, 1, 1)
        self.head = PyramidHead(20)

    def forward(self, x: Tensor) -> Tensor:
        """
        Args:
            x: images whose sides are multiples of 32, and 64 or more, shape (N, 3, H, W).

        Returns:
            In [-1, 1], shape (N, 3, H, W).
        """
        down1, down2, down3 = self.downs
        half = down1(self.stem(x))
        quarter = down2(half)
        up1, up2, up3, up4, up5 = self.ups
        feature = up1(down3(quarter))
        feature = up2(torch.cat([feature, quarter], 1))
        feature = up5(up4(up3(torch.cat([feature, half], 1))))
        return self.head(F.leaky_relu(self.refine(torch.cat([feature, x], 1)), 0.2))


@ARCH_REGISTRY.register()
class DCPDN(nn.Module):
    """Densely connected pyramid dehazing network: transmission and airlight solve the scattering model.

    The defaults have 12,439,766 parameters, of which 40 are of a BatchNorm that the released network has and does not
    use. That has 66,889,917 in all, with a generator that it does not use either (`unused='all'`).

    Source: Zhang and Patel, "Densely connected pyramid dehazing network", CVPR 2018. As in the released network the
    transmission has three channels. The airlight is that of the image at 512x512 px, the size of the authors'
    training. Images are reflected to multiples of 32 px and at least 64.

    Args:
        num_feat: channels after the first convolution, a multiple of 4; a dense layer adds half as many.
        num_blocks: dense layers of the three dense blocks of the encoder.
        t_min: is added to the size of the transmission that is divided by. The published value keeps only zero out; a
            training from scratch is steadier with 0.05.
        unused: weights of the released network that nothing uses, kept for its count and its checkpoints and never
            trained: `none`, the `norm`, or `all`.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        num_feat: int = 64,
        num_blocks: Sequence[int] = (6, 12, 24),
        t_min: float = 1e-10,
        unused: Literal['none', 'norm', 'all'] = 'norm',
    ):
        super().__init__()
        if num_feat < 4 or num_feat % 4:
            raise ValueError(f'DCPDN: num_feat is {num_feat}, but must be a multiple of 4')
        if len(num_blocks) != 3 or min(num_blocks) < 1:
            raise ValueError(f'DCPDN: num_blocks is {num_blocks}, but must be three numbers of at least 1')
        if not 0 < t_min < 1:
            raise ValueError(f'DCPDN: t_min is {t_min}, but must lie between 0 and 1')
        if unused not in ('none', 'norm', 'all'):
            raise ValueError(f"DCPDN: unused is {unused!r}, but must be one of 'none', 'norm', 'all'")
        self.t_min = t_min
        self.transmission = TransmissionNet(num_feat, num_blocks)
        self.airlight = ANet(size=512)  # whose bottleneck has four pixels, so that one image can be trained on
        self.refine = nn.Sequential(
            nn.Conv2d(6, 20, 3, 1, 1), nn.LeakyReLU(0.2), nn.Conv2d(20, 20, 3, 1, 1), nn.LeakyReLU(0.2)
        )
        self.head = PyramidHead(20)

        left_out = []
        if unused == 'none':
            left_out.append(r'^batch1\.')
        else:
            self.unused_norm = nn.BatchNorm2d(20).requires_grad_(False)
        if unused == 'all':
            self.unused_generator = _generator().requires_grad_(False)
        else:
            left_out.append(r'^tran_est\.')
        accept_published_keys(self, _PUBLISHED_KEYS, left_out)

    def estimate_airlight(self, x: Tensor) -> Tensor:
        """The airlight of hazy images, to be shared by parts of an image or by images of one scene.

        Args:
            x: hazy RGB images in [0, 1], shape (N, 3, H, W).

        Returns:
            One colour an image, RGB on the scale of x, not bounded, shape (N, 3, 1, 1).
        """
        return self.airlight(x)

    def forward(
        self,
        x: Tensor,
        return_branches: bool = False,
        airlight: Tensor | None = None,
        only_airlight: bool = False,
    ) -> Tensor | DCPDNBranches:
        """
        Args:
            x: hazy RGB images in [0, 1], shape (N, 3, H, W) with H, W >= 16.
            return_branches: give transmission and airlight too, as the joint loss needs them.
            airlight: that of the scene, of shape (N, 3, 1, 1); by default it is estimated from x.
            only_airlight: give what `estimate_airlight` gives, by a call that distributed training can wrap.

        Returns:
            The dehazed images, of x's shape; clamped to [0, 1] in eval mode only. With return_branches, a
            DCPDNBranches; with only_airlight one colour an image, shape (N, 3, 1, 1).

        Raises:
            ValueError: an image is smaller than 16x16.
        """
        height, width = check_size(self, x)
        if only_airlight:
            return self.estimate_airlight(x)
        a = self.airlight(x).to(x.dtype) if airlight is None else airlight
        hazy = pad_to_multiple(x, 32, smallest=64)
        t = self.transmission(hazy).to(x.dtype)
        model_based = (hazy - a) / (t.abs() + self.t_min) + a
        output = self.head(self.refine(torch.cat([model_based, hazy], 1))).to(x.dtype)
        if not self.training:
            output = output.clamp(0, 1)
        output, t, model_based = (image[..., :height, :width] for image in (output, t, model_based))
        if not return_branches:
            return output
        return DCPDNBranches(output, t.abs().mean(1, keepdim=True), a, t, model_based)


def _generator() -> nn.Module:
    """Weights of the generator that the released network builds and never calls."""
    generator = nn.Module()
    generator.unet = ANet(64, num_out=20)
    generator.head = PyramidHead(20)
    generator.last = nn.Conv2d(24, 3, 3, 1, 1, bias=False)
    return generator
