"""Pixels on their way to the device that computes and back, beside its work where it is a GPU."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from okdnet_plugin.archs.arch_util import luma

_LARGEST = {torch.uint8: 2**8 - 1, torch.int16: 2**16 - 1}


class Sent(NamedTuple):
    """A tensor that is on its way."""

    values: Tensor
    event: Any = None
    """After which it is there; None if it is."""


class Transfer:
    """Copies between the system's memory and a device.

    To a GPU they go from page-locked memory in a stream of their own, so that it computes meanwhile.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self._stream: Any = torch.cuda.Stream(device) if device.type == 'cuda' else None

    def send(self, values: Tensor) -> Sent:
        """Begin to bring values to the device, in their own type: whole numbers are a quarter of the bytes."""
        if self._stream is None or values.device.type != 'cpu':
            return Sent(values.to(self.device))
        locked = values.contiguous().pin_memory()
        with torch.cuda.stream(self._stream):
            moved = locked.to(self.device, non_blocking=True)
            event = torch.cuda.Event()
            event.record(self._stream)
        return Sent(moved, event)

    def arrive(self, sent: Sent) -> Tensor:
        """The values on the device; its work waits for them, this process does not."""
        if sent.event is not None:
            stream = torch.cuda.current_stream(self.device)
            stream.wait_event(sent.event)
            sent.values.record_stream(stream)
        return sent.values

    def bring(self, values: Tensor) -> Tensor:
        """The values on the device."""
        return self.arrive(self.send(values))

    def fetch(self, values: Tensor, to: torch.device) -> Tensor:
        """The values on another device; in the system's memory they are there when this returns."""
        if self._stream is None or to.type != 'cpu' or values.device.type == 'cpu':
            return values.to(to)
        locked = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        self._stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._stream):
            locked.copy_(values, non_blocking=True)
            values.record_stream(self._stream)
        self._stream.synchronize()
        return locked


def to_float(values: Tensor) -> Tensor:
    """float32 RGB in [0, 1], (N, 3, H, W).

    Args:
        values: (N, 3, H, W), or (N, 1, H, W) of grey: floating point in [0, 1], uint8, or int16 that stands for the 16
            bits of uint16, a type of which torch knows the name only.
    """
    if values.dtype in _LARGEST:
        wide = values.int().bitwise_and_(0xFFFF) if values.dtype == torch.int16 else values
        values = wide.float().div_(_LARGEST[values.dtype])
    values = values.float()
    return values if values.shape[1] == 3 else values.expand(-1, 3, -1, -1).contiguous()


def from_float(values: Tensor, dtype: torch.dtype, channels: int) -> Tensor:
    """What `to_float` takes, of values in [0, 1], (N, C, H, W); one channel of three is their luma."""
    if channels == 1 and values.shape[1] == 3:
        values = luma(values)
    if dtype not in _LARGEST:
        return values.to(dtype)
    whole = (values.clamp(0, 1) * _LARGEST[dtype]).round()
    return whole.to(torch.uint8) if dtype == torch.uint8 else whole.int().to(torch.int16)
