"""EPDN: dehazing as a translation from coarse to fine, and two enhancers of what comes out."""

from typing import Literal, NamedTuple

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from okdnet_plugin.archs.arch_util import (
    PYRAMID_KEYS,
    PyramidHead,
    ReflectConv,
    accept_published_keys,
    check_size,
    pad_to_multiple,
)


class EPDNBranches(NamedTuple):
    """What EPDN says of one batch; images are RGB, shape (N, 3, H, W)."""

    output: Tensor
    """What the enhancers give; clamped to [0, 1] in eval mode."""
    translated: Tensor
    """What the generator gives, which the discriminator judges; in [0, 1]."""


def _conv_norm_relu(conv: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    return [conv, nn.InstanceNorm2d(conv.out_channels), nn.ReLU(inplace=True)]


def _down(num_feat: int) -> list[nn.Module]:
    return _conv_norm_relu(nn.Conv2d(num_feat, 2 * num_feat, 3, 2, 1))


def _up(num_feat: int) -> list[nn.Module]:
    return _conv_norm_relu(nn.ConvTranspose2d(num_feat, num_feat // 2, 3, 2, 1, 1))


class ResidualBlock(nn.Module):
    """Two convolutions, and the input added.

    Source: pix2pixHD (Wang et al., CVPR 2018), of which EPDN's generator is made.
    """

    def __init__(self, num_feat: int):
        super().__init__()
        self.conv1 = ReflectConv(num_feat, num_feat, 3)
        self.norm1 = nn.InstanceNorm2d(num_feat)
        self.conv2 = ReflectConv(num_feat, num_feat, 3)
        self.norm2 = nn.InstanceNorm2d(num_feat)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))


class Enhancer(nn.Module):
    """Two convolutions and a pyramid of means, of a generated image and another one, all in [-1, 1].

    Source: EPDN, "Enhancer".
    """

    def __init__(self, unused: bool):
        super().__init__()
        self.refine = nn.Sequential(
            nn.Conv2d(6, 20, 3, 1, 1), nn.LeakyReLU(0.2), nn.Conv2d(20, 20, 3, 1, 1), nn.LeakyReLU(0.2)
        )
        self.head = PyramidHead(20)
        if unused:
            self.unused_norm = nn.InstanceNorm2d(100, affine=True).requires_grad_(False)

    def forward(self, generated: Tensor, other: Tensor) -> Tensor:
        return self.head(self.refine(torch.cat([generated, other], 1)))


@ARCH_REGISTRY.register()
class EPDN(nn.Module):
    """Enhanced Pix2pix dehazing network: a coarse-to-fine generator without a scattering model, and two enhancers.

    The defaults have 17,379,249 parameters, those of the released network, which include 400 that it does not use.

    Source: Qu et al., "Enhanced Pix2pix dehazing network", CVPR 2019. Images are taken to [-1, 1] inside, and are
    reflected to multiples of 32 px and at least 64, where the smallest size of the generator has four pixels.

    Args:
        num_feat: channels at full size.
        num_downs: halvings of the coarse generator, which begins at half size.
        num_blocks: residual blocks of the coarse generator, at its smallest size.
        num_fine_blocks: residual blocks at half size, where the coarse generator is joined.
        unused: weights of the released network that nothing uses, kept for its count and its checkpoints and never
            trained: `all`, or `none`.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        num_feat: int = 16,
        num_downs: int = 4,
        num_blocks: int = 3,
        num_fine_blocks: int = 3,
        unused: Literal['none', 'all'] = 'all',
    ):
        super().__init__()
        if not 1 <= num_downs <= 6:
            raise ValueError(f'EPDN: num_downs is {num_downs}, but must be 1 to 6')
        if unused not in ('none', 'all'):
            raise ValueError(f"EPDN: unused is {unused!r}, but must be one of 'none', 'all'")
        self.multiple = max(2 ** (num_downs + 1), 32)
        widths = [2 * num_feat * 2**i for i in range(num_downs + 1)]
        self.coarse = nn.Sequential(
            *_conv_norm_relu(ReflectConv(3, widths[0], 7)),
            *(layer for width in widths[:-1] for layer in _down(width)),
            *(ResidualBlock(widths[-1]) for _ in range(num_blocks)),
            *(layer for width in widths[:0:-1] for layer in _up(width)),
        )
        self.fine_in = nn.Sequential(*_conv_norm_relu(ReflectConv(3, num_feat, 7)), *_down(num_feat))
        self.fine_out = nn.Sequential(
            *(ResidualBlock(2 * num_feat) for _ in range(num_fine_blocks)),
            *_up(2 * num_feat),
            ReflectConv(num_feat, 3, 7),
            nn.Tanh(),
        )
        self.enhancers = nn.ModuleList(Enhancer(unused == 'all') for _ in range(2))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=0.02)
        keys = _published_keys(num_fine_blocks)
        accept_published_keys(self, keys, [r'\.batch1\.'] if unused == 'none' else [])

    def forward(self, x: Tensor, return_translated: bool = False) -> Tensor | EPDNBranches:
        """
        Args:
            x: hazy RGB images in [0, 1], shape (N, 3, H, W) with H, W >= 16.
            return_translated: give the generator's image too, as the adversarial loss needs it.

        Returns:
            The dehazed images, of x's shape; clamped to [0, 1] in eval mode only. With return_translated, an
            EPDNBranches.

        Raises:
            ValueError: an image is smaller than 16x16.
        """
        height, width = check_size(self, x)
        hazy = pad_to_multiple(2 * x - 1, self.multiple, smallest=2 * self.multiple)
        # Contiguous: where channels are innermost, CUDA's gradient of a padded window is wrong (pytorch issue 188344).
        coarse = self.coarse(F.avg_pool2d(hazy.contiguous(), 3, 2, 1, count_include_pad=False))
        translated = self.fine_out(self.fine_in(hazy) + coarse)
        first, second = self.enhancers
        output = second(translated, first(translated, hazy))
        output, translated = ((image[..., :height, :width].to(x.dtype) + 1) / 2 for image in (output, translated))
        if not self.training:
            output = output.clamp(0, 1)
        return EPDNBranches(output, translated) if return_translated else output


def _published_keys(num_fine_blocks: int) -> dict[str, str]:
    """Source: the names of the modules that the authors published, where layers of padding have numbers too."""
    return {
        r'\.conv_block\.1\.': '.conv1.',
        r'\.conv_block\.5\.': '.conv2.',
        **{rf'^model\.{i + 1}\.': f'coarse.{i}.' for i in range(60)},
        **{rf'^model1_1\.{i + 1}\.': f'fine_in.{i}.' for i in range(4)},
        rf'^model1_2\.{num_fine_blocks + 4}\.': f'fine_out.{num_fine_blocks + 3}.',
        r'^model1_2\.': 'fine_out.',
        r'^dehaze\.': 'enhancers.0.',
        r'^dehaze2\.': 'enhancers.1.',
        r'^(enhancers\.\d)\.refine1\.': r'\1.refine.0.',
        r'^(enhancers\.\d)\.refine2\.': r'\1.refine.2.',
        r'\.batch1\.': '.unused_norm.',
        **PYRAMID_KEYS,
    }
