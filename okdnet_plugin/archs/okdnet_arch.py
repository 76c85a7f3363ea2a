"""OKDNet: two students and their teacher on one shared multi-scale network.

Paper: Lan et al., "Online knowledge distillation network for single image dehazing", Scientific Reports 12, 14927
(2022). Equation numbers in this file are the paper's. It leaves some layers open; what was chosen there is said where
it is built.
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

import torch
from annotated_types import Ge, Gt, Le, Len, Lt
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from okdnet_plugin.archs.arch_util import RDB, check_size, is_exported, make_down, make_up, pad_to_multiple


class OKDNetBranches(NamedTuple):
    """What the branches of OKDNet say of one batch; images are RGB, [0, 1] when undistorted, shape (N, 3, H, W)."""

    output: Tensor
    """Out_FAB (Eq. 2), the teacher; clamped to [0, 1] in eval mode."""
    model_free: Tensor
    """J, the student that maps features to an image; in [0, 1]."""
    model_based: Tensor
    """J_mod, the student that solves the scattering model (Eq. 1); not bounded."""
    shared: Tensor
    """F_s projected to an image, the third student (Eq. 6); not bounded."""
    transmission: Tensor
    """t in [t_min, 1], shape (N, 1, H, W)."""
    airlight: Tensor
    """A, one colour an image, not bounded, shape (N, 3, 1, 1)."""


def conv_bn_relu(num_in: int, num_out: int) -> list[nn.Module]:
    return [nn.Conv2d(num_in, num_out, 3, 1, 1), nn.BatchNorm2d(num_out), nn.ReLU(inplace=True)]


class AGRDB(nn.Module):
    """Attention guided residual dense block: an RDB, then channel and spatial attention, and the input added.

    Source: OKDNet, Fig. 3. "We further merge these feature maps" is read as adding the block's input. The 3x3
    convolution of the channel attention meets a 1x1 map, so only its centre tap acts; it is kept because the paper
    names it.
    """

    def __init__(self, num_feat: int, growth: int = 16):
        super().__init__()
        self.rdb = RDB(num_feat, growth)
        self.channel_attention = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.spatial_attention = nn.Conv2d(num_feat, 1, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        feature = self.rdb(x)
        feature = feature * torch.sigmoid(self._attend_channels(feature.mean((2, 3))))[..., None, None]
        feature = feature * torch.sigmoid(self.spatial_attention(feature))
        return feature + x

    def _attend_channels(self, means: Tensor) -> Tensor:
        """The 3x3 convolution of a zero-padded 1x1 map, as the product with its centre tap that it is."""
        conv = self.channel_attention
        return F.linear(means, conv.weight[:, :, 1, 1], conv.bias)


class MultiScaleNet(nn.Module):
    """Feature shared network: blocks at full, half and quarter size, fused from the coarsest upwards.

    Source: OKDNet, Fig. 2. The form of the down- and upsampling blocks and of the fusion is open in the paper.
    """

    def __init__(
        self, num_feat: int, num_blocks: Sequence[int], block: type, growth: int, down: str, up: str, kernel: int
    ):
        super().__init__()
        widths = [num_feat * 2**level for level in range(len(num_blocks))]
        self.downs = nn.ModuleList(make_down(down, width) for width in widths[:-1])
        self.scales = nn.ModuleList(
            nn.Sequential(*(block(width, growth) for _ in range(count)))
            for width, count in zip(widths, num_blocks, strict=True)
        )
        self.ups = nn.ModuleList(make_up(up, width) for width in widths[1:])
        self.fuses = nn.ModuleList(nn.Conv2d(2 * width, width, kernel, 1, kernel // 2) for width in widths[:-1])

    def forward(self, x: Tensor) -> Tensor:
        inputs = [x]
        for down in self.downs:
            inputs.append(down(inputs[-1]))
        enhanced = [scale(feature) for scale, feature in zip(self.scales, inputs, strict=True)]
        out = enhanced.pop()
        for up, fuse in zip(reversed(self.ups), reversed(self.fuses), strict=True):
            out = fuse(torch.cat([enhanced.pop(), up(out)], 1))
        return out


class ANet(nn.Module):
    """Atmospheric light estimation network: a U-Net down to one pixel, averaged to one colour an image.

    Source: DCPDN (Zhang and Patel, CVPR 2018) with 8 base channels, as OKDNet takes it over. The light is global, so
    the image is resized to the 256x256 that eight halvings need.

    Args:
        num_feat: channels after the first convolution.
        num_out: channels of the light.
        size: side that images are resized to, a multiple of 256 px.
        norm: layer after convolutions, of the number of their channels.

    Raises:
        ValueError: one image in train mode; BatchNorm has a single value a channel at the 1x1 bottleneck.
    """

    def __init__(
        self, num_feat: int = 8, num_out: int = 3, size: int = 256, norm: Callable[[int], nn.Module] = nn.BatchNorm2d
    ):
        super().__init__()
        self.size = size
        down = [num_feat * width for width in (1, 2, 4, 8, 8, 8, 8, 8)]
        up = [num_feat * width for width in (8, 8, 8, 8, 4, 2, 1)]
        dropped = (True, True, True, False, False, False, False)

        self.downs = nn.ModuleList([nn.Conv2d(3, num_feat, 4, 2, 1, bias=False)])
        for before, after in pairwise(down):
            self.downs.append(
                nn.Sequential(nn.LeakyReLU(0.2), nn.Conv2d(before, after, 4, 2, 1, bias=False), norm(after))
            )
        self.ups = nn.ModuleList()
        num_in = down[-1]
        for i, (after, num_skip) in enumerate(zip(up, reversed(down[:-1]), strict=True)):
            layers = [nn.ReLU(), nn.ConvTranspose2d(num_in, after, 4, 2, 1, bias=False)]
            layers += [norm(after)] if i > 0 else []
            layers += [nn.Dropout2d(0.5)] if dropped[i] else []
            self.ups.append(nn.Sequential(*layers))
            num_in = after + num_skip
        self.last = nn.Sequential(
            nn.ReLU(), nn.ConvTranspose2d(num_in, num_out, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """
        Args:
            x: hazy images in [-1, 1], shape (N, 3, H, W).

        Returns:
            The airlight on the scale of x, shape (N, num_out, 1, 1).
        """
        self._check_batch(x)
        x = F.interpolate(x, (self.size, self.size), mode='bilinear', align_corners=False)
        skips = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
        x = skips.pop()
        for up in self.ups:
            x = torch.cat([up(x), skips.pop()], 1)
        return F.leaky_relu(self.last(x).mean((2, 3), keepdim=True), 0.2)

    def _check_batch(self, x: Tensor) -> None:
        norm = list(self.downs[-1].children())[-1]
        one_pixel = self.size == 256 and len(x) == 1
        if norm.training and one_pixel and type(norm) is nn.BatchNorm2d:  # and no synchronised one
            raise ValueError(
                'OKDNet cannot train on one image per GPU: the bottleneck of its airlight network is one pixel, and '
                'BatchNorm has no statistics of a single value. Set batch_size_per_gpu to 2 or more.'
            )


def average_of_window(x: Tensor, size: int) -> Tensor:
    """Mean over the part of a window of `size` px, an odd number, that lies in the image; of x's shape (N, C, H, W).

    As a depthwise convolution, on every device. avg_pool2d's gradient is wrong on CUDA where a window is padded and the
    channels are innermost (pytorch issue 188344, corrected in July 2026), and takes ten times as long on a CPU.
    """
    if size == 1:
        return x
    if is_exported():
        return F.avg_pool2d(x, size, 1, size // 2, count_include_pad=False)
    num = x.shape[1]
    sums = F.conv2d(x, x.new_ones(num, 1, size, size), padding=size // 2, groups=num)
    inside = F.conv2d(x.new_ones(1, 1, *x.shape[-2:]), x.new_ones(1, 1, size, size), padding=size // 2)
    return sums * inside.float().reciprocal().to(sums.dtype)


class FAB(nn.Module):
    """Feature aggregation block: weight maps for the two students and the shared features.

    Source: OKDNet, Fig. 4. Four 1x1 convolutions, averaged over 1x1, 3x3, 5x5 and 7x7 windows (the paper says only
    "pooling"; an average is what imitates a large convolution), and a 3x3 convolution as gate. The four are one layer
    here.

    Args:
        gate: how the maps are bounded: `none` (as in the paper, which names no activation), `softmax` over the three
            sources, or `sigmoid`.
    """

    pools = (1, 3, 5, 7)

    def __init__(self, num_feat: int, gate: str = 'none'):
        super().__init__()
        self.pointwise = nn.Conv2d(3 + 3 + num_feat, len(self.pools) * num_feat, 1)
        self.gate = nn.Conv2d(len(self.pools) * num_feat, 3, 3, 1, 1)
        self.activation = {'none': nn.Identity(), 'softmax': nn.Softmax(1), 'sigmoid': nn.Sigmoid()}[gate]

    def forward(self, model_free: Tensor, model_based: Tensor, feature: Tensor) -> tuple[Tensor, ...]:
        """
        Returns:
            Weights of J, J_mod and F_s, each (N, 1, H, W).
        """
        images = torch.cat([model_free, model_based], 1).to(feature.dtype)
        parallel = self.pointwise(torch.cat([images, feature], 1)).chunk(len(self.pools), 1)
        pooled = [average_of_window(part, size) for part, size in zip(parallel, self.pools, strict=True)]
        return self.activation(self.gate(torch.cat(pooled, 1))).chunk(3, 1)


class FAU(nn.Module):
    """Feature aggregation unit: one weight a channel and source, from the shared features alone (variant B of Table 4).

    Source: Li et al., "Online knowledge distillation for efficient pose estimation", ICCV 2021.
    """

    def __init__(self, num_feat: int, reduction: int = 4):
        super().__init__()
        self.parallel = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(num_feat, num_feat, kernel, 1, kernel // 2), nn.BatchNorm2d(num_feat), nn.ReLU(inplace=True)
            )
            for kernel in (3, 5, 7)
        )
        self.squeeze = nn.Linear(num_feat, num_feat // reduction)
        self.excite = nn.ModuleList(nn.Linear(num_feat // reduction, 3) for _ in range(3))

    def forward(self, model_free: Tensor, model_based: Tensor, feature: Tensor) -> tuple[Tensor, ...]:
        """
        Returns:
            Weights of J, J_mod and F_s that sum to one, each (N, 3, 1, 1).
        """
        feature = reduce(torch.add, (conv(feature) for conv in self.parallel))
        squeezed = F.relu(self.squeeze(feature.mean((2, 3))))
        weights = torch.stack([excite(squeezed) for excite in self.excite]).softmax(0)
        return tuple(weights[..., None, None])


@ARCH_REGISTRY.register()
class OKDNet(nn.Module):
    """Online knowledge distillation network for single image dehazing.

    The defaults have 2,581,227 parameters (paper: 2.58 M). Images go in and come out in [0, 1]; inside they are in
    [-1, 1], as the Tanh of the model-free branch asks, which leaves the scattering model unchanged because its two
    weights, t and 1 - t, sum to one.

    Source: Lan et al. 2022, Fig. 2; the variants of Table 4 are `attention=False` (A), `aggregation='fau'` (B) and
    `multi_scale=False` (C). D and E are weights of the distillation loss.

    Args:
        num_feat: channels at full size; doubled at each smaller scale.
        num_blocks: blocks at full, half and quarter size. With one scale all of them are at full size.
        growth: channels that each convolution of a residual dense block adds.
        down: downsampling, `conv` or `grid`.
        up: upsampling, `deconv4`, `deconv3` or `grid`.
        fuse_kernel: kernel that fuses adjacent scales, 1 or 3. The alternative `num_blocks=(1, 1, 4), down='grid',
            up='grid', fuse_kernel=3` (GridDehazeNet's sampling blocks) has 2,584,168 parameters.
        attention: AGRDBs; without it plain residual dense blocks.
        multi_scale: three scales; without it one.
        aggregation: `fab` or `fau`.
        gate: bound of the FAB's weight maps: `none`, `softmax` or `sigmoid`.
        t_min: lower bound of the transmission, in (0, 1); what J_mod divides by.

    Raises:
        ValueError: an argument is not among its choices.
    """

    def __init__(
        self,
        num_feat: Annotated[int, Ge(1), Le(4096)] = 32,
        num_blocks: Annotated[Sequence[Annotated[int, Ge(1), Le(1000)]], Len(3, 3)] = (2, 3, 4),
        growth: Annotated[int, Ge(1), Le(4096)] = 16,
        down: Literal['conv', 'grid'] = 'conv',
        up: Literal['deconv4', 'deconv3', 'grid'] = 'deconv4',
        fuse_kernel: Literal[1, 3] = 1,
        attention: bool = True,
        multi_scale: bool = True,
        aggregation: Literal['fab', 'fau'] = 'fab',
        gate: Literal['none', 'softmax', 'sigmoid'] = 'none',
        t_min: Annotated[float, Gt(0), Lt(1)] = 0.1,
    ):
        super().__init__()
        _check('down', down, ('conv', 'grid'))
        _check('up', up, ('deconv4', 'deconv3', 'grid'))
        _check('fuse_kernel', fuse_kernel, (1, 3))
        _check('aggregation', aggregation, ('fab', 'fau'))
        _check('gate', gate, ('none', 'softmax', 'sigmoid') if aggregation == 'fab' else ('none',))
        if not 0 < t_min < 1:
            raise ValueError(f'OKDNet: t_min is {t_min}, but must lie between 0 and 1')
        if len(num_blocks) != 3 or min(num_blocks) < 1:
            raise ValueError(f'OKDNet: num_blocks is {num_blocks}, but must be three numbers of at least 1')

        self.t_min = t_min
        self.multiple = 4 if multi_scale else 1
        self.preprocess = nn.Sequential(*conv_bn_relu(3, num_feat), *conv_bn_relu(num_feat, num_feat))
        self.shared = MultiScaleNet(
            num_feat,
            num_blocks if multi_scale else (sum(num_blocks),),
            AGRDB if attention else RDB,
            growth,
            down,
            up,
            fuse_kernel,
        )
        self.model_free = nn.Sequential(
            *conv_bn_relu(num_feat, num_feat), nn.Conv2d(num_feat, 3, 3, 1, 1), nn.BatchNorm2d(3), nn.Tanh()
        )
        self.transmission = nn.Sequential(
            *conv_bn_relu(num_feat, num_feat), nn.Conv2d(num_feat, 1, 3, 1, 1), nn.BatchNorm2d(1), nn.Sigmoid()
        )
        self.airlight = ANet()
        self.to_image = nn.Conv2d(num_feat, 3, 1)
        self.aggregation = FAB(num_feat, gate) if aggregation == 'fab' else FAU(num_feat)

    def estimate_airlight(self, x: Tensor) -> Tensor:
        """The airlight of hazy images, to be shared by parts of an image or by images of one scene.

        Args:
            x: hazy RGB images in [0, 1], shape (N, 3, H, W).

        Returns:
            One colour an image, RGB on the scale of x, not bounded, shape (N, 3, 1, 1).
        """
        return (self.airlight(2 * x - 1).to(x.dtype) + 1) / 2

    @classmethod
    def arguments_of(cls, state: Mapping[str, Tensor]) -> dict | None:
        """The arguments that names and shapes of weights tell, as far as they differ from the defaults.

        All but `gate` and `t_min`, which have no weights.

        Returns:
            The arguments; None if the weights are of no OKDNet.
        """
        try:
            return _arguments_of(state)
        except (KeyError, IndexError):
            return None

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> 'OKDNet':
        """The network that weights are of, with them, in eval mode; `gate` and `t_min` are the defaults.

        Raises:
            ValueError: they are of another network.
        """
        arguments = cls.arguments_of(state)
        if arguments is None:
            raise ValueError('these weights are of no OKDNet')
        net = cls(**arguments)
        net.load_state_dict(dict(state), strict=True)
        return net.eval()

    def forward(
        self,
        x: Tensor,
        return_branches: bool = False,
        airlight: Tensor | None = None,
        only_airlight: bool = False,
    ) -> Tensor | OKDNetBranches:
        """
        Args:
            x: hazy RGB images in [0, 1], shape (N, 3, H, W) with H, W >= 16; N >= 2 where BatchNorm is in train mode.
            return_branches: give all branches, as the distillation loss needs them.
            airlight: that of the scene, of shape (N, 3, 1, 1), as `estimate_airlight` gives it; by default it is
                estimated from x.
            only_airlight: give what `estimate_airlight` gives, by a call that distributed training can wrap.

        Returns:
            The dehazed images, of x's shape, clamped to [0, 1] in eval mode only: in train mode a clamp would take
            the gradient from every pixel beyond the range. With return_branches, an OKDNetBranches;
            with only_airlight one colour an image, shape (N, 3, 1, 1).

        Raises:
            ValueError: an image is smaller than 16x16, or N is 1 and BatchNorm in train mode.
        """
        height, width = check_size(self, x)
        if only_airlight:
            return self.estimate_airlight(x)
        hazy = 2 * x - 1
        a = self.airlight(hazy) if airlight is None else 2 * airlight - 1
        hazy = pad_to_multiple(hazy, self.multiple)

        feature = self.shared(self.preprocess(hazy))
        # Images have the precision of x under autocast too: they are few of the network's channels, and a division by
        # 0.1 makes much of a rounding error.
        model_free, shared = self.model_free(feature).to(x.dtype), self.to_image(feature).to(x.dtype)
        t = self.t_min + (1 - self.t_min) * self.transmission(feature).to(x.dtype)
        a = a.to(x.dtype)
        model_based = (hazy - a * (1 - t)) / t  # Eq. 1, solved for J

        alpha_free, alpha_based, alpha_shared = self.aggregation(model_free, model_based, feature)
        output = model_free * alpha_free + model_based * alpha_based + shared * alpha_shared  # Eq. 2

        output, model_free, model_based, shared, a = (
            (image + 1) / 2 for image in (output, model_free, model_based, shared, a)
        )
        if not self.training:
            output = output.clamp(0, 1)
        if not return_branches:
            return output[..., :height, :width]
        images = output, model_free, model_based, shared, t
        return OKDNetBranches(*[image[..., :height, :width] for image in images], airlight=a)


def _check(name: str, value: object, choices: tuple) -> None:
    if value not in choices:
        raise ValueError(f'OKDNet: {name} is {value!r}, but must be one of {", ".join(map(repr, choices))}')


def _arguments_of(state: Mapping[str, Tensor]) -> dict | None:
    count = _count(state, r'shared\.scales\.0\.(\d+)\.')
    scales = _count(state, r'shared\.scales\.(\d+)\.')
    has_attention = 'shared.scales.0.0.channel_attention.weight' in state
    dense = 'shared.scales.0.0.rdb.layers.0.weight' if has_attention else 'shared.scales.0.0.layers.0.weight'
    arguments = {
        'num_feat': state['preprocess.0.weight'].shape[0],
        'num_blocks': [_count(state, rf'shared\.scales\.{scale}\.(\d+)\.') for scale in range(scales)],
        'growth': state[dense].shape[0],
        'attention': has_attention,
        'multi_scale': scales > 1,
        'aggregation': 'fab' if 'aggregation.pointwise.weight' in state else 'fau',
    }
    if 'airlight.downs.0.weight' not in state or (scales, count > 2) not in ((3, True), (3, False), (1, True)):
        return None
    if scales == 1:  # all blocks are at full size
        arguments['num_blocks'] = [count - 2, 1, 1]
    else:
        arguments['down'] = 'grid' if 'shared.downs.0.2.weight' in state else 'conv'
        deconv = 'deconv4' if state['shared.ups.0.0.weight'].shape[-1] == 4 else 'deconv3'
        arguments['up'] = 'grid' if 'shared.ups.0.2.weight' in state else deconv
        arguments['fuse_kernel'] = state['shared.fuses.0.weight'].shape[-1]
    parameters = inspect.signature(OKDNet).parameters
    defaults = {key: parameters[key].default for key in arguments} | {
        'num_blocks': list(parameters['num_blocks'].default)
    }
    return {key: value for key, value in arguments.items() if value != defaults[key]}


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    """One more than the largest number in the place of the pattern's group."""
    return max((int(match[1]) + 1 for name in state if (match := re.match(pattern, name))), default=0)
