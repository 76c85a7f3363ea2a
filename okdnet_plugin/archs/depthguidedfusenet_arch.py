"""DepthGuidedFuseNet: a transformer in which a guide asks, and a hazy image answers."""

import math
from collections.abc import Sequence

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth

from okdnet_plugin.archs.arch_util import check_size, crop_to, pad_to_multiple


def to_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """Tokens, shape (N, H W, C), as a feature map, shape (N, C, H, W)."""
    # Contiguous: else torch.export takes the layout, which hangs on the batch, for a condition of the graph.
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], height, width).contiguous()


def to_tokens(feature: Tensor) -> Tensor:
    """A feature map, shape (N, C, H, W), as tokens, shape (N, H W, C)."""
    return feature.flatten(2).transpose(1, 2)


class PatchEmbedding(nn.Module):
    """Overlapping patches of half the size as normalised tokens.

    Source: SegFormer (Xie et al., NeurIPS 2021).
    """

    def __init__(self, num_in: int, dim: int, kernel: int):
        super().__init__()
        self.conv = nn.Conv2d(num_in, dim, kernel, 2, kernel // 2)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> tuple[Tensor, int, int]:
        feature = self.conv(x)
        return self.norm(to_tokens(feature)), feature.shape[-2], feature.shape[-1]


class ReducedAttention(nn.Module):
    """Attention to keys and values at a fraction of the size.

    Source: PVT (Wang et al., ICCV 2021), the spatial-reduction attention.
    """

    def __init__(self, dim: int, heads: int, reduction: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.project = nn.Linear(dim, dim)
        self.reduce = self.norm = None
        if reduction > 1:
            self.reduce = nn.Conv2d(dim, dim, reduction, reduction)
            self.norm = nn.LayerNorm(dim)

    def forward(self, asking: Tensor, answering: Tensor, height: int, width: int) -> Tensor:
        if self.reduce is not None and self.norm is not None:
            answering = self.norm(to_tokens(self.reduce(to_map(answering, height, width))))
        key, value = self.key_value(answering).chunk(2, 2)
        query, key, value = (self._split(tokens) for tokens in (self.query(asking), key, value))
        found = F.scaled_dot_product_attention(query, key, value)
        return self.project(found.transpose(1, 2).flatten(2))

    def _split(self, tokens: Tensor) -> Tensor:
        """Tokens with their heads apart, shape (N, heads, H W, C / heads)."""
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)


class MixFFN(nn.Module):
    """A perceptron a token, with a depthwise convolution inside that tells where the token is.

    Source: SegFormer (Xie et al., NeurIPS 2021).
    """

    def __init__(self, dim: int, ratio: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, ratio * dim)
        self.conv = nn.Conv2d(ratio * dim, ratio * dim, 3, 1, 1, groups=ratio * dim)
        self.fc2 = nn.Linear(ratio * dim, dim)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        feature = self.conv(to_map(self.fc1(tokens), height, width))
        return self.fc2(F.gelu(to_tokens(feature)))


class AttentionBlock(nn.Module):
    """Attention and a perceptron, each added to the tokens; with a guide, the guide asks what the tokens answer.

    Source: the depth-guided hybrid attention block of Liang et al. 2025; with a guide it is their cross-attention,
    without one their self-attention.
    """

    def __init__(self, dim: int, heads: int, reduction: int, ratio: int, drop_path: float, is_guided: bool):
        super().__init__()
        self.drop_path = StochasticDepth(drop_path, 'row')
        self.norm_guide = nn.LayerNorm(dim, 1e-6) if is_guided else None
        self.norm1 = nn.LayerNorm(dim, 1e-6)
        self.attention = ReducedAttention(dim, heads, reduction)
        self.norm2 = nn.LayerNorm(dim, 1e-6)
        self.mlp = MixFFN(dim, ratio)

    def forward(self, tokens: Tensor, height: int, width: int, guide: Tensor | None = None) -> Tensor:
        normed = self.norm1(tokens)
        asking = normed if guide is None or self.norm_guide is None else self.norm_guide(guide)
        tokens = tokens + self.drop_path(self.attention(asking, normed, height, width))
        return tokens + self.drop_path(self.mlp(self.norm2(tokens), height, width))


class SmoothUp(nn.Module):
    """Double the size by a transposed convolution, whose checkerboard a 2x2 average takes away.

    Source: Liang et al. 2025, the released code.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.conv = nn.ConvTranspose2d(dim, dim, 4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(F.avg_pool2d(F.pad(self.conv(x), (1, 0, 1, 0), mode='reflect'), 2, 1))


@ARCH_REGISTRY.register()
class DepthGuidedFuseNet(nn.Module):
    """The depth-guided hybrid attention transformer, which makes a clear image of a hazy one and a guide.

    The defaults have 701,315 parameters.

    Source: Liang et al., "Image dehazing via self-supervised depth guidance", Pattern Recognition 158, 111051 (2025),
    in the form of the code that its authors released; of its four stages two are built there. The image is that of a
    Tanh, taken as it is. That the hazy image guides itself where no guide is given, is ours, and so are the clamp in
    eval mode and sizes that are no multiple of 8.

    Args:
        dim: channels of all layers.
        depths: blocks of cross-attention at half size, and of self-attention at a quarter of the size.
        heads: of the attention at each of the two sizes.
        sr: by how much the keys and values of each are reduced.
        mlp: how many times wider the perceptrons are inside.
        drop_path: largest rate at which a block is left out while training. It rises over twice as many blocks as
            there are, as in the released code, whose last two stages are not built.

    Raises:
        ValueError: depths, heads or sr are not two numbers of at least 1, dim is no multiple of the heads, or drop_path
            is not in [0, 1).
    """

    def __init__(
        self,
        dim: int = 64,
        depths: Sequence[int] = (2, 2),
        heads: Sequence[int] = (1, 2),
        sr: Sequence[int] = (4, 2),
        mlp: int = 2,
        drop_path: float = 0.1,
    ):
        super().__init__()
        for name, value in {'depths': depths, 'heads': heads, 'sr': sr}.items():
            if len(value) != 2 or min(value) < 1:
                raise ValueError(f'DepthGuidedFuseNet: {name} is {value}, but must be two numbers of at least 1')
        if any(dim % count for count in heads):
            raise ValueError(f'DepthGuidedFuseNet: dim is {dim}, but must be a multiple of heads {tuple(heads)}')
        if not 0 <= drop_path < 1:
            raise ValueError(f'DepthGuidedFuseNet: drop_path is {drop_path}, but must lie in [0, 1)')
        self.multiple = math.lcm(4, 2 * sr[0], 4 * sr[1])
        rates = torch.linspace(0, drop_path, 2 * sum(depths), device='cpu').tolist()

        self.embed_guide = PatchEmbedding(3, dim, 7)
        self.embed = PatchEmbedding(3, dim, 7)
        self.cross = nn.ModuleList(
            AttentionBlock(dim, heads[0], sr[0], mlp, rate, is_guided=True) for rate in rates[: depths[0]]
        )
        self.norm_cross = nn.LayerNorm(dim, 1e-6)
        self.embed_half = PatchEmbedding(dim, dim, 3)
        self.self_blocks = nn.ModuleList(
            AttentionBlock(dim, heads[1], sr[1], mlp, rate, is_guided=False) for rate in rates[depths[0] : sum(depths)]
        )
        self.norm_self = nn.LayerNorm(dim, 1e-6)
        self.apply(_initialise)
        self.ups = nn.Sequential(SmoothUp(dim), SmoothUp(dim))
        self.tail = nn.Sequential(
            nn.Conv2d(dim, dim, 5, 1, 2), nn.Conv2d(dim, dim, 5, 1, 2), nn.Conv2d(dim, 3, 5, 1, 2), nn.Tanh()
        )

    def forward(self, x: Tensor, guide: Tensor | None = None) -> Tensor:
        """
        Args:
            x: hazy RGB images in [0, 1], shape (N, 3, H, W) with H, W >= 16.
            guide: what asks, of x's shape and range: the hazy image mixed with its depth; by default x.

        Returns:
            The dehazed images, of x's shape, in [-1, 1]; clamped to [0, 1] in eval mode.

        Raises:
            ValueError: an image is smaller than 16x16.
        """
        height, width = check_size(self, x)
        guide = x if guide is None else guide
        asking, _, _ = self.embed_guide(pad_to_multiple(guide, self.multiple))
        tokens, *size = self.embed(pad_to_multiple(x, self.multiple))
        for block in self.cross:
            tokens = block(tokens, *size, asking)
        tokens, *size = self.embed_half(to_map(self.norm_cross(tokens), *size))
        for block in self.self_blocks:
            tokens = block(tokens, *size)
        output = self.tail(self.ups(to_map(self.norm_self(tokens), *size)))
        output = crop_to(output, height, width).to(x.dtype)
        return output if self.training else output.clamp(0, 1)


def _initialise(module: nn.Module) -> None:
    """As SegFormer begins: linear layers truncated normal, convolutions by their fan out."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.normal_(
            module.weight, std=math.sqrt(2 * module.groups / (module.weight[0, 0].numel() * module.out_channels))
        )
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]
