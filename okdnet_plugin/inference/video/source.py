"""Reading a video: its moving image frame by frame, everything else as it lies in the file, damage counted."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from okdnet_plugin.errors import InputError
from okdnet_plugin.files import check_regular_file

if TYPE_CHECKING:
    from av.container.input import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

SUFFIXES = (
    *('.mp4', '.m4v', '.mov', '.mkv', '.webm', '.avi', '.mpg', '.mpeg', '.ts', '.m2ts', '.mts', '.wmv', '.flv'),
    *('.3gp', '.3g2', '.ogv', '.vob', '.mxf', '.y4m'),
)
_PLAYLISTS = {'hls', 'concat', 'dash', 'imf'}
# Their clocks begin anywhere; those of other formats at the beginning.
_BROADCAST = {'mpegts', 'mpeg', 'mpegvideo'}
_ATTEMPTS = 20
_OLDEST_AV = 18


def is_video(path: str | os.PathLike) -> bool:
    """Whether the name of a file is that of a video."""
    return os.path.splitext(os.fspath(path))[1].lower() in SUFFIXES


def need_av() -> None:
    """See that PyAV is there, in a version that says which options an encoder has.

    Raises:
        InputError: it is not.
    """
    python = ', in Python 3.11 or later, as 3.10 has no PyAV 18' if sys.version_info < (3, 11) else ''
    try:
        import av
    except ImportError as error:
        raise InputError(f'videos need PyAV: pip install okdnet_plugin[video]{python}') from error
    if int(av.__version__.partition('.')[0]) < _OLDEST_AV:
        install = f"pip install 'av>={_OLDEST_AV}'{python}"
        raise InputError(f'videos need PyAV {_OLDEST_AV}, and this is {av.__version__}: {install}')


class VideoSource:
    """A video file that is read once, from the beginning to the end.

    Args:
        path: of a file.

    Raises:
        InputError: it cannot be read, or has no moving image.
    """

    def __init__(self, path: str):
        self.path = path
        self.container = _open(path)
        try:
            self.video = self._moving_image()
        except InputError:
            self.close()
            raise
        self.video.thread_type = 'AUTO'
        self.time_base: Fraction = self.video.time_base or Fraction(1, 90000)
        self.rate: Fraction = self.video.average_rate or self.video.guessed_rate or Fraction(25)
        start = self.container.start_time if _BROADCAST & set(self.container.format.name.split(',')) else None
        self.start = Fraction(start or 0, 1_000_000)
        """In seconds; subtracted from all time stamps."""
        self.lost = 0
        """Frames that could not be decoded; complete when all is read."""
        self.concealed = 0
        """Frames that the decoder has patched up."""
        self.restamped = 0
        """Frames whose time stamp was missing or not after the one before."""
        self._packets = self._hidden = 0
        self._end = 0.0
        self._last_pts: int | None = None

    def close(self) -> None:
        self.container.close()

    @property
    def others(self) -> list[Stream]:
        """Streams beside the moving image."""
        return [stream for stream in self.container.streams if stream.index != self.video.index]

    def expected_frames(self) -> int | None:
        """How many frames there will be, as far as the file tells."""
        if self.video.frames:
            return self.video.frames
        if self.container.duration:
            return max(1, round(self.container.duration / 1_000_000 * self.rate))
        return None

    def missing(self) -> str | None:
        """What the file promises and does not hold, after it has been read; None if all is there."""
        promised = (self.container.duration or 0) / 1_000_000
        if self.video.frames > self._packets:
            return f'cut short: {self._packets} of {self.video.frames} frames are in it'
        expected = self.expected_frames() or 0
        if (self.lost or self.concealed) and promised - self._end < 1 and expected > self._packets + 1:
            return f'damaged: about {expected - self._packets} frames more are missing, by the frame rate'
        if promised - self._end > 1 and 'matroska' in self.container.format.name:
            return f'cut short: it ends at {self._end:.1f} of {promised:.1f} seconds'
        return None

    def read(self) -> Iterator[Packet | VideoFrame]:
        """Frames of the moving image in the order of their time, and packets of the other streams between them.

        Raises:
            InputError: the file cannot be read on, or no frame can be decoded.
        """
        from av.error import EOFError as EndError
        from av.error import InvalidDataError, PatchWelcomeError

        frames = 0
        for packet in self._demux():
            if packet.stream.index != self.video.index:
                yield packet
                continue
            try:
                decoded = self.video.decode(packet)
            except (InvalidDataError, PatchWelcomeError, EndError):
                self.lost += bool(packet.size)
                continue
            for frame in decoded:
                frames += 1
                self.concealed += frame.is_corrupt
                self._stamp(frame)
                yield frame
        if not frames:
            raise InputError(f'{self.path} is damaged or cut short: no frame of it can be decoded')
        if self.lost or self.concealed:  # after damage decoders leave out frames without a word
            self.lost = max(self.lost, self._packets - self._hidden - frames)

    def _moving_image(self) -> VideoStream:
        from av.stream import Disposition

        streams = [video for video in self.container.streams.video if not video.disposition & Disposition.attached_pic]
        if not streams:
            found = ', '.join(stream.type for stream in self.container.streams) or 'nothing'
            raise InputError(f'{self.path} has no moving image in it ({found})')
        usable = [video for video in streams if video.codec_context is not None and video.codec_context.is_decoder]
        if not usable:
            raise InputError(f'{self.path}: PyAV has no decoder for its video stream')
        return max(usable, key=lambda video: bool(video.disposition & Disposition.default))

    def _demux(self) -> Iterator[Packet]:
        """Packets of all streams; after a damaged place it goes on, as far as the format can."""
        from av.error import FFmpegError, InvalidDataError

        failures = 0
        streams = [stream for stream in self.container.streams if stream.type != 'attachment']
        while True:
            try:
                for packet in self.container.demux(streams):
                    failures = 0 if packet.size else failures
                    self._note(packet)
                    # The last packet of each stream is empty and makes the decoder give what it holds back.
                    if packet.size or packet.stream.index == self.video.index:
                        yield packet
                return
            except InvalidDataError:
                failures += 1
                self.lost += failures == 1
                if failures > _ATTEMPTS:
                    yield from self._flush()
                    return
            except FFmpegError as error:
                raise InputError(f'{self.path} cannot be read on: {error.strerror}') from error

    def _flush(self) -> Iterator[Packet]:
        import av

        packet = av.Packet()
        packet.stream = self.video
        yield packet

    def _note(self, packet: Packet) -> None:
        if not packet.size:
            return
        if packet.stream.index == self.video.index:
            self._packets += 1
            self._hidden += packet.is_discard  # cut off by an edit list
        if packet.pts is not None and packet.time_base:
            self._end = max(self._end, float((packet.pts + (packet.duration or 0)) * packet.time_base - self.start))
        shift = round(self.start / packet.time_base) if self.start and packet.time_base else 0
        if shift:
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.dts = None if packet.dts is None else packet.dts - shift

    def _stamp(self, frame: VideoFrame) -> None:
        """See that each frame has a time stamp after that of the one before."""
        frame.time_base = self.time_base
        last = self._last_pts
        pts = frame.pts if frame.pts is not None else frame.dts
        if pts is None:
            step = frame.duration or max(1, round(1 / (self.rate * self.time_base)))
            pts = 0 if last is None else last + step
        if last is not None and pts <= last:
            pts = last + 1
        self.restamped += frame.pts != pts
        frame.pts = self._last_pts = pts


def _open(path: str) -> InputContainer:
    import av
    from av.error import FFmpegError

    if os.path.isdir(path):
        raise InputError(f'{path} is a folder, not a video')
    try:
        check_regular_file(path)
    except OSError as error:
        raise InputError(f'{path} cannot be read: {error.strerror}') from error
    try:
        # As a file whatever its name looks like; and nothing that a file names is fetched from elsewhere.
        container = av.open(
            f'file:{path}', 'r', container_options={'protocol_whitelist': 'file'}, metadata_errors='replace'
        )
    except FFmpegError as error:
        if isinstance(error, OSError) and not isinstance(error, ValueError):
            raise InputError(f'{path} cannot be read: {error.strerror}') from error
        raise InputError(f'{path} is damaged, cut short or no video ({error.strerror})') from error
    if _PLAYLISTS & set(container.format.name.split(',')):
        container.close()
        raise InputError(f'{path} is a playlist, not a video')
    return container
