"""Back ends inside torch: the network as it is, and compiled."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from okdnet_plugin.archs.arch_util import pad_to_multiple
from okdnet_plugin.engine.memory import keep_freed_memory
from okdnet_plugin.inference.backends.base import BackEnd

DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}


class Eager(BackEnd):
    """The network layer by layer, with the channels of a pixel side by side in memory.

    A fused OKDNet knows itself what may be computed in half precision. Of other networks autocast decides.

    On a CPU the process keeps the memory that it frees: fetching it anew takes half of the time.
    """

    name = 'eager'

    def __init__(self, net: nn.Module, precision: str, device: torch.device, maps: bool):
        super().__init__(net, precision, device, maps)
        if device.type == 'cpu':
            keep_freed_memory()
        self._dtype = DTYPES[precision]
        # A network that knows what of it may be computed in half precision sees to it.
        self._sets_precision: Any = getattr(self.core.net, 'set_precision', None)
        if self._sets_precision:
            self._sets_precision(self._dtype)
        core: Any = self.core
        core.to(device, memory_format=torch.channels_last)

    def _run(self, hazy: Tensor, *scene: Tensor) -> tuple[Tensor, ...]:
        with self._autocast():
            return self.core(hazy.contiguous(memory_format=torch.channels_last), *scene)

    def _autocast(self) -> AbstractContextManager:
        if self._dtype == torch.float32 or self._sets_precision:
            return nullcontext()
        return torch.autocast(self.device.type, self._dtype)


class Compiled(Eager):
    """As `Eager`, compiled by torch.

    A fused OKDNet is compiled for sizes in general, for which torch may need a second round when the next size comes;
    it gets images that need no padding. Other networks are compiled for each size anew, up to torch's limit of eight,
    beyond which sizes run without.
    """

    name = 'compile'

    def __init__(self, net: nn.Module, precision: str, device: torch.device, maps: bool):
        super().__init__(net, precision, device, maps)
        self._padded_to: Any = getattr(self.core.net, 'multiple', 1)
        self._compiled = torch.compile(self.core, dynamic=self._padded_to > 1)

    def _run(self, hazy: Tensor, *scene: Tensor) -> tuple[Tensor, ...]:
        height, width = hazy.shape[-2:]
        padded = pad_to_multiple(hazy, self._padded_to).contiguous(memory_format=torch.channels_last)
        with self._autocast():
            results = cast(tuple[Tensor, ...], self._compiled(padded, *scene))
        return tuple(result[..., :height, :width] for result in results)
