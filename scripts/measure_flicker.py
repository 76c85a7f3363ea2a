"""How much restored videos flicker, and what smoothing the airlight over time does about it.

    python scripts/measure_flicker.py IMAGE [IMAGE …] --weights W
    python scripts/measure_flicker.py IMAGE --weights W --smoothing 0 0.5 1 2 --frames 50

Each image becomes three clips of 25 frames a second, of a scene that stands still: `noise` (the sensor's only), `pan`
(the camera moves by half a window) and `passing` (a white square crosses the lower half). The figure is the mean
absolute change of the mean brightness of what is seen in all frames, from one frame to the next, in steps of 255: 0 is
perfectly calm. `hazy` is that of the clip itself, below which no method needs to go.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

import okdnet_plugin
from okdnet_plugin.errors import InputError
from okdnet_plugin.inference.video.temporal import AirlightSmoother, flicker

RATE = 25
NOISE = 4 / 255

Clip = Iterator[tuple[Tensor, tuple[slice, slice]]]
"""Frames, (1, 3, H, W), each with where in it lies what all frames show."""


def noise(scene: Tensor, frames: int) -> Clip:
    generator = torch.Generator().manual_seed(0)
    for _ in range(frames):
        yield _noisy(scene, generator), (slice(None), slice(None))


def pan(scene: Tensor, frames: int) -> Clip:
    generator = torch.Generator().manual_seed(0)
    window = 2 * scene.shape[3] // 3
    rest = scene.shape[3] - window
    for number in range(frames):
        left = round(rest * number / max(1, frames - 1))
        yield _noisy(scene[..., left : left + window], generator), (slice(None), slice(rest - left, window - left))


def passing(scene: Tensor, frames: int) -> Clip:
    generator = torch.Generator().manual_seed(0)
    height, width = scene.shape[2:]
    side = height // 3
    for number in range(frames):
        left = round((width + side) * number / max(1, frames - 1)) - side
        frame = scene.clone()
        frame[..., height - side - height // 10 : height - height // 10, max(0, left) : max(0, left + side)] = 1
        yield _noisy(frame, generator), (slice(0, height // 2), slice(None))


CLIPS: dict[str, Callable[[Tensor, int], Clip]] = {'noise': noise, 'pan': pan, 'passing': passing}


def main() -> int:
    args = parse_arguments()
    okdnet_plugin.register()
    from okdnet_plugin import Dehazer

    try:
        dehazer = Dehazer(args.weights, args.opt)
    except InputError as error:
        print(f'{Path(__file__).name}: error: {error}', file=sys.stderr)
        return 2
    scenes = [read(path, args.width) for path in args.images]
    if dehazer.estimate_airlight(scenes[0]) is None:
        print(f'{args.weights}: this network estimates no airlight, so there is nothing to smooth', file=sys.stderr)
        return 2
    print(f'{len(scenes)} images, {args.frames} frames each, {args.width} px wide; in steps of 255\n')
    head = ' | '.join(f'{seconds:g} s' if seconds else 'off' for seconds in args.smoothing)
    print(f'| clip | hazy | {head} |\n|{"---|" * (2 + len(args.smoothing))}')
    for name, make in CLIPS.items():
        rows = [measure(dehazer, make, scene, args.frames, args.smoothing) for scene in scenes]
        cells = [f'{255 * statistics.mean(column):.3f}' for column in zip(*rows, strict=True)]
        print(f'| {name} | {" | ".join(cells)} |', flush=True)
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('images', type=Path, nargs='+', metavar='IMAGE', help='hazy images')
    parser.add_argument('--weights', required=True, help='of a network that estimates the airlight')
    parser.add_argument('--opt', help='its option file, where the weights do not tell')
    parser.add_argument('--smoothing', type=float, nargs='+', default=[0, 0.25, 1, 3], metavar='SECONDS')
    parser.add_argument('--frames', type=int, default=50, help='of each clip (default: %(default)s)')
    parser.add_argument('--width', type=int, default=320, help='of the images, in px (default: %(default)s)')
    args = parser.parse_args()
    if args.frames < 2 or args.width < 48 or min(args.smoothing) < 0:
        parser.error('--frames takes 2 or more, --width 48 or more, --smoothing 0 or more')
    return args


def read(path: Path, width: int) -> Tensor:
    """A hazy image of a width, RGB in [0, 1], (1, 3, H, W)."""
    image = cv2.imread(str(path))
    if image is None:
        sys.exit(f'{path} cannot be read')
    size = (width, max(48, round(image.shape[0] * width / image.shape[1])))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)[..., ::-1]
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255


def measure(
    dehazer, make: Callable[[Tensor, int], Clip], scene: Tensor, frames: int, smoothing: list[float]
) -> list[float]:
    """Flicker of a clip, first hazy, then restored with each time constant."""
    smoothers = [AirlightSmoother(seconds) for seconds in smoothing]
    brightness = []
    for number, (hazy, seen) in enumerate(make(scene, frames)):
        estimate = dehazer.estimate_airlight(hazy)
        restored = [dehazer.restore(hazy, airlight=smooth(estimate, number / RATE)).output for smooth in smoothers]
        brightness.append([float(one[..., seen[0], seen[1]].mean()) for one in (hazy, *restored)])
    return [flicker(torch.tensor(column)) for column in zip(*brightness, strict=True)]


def _noisy(frame: Tensor, generator: torch.Generator) -> Tensor:
    return (frame + NOISE * torch.randn(frame.shape, generator=generator)).clamp(0, 1)


if __name__ == '__main__':
    sys.exit(main())
