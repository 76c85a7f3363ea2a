"""DehazeFormer: a U-Net of convolutions and of attention in windows, with a normalisation that remembers the haze."""

from collections.abc import Sequence

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from okdnet_plugin.archs.arch_util import (
    ReflectConv,
    accept_published_keys,
    check_size,
    is_exported,
    pad_to_multiple,
    reflect,
)
from okdnet_plugin.archs.gunet_arch import SKFusion, init_residual

# Source: the names of the modules that the authors published. Their file holds the weights under `state_dict`.
_PUBLISHED_KEYS = {
    r'^patch_embed\.proj\.': 'head.',
    r'^patch_unembed\.proj\.0\.': 'tail.',
    **{rf'^layer{i + 1}\.blocks\.': f'stages.{i}.' for i in range(5)},
    **{rf'^patch_merge{i + 1}\.proj\.': f'downs.{i}.' for i in range(2)},
    **{rf'^skip{i + 1}\.': f'skips.{i}.' for i in range(2)},
    **{rf'^patch_split{i + 1}\.proj\.0\.': f'ups.{i}.0.' for i in range(2)},
    **{rf'^fusion{i + 1}\.': f'fusions.{i}.' for i in range(2)},
    r'\.norm1\.meta1\.': '.norm.rescale.',
    r'\.norm1\.meta2\.': '.norm.rebias.',
    r'\.norm1\.': '.norm.',
    r'\.attn\.conv\.': '.mixer.conv.',
    r'\.attn\.V\.': '.mixer.value.',
    r'\.attn\.QK\.': '.mixer.query_key.',
    r'\.attn\.proj\.': '.mixer.project.',
    r'\.attn\.attn\.meta\.': '.mixer.position.',
    r'\.mlp\.mlp\.': '.mlp.',
}
_UNUSED = (r'\.relative_positions$',)  # is computed
_MOST_WINDOWS = 2**16 - 1  # that CUDA's kernels of older versions of torch take at once (pytorch issue 146704)


class RescaleNorm(nn.Module):
    """Layer normalisation of a whole image, and what its deviation and mean say of each channel.

    Source: DehazeFormer, "Rescale layer normalization".
    """

    def __init__(self, num_feat: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, num_feat, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, num_feat, 1, 1))
        self.rescale = nn.Conv2d(1, num_feat, 1)
        self.rebias = nn.Conv2d(1, num_feat, 1)
        for layer, value in ((self.rescale, 1.0), (self.rebias, 0.0)):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            assert layer.bias is not None
            nn.init.constant_(layer.bias, value)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """
        Returns:
            The normalised feature, of x's shape, and the factors and summands that bring it back, (N, C, 1, 1).
        """
        mean = x.mean((1, 2, 3), keepdim=True)
        deviation = torch.sqrt((x - mean).square().mean((1, 2, 3), keepdim=True) + 1e-5)
        return (x - mean) / deviation * self.weight + self.bias, self.rescale(deviation), self.rebias(mean)


def log_distances(window: int) -> Tensor:
    """How far the places of a window lie from each other, down and across, as signed logarithms.

    Returns:
        Shape (window**2, window**2, 2).
    """
    places = torch.arange(window)
    places = torch.stack(torch.meshgrid(places, places, indexing='ij'), -1).flatten(0, 1)
    distance = (places[:, None] - places[None]).float()
    return distance.sign() * torch.log1p(distance.abs())


class ConvMixer(nn.Module):
    """Depthwise convolution of values, between two projections.

    Source: DehazeFormer, the blocks without attention.
    """

    def __init__(self, num_feat: int):
        super().__init__()
        self.value = nn.Conv2d(num_feat, num_feat, 1)
        self.conv = ReflectConv(num_feat, num_feat, 5, groups=num_feat)
        self.project = nn.Conv2d(num_feat, num_feat, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.conv(self.value(x)))


