"""Dehazing a video: reading, restoring and writing at the same time, in bounded memory, frame after frame."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from okdnet_plugin.errors import InputError, SaveError
from okdnet_plugin.inference.transfer import Transfer
from okdnet_plugin.inference.video.colour import FromRGB, ToRGB, quarter_turns
from okdnet_plugin.inference.video.encoding import FORMATS, Encoding, suffix_for
from okdnet_plugin.inference.video.source import SUFFIXES, VideoSource, is_video, need_av
from okdnet_plugin.inference.video.target import VideoTarget
from okdnet_plugin.inference.video.temporal import AirlightSmoother, SceneCuts
from okdnet_plugin.inference.video.threads import Ahead, Channel, ClosedError
from okdnet_plugin.progress import fitting

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame

    from okdnet_plugin.inference.backends import Restored

__all__ = ['FORMATS', 'SUFFIXES', 'Encoding', 'VideoSummary', 'dehaze_video', 'is_video', 'suffix_for']

SMOOTHING = 1.0
"""Time constant of the airlight, in seconds."""
_DIVIDER = 4  # pixels between hazy and restored


class Restorer(Protocol):
    """What `dehaze_video` needs of a `Dehazer`."""

    def restore(self, hazy: Tensor, airlight: Tensor | None = None) -> Restored: ...

    def estimate_airlight(self, hazy: Tensor) -> Tensor | None: ...


@dataclass(frozen=True)
class VideoSummary:
    """What became of a video."""

    source: str
    target: str
    frames: int
    """Written."""
    lost: int
    """Frames of the source that could not be decoded."""
    concealed: int
    """Frames that the decoder had to patch up."""
    width: int
    height: int
    codec: str
    scenes: int
    """1 and the cuts; 1 where nothing is smoothed."""
    seconds: float
    """That it took."""
    remarks: tuple[str, ...]
    """What was not kept or is doubtful, a line each."""


def dehaze_video(
    source: str | os.PathLike,
    target: str | os.PathLike,
    dehazer: Restorer,
    *,
    compare: bool = False,
    smoothing: float = SMOOTHING,
    encoding: Encoding | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
    say: Callable[[str], None] | None = None,
) -> VideoSummary:
    """Dehaze a video, frame by frame, with the airlight of a scene instead of a frame.

    Time stamps, aspect, turn, colours, chapters and metadata are kept, the other streams copied. The result appears
    under its name when it is complete; if this is interrupted or fails, nothing of it is left.

    Args:
        source: a video file.
        target: one of `FORMATS`; its folder is made.
        dehazer: restores frames, RGB in [0, 1] of shape (1, 3, H, W).
        compare: hazy and restored side by side.
        smoothing: time constant of the airlight's running average, in seconds; 0 takes each frame's own.
        encoding: of the moving image.
        overwrite: replace a file that is there already. The source is never replaced.
        progress: a bar on the standard error; by default if that is a terminal.
        say: is told what is not kept, in a line each; by default the standard error.

    Raises:
        InputError: the source cannot be used, or the settings do not fit it.
        SaveError: the target cannot be written.
    """
    need_av()
    source, target = os.fspath(source), os.fspath(target)
    begin = time.perf_counter()
    remarks: list[str] = []
    device = getattr(dehazer, 'device', torch.device('cpu'))

    def remark(line: str) -> None:
        remarks.append(line)
        (say or (lambda text: tqdm.write(text, file=sys.stderr)))(f'{source}: {line}')

    with contextlib.closing(VideoSource(source)) as reading:
        _check_target(source, target, overwrite)
        writing = VideoTarget(target, reading, encoding or Encoding(), remark)
        scene = _Scene(dehazer, smoothing, remark)
        bar = tqdm(
            total=reading.expected_frames(),
            unit='frame',
            desc=os.path.basename(source),
            **fitting(),
            disable=None if progress is None else not progress,
        )
        with (
            bar,
            Ahead(lambda: _decoded(reading, Transfer(device)), _is_image) as decoded,
            _Encoder(writing, compare, remark, Transfer(device)) as encoder,
        ):
            for item in decoded:
                if isinstance(item, _Image):
                    item = item._replace(restored=scene.restore(item))
                    bar.update()
                encoder.put(item)
            encoder.finish()
        _tell_of_damage(reading, writing, remark)
    return VideoSummary(
        source=source,
        target=target,
        frames=encoder.frames,
        lost=reading.lost,
        concealed=reading.concealed,
        width=encoder.size[0],
        height=encoder.size[1],
        codec=writing.codec or '',
        scenes=scene.count,
        seconds=time.perf_counter() - begin,
        remarks=tuple(remarks),
    )


class _Image(NamedTuple):
    """A frame on its way."""

    frame: VideoFrame
    """As it was decoded."""
    carrier: VideoFrame
    """The same, as deep as can be; its memory takes the result."""
    hazy: Tensor
    """RGB in [0, 1], upright, (1, 3, H, W)."""
    turns: int
    """By how many quarters it was turned for that."""
    seconds: float
    """When it is shown."""
    restored: Tensor | None = None


def _is_image(item: _Image | Packet) -> bool:
    return isinstance(item, _Image)


def _decoded(source: VideoSource, transfer: Transfer) -> Iterator[_Image | Packet]:
    import av

    to_rgb = ToRGB(transfer)
    for item in source.read():
        if not isinstance(item, av.VideoFrame):
            yield item
            continue
        carrier, hazy = to_rgb(item)
        turns = quarter_turns(item)
        # Networks have learnt what is up: a film that was made with the phone turned is restored as it is seen.
        upright = torch.rot90(hazy, turns, (1, 2)).contiguous()[None]
        yield _Image(item, carrier, upright, turns, float((item.pts or 0) * source.time_base))


class _Scene:
    """Restores frames one after the other, with an airlight that is calm within a scene."""

    def __init__(self, dehazer: Restorer, smoothing: float, remark: Callable[[str], None]):
        try:
            self._smoother = AirlightSmoother(smoothing)
        except ValueError as error:
            raise InputError(f'smoothing: {error}') from error
        self._dehazer, self._smooth, self._remark = dehazer, smoothing > 0, remark
        self._cuts = SceneCuts()
        self._size: torch.Size | None = None
        self.count = 1

    def restore(self, image: _Image) -> Tensor:
        """The restored frame, (3, H, W), where the hazy one is; who encodes it fetches it."""
        hazy = image.hazy
        airlight = self._dehazer.estimate_airlight(hazy) if self._smooth else None
        if self._smooth and airlight is None:
            self._remark('this network estimates no airlight that could be smoothed: each frame is on its own')
            self._smooth = False
        if airlight is not None:
            if self._cuts(hazy):
                self._smoother.reset()
                self.count += 1
            airlight = self._smoother(airlight, image.seconds)
        return self._dehazer.restore(hazy, airlight=airlight).output[0].detach().float().clamp(0, 1)


class _Encoder:
    """Encodes and copies in a thread of its own; what goes wrong there is raised by the next `put` or by `finish`.

    Left without `finish`, it leaves nothing of the file.
    """

    def __init__(self, target: VideoTarget, compare: bool, remark: Callable[[str], None], transfer: Transfer):
        self._target, self._compare, self._remark, self._transfer = target, compare, remark, transfer
        self._channel: Channel[_Image | Packet] = Channel(_is_image)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._from_rgb: FromRGB | None = None
        self._source_size = self.size = (0, 0)
        self.frames = 0

    def __enter__(self) -> _Encoder:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        try:
            self._channel.close()
            self._thread.join()
        finally:
            self._target.abandon()

    def put(self, item: _Image | Packet) -> None:
        self._channel.put(item)

    def finish(self) -> None:
        self._channel.end()
        self._thread.join()
        self._channel.check()
        self._target.finish()

    def _run(self) -> None:
        try:
            for item in self._channel:
                if isinstance(item, _Image):
                    self._write(item)
                else:
                    self._target.copy(item)
        except ClosedError:
            return
        except BaseException as error:  # handed over to who puts
            self._channel.close(error)

    def _write(self, image: _Image) -> None:
        restored = image.restored
        assert restored is not None
        if self._compare:
            divider = restored.new_ones(3, restored.shape[1], _DIVIDER)
            restored = torch.cat((image.hazy[0], divider, restored), 2)
        restored = torch.rot90(restored, -image.turns, (1, 2))
        size = (image.frame.width, image.frame.height)
        if self._from_rgb is None:
            height, width = restored.shape[1:]
            pixel_format, colour = self._target.begin(image.frame, width, height)
            self._from_rgb = FromRGB(pixel_format, width, height, colour, self._transfer)
            self._source_size, self.size = size, (width, height)
        elif size != self._source_size:
            self._remark(f'frames of {size[0]}x{size[1]} follow: they are scaled to the size of the first')
            self._source_size = size
        self._target.write(self._from_rgb(image.carrier, restored))
        self.frames += 1


def _check_target(source: str, target: str, overwrite: bool) -> None:
    if os.path.exists(target):
        if os.path.samefile(source, target):
            raise InputError(f'{target} is the source itself: write the result elsewhere')
        if os.path.isdir(target):
            raise InputError(f'{target} is a folder: write the name of a file')
        if not overwrite:
            raise InputError(f'{target} exists already: remove it, or ask for it to be overwritten')
    try:
        os.makedirs(os.path.dirname(target) or '.', exist_ok=True)
    except OSError as error:
        raise SaveError(f'{target} cannot be written: {error.strerror or error}') from error


def _tell_of_damage(source: VideoSource, target: VideoTarget, remark: Callable[[str], None]) -> None:
    if source.lost:
        remark(f'damaged: frames left out because they could not be decoded: {source.lost}')
    if source.concealed:
        remark(f'damaged: frames that the decoder had to patch up: {source.concealed}')
    if missing := source.missing():
        remark(missing)
    if source.restamped:
        remark(f'frames without a time stamp after the one before: {source.restamped}')
    if target.refused:
        remark(f'packets of other streams left out, damaged or out of order: {target.refused}')
