"""Writing a video: frames encoded, the other streams of the source copied, whole or not at all."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, cast

from okdnet_plugin import files
from okdnet_plugin.errors import InputError, SaveError, did_you_mean
from okdnet_plugin.inference.video.colour import Colour, depth_of, display_matrix
from okdnet_plugin.inference.video.encoding import (
    FORMATS,
    Encoding,
    check_codec,
    check_format,
    codec_for,
    more_colour_than_420,
    pixel_format_for,
)

if TYPE_CHECKING:
    from av.container.output import OutputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.format import VideoFormat
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from okdnet_plugin.inference.video.source import VideoSource

_KEEP_ASPECT = {'libx264', 'libx265', 'mpeg4', 'ffv1'}  # in the stream itself
# What is true of a file or stream of the source, and not of the result.
_STALE = {'encoder', 'major_brand', 'minor_version', 'compatible_brands', 'duration'}
_STALE_OF_MATROSKA = ('bps', 'number_of_', '_statistics_')


class VideoTarget:
    """A video file that appears under its name when it is complete.

    Args:
        path: of the file; its suffix chooses the container.
        source: what it is made from.
        encoding: how.
        say: is told, in a line each, what of the source is not kept.

    Raises:
        InputError: the container or the encoder is unknown, or they do not fit each other.
    """

    def __init__(self, path: str, source: VideoSource, encoding: Encoding, say: Callable[[str], None]):
        self.path, self._source, self._encoding, self._say = path, source, encoding, say
        suffix = os.path.splitext(path)[1].lower()
        if suffix not in FORMATS:
            known = ', '.join(FORMATS)
            raise InputError(f'{path}: videos are written as {known}{did_you_mean(suffix, FORMATS)}')
        self._format = FORMATS[suffix]
        if encoding.codec:
            check_codec(encoding.codec, self._format)
        self.codec = encoding.codec
        self._temporary = files.begin(path)
        self._container: OutputContainer | None = None
        self._copies: dict[int, Stream] = {}
        self._clocks: dict[int, int] = {}
        self._early: list[Packet] = []
        self.refused = 0
        """Packets of other streams that are left out: damaged, or with time stamps that no container takes."""

    def begin(self, first: VideoFrame, width: int, height: int) -> tuple[str, Colour]:
        """Open the file, now that the first frame shows what there is to keep.

        Args:
            first: a frame as the source's decoder gives it.
            width: of the result, in pixels.
            height: likewise.

        Returns:
            The pixel format and the colours in which `write` wants its frames.

        Raises:
            InputError: the encoder does not take these settings.
            SaveError: the file cannot be made.
        """
        import av
        from av.video.format import VideoFormat

        depth = depth_of(first.format)
        self.codec = self._encoding.codec or codec_for(self._format, depth, width, height)
        pixel_format = self._encoding.pixel_format or pixel_format_for(
            self.codec, first.format.name, depth, width, height
        )
        check_format(pixel_format, self.codec)
        target = VideoFormat(pixel_format)
        colour = Colour.of(first).written(first.format, target, (width, height) == (first.width, first.height))
        self._tell_of(first, target, width, height)
        try:
            self._container = av.open(f'file:{self._temporary}', 'w', format=self._format, options=self._muxing())
        except OSError as error:
            raise files.save_error(self.path, error, 'Nothing is left of it') from error
        self._add_video(first, pixel_format, colour, width, height)
        self._add_others()
        self._container.metadata.update(_lasting(self._source.container.metadata))
        self._container.set_chapters(self._source.container.chapters())
        with self._saving():
            self._container.start_encoding()
        for packet in self._early:
            self.copy(packet)
        self._early = []
        return pixel_format, colour

    def write(self, frame: VideoFrame | None) -> None:
        """Encode a frame; None after the last.

        Raises:
            SaveError: the file cannot be written.
        """
        assert self._container is not None
        with self._saving():
            self._container.mux(self._video.encode(frame))

    def copy(self, packet: Packet) -> None:
        """Put a packet of another stream into the file as it is, if that stream is kept.

        Raises:
            SaveError: the file cannot be written.
        """
        if self._container is None:
            self._early.append(packet)
            return
        stream = self._copies.get(packet.stream.index)
        if stream is None:
            return
        if packet.dts is None or packet.pts is None or packet.pts < packet.dts:
            self.refused += 1
            return
        last = self._clocks.get(stream.index)
        if last is not None and (packet.dts < last or (packet.dts == last and stream.type in ('audio', 'video'))):
            self.refused += 1  # containers refuse it
            return
        self._clocks[stream.index] = packet.dts
        packet.stream = stream
        with self._saving():
            try:
                self._container.mux(packet)
            except ValueError:  # damaged: sound that is none, for example
                self.refused += 1

    def finish(self) -> None:
        """Complete the file and give it its name.

        Raises:
            SaveError: it cannot be written; nothing is left of it.
        """
        assert self._container is not None
        with self._saving():
            self.write(None)
            self._container.close()
            files.publish(self._temporary, self.path)

    def abandon(self) -> None:
        """Leave nothing of it; after `finish` this does nothing."""
        if self._container is not None:
            with contextlib.suppress(Exception):  # it may fail for the cause for which it is abandoned
                self._container.close()
        files.discard(self._temporary)

    def _add_video(self, first: VideoFrame, pixel_format: str, colour: Colour, width: int, height: int) -> None:
        from av.codec.context import Flags
        from av.error import FFmpegError

        assert self._container is not None
        assert self.codec is not None
        source, codec = self._source.video, self.codec
        options = self._encoding.options_of(codec)
        described = f'{codec} ({pixel_format}, {width}x{height}, {", ".join(f"{k}={v}" for k, v in options.items())})'
        video = cast('VideoStream', self._container.add_stream(codec, rate=self._source.rate, options=options))
        context = video.codec_context
        os.environ.setdefault('SVT_LOG', '1')  # errors only; SVT-AV1 reads nothing else before it speaks
        unknown = set(options) - {option.name for group in _options_of(context) for option in group}
        if unknown:
            raise InputError(f'{self.path}: {codec} has no option {", ".join(sorted(unknown))}')
        video.time_base = self._source.time_base
        context.time_base = self._source.time_base
        context.width, context.height = width, height
        context.flags |= Flags.frame_duration
        if codec == 'libx265' and self._format in ('mp4', 'mov'):
            context.codec_tag = 'hvc1'  # by which Apple's players know it
        if source.sample_aspect_ratio:
            context.sample_aspect_ratio = source.sample_aspect_ratio
        context.color_range, context.colorspace = colour.said_range, colour.said_matrix
        context.color_trc, context.color_primaries = colour.transfer, colour.primaries
        try:
            context.pix_fmt = pixel_format
            context.open()
        except (FFmpegError, ValueError) as error:
            raise InputError(f'{self.path}: the encoder {described} does not start: {error}') from error
        video.metadata.update(_lasting(source.metadata))
        video.disposition = source.disposition
        video.set_display_matrix(display_matrix(first))
        self._video = video

    def _add_others(self) -> None:
        chapters = bool(self._source.container.chapters())
        for stream in self._source.others:
            kind = f'{stream.type} stream {stream.index} ({stream.name or "unknown"})'
            reason = _obstacle(stream, self._format)
            if reason is None:
                assert self._container is not None
                self._copies[stream.index] = _copy_of(stream, self._container)
                if stream.type == 'video':
                    self._say(f'{kind} is copied as it is: only stream {self._source.video.index} is dehazed')
            elif not (stream.type == 'data' and chapters):  # the chapters of QuickTime are such a stream
                self._say(f'{kind} is left out: {reason}')

    def _tell_of(self, first: VideoFrame, target: VideoFormat, width: int, height: int) -> None:
        source = first.format
        depth, kept = depth_of(source), depth_of(target)
        if kept < depth:
            self._say(f'{depth} bits a colour become {kept}')
        if any(one.is_alpha for one in source.components) and not any(one.is_alpha for one in target.components):
            self._say('the transparency is not kept')
        if (width % 2 or height % 2) and target.name.startswith('yuv444'):
            self._say(f'a side of {width}x{height} is odd, so {self.codec} writes it as 4:4:4, which few devices play')
        elif more_colour_than_420(source) and target.name.startswith('yuv420') and not self._encoding.pixel_format:
            self._say(f'{source.name} becomes {target.name}, which every player knows; another pixel format keeps more')
        if first.interlaced_frame:
            self._say('interlaced, and restored as if it were not: deinterlace it before')
        aspect = self._source.video.sample_aspect_ratio or 1
        if aspect != 1 and self._format in ('matroska', 'webm') and self.codec not in _KEEP_ASPECT:
            self._say(f'pixels are {aspect} as wide as high, which {self.codec} in {self._format} does not say')
        for doubt in Colour.of(first).doubts():
            self._say(doubt)

    def _muxing(self) -> dict[str, str]:
        keys = self._source.container.metadata
        # Otherwise a MOV keeps the few tags only that everybody knows, not where and with what a phone has filmed.
        custom = self._format in ('mp4', 'mov') and any('.' in key for key in keys)
        return {'movflags': '+use_metadata_tags'} if custom else {}

    @contextlib.contextmanager
    def _saving(self) -> Iterator[None]:
        from av.error import FFmpegError

        try:
            yield
        except SaveError:
            raise
        except (OSError, FFmpegError) as error:
            raise files.save_error(self.path, error, 'Nothing is left of it') from error


def _options_of(context) -> tuple:
    options = context.supported_options
    return options.generic, options.private


def _copy_of(stream: Stream, container: OutputContainer) -> Stream:
    copy = container.add_stream_from_template(stream, opaque=True)
    copy.metadata.update(_lasting(stream.metadata))
    copy.disposition = stream.disposition
    return copy


def _obstacle(stream: Stream, container: str) -> str | None:
    """Why a stream cannot be copied into a container; None if it can. It is tried, in memory."""
    import av
    from av.error import FFmpegError

    try:
        with av.open(io.BytesIO(), 'w', format=container) as trial:
            _copy_of(stream, trial)
            trial.start_encoding()
    except (ValueError, FFmpegError):
        return f'{container} cannot hold it' + ('' if container == 'matroska' else '; .mkv holds most')
    return None


def _lasting(metadata: Mapping[str, str]) -> dict[str, str]:
    return {
        key: value
        for key, value in metadata.items()
        if key.lower() not in _STALE and not key.lower().startswith(_STALE_OF_MATROSKA)
    }
