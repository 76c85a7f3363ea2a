"""PSD: a backbone of another network, and heads for an image, a transmission and an airlight."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from okdnet_plugin.archs.arch_util import accept_published_keys, check_size, pad_to_multiple
from okdnet_plugin.archs.ffanet_arch import FFANet
from okdnet_plugin.archs.gcanet_arch import GCANet
from okdnet_plugin.archs.msbdn_arch import MSBDN
from okdnet_plugin.archs.okdnet_arch import ANet

# Source: the names of the modules that the authors published; those of a backbone are its own authors'.
_PUBLISHED_KEYS = {
    r'^conv_J_1\.': 'clear.0.',
    r'^conv_J_2\.': 'clear.1.',
    r'^conv_T_1\.': 'transmission.0.',
    r'^conv_T_2\.': 'transmission.1.',
    r'^upsample\.': 'widen.',
    r'^ANet\.(layer\d)\.deconv\.': r'unused.\1.',
    r'^ANet\.(dlayer\d)\.conv\.': r'unused.\1.',
    r'^ANet\.conv\.': 'airlight.downs.0.',
    r'^ANet\.dconv\.': 'airlight.last.1.',
    **{rf'^ANet\.layer{i}\.conv\.': f'airlight.downs.{i}.1.' for i in range(1, 8)},
    **{rf'^ANet\.dlayer{7 - i}\.deconv\.': f'airlight.ups.{i}.1.' for i in range(7)},
    r'^post\.': 'unused.post.',
    r'^deconv2\.': 'clear.0.',
    r'^norm5\.': 'clear.1.',
    r'^deconv1\.': 'clear.3.',
    r'^(?!clear\.|transmission\.|widen\.|airlight\.|unused\.|backbone\.)': 'backbone.',
}
_UNUSED = (r'^ANet\.layer\d\.deconv\.', r'^ANet\.dlayer\d\.conv\.', r'^post\.')


class PSDBranches(NamedTuple):
    """What PSD says of one batch."""

    output: Tensor
    """J, the dehazed images, RGB, shape (N, 3, H, W); clamped to [0, 1] in eval mode."""
    transmission: Tensor
    """t, not bounded, shape (N, 1, H, W)."""
    airlight: Tensor
    """A, one colour an image, RGB on the scale of J, not bounded, shape (N, 3, 1, 1)."""
    feature: Tensor
    """What the heads of J and t read, shape (N, 64, H, W) as released. A fine-tuning keeps it near what it was."""


@ARCH_REGISTRY.register()
class PSD(nn.Module):
    """Principled synthetic-to-real dehazing: a backbone with heads for the image, the transmission and the airlight.

    The defaults are PSD-FFA with 6,204,857 parameters (6.2 M in OKDNet's Table 1); `backbone='gca'` is PSD-GCANet with
    2,412,594, `backbone='msbdn'` PSD-MSBDN with 33,110,786. These are the sums over the released networks, which have
    weights that nothing uses; without them (`unused='none'`) they are 5,316,278, 1,562,674 and 32,260,866.

    Source: Chen et al., "PSD: Principled synthetic-to-real dehazing guided by physical priors", CVPR 2021; layers as
    released. As there, FFA-Net and MSBDN see images in [-1, 1] while J is in [0, 1], and FFA-Net adds what it sees to
    make J; GCANet has no edge map. The airlight is that of the image at 512x512 px, which leaves the InstanceNorm of
    its network four pixels.

    A plain training (`RestorationModel`) trains the backbone and J alone; the other heads then need
    `find_unused_parameters: true` on several GPUs.

    Args:
        backbone: `ffa` (FFA-Net), `gca` (GCANet) or `msbdn` (MSBDN-DFF).
        backbone_options: arguments of the backbone: of `FFANet`, of `MSBDN`, or of GCANet `num_feat`.
        unused: weights of the released network that nothing uses, kept for its count and its checkpoints and never
            trained: `all`, or `none`.

    Raises:
        ValueError: an argument is not among its choices.
    """

    def __init__(
        self,
        backbone: Literal['ffa', 'gca', 'msbdn'] = 'ffa',
        backbone_options: Mapping[str, Any] | None = None,
        unused: Literal['none', 'all'] = 'all',
    ):
        super().__init__()
        for name, value, choices in (
            ('backbone', backbone, ('ffa', 'gca', 'msbdn')),
            ('unused', unused, ('none', 'all')),
        ):
            if value not in choices:
                raise ValueError(f'PSD: {name} is {value!r}, but must be one of {", ".join(map(repr, choices))}')
        given = dict(backbone_options or {})
        self.kind = backbone
        self.multiple = {'ffa': 1, 'gca': 2, 'msbdn': 16}[backbone]
        self.widen = nn.Identity()
        num_feat = given.get('num_feat', 64)
        net: Any
        if backbone == 'gca':
            net = GCANet(**{'edges': False, **given})
            self.clear = nn.Sequential(*net.decoder[3:])
            net.decoder = net.decoder[:3]
        else:
            net = FFANet(**given) if backbone == 'ffa' else MSBDN(**{'dense_branch': False, **given})
            net.tail = nn.Identity()
            if backbone == 'msbdn':
                num_feat = 4 * given.get('num_feat', 16)
                self.widen = nn.Conv2d(num_feat // 4, num_feat, 3, 1, 1, bias=False)
            self.clear = nn.Sequential(
                nn.Conv2d(num_feat, num_feat, 3, 1, 1, bias=False), nn.Conv2d(num_feat, 3, 3, 1, 1, bias=False)
            )
        self.backbone = net
        self.transmission = nn.Sequential(
            nn.Conv2d(num_feat, num_feat // 4, 3, 1, 1, bias=False),
            nn.Conv2d(num_feat // 4, 1, 3, 1, 1, bias=False),
        )
        self.airlight = ANet(size=512, norm=nn.InstanceNorm2d)
        if unused == 'all':
            self.unused = _unused(backbone, num_feat).requires_grad_(False)
        accept_published_keys(self, _PUBLISHED_KEYS, _UNUSED if unused == 'none' else ())

    def estimate_airlight(self, x: Tensor) -> Tensor:
        """The airlight of hazy images, on which J does not depend.

        Args:
            x: hazy RGB images in [0, 1], shape (N, 3, H, W).

        Returns:
            One colour an image, RGB on the scale of J, not bounded, shape (N, 3, 1, 1).
        """
        return self.airlight(x - 128 / 255 if self.kind == 'gca' else 2 * x - 1)

    def forward(self, x: Tensor, return_branches: bool = False, airlight: Tensor | None = None) -> Tensor | PSDBranches:
        """
        Args:
            x: hazy RGB images in [0, 1], shape (N, 3, H, W) with H, W >= 16.
            return_branches: give transmission, airlight and feature too, as PSD's losses need them.
            airlight: that of the scene, of shape (N, 3, 1, 1); by default it is estimated from x.

        Returns:
            The dehazed images, of x's shape; clamped to [0, 1] in eval mode only. With return_branches, a
            PSDBranches.

        Raises:
            ValueError: an image is smaller than 16x16.
        """
        height, width = check_size(self, x)
        hazy = x if self.kind == 'gca' else 2 * x - 1  # GCANet has a scale of its own
        feature = self.widen(self.backbone.features(pad_to_multiple(hazy, self.multiple)))[..., :height, :width]
        output = self.clear(feature).to(x.dtype)
        if self.kind == 'gca':
            output = x + output / 255
        if self.kind == 'ffa':
            output = output + hazy
        if not self.training:
            output = output.clamp(0, 1)
        if not return_branches:
            return output
        a = self.estimate_airlight(x).to(x.dtype) if airlight is None else airlight
        return PSDBranches(output, self.transmission(feature).to(x.dtype), a, feature)


def _unused(backbone: str, num_feat: int) -> nn.ModuleDict:
    """Layers of the released networks that their forward passes leave out, by their names there.

    Each block of the airlight network has a convolution and a transposed one, and uses one of them.
    """
    layers: dict[str, nn.Module] = {}
    for i, (num_in, num_out) in enumerate(((8, 16), (16, 32), (32, 64), *[(64, 64)] * 4), 1):
        layers[f'layer{i}'] = nn.ConvTranspose2d(num_in, num_out, 4, 2, 1, bias=False)
    for i, (num_in, num_out) in enumerate(((32, 8), (64, 16), (128, 32), *[(128, 64)] * 3, (64, 64)), 1):
        layers[f'dlayer{i}'] = nn.Conv2d(num_in, num_out, 4, 2, 1, bias=False)
    if backbone == 'ffa':
        layers['post'] = nn.Sequential(nn.Conv2d(num_feat, num_feat, 3, 1, 1), nn.Conv2d(num_feat, 3, 3, 1, 1))
    return nn.ModuleDict(layers)
