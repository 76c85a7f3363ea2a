"""What all back ends share: their interface, and the network as a function of tensors alone."""

import copy
import inspect
from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from okdnet_plugin.archs.arch_util import check_size
from okdnet_plugin.errors import InputError
from okdnet_plugin.inference.memory import is_out_of_memory

_PROBED = 48  # px, about, of what is tried


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

    The airlight goes in: it is estimated beside the graph, by a small network at a fixed size.
    """

    def __init__(self, net: nn.Module, maps: bool):
        super().__init__()
        self.net = net
        self.takes_airlight = hasattr(net, 'estimate_airlight')
        self.maps = maps and self.takes_airlight
        self.gives_depth = maps and 'return_depth' in inspect.signature(net.forward).parameters
        self.eval()

    def forward(self, hazy: Tensor, airlight: Tensor | None = None) -> tuple[Tensor, ...]:
        """
        Returns:
            The dehazed images, and with maps the transmission, or the depth.
        """
        if self.gives_depth:
            return tuple(self.net(hazy, return_depth=True))
        if not self.takes_airlight:
            return (self.net(hazy),)
        if not self.maps:
            return (self.net(hazy, airlight=airlight),)
        branches = self.net(hazy, return_branches=True, airlight=airlight)
        return branches.output, branches.transmission


def continued(x: Tensor, height: int, width: int) -> Tensor:
    """Images continued to the right and downwards, by mirroring as often as it takes, to a size of at least theirs."""
    for axis, wanted in ((2, height), (3, width)):
        length = x.shape[axis]
        if length < wanted:
            there_and_back = np.pad(np.arange(length), (0, wanted - length), mode='symmetric')
            x = x.index_select(axis, torch.from_numpy(there_and_back).to(x.device))
    return x


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
        self._multiple: int | None = None  # of which sides have to be; not known before a size fails

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

    def __call__(self, hazy: Tensor, airlight: Tensor | None = None) -> Restored:
        """
        Args:
            hazy: RGB in [0, 1], shape (N, 3, H, W) with H, W >= 16.
            airlight: that of the scene, (N, 3, 1, 1) or (1, 3, 1, 1), for a network that has one; by default it is
                estimated from hazy.

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
            airlight = None
        with torch.no_grad():
            output, *maps = self._run_any_size(hazy, airlight)
        found = maps[0].float() if maps else None
        if self.core.gives_depth:
            return Restored(output.float(), depth=found)
        return Restored(output.float(), found, airlight)

    def _run_any_size(self, hazy: Tensor, airlight: Tensor | None) -> list[Tensor]:
        """Run a network, padded where it takes multiples of something only, as those that look at windows do.

        Of what is tried once, when a size fails or comes back as another.
        """
        try:
            return self._run_padded(hazy, airlight, self._multiple or 1)
        except (RuntimeError, ValueError, AssertionError, IndexError) as error:
            if self._multiple is not None or is_out_of_memory(error):
                raise
            self._multiple = next((number for number in self._multiples() if self._takes(number)), 1)
            if self._multiple == 1:
                raise
        return self._run_padded(hazy, airlight, self._multiple)

    def _run_padded(self, hazy: Tensor, airlight: Tensor | None, multiple: int) -> list[Tensor]:
        height, width = hazy.shape[-2:]
        padded = continued(hazy, height + -height % multiple, width + -width % multiple)
        results = self._run(padded, airlight)
        for number, result in enumerate(results):
            if result.shape[-2:] != padded.shape[-2:] or (number == 0 and result.shape != padded.shape):
                raise InputError(
                    f'{type(self.core.net).__name__} makes {tuple(result.shape[1:])} of {tuple(padded.shape[1:])}; '
                    'only networks of scale 1 that give an image dehaze'
                )
        return [result[..., :height, :width] for result in results]

    def _multiples(self) -> list[int]:
        """What the network says of itself, then the usual numbers."""
        said = (getattr(self.core.net, name, None) for name in ('img_multiple_of', 'window_size'))
        return [number for number in said if isinstance(number, int) and number > 1] + [2, 4, 8, 16, 32, 64]

    def _takes(self, multiple: int) -> bool:
        """Whether sides that are odd multiples go through."""
        odd = _PROBED // multiple | 1
        hazy = torch.full((1, 3, odd * multiple, (odd + 2) * multiple), 0.5, device=self.device)
        airlight = torch.full((1, 3, 1, 1), 0.8, device=self.device) if self.core.takes_airlight else None
        try:
            self._run_padded(hazy, airlight, 1)
        except (RuntimeError, ValueError, AssertionError, IndexError):
            return False
        return True

    @abstractmethod
    def _run(self, hazy: Tensor, airlight: Tensor | None) -> tuple[Tensor, ...]:
        """What `Core.forward` gives."""
