"""DSC-FSRCNN: a super-resolver of depthwise separable convolutions, one network a colour channel."""

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from okdnet_plugin.archs.arch_util import check_size


def separable_conv(num_in: int, num_out: int, kernel: int, groups: int) -> list[nn.Module]:
    """A filter for each input channel, then a 1x1 convolution inside each of the groups."""
    return [
        nn.Conv2d(num_in, num_in, kernel, 1, kernel // 2, groups=num_in),
        nn.Conv2d(num_in, num_out, 1, groups=groups),
    ]


@ARCH_REGISTRY.register()
class DSCFSRCNN(nn.Module):
    """Fast super-resolution network of separable convolutions, the teacher of feature affinity distillation.

    It has 8,817 parameters a channel, 26,451 by default. No channel reads another: its layers are grouped, which
    is the three networks of one channel that the authors trained, side by side. As a teacher it enlarges; it is no
    dehazing network, and an option file that trains it has `scale: 2`.

    Source: Mitheran et al., arXiv 2207.11250 (2022), the teacher of the code that its authors released; after Dong
    et al., "Accelerating the super-resolution convolutional neural network", ECCV 2016. The last layer begins as
    N(0, 0.001), as there. The clamp in eval mode is ours, as in all networks of the plugin.

    Args:
        num_channels: channels of the images, each with a network of its own.
        scale: by which an image is enlarged.
        d: channels of the first and the last layer, for each channel of the image.
        s: channels between them.
        m: convolutions between them.

    Raises:
        ValueError: an argument is below 1.
    """

    def __init__(self, num_channels: int = 3, scale: int = 2, d: int = 56, s: int = 12, m: int = 4):
        super().__init__()
        for name, value in {'num_channels': num_channels, 'scale': scale, 'd': d, 's': s, 'm': m}.items():
            if value < 1:
                raise ValueError(f'DSCFSRCNN: {name} is {value}, but must be at least 1')
        wide, narrow = num_channels * d, num_channels * s
        self.scale = scale
        self.first = nn.Sequential(nn.Conv2d(num_channels, wide, 5, 1, 2, groups=num_channels), nn.PReLU(wide))
        layers = [*separable_conv(wide, narrow, 1, num_channels), nn.PReLU(narrow)]
        for _ in range(m):
            layers += [*separable_conv(narrow, narrow, 3, num_channels), nn.PReLU(narrow)]
        self.middle = nn.Sequential(*layers, *separable_conv(narrow, wide, 1, num_channels), nn.PReLU(wide))
        self.last = nn.ConvTranspose2d(wide, num_channels, 9, scale, 4, scale - 1, groups=num_channels)
        nn.init.normal_(self.last.weight, std=0.001)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """
        Args:
            x: clear images in [0, 1], shape (N, num_channels, H, W) with H, W >= 16.

        Returns:
            The enlarged images, shape (N, num_channels, scale H, scale W); clamped to [0, 1] in eval mode only.

        Raises:
            ValueError: an image is smaller than 16x16.
        """
        check_size(self, x)
        output = self.last(self.middle(self.first(x))).to(x.dtype)
        return output if self.training else output.clamp(0, 1)