class WindowMixer(ConvMixer):
    """Attention in windows of a feature that is reflected at its border, beside the convolution of its values.

    Source: DehazeFormer, "Shifted window partitioning with reflection padding" and "Spatial information aggregation".
    The bias of the attention is a function of the distance, as in Swin Transformer V2.

    Args:
        num_feat: channels.
        num_heads: of the attention, which divide the channels.
        window: side in px.
        shift: how far the windows begin outside of the feature, in px.
    """

    distances: Tensor

    def __init__(self, num_feat: int, num_heads: int, window: int, shift: int):
        super().__init__(num_feat)
        self.num_heads, self.window, self.shift = num_heads, window, shift
        self.query_key = nn.Conv2d(num_feat, 2 * num_feat, 1)
        self.position = nn.Sequential(nn.Linear(2, 256), nn.ReLU(inplace=True), nn.Linear(256, num_heads))
        self.register_buffer('distances', log_distances(window), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        value = self.value(x)
        attended = self._attend(torch.cat([self.query_key(x), value], 1))
        return self.project(self.conv(value) + attended)

    def _attend(self, parts: Tensor) -> Tensor:
        """Values, weighed in each window by the likeness of queries and keys; a third of the channels of parts."""
        height, width = parts.shape[-2:]
        num, window, shift = parts.shape[0], self.window, self.shift
        bottom, right = (-(edge + shift) % window for edge in (height, width))
        parts = reflect(parts, (shift, right, shift, bottom))
        rows, columns = parts.shape[-2] // window, parts.shape[-1] // window
        # (N, 3, heads, C, rows, window, columns, window) -> 3 of (N * rows * columns, heads, window**2, C)
        parts = parts.reshape(num, 3, self.num_heads, -1, rows, window, columns, window)
        parts = parts.permute(1, 0, 4, 6, 2, 5, 7, 3).reshape(3, num * rows * columns, self.num_heads, window**2, -1)
        query, key, value = parts.unbind(0)
        bias = self.position(self.distances).permute(2, 0, 1)[None].to(query.dtype)
        if is_exported() or len(query) <= _MOST_WINDOWS:
            out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        else:
            pieces = zip(*(part.split(_MOST_WINDOWS) for part in (query, key, value)), strict=True)
            out = torch.cat([F.scaled_dot_product_attention(*piece, attn_mask=bias) for piece in pieces])
        out = out.reshape(num, rows, columns, self.num_heads, window, window, -1).permute(0, 3, 6, 1, 4, 2, 5)
        out = out.reshape(num, -1, rows * window, columns * window)
        return out[..., shift : shift + height, shift : shift + width]


class TransformerBlock(nn.Module):
    """Mix places, then channels, the input added after each; attention has a normalised feature.

    Source: DehazeFormer, Fig. "DehazeFormer block".
    """

    def __init__(self, num_feat: int, mixer: ConvMixer, mlp_ratio: float):
        super().__init__()
        self.norm = RescaleNorm(num_feat) if isinstance(mixer, WindowMixer) else None
        self.mixer = mixer
        num_hidden = int(num_feat * mlp_ratio)
        self.mlp = nn.Sequential(
            nn.Conv2d(num_feat, num_hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(num_hidden, num_feat, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.norm is None:
            x = x + self.mixer(x)
        else:
            normalised, rescale, rebias = self.norm(x)
            x = x + self.mixer(normalised) * rescale + rebias
        return x + self.mlp(x)


@ARCH_REGISTRY.register()
class DehazeFormer(nn.Module):
    """Vision transformer for dehazing: a U-Net of five stages, and the image is J = K x - B + x.

    The defaults are DehazeFormer-T with 687,404 parameters, `num_blocks=(8, 8, 8, 4, 4)` and `attention=(0.25, 0.5,
    0.75, 0, 0)` are DehazeFormer-S with 1,284,884. The paper's 0.686 M and 1.283 M are these without the factors and
    summands of the normalisations, 960 and 1,632. Images are taken to [-1, 1] inside.

    Source: Song et al., "Vision transformers for single image dehazing", IEEE TIP 32 (2023).

    Args:
        num_feat: channels at full size; twice and four times as many at half and quarter size.
        num_blocks: blocks of each stage: at full, half, quarter, half and full size.
        attention: part of each stage's blocks, its last ones, that have attention, in [0, 1].
        num_heads: of each stage's attention, which divide its channels.
        mlp_ratio: hidden channels of each stage's blocks, as a multiple of its channels.
        window: side of the attention's windows in px, even.

    Raises:
        ValueError: an argument has not five numbers, or one is out of its range.
    """

    def __init__(
        self,
        num_feat: int = 24,
        num_blocks: Sequence[int] = (4, 4, 4, 2, 2),
        attention: Sequence[float] = (0, 0.5, 1, 0, 0),
        num_heads: Sequence[int] = (2, 4, 6, 1, 1),
        mlp_ratio: Sequence[float] = (2, 4, 4, 2, 2),
        window: int = 8,
    ):
        super().__init__()
        lists = {'num_blocks': num_blocks, 'attention': attention, 'num_heads': num_heads, 'mlp_ratio': mlp_ratio}
        for name, values in lists.items():
            if len(values) != 5 or min(values) < 0:
                raise ValueError(f'DehazeFormer: {name} is {values}, but must be five numbers of at least 0')
        if window < 2 or window % 2:
            raise ValueError(f'DehazeFormer: window is {window}, but must be an even number of at least 2')
        widths = [num_feat, 2 * num_feat, 4 * num_feat, 2 * num_feat, num_feat]
        for width, heads, part in zip(widths, num_heads, attention, strict=True):
            if part > 1 or heads < 1 or width % heads:
                raise ValueError(
                    f'DehazeFormer: a stage of {width} channels has {heads} heads and attention in {part} of its '
                    'blocks, but heads must divide the channels and the part be at most 1'
                )

        self.head = ReflectConv(3, num_feat, 3)
        self.stages = nn.ModuleList()
        for width, count, part, heads, ratio in zip(widths, *lists.values(), strict=True):
            blocks = []
            for i in range(count):
                shift = window // 2 if i % 2 else 0
                has_attention = i >= count - part * count
                mixer = WindowMixer(width, heads, window, shift) if has_attention else ConvMixer(width)
                blocks.append(TransformerBlock(width, mixer, ratio))
            self.stages.append(nn.Sequential(*blocks))
        self.downs = nn.ModuleList(nn.Conv2d(num_feat * 2**i, num_feat * 2 ** (i + 1), 2, 2) for i in range(2))
        self.skips = nn.ModuleList(nn.Conv2d(width, width, 1) for width in widths[:2])
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(2 * width, 4 * width, 1), nn.PixelShuffle(2)) for width in widths[3:]
        )
        self.fusions = nn.ModuleList(SKFusion(width) for width in widths[3:])
        self.tail = ReflectConv(num_feat, 4, 3)
        self._init_weights(sum(num_blocks))
        accept_published_keys(self, _PUBLISHED_KEYS, _UNUSED)

    def _init_weights(self, num_blocks: int) -> None:
        for module in self.stages.modules():
            if isinstance(module, TransformerBlock):
                init_residual(module.mixer, num_blocks)
                init_residual(module.mlp, num_blocks)
            if isinstance(module, WindowMixer):
                init_residual(module.query_key, num_blocks, gain=1)

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
        hazy = 2 * x - 1
        full = self.stages[0](self.head(pad_to_multiple(hazy, 4)))
        half = self.stages[1](self.downs[0](full))
        feature = self.ups[0](self.stages[2](self.downs[1](half)))
        feature = self.fusions[0](feature, self.skips[1](half)) + feature
        feature = self.ups[1](self.stages[3](feature))
        feature = self.fusions[1](feature, self.skips[0](full)) + feature
        estimate = self.tail(self.stages[4](feature))[..., :height, :width].to(x.dtype)
        k, b = estimate[:, :1], estimate[:, 1:]
        output = x + (k * hazy - b) / 2  # [-1, 1] is twice as wide
        return output if self.training else output.clamp(0, 1)
