"""AOD-Net: one small map K that takes transmission and airlight together."""

from typing import Annotated

import torch
from annotated_types import Ge, Le
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from okdnet_plugin.archs.arch_util import accept_published_keys, check_size

# Source: the PyTorch weights that were published for the network.
_PUBLISHED_KEYS = {rf'^e_conv{i + 1}\.': f'convs.{i}.' for i in range(5)}


@ARCH_REGISTRY.register()
class AODNet(nn.Module):
    """All-in-one dehazing network: five convolutions estimate K, and the image is J = K x - K + b.

    The defaults have 1,761 parameters.

    Source: Li et al., "AOD-Net: All-in-One Dehazing Network", ICCV 2017, the "transformed formula" and the
    K-estimation module. The last ReLU, which keeps J from falling below 0, is that of the published network.

    Args:
        num_feat: channels of each of the first four convolutions.
        bias: b, the constant bias.
    """

    def __init__(self, num_feat: Annotated[int, Ge(1), Le(4096)] = 3, bias: float = 1.0):
        super().__init__()
        self.bias = bias
        kernels, num_in = (1, 3, 5, 7, 3), (3, num_feat, 2 * num_feat, 2 * num_feat, 4 * num_feat)
        num_out = (num_feat, num_feat, num_feat, num_feat, 3)
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, kernel, 1, kernel // 2)
            for before, after, kernel in zip(num_in, num_out, kernels, strict=True)
        )
        accept_published_keys(self, _PUBLISHED_KEYS)

    def forward(self, x: Tensor) -> Tensor:
        """
        Args:
            x: hazy RGB images in [0, 1], shape (N, 3, H, W) with H, W >= 16.

        Returns:
            The dehazed images, of x's shape, not below 0; clamped to [0, 1] in eval mode.

        Raises:
            ValueError: an image is smaller than 16x16.
        """
        check_size(self, x)
        conv1, conv2, conv3, conv4, conv5 = self.convs
        x1 = F.relu(conv1(x))
        x2 = F.relu(conv2(x1))
        x3 = F.relu(conv3(torch.cat([x1, x2], 1)))
        x4 = F.relu(conv4(torch.cat([x2, x3], 1)))
        k = F.relu(conv5(torch.cat([x1, x2, x3, x4], 1)))
        output = F.relu(k * x - k + self.bias)
        return output if self.training else output.clamp(max=1)
