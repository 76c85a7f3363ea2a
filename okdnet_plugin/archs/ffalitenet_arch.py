"""FFALiteNet: FFA-Net's form at a quarter of its width, the student of feature affinity distillation."""

from basicsr.utils.registry import ARCH_REGISTRY

from okdnet_plugin.archs.ffanet_arch import FFANet


@ARCH_REGISTRY.register()
class FFALiteNet(FFANet):
    """The small feature fusion attention network that learns from a super-resolver.

    The defaults have 96,007 parameters, 1/46 of FFA-Net's 4,455,913, which `dim=64, blocks=19` has.

    Source: Mitheran et al., "Rich Feature Distillation with Feature Affinity Module for Efficient Image Dehazing",
    arXiv 2207.11250 (2022); width, groups and blocks are those of the code that its authors released. The abstract
    says "about 20 times" smaller, which no width of that code gives: 24 channels and 6 blocks would (214,439).

    Args:
        dim: channels of all layers.
        groups: groups, each of whose outputs takes part in the fusion.
        blocks: blocks of each group.
    """

    def __init__(self, dim: int = 16, groups: int = 3, blocks: int = 6):
        super().__init__(dim, groups, blocks)
