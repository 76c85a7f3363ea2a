"""Frames of a video to RGB and back, by the matrix and range that the video says.

PyAV's own conversion to RGB is off by up to one step of 255 in a way that depends on format and flags, so it only
brings depth and subsampling to 16-bit 4:4:4, which it does to the last bit; the matrix is applied here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from okdnet_plugin.inference.transfer import Transfer

if TYPE_CHECKING:
    from av.video.format import VideoFormat
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter

_LIMITED, _FULL = 1, 2
_RGB, _BT709, _UNSPECIFIED, _BT601 = 0, 1, 2, 6
# Weights of red and blue in the brightness, by the number of the matrix in ISO/IEC 23091-2.
_WEIGHTS = {
    _BT709: (0.2126, 0.0722),
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),
    _BT601: (0.299, 0.114),
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020
    10: (0.2627, 0.0593),
}
_HDR = {16: 'PQ', 18: 'HLG'}
# Sixteen bits a colour, the places of Y, U, V or R, G, B among their planes.
_YUV, _GBR = ('yuv444p16le', (0, 1, 2)), ('gbrp16le', (2, 0, 1))


@dataclass(frozen=True)
class Colour:
    """How the numbers of a video mean colours; matrix, range, transfer and primaries as ISO/IEC 23091-2 counts them."""

    matrix: int
    full: bool
    said_matrix: int
    """What stands in the file; 2 if nothing does."""
    said_range: int
    transfer: int
    primaries: int

    @classmethod
    def of(cls, frame: VideoFrame) -> Colour:
        """That of a frame; where the file is silent, what players assume: BT.709 for HD and more, BT.601 below."""
        by_size = _BT709 if frame.width >= 1280 or frame.height > 576 else _BT601
        name = frame.format.name
        full = name.startswith('yuvj') or int(frame.color_range) == _FULL
        return cls(
            matrix=frame.colorspace if frame.colorspace in _WEIGHTS else by_size,
            full=full,
            said_matrix=frame.colorspace,
            said_range=_FULL if full else int(frame.color_range),
            transfer=frame.color_trc,
            primaries=frame.color_primaries,
        )

    def written(self, source: VideoFormat, target: VideoFormat, same_size: bool) -> Colour:
        """That of the result: the same, but where its format has no word for it or players would guess otherwise.

        Args:
            source: pixel format of the source.
            target: pixel format of the result.
            same_size: the result has the size of the source, from which players guess what is not said.
        """
        if target.is_rgb:
            return replace(self, full=True, said_range=_FULL, said_matrix=_RGB)
        if source.is_rgb:
            return replace(self, full=False, said_range=_LIMITED, said_matrix=self.matrix)
        if source.name.startswith('gray'):  # which PyAV always takes for full range, and makes limited
            return replace(self, full=False, said_range=_LIMITED)
        if self.said_matrix == _UNSPECIFIED and not same_size:
            return replace(self, said_matrix=self.matrix)
        return self

    def doubts(self) -> list[str]:
        """What the user should know of it, each a line."""
        lines = []
        if self.transfer in _HDR:
            lines.append(f'HDR ({_HDR[self.transfer]}), for which the networks are not trained: look at the result')
        if self.said_matrix not in (*_WEIGHTS, _RGB, _UNSPECIFIED):
            lines.append(f'colour matrix {self.said_matrix} is not known here: BT.709 or BT.601 is taken both ways')
        return lines

    def matrices(self, depth: int) -> tuple[Tensor, Tensor]:
        """A (3, 3) and an offset (3, 1) with which RGB in [0, 1] times A plus the offset is Y, U, V at a depth.

        Source: ITU-R BT.601-7, BT.709-6 and BT.2020-2, the quantisation included.
        """
        red, blue = _WEIGHTS[self.matrix]
        luma = torch.tensor([red, 1 - red - blue, blue], dtype=torch.float64)
        u = (torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64) - luma) / (2 * (1 - blue))
        v = (torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64) - luma) / (2 * (1 - red))
        step = 2 ** (depth - 8)
        top = 2**depth - 1
        y_range, uv_range, black = (top, top, 0) if self.full else (219 * step, 224 * step, 16 * step)
        to_yuv = torch.stack((y_range * luma, uv_range * u, uv_range * v))
        return to_yuv, torch.tensor([[black], [128 * step], [128 * step]], dtype=torch.float64)


class ToRGB:
    """Frames of any pixel format to floating-point RGB.

    Args:
        transfer: to where it is computed, which takes 16 bits a colour to it and not 32.
    """

    def __init__(self, transfer: Transfer | None = None):
        self._reformatter = _reformatter()
        self._transfer = transfer or Transfer(torch.device('cpu'))

    def __call__(self, frame: VideoFrame) -> tuple[VideoFrame, Tensor]:
        """A frame of 16 bits a colour, with the time stamps and whatever else belongs to it, and its RGB.

        Returns:
            The frame, which is free to be overwritten, and RGB in [0, 1], (3, H, W), on the device of `transfer`.
        """
        name, places = _GBR if frame.format.is_rgb else _YUV
        depth = depth_of(frame.format)
        carrier = _reformat(self._reformatter, frame, name, frame.format.name)
        carrier.make_writable()
        sixteen = torch.from_numpy(np.stack([_pixels(carrier, place) for place in places]).view(np.int16))
        numbers = self._transfer.bring(sixteen).int().bitwise_and_(0xFFFF).float()
        channels = numbers.mul_(2.0 ** (depth - 16)).flatten(1)
        if frame.format.is_rgb:
            rgb = channels / (2**depth - 1)
        else:
            colour = Colour.of(frame)
            if frame.format.name.startswith('gray'):
                colour = replace(colour, full=False)
            to_yuv, offset = colour.matrices(depth)
            rgb = torch.linalg.inv(to_yuv).to(channels) @ channels.sub_(offset.to(channels))
        return carrier, rgb.clamp_(0, 1).unflatten(1, (frame.height, frame.width))


class FromRGB:
    """Floating-point RGB to the frames that an encoder takes.

    Args:
        pixel_format: of the encoder.
        width: of the encoder, in pixels; a frame of another size is scaled.
        height: likewise.
        colour: of the result.
        transfer: from where the RGB is.
    """

    def __init__(self, pixel_format: str, width: int, height: int, colour: Colour, transfer: Transfer | None = None):
        from av.video.format import VideoFormat

        target = VideoFormat(pixel_format)
        self._transfer = transfer or Transfer(torch.device('cpu'))
        self._reformatter = _reformatter()
        self._pixel_format, self._width, self._height = pixel_format, width, height
        self._name, self._places = _GBR if target.is_rgb else _YUV
        self._depth = depth_of(target)
        identity = (2**self._depth - 1) * torch.eye(3, dtype=torch.float64), torch.zeros(3, 1, dtype=torch.float64)
        self._matrix, self._offset = identity if target.is_rgb else colour.matrices(self._depth)

    def __call__(self, carrier: VideoFrame, restored: Tensor) -> VideoFrame:
        """The frame for the encoder, with the time stamps of the source.

        Args:
            carrier: as `ToRGB` gave it; it is overwritten.
            restored: RGB in [0, 1], (3, H, W).
        """
        height, width = restored.shape[1:]
        if (carrier.format.name, carrier.height, carrier.width) != (self._name, height, width):
            # Only for what belongs to a frame beside its pixels, which PyAV does not copy otherwise.
            carrier = self._reformatter.reformat(carrier, width=width, height=height, format=self._name)
        numbers = self._matrix.to(restored) @ restored.reshape(3, -1) + self._offset.to(restored)
        numbers = numbers.clamp_(0, 2**self._depth - 1).mul_(2.0 ** (16 - self._depth))
        if not self._places[0]:  # Y; U and V are rounded after they have been averaged
            numbers[0].mul_(2.0 ** (self._depth - 16)).round_().mul_(2.0 ** (16 - self._depth))
        sixteen = numbers.round_().reshape(3, height, width).int().to(torch.int16)
        pixels = self._transfer.fetch(sixteen, torch.device('cpu')).numpy().view(np.uint16)
        for place, plane in zip(self._places, pixels, strict=True):
            _pixels(carrier, place)[:] = plane
        frame = _reformat(
            self._reformatter, carrier, self._pixel_format, self._pixel_format, width=self._width, height=self._height
        )
        frame.pict_type = 0  # which frames are key frames is the encoder's affair
        return frame


def depth_of(pixel_format: VideoFormat) -> int:
    """Bits of the deepest component of a pixel format."""
    return max(component.bits for component in pixel_format.components)


def quarter_turns(frame: VideoFrame) -> int:
    """By how many quarters, counter-clockwise, players turn the frame; 0 for angles between."""
    return round(frame.rotation / 90) % 4 if frame.rotation % 90 == 0 else 0


def display_matrix(frame: VideoFrame) -> list[int] | None:
    """How players turn and mirror the frame, as nine numbers of the container."""
    for side_data in cast(Any, frame.side_data):
        if side_data.type.name == 'DISPLAYMATRIX':
            return np.frombuffer(side_data, np.int32).tolist()
    return None


def _reformatter() -> VideoReformatter:
    from av.video.reformatter import VideoReformatter

    return VideoReformatter()


def _reformat(reformatter: VideoReformatter, frame: VideoFrame, name: str, outer: str, **size: int) -> VideoFrame:
    """Another depth, subsampling or size, the numbers otherwise untouched: as if one range were on both sides.

    Args:
        reformatter: of PyAV.
        frame: in the one format.
        name: of the other format.
        outer: the format that is not one of ours; PyAV takes some names for full range whatever is said.
        size: `width` and `height`.
    """
    from av.video.reformatter import Interpolation as Flag

    one = _FULL if outer.startswith('yuvj') else _LIMITED
    exact = Flag.BICUBIC | Flag.ACCURATE_RND | Flag.FULL_CHR_H_INT | Flag.FULL_CHR_H_INP
    matrix = 5  # any that PyAV knows, on both sides
    return reformatter.reformat(
        frame,
        format=name,
        src_colorspace=matrix,
        dst_colorspace=matrix,
        src_color_range=one,
        dst_color_range=one,
        interpolation=int(exact),
        **size,
    )


def _pixels(frame: VideoFrame, place: int) -> np.ndarray:
    plane: Any = frame.planes[place]  # a buffer
    return np.frombuffer(plane, np.uint16).reshape(plane.height, -1)[:, : frame.width]
