"""What all back ends share: their interface, and the network as a function of tensors alone."""

import copy
import inspect
import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from okdnet_plugin.archs.arch_util import check_size
from okdnet_plugin.engine.any_size import AnySize
from okdnet_plugin.engine.ensemble import of_eight


class Restored(NamedTuple):
    """What a back end gives for a batch; float32, on the back end's device."""

    output: Tensor
    """Dehazed images, RGB in [0, 1], shape (N, 3, H, W)."""
    transmission: Tensor | None = None
    """(N, 1, H, W), where it was asked for and the network has one."""
    airlight: Tensor | None = None
    """RGB, (N, 3, 1, 1), where the network has one."""
    depth: Tensor | None = None
    """As part of the farthest, in (0, 1], (N, 1, H, W), where it was asked for and the network estimates it."""


class Core(nn.Module):
    """A network as a function of tensors, which is what graphs are made of.

    The airlight goes in: it is estimated beside the graph, by a small network at a fixed size. So may the attention,
    for parts of an image.
    """

    def __init__(self, net: nn.Module, maps: bool):
        super().__init__()
        self.net = net
        self.takes_airlight = hasattr(net, 'estimate_airlight')
        self.takes_attention = bool(getattr(net, 'attended', ()))
        self.maps = maps and self.takes_airlight
        self.gives_depth = maps and 'return_depth' in inspect.signature(net.forward).parameters
        self.eval()

    def forward(
        self, hazy: Tensor, airlight: Tensor | None = None, attention: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """
        Returns:
            The dehazed images, and with maps the transmission, or the depth.
        """
        if self.gives_depth:
            return tuple(self.net(hazy, return_depth=True))
        if not self.takes_airlight:
            return (self.net(hazy),)
        scene = {'airlight': airlight} | ({} if attention is None else {'attention': attention})
        if not self.maps:
            return (self.net(hazy, **scene),)
        branches = self.net(hazy, return_branches=True, **scene)
        return branches.output, branches.transmission


class BackEnd(ABC):
    """A network on its device, ready to run.

    Args:
        net: in eval mode, fused if it can be; it stays as it is.
        precision: `fp32`, `bf16` or `fp16`.
        device: where it runs; images may be anywhere.
        maps: give the transmission, or the depth, too, where the network has one.
    """

    name: ClassVar[str]

    def __init__(self, net: nn.Module, precision: str, device: torch.device, maps: bool):
        self.precision, self.device = precision, device
        self.core = Core(copy.deepcopy(net).requires_grad_(False), maps)
        self.self_ensemble = False
        """Give the mean over the eight orientations of an image."""
        self._any_size = AnySize(self.core.net)

    def estimate_airlight(self, hazy: Tensor) -> Tensor | None:
        """The airlight of images as the network sees it.

        Args:
            hazy: RGB in [0, 1], shape (N, 3, H, W).

        Returns:
            RGB, (N, 3, 1, 1), float32; None of a network that has no such estimate.
        """
        if not self.core.takes_airlight:
            return None
        net: Any = self.core.net
        with torch.no_grad():
            return net.estimate_airlight(hazy.to(self.device, torch.float32)).float()

    def estimate_attention(self, hazy: Tensor) -> list[Tensor] | None:
        """What the channel attentions of the network see of images, which parts of an image may share.

        Args:
            hazy: RGB in [0, 1], shape (N, 3, H, W) with H, W >= 16.

        Returns:
            (N, C, 1, 1), float32, for each orientation in which an image is restored: one, or eight; None of a network
            that has no such estimate.
        """
        net: Any = self.core.net
        found: list[Tensor] = []

        def look(images: Tensor) -> list[Tensor]:
            found.append(net.estimate_attention(images))
            return []

        if self.core.takes_attention:
            hazy = hazy.to(self.device, torch.float32)
            with torch.no_grad():
                _ = of_eight(look, hazy) if self.self_ensemble else look(hazy)
        return found or None

    def __call__(
        self, hazy: Tensor, airlight: Tensor | None = None, attention: Sequence[Tensor] | None = None
    ) -> Restored:
        """
        Args:
            hazy: RGB in [0, 1], shape (N, 3, H, W) with H, W >= 16.
            airlight: that of the scene, (N, 3, 1, 1) or (1, 3, 1, 1), for a network that has one; by default it is
                estimated from hazy.
            attention: that of the scene, as `estimate_attention` gives it, together with the airlight; by default it
                is that of hazy.

        Raises:
            ValueError: an image is smaller than 16x16; a graph would not notice.
        """
        check_size(self.core.net, hazy)
        hazy = hazy.to(self.device, torch.float32)
        if self.core.takes_airlight:
            airlight = self.estimate_airlight(hazy) if airlight is None else airlight.to(self.device, torch.float32)
            assert airlight is not None
            airlight = airlight.expand(len(hazy), -1, -1, -1)
        else:
            airlight = attention = None
        orientations = itertools.cycle(attention or [None])
        with torch.no_grad():
            # What is tried may be one image of several.
            def run(images: Tensor) -> list[Tensor]:
                scene = [one for one in (airlight, next(orientations)) if one is not None]
                return self._any_size(images, lambda some: self._run(some, *(one[: len(some)] for one in scene)))

            output, *maps = of_eight(run, hazy) if self.self_ensemble else run(hazy)
        found = maps[0].float() if maps else None
        if self.core.gives_depth:
            return Restored(output.float(), depth=found)
        return Restored(output.float(), found, airlight)

    @abstractmethod
    def _run(self, hazy: Tensor, *scene: Tensor) -> tuple[Tensor, ...]:
        """What `Core.forward` gives; the scene is the airlight of a network that takes one, and perhaps attention."""
