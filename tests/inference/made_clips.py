"""Small videos made for tests, and what is in a video."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip('av', '18', reason='no PyAV 18')

TICKS = Fraction(1, 12800)
"""Time base of the clips; 512 ticks are a frame at 25 frames a second."""
# Time stamps as a phone gives them: not quite regular.
UNEVEN = [0, 531, 1042, 1544, 2100, 2561, 3600, 4095, 4600, 5130, 5651, 6140]


def image(time: int, width: int = 64, height: int = 48) -> np.ndarray:
    """A smooth image that changes with time, uint8 RGB."""
    slope = np.add.outer(np.linspace(60, 120, height), np.linspace(0, 60, width))
    return np.stack([slope, 0.8 * slope + 3 * time, 230 - slope], -1).clip(0, 255).astype(np.uint8)


def clip(
    path: Path,
    codec: str = 'libx264',
    pixel_format: str = 'yuv420p',
    images: list[np.ndarray] | None = None,
    stamps: list[int] | None = None,
    audio: str | None = None,
    rotation: int = 0,
    full: bool = False,
    matrix: int = 6,
    aspect: Fraction | None = None,
    numbers: tuple[int, ...] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a video of 12 frames, with a tone in it if `audio` names an encoder; `numbers` fill the planes if given."""
    images = images or [image(time) for time in range(12)]
    height, width = images[0].shape[:2]
    with av.open(str(path), 'w') as container:
        video = container.add_stream(codec, rate=25, options=options or {})
        video.width, video.height, video.pix_fmt = width, height, pixel_format
        video.time_base = video.codec_context.time_base = TICKS
        context = video.codec_context
        context.color_range, context.colorspace = 1 + full, matrix
        context.color_primaries = context.color_trc = matrix
        if aspect:
            context.sample_aspect_ratio = aspect
        if rotation:
            video.set_display_rotation(rotation)
        sound = container.add_stream(audio, rate=48000) if audio else None
        tone = av.AudioFifo()
        container.metadata['title'] = 'a hazy morning'
        container.set_chapters(
            [
                {'id': 1, 'start': 0, 'end': 200, 'time_base': Fraction(1, 1000), 'metadata': {'title': 'before'}},
                {'id': 2, 'start': 200, 'end': 480, 'time_base': Fraction(1, 1000), 'metadata': {'title': 'after'}},
            ]
        )
        for number, one in enumerate(images):
            frame = av.VideoFrame.from_ndarray(one, 'rgb24').reformat(
                format=pixel_format, dst_colorspace={1: 1, 6: 5, 9: 9}[matrix], dst_color_range=1 + full
            )
            for plane, value in zip(frame.planes, numbers or (), strict=False):
                np.frombuffer(plane, np.uint16 if '10' in pixel_format else np.uint8)[:] = value
            frame.pts, frame.time_base = stamps[number] if stamps else 512 * number, TICKS
            container.mux(video.encode(frame))
            if sound:
                tone.write(_tone(number))
                for part in tone.read_many(sound.codec_context.frame_size or 1920):
                    container.mux(sound.encode(part))
        for stream in (video, sound):
            if stream:
                container.mux(stream.encode(None))
    return path


def _tone(number: int) -> av.AudioFrame:
    """The sound of one frame, 1920 samples."""
    places = np.arange(1920 * number, 1920 * (number + 1))
    wave = np.tile(0.3 * np.sin(0.05 * places), (2, 1)).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(wave, 'fltp', 'stereo')
    frame.sample_rate, frame.pts, frame.time_base = 48000, int(places[0]), Fraction(1, 48000)
    return frame


def frames(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def times(path: Path) -> list[Fraction]:
    """When each frame is shown, in seconds, exactly."""
    with av.open(str(path)) as container:
        base = container.streams.video[0].time_base
        return [frame.pts * base for frame in container.decode(video=0)]


def packets(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    """Time and content of the packets of the first stream of a kind, as they lie in the file."""
    with av.open(str(path)) as container:
        found = container.demux(getattr(container.streams, kind)[0])
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in found if packet.size]


def planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """The numbers of a frame, plane by plane."""
    kind = np.uint8 if max(component.bits for component in frame.format.components) == 8 else np.uint16
    return [np.frombuffer(one, kind).reshape(one.height, -1)[:, : one.width].astype(int) for one in frame.planes]
