"""DGDNet: the depth of a hazy image, and a transformer that it guides to the clear one."""

import inspect
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, cast

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from okdnet_plugin.archs.arch_util import accept_published_keys, build_part, check_size
from okdnet_plugin.config.keys import Typed

_DEPTH, _FUSE = r'^depth_finetune\.depth_es\.', r'^Tfuse_second\.'
_ENCODER = {'dense_block': 'denseblock', 'trans_block': 'transition'}
# Source: the names of the modules in the released code. It registers each part of its encoder twice, and an ImageNet
# classifier that nothing reads.
_PUBLISHED_KEYS = {
    _DEPTH + r'model\.features\.': 'depth_net.encoder.',
    _DEPTH + r'(conv0|norm0)\.': r'depth_net.encoder.\1.',
    **{_DEPTH + rf'{theirs}(\d)\.': rf'depth_net.encoder.{ours}\1.' for theirs, ours in _ENCODER.items()},
    _DEPTH + r'model_out\.': 'depth_net.encoder.norm5.',
    _DEPTH + r'midconv\.': 'depth_net.middle.',
    **{_DEPTH + rf'up{i + 1}\.': f'depth_net.ups.{i}.' for i in range(4)},
    _DEPTH + r'finalconv\.': 'depth_net.last.',
    r'^mix1\.w$': 'mix',
    **{_FUSE + rf'deconv{i + 1}\.0\.': f'fuse_net.ups.{i}.conv.' for i in range(2)},
    _FUSE + r'output1\.': 'fuse_net.tail.',
    **{
        _FUSE + rf'Tfuse\.patch_embed{i}\.': f'fuse_net.{ours}.'
        for i, ours in ((1, 'embed_guide'), (2, 'embed'), (3, 'embed_half'))
    },
    _FUSE + r'Tfuse\.block1\.(\d+)\.norm3\.': r'fuse_net.cross.\1.norm2.',
    _FUSE + r'Tfuse\.block1\.(\d+)\.norm2\.': r'fuse_net.cross.\1.norm1.',
    _FUSE + r'Tfuse\.block1\.(\d+)\.norm1\.': r'fuse_net.cross.\1.norm_guide.',
    _FUSE + r'Tfuse\.block1\.': 'fuse_net.cross.',
    _FUSE + r'Tfuse\.block2\.': 'fuse_net.self_blocks.',
    _FUSE + r'Tfuse\.norm1\.': 'fuse_net.norm_cross.',
    _FUSE + r'Tfuse\.norm2\.': 'fuse_net.norm_self.',
    r'^(fuse_net\.embed\w*)\.proj\.': r'\1.conv.',
    r'\.attn\.q\.': '.attention.query.',
    r'\.attn\.kv2?\.': '.attention.key_value.',
    r'\.attn\.sr2?\.': '.attention.reduce.',
    r'\.attn\.norm2?\.': '.attention.norm.',
    r'\.attn\.proj\.': '.attention.project.',
    r'\.mlp\.dwconv\.dwconv\.': '.mlp.conv.',
}


class DGDNetOutput(NamedTuple):
    """What DGDNet says of one batch."""

    output: Tensor
    """The dehazed images, shape (N, 3, H, W)."""
    depth: Tensor
    """Depth as part of the farthest, in (0, 1], shape (N, 1, H, W)."""


@ARCH_REGISTRY.register()
class DGDNet(nn.Module):
    """Depth-guided dehazing: a depth network, one number that mixes depth and image, and the transformer.

    The defaults have 43,359,005 parameters, and 45,024,005 with `depth: {classifier: true}`, which the released code
    has. `depth: {num_feat: 32, growth: 16, num_blocks: [4, 8, 12, 8]}, fuse: {dim: 32}` has 1,725,728.

    Source: Liang et al., "Image dehazing via self-supervised depth guidance", Pattern Recognition 158, 111051 (2025),
    in the form of the code that its authors released, whose weights load. That the depth may be given, is ours.

    Args:
        depth: arguments of the depth network; its `type`, by default DenseDepth169, is any registered network that
            gives one channel.
        fuse: arguments of DepthGuidedFuseNet, or a `type` whose forward takes a `guide`.
        mix: number at the start whose sigmoid is the part of the depth in the guide.

    Raises:
        ValueError: a part cannot be built, or takes no guide.
    """

    def __init__(
        self,
        depth: Annotated[Mapping[str, Any], Typed('network', 'DenseDepth169')] | None = None,
        fuse: Annotated[Mapping[str, Any], Typed('network', 'DepthGuidedFuseNet')] | None = None,
        mix: float = -0.6,
    ):
        super().__init__()
        self.depth_net = build_part(self, 'depth', {'type': 'DenseDepth169', **(depth or {})})
        self.fuse_net = build_part(self, 'fuse', {'type': 'DepthGuidedFuseNet', **(fuse or {})})
        if 'guide' not in inspect.signature(self.fuse_net.forward).parameters:
            raise ValueError(f'DGDNet: fuse: {type(self.fuse_net).__name__} takes no guide; use DepthGuidedFuseNet')
        self.mix = nn.Parameter(torch.tensor([float(mix)]))
        classifier = _DEPTH + r'model\.classifier\.'
        if hasattr(self.depth_net, 'classifier'):
            accept_published_keys(self, {classifier: 'depth_net.classifier.', **_PUBLISHED_KEYS})
        else:
            accept_published_keys(self, _PUBLISHED_KEYS, [classifier])

    def forward(self, x: Tensor, depth: Tensor | None = None, return_depth: bool = False) -> Tensor | DGDNetOutput:
        """
        Args:
            x: hazy RGB images in [0, 1], shape (N, 3, H, W) with H, W >= 16.
            depth: of the scene, in (0, 1], shape (N, 1, H, W); by default it is estimated from x.
            return_depth: give the depth, too.

        Returns:
            The dehazed images, of x's shape, in [-1, 1]; clamped to [0, 1] in eval mode. With return_depth, a
            DGDNetOutput.

        Raises:
            ValueError: an image is smaller than 16x16, or the depth is not of its size.
        """
        height, width = check_size(self, x)
        depth = cast('Tensor', self.depth_net(x)) if depth is None else depth
        wanted = x.shape[0], 1, height, width
        if depth.shape != wanted:
            raise ValueError(f'DGDNet: depth is of {tuple(depth.shape)}, but must be of {wanted}, as the images')
        share = torch.sigmoid(self.mix)
        output = self.fuse_net(x, guide=share * depth + (1 - share) * x)
        return DGDNetOutput(output, depth) if return_depth else output
