"""ProgressiveDehazer: a small network dehazes first, and any other goes on from there."""

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from okdnet_plugin.archs.arch_util import build_part, check_size
from okdnet_plugin.archs.dcp_arch import DCP
from okdnet_plugin.config.keys import Typed


class ProgressiveStages(NamedTuple):
    """What the stages of ProgressiveDehazer say of one batch; images are RGB, shape (N, 3, H, W)."""

    output: Tensor
    """The last of `restored`; clamped to [0, 1] in eval mode."""
    pre_restored: Tensor
    """J0, of the pre-restore module."""
    restored: tuple[Tensor, ...]
    """J1, J2, ..., of the restorer; one by default."""
    rehazed: tuple[Tensor, ...]
    """The hazy image that each of `restored` explains best, if the network alternates; by default none."""


def rehaze(hazy: Tensor, clear: Tensor, airlight: Tensor, t_min: float = 0.1) -> Tensor:
    """The hazy image nearest to a given one that a clear image can have, I = J t + A (1 - t).

    The transmission of each pixel is that of least squares over its channels. So what the result leaves of the
    hazy image is what no haze explains.

    Args:
        hazy, clear: shape (N, 3, H, W), on one scale.
        airlight: on their scale, shape (N, 3, 1, 1).
        t_min: smallest transmission.

    Returns:
        Shape (N, 3, H, W).
    """
    of_hazy, of_clear = hazy - airlight, clear - airlight
    t = (of_hazy * of_clear).sum(1, keepdim=True) / of_clear.square().sum(1, keepdim=True).clamp(min=1e-6)
    return airlight + of_clear * t.clamp(t_min, 1)


@ARCH_REGISTRY.register()
class ProgressiveDehazer(nn.Module):
    """A pre-restore module, and a restorer that sees the hazy image and what came of it.

    The default pre-restore module has 1,761 parameters; what joins the two images for the restorer has 21.

    Source: inspired by the abstract of Xu et al., "A progressive image dehazing framework with inter and intra
    contrastive learning", ICASSP 2023, which names an efficient pre-restore module, an alternative restored module,
    and the scattering model, and says that the framework is a complement of existing networks. No layer is
    published: all that is below these words is ours. "Alternative" is read as "any network"; the other reading,
    "alternating", is `alternate_steps`.

    Args:
        restorer: block of a registered network of scale 1, with its `type`.
        pre_restore: block of the pre-restore module, a registered network of scale 1; by default AODNet. DCP learns
            nothing.
        alternate_steps: how often the restorer works, each time on the hazy image and on what it made last. From 2 on,
            each result is put into haze again, for a loss between `rehazed` and the hazy image.

    Raises:
        ValueError: a network cannot be built, or alternate_steps is below 1.
    """

    def __init__(
        self,
        restorer: Annotated[Mapping[str, Any], Typed('network')],
        pre_restore: Annotated[Mapping[str, Any], Typed('network')] | None = None,
        alternate_steps: int = 1,
    ):
        super().__init__()
        if alternate_steps < 1:
            raise ValueError(f'ProgressiveDehazer: alternate_steps is {alternate_steps}, but must be at least 1')
        self.alternate_steps = alternate_steps
        self.pre_restore = build_part(self, 'pre_restore', {'type': 'AODNet'} if pre_restore is None else pre_restore)
        self.join = nn.Conv2d(6, 3, 1)
        self.restorer = build_part(self, 'restorer', restorer)
        # At first the restorer sees the hazy image alone: one that is trained goes on where it was.
        nn.init.zeros_(self.join.weight)
        nn.init.zeros_(self.join.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            self.join.weight[:, :3, 0, 0] = torch.eye(3, device=self.join.weight.device)

    def forward(self, x: Tensor, return_stages: bool = False) -> Tensor | ProgressiveStages:
        """
        Args:
            x: hazy RGB images in [0, 1], shape (N, 3, H, W) with H, W >= 16.
            return_stages: give what the stages made, as the losses of J0 and of the alternating reading need it.

        Returns:
            The dehazed images, of x's shape; clamped to [0, 1] in eval mode. With return_stages, a ProgressiveStages.

        Raises:
            ValueError: an image is smaller than 16x16, or a stage changes its size.
        """
        check_size(self, x)
        last = pre_restored = self._run('pre_restore', x)
        restored = []
        for _ in range(self.alternate_steps):
            last = self._run('restorer', self.join(torch.cat([x, last], 1)).to(x.dtype))
            restored.append(last)
        output = last if self.training else last.clamp(0, 1)
        if not return_stages:
            return output
        rehazed = ()
        if self.alternate_steps > 1:
            with torch.no_grad():
                airlight = DCP().estimate_airlight(x.float()).to(x.dtype)
            rehazed = tuple(rehaze(x, image, airlight) for image in restored)
        return ProgressiveStages(output, pre_restored, tuple(restored), rehazed)

    def _run(self, stage: str, x: Tensor) -> Tensor:
        net = getattr(self, stage)
        output = net(x).to(x.dtype)
        if output.shape != x.shape:
            raise ValueError(
                f'ProgressiveDehazer: {stage}: {type(net).__name__} makes {tuple(output.shape)} of '
                f'{tuple(x.shape)}; it must keep the size and the channels'
            )
        return output
