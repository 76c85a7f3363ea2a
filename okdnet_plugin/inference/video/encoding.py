"""Which encoder a video is written with, in which pixel format and quality."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from okdnet_plugin.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from av.video.format import VideoFormat

# Containers that keep the time stamp of each frame, by the suffix of the name.
FORMATS = {'.mp4': 'mp4', '.m4v': 'mp4', '.mov': 'mov', '.mkv': 'matroska', '.webm': 'webm'}
# What makes a result hard to tell from the lossless one, with a speed that does not hold up the network.
_QUALITY = {
    'libx264': {'crf': '16', 'preset': 'medium'},
    'libx265': {'crf': '18', 'preset': 'medium', 'x265-params': 'log-level=error'},
    'libvpx-vp9': {'crf': '20', 'deadline': 'good', 'cpu-used': '4', 'row-mt': '1'},
    'libsvtav1': {'crf': '22', 'preset': '7'},
}
_CRF_MOST = {'libx264': 51, 'libx265': 51}
_EVEN_ONLY = {'libx264', 'libx265', 'libsvtav1'}  # at 4:2:0


@dataclass(frozen=True)
class Encoding:
    """How the moving image is encoded."""

    codec: str | None = None
    """An encoder of PyAV; by default one that the container and the depth of the source suggest."""
    crf: int | None = None
    """Constant quality, on the scale of the codec; less is better and larger."""
    pixel_format: str | None = None
    """By default YUV 4:2:0, as deep as the source."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Further options of the encoder, such as `preset`."""

    def options_of(self, codec: str) -> dict[str, str]:
        """Options for an encoder.

        Raises:
            InputError: its quality is not on the encoder's scale.
        """
        options = {**_QUALITY.get(codec, {}), **self.options}
        if self.crf is None:
            return options
        most = _CRF_MOST.get(codec, 63)
        if not 0 <= self.crf <= most:
            raise InputError(f'crf is {self.crf}; {codec} takes 0 (best) to {most}')
        return {**options, 'crf': str(self.crf)}


def suffix_for(source: str | os.PathLike) -> str:
    """The suffix of a result: that of the source, or `.mkv` where its container cannot keep all time stamps."""
    suffix = os.path.splitext(os.fspath(source))[1].lower()
    return suffix if suffix in FORMATS else '.mkv'


def check_codec(codec: str, container: str) -> None:
    """See that there is such an encoder, and that the container takes what it makes.

    Raises:
        InputError: it is not so.
    """
    import av

    encoders = sorted(name for name in av.codecs_available if _encodes_video(name))
    if codec not in encoders:
        near = did_you_mean(codec, encoders)
        raise InputError(f"no video encoder '{codec}'{near}; usual ones: {', '.join(_QUALITY)}")
    try:
        with av.open(io.BytesIO(), 'w', format=container) as trial:
            trial.add_stream(codec)
    except ValueError as error:
        raise InputError(f'{container} cannot hold {codec}; .mkv holds any') from error


def check_format(pixel_format: str, codec: str) -> None:
    """See that an encoder takes a pixel format.

    Raises:
        InputError: it does not.
    """
    formats = _formats(codec)
    if formats and pixel_format not in formats:
        near = did_you_mean(pixel_format, formats)
        raise InputError(f"{codec} has no pixel format '{pixel_format}'{near}; it has {', '.join(formats)}")


def codec_for(container: str, depth: int, width: int, height: int) -> str:
    """The encoder whose result most players play.

    Args:
        container: one of `FORMATS`.
        depth: of the source, in bits a colour.
        width: of the result, in pixels.
        height: likewise.

    Raises:
        InputError: this build of PyAV has none.
    """
    import av

    if container == 'webm':
        even = width % 2 == 0 and height % 2 == 0
        wanted = ['libsvtav1', 'libvpx-vp9'] if depth > 8 and even else ['libvpx-vp9', 'libsvtav1']
    else:  # devices decode ten bits in H.265 only
        wanted = ['libx265', 'libx264'] if depth > 8 else ['libx264', 'libx265', 'mpeg4']
    for name in wanted:
        if name in av.codecs_available and _encodes_video(name):
            return name
    raise InputError(f'this PyAV has none of the encoders {", ".join(wanted)}: choose another container or codec')


def pixel_format_for(codec: str, source: str, depth: int, width: int, height: int) -> str:
    """YUV 4:2:0 as deep as the source, or what the encoder has that is nearest to it.

    Args:
        codec: an encoder.
        source: pixel format of the source.
        depth: of the source, in bits a colour.
        width: of the result, in pixels; the usual encoders take odd sizes at 4:4:4 only.
        height: likewise.
    """
    from av.codec.codec import find_best_pix_fmt_of_list

    formats = _formats(codec)
    chroma = '444' if (width % 2 or height % 2) and codec in _EVEN_ONLY else '420'
    for bits in range(min(depth, 16), 7, -1):
        name = f'yuv{chroma}p' + (f'{bits}le' if bits > 8 else '')
        if name in formats:
            return name
    if not formats:
        return 'yuv420p'
    best, _ = find_best_pix_fmt_of_list(formats, source)
    return best.name if best else formats[0]


def more_colour_than_420(pixel_format: VideoFormat) -> bool:
    """Whether a pixel format has colours at more than each second place of each second line."""
    if len(pixel_format.components) < 3:
        return False
    return pixel_format.is_rgb or pixel_format.chroma_width(16) > 8 or pixel_format.chroma_height(16) > 8


def _formats(codec: str) -> list[str]:
    from av.codec import Codec

    return [one.name for one in Codec(codec, 'w').video_formats or ()]


def _encodes_video(name: str) -> bool:
    from av.codec import Codec

    try:
        return Codec(name, 'w').type == 'video'
    except ValueError:
        return False
