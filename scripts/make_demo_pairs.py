"""Make hazy/clear pairs by the atmospheric scattering model, named as in RESIDE's ITS.

  make_demo_pairs.py OUT                          from the photographs inside scikit-image, for the quick start
  make_demo_pairs.py OUT --clear DIR --depth DIR  from your own images and their depth, for training

The first makes OUT/train and OUT/val, the second one such folder, each with clear/7.png and hazy/7_3_0.90179.png
(scene, variant, airlight). Every variant draws beta from [0.6, 1.8] and A from [0.7, 1.0], the ranges of ITS.

Training and held-out scenes of the demo are cut from different photographs; in each, depth ends at 1. It is measured
for the held-out Middlebury motorcycle. The other photographs have none, and theirs follows a rule: far at the top, near
at the bottom and, as painters do it, warm colours in front of cool ones. It keeps to the outlines of the image, but
it is made up.
"""

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import cv2
import numpy as np

from okdnet_plugin.data.depth import painted_depth
from okdnet_plugin.data.haze import add_haze, transmission
from okdnet_plugin.errors import InputError

BETA = (0.6, 1.8)
AIRLIGHT = (0.7, 1.0)
MARKER = 'README.txt'
PART = '.part'
SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff')

# Photographs of each folder of the demo, and how many scenes are cut from each of them.
DEMO = {
    'train': (('astronaut.png', 'coffee.png', 'rocket.jpg'), 16),
    'val': (('chelsea.png', 'motorcycle_left.png'), 2),
}
DEMO_SIZE = (240, 320)


@dataclass(frozen=True)
class Scene:
    """One clear image and its hazy variants.

    Args:
        folder: folder below OUT.
        name: number of the scene, the stem of its clear image.
        hazes: beta and airlight of each variant.
        load: gives the clear image, uint8 BGR (H, W, 3), and its depth, (H, W), >= 0.
    """

    folder: Path
    name: str
    hazes: list[tuple[float, float]]
    load: Callable[[], tuple[np.ndarray, np.ndarray]]

    @property
    def clear_file(self) -> Path:
        return self.folder / 'clear' / f'{self.name}.png'

    @property
    def hazy_files(self) -> list[Path]:
        # The airlight is used as the name gives it.
        names = [f'{self.name}_{variant}_{airlight}.png' for variant, (_, airlight) in enumerate(self.hazes, start=1)]
        return [self.folder / 'hazy' / name for name in names]


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    try:
        scenes = own_scenes(args) if args.clear else demo_scenes(args)
        files = {file for scene in scenes for file in (scene.clear_file, *scene.hazy_files)}
        claim(args.out, describe(args), files)
        for scene in scenes:
            write_scene(args.out, scene)
    except (InputError, OSError) as error:
        print(f'{Path(__file__).name}: error: {error}', file=sys.stderr)
        return 2
    print(f'{len(files) - len(scenes)} hazy images of {len(scenes)} scenes in {args.out}')
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path, metavar='OUT', help='folder to make')
    parser.add_argument('--clear', type=Path, metavar='DIR', help='folder of clear images')
    parser.add_argument(
        '--depth', type=Path, metavar='DIR', help='folder of their depth, 16-bit PNGs of the same stems'
    )
    parser.add_argument(
        '--depth-scale',
        type=float,
        default=65535,
        help='depth = value / scale; chosen so that the farthest place has depth 1, as in ITS (default: %(default)s)',
    )
    parser.add_argument(
        '--variants', type=int, default=5, help='hazy images of a scene (default: %(default)s; ITS: 10)'
    )
    parser.add_argument('--seed', type=int, default=0, help='chooses places and hazes (default: %(default)s)')
    args = parser.parse_args(argv)
    if (args.clear is None) != (args.depth is None):
        parser.error('--clear and --depth go together')
    if args.variants < 1 or args.seed < 0 or args.depth_scale <= 0:
        parser.error('--variants and --depth-scale must be positive, --seed must not be negative')
    return args


def describe(args: argparse.Namespace) -> str:
    """Text of the file that marks a folder as made by this script, with what its contents depend on."""
    source = f'{args.clear} with depth {args.depth} / {args.depth_scale}' if args.clear else 'scikit-image'
    return (
        f'Hazy/clear pairs of {source}, made by make_demo_pairs.py: variants {args.variants}, seed {args.seed}.\n'
        'A hazy image is named scene_variant_airlight; its clear one is named by the scene.\n'
    )


def claim(out: Path, description: str, files: set[Path]) -> None:
    """Make the folder and mark it.

    Raises:
        InputError: it holds anything but files of an earlier run with the same arguments.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f'{out} is not a folder: choose another name')
    found = {path.relative_to(out) for path in out.rglob('*') if not path.is_dir()}
    marker = out / MARKER
    if found - {Path(MARKER + PART)} and not (marker.is_file() and marker.read_text(encoding='utf-8') == description):
        raise InputError(f'{out} exists and was not made by this command: choose another folder, or remove this one')
    own = files | {Path(MARKER)}
    foreign = sorted(found - own - {path.with_name(path.name + PART) for path in own})
    if foreign:
        raise InputError(f'{out} holds files of others, such as {foreign[0]}: choose another folder, or remove them')
    write(marker, description.encode())


def write_scene(out: Path, scene: Scene) -> None:
    clear, depth = scene.load()
    write_image(out / scene.clear_file, clear)
    for file, (beta, airlight) in zip(scene.hazy_files, scene.hazes, strict=True):
        hazy = add_haze(clear / 255, transmission(depth, beta), airlight)
        write_image(out / file, np.rint(hazy * 255).astype(np.uint8))


def write_image(path: Path, image: np.ndarray) -> None:
    write(path, cv2.imencode('.png', image)[1].tobytes())


def write(path: Path, content: bytes) -> None:
    """Write a file so that its name never stands for half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + PART)
    part.write_bytes(content)
    os.replace(part, path)


def draw_hazes(args: argparse.Namespace, scene: int) -> list[tuple[float, float]]:
    rng = np.random.default_rng((args.seed, scene, 0))
    return [(rng.uniform(*BETA), round(rng.uniform(*AIRLIGHT), 5)) for _ in range(args.variants)]


# The user's own images


def own_scenes(args: argparse.Namespace) -> list[Scene]:
    clear, depth = images_by_stem(args.clear), images_by_stem(args.depth)
    lonely = sorted(clear.keys() - depth.keys())
    if lonely:
        raise InputError(f'{clear[lonely[0]]} has no depth of the same stem in {args.depth} ({len(lonely)} such)')
    # In the ITS scheme a scene is a number; names that are none give way to one.
    numbers = all(stem.isdecimal() for stem in clear)
    return [
        Scene(
            folder=Path(),
            name=stem if numbers else str(number),
            hazes=draw_hazes(args, number),
            load=partial(read_rgbd, clear[stem], depth[stem], args.depth_scale),
        )
        for number, stem in enumerate(sorted(clear))
    ]


def images_by_stem(folder: Path) -> dict[str, Path]:
    """Images of a folder.

    Raises:
        InputError: there are none, or two with one stem.
    """
    images = {}
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES):
        if path.stem in images:
            raise InputError(f'{path} and {images[path.stem].name} have the same stem: remove one of them')
        images[path.stem] = path
    if not images:
        raise InputError(f'{folder} holds no images')
    return images


def read_rgbd(clear_path: Path, depth_path: Path, scale: float) -> tuple[np.ndarray, np.ndarray]:
    clear = read_image(clear_path)
    depth = cv2.imread(str(depth_path), cv2.IMREAD_UNCHANGED)
    if depth is None or depth.dtype != np.uint16 or depth.ndim != 2:
        raise InputError(f'{depth_path} is not a readable 16-bit image of one channel')
    if depth.shape != clear.shape[:2]:
        raise InputError(f'{depth_path} is of {depth.shape} and {clear_path} of {clear.shape[:2]}: sizes must be equal')
    if depth.max() > 1.05 * scale:  # rounding may take the farthest place a little beyond 1
        raise InputError(
            f'{depth_path} has depths up to {depth.max() / scale:.3g}, but 1 is the farthest, as in ITS: give '
            f'--depth-scale {depth.max()} or more, one number for all images'
        )
    return clear, depth / scale


def read_image(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(f'{path} cannot be read as an image')
    return image


# The demo


def demo_scenes(args: argparse.Namespace) -> list[Scene]:
    cuts = [(folder, photo) for folder, (photos, count) in DEMO.items() for photo in photos for _ in range(count)]
    return [
        Scene(
            folder=Path(folder),
            name=str(number),
            hazes=draw_hazes(args, number),
            load=partial(cut, photo, seed=(args.seed, number, 1), mirror=folder == 'train'),
        )
        for number, (folder, photo) in enumerate(cuts, start=1)
    ]


def cut(photo: str, seed: tuple[int, ...], mirror: bool) -> tuple[np.ndarray, np.ndarray]:
    """Cut a scene from a photograph: a window of any place and size, never enlarged, in half of the cases mirrored."""
    rng = np.random.default_rng(seed)
    image, depth = read_photo(photo)
    height, width = DEMO_SIZE
    scale = rng.uniform(1, min(image.shape[0] / height, image.shape[1] / width))
    window_height, window_width = int(height * scale), int(width * scale)
    top = rng.integers(image.shape[0] - window_height + 1)
    left = rng.integers(image.shape[1] - window_width + 1)
    window = np.s_[top : top + window_height, left : left + window_width]
    clear, depth = (
        cv2.resize(layer[window], (width, height), interpolation=cv2.INTER_AREA) for layer in (image, depth)
    )
    if mirror and rng.random() < 0.5:
        clear, depth = clear[:, ::-1], depth[:, ::-1]
    return clear, depth / depth.max()


@cache
def read_photo(photo: str) -> tuple[np.ndarray, np.ndarray]:
    spec = importlib.util.find_spec('skimage')
    if spec is None or not spec.submodule_search_locations:
        raise InputError('the demo needs the photographs of scikit-image: pip install scikit-image')
    folder = Path(spec.submodule_search_locations[0]) / 'data'
    image = read_image(folder / photo)
    if photo == 'motorcycle_left.png':
        return image, measured_depth(np.load(folder / 'motorcycle_disp.npz')['arr_0'])
    return image, painted_depth(image)


def measured_depth(disparity: np.ndarray) -> np.ndarray:
    """Depth, up to its unit, from the disparity of the left image of a Middlebury pair.

    Source: the documentation of `skimage.data.stereo_motorcycle`: the cameras' principal points are 31.086 px apart.

    Args:
        disparity: (H, W), in pixels; not finite where the right camera did not see the place.
    """
    known = np.where(np.isfinite(disparity), disparity, np.nan)
    # What only one camera sees lies behind: of the nearest known places to both sides, the farther one tells.
    filled = np.fmin(last_known(known), last_known(known[:, ::-1])[:, ::-1])
    return 1 / (filled + 31.086)


def last_known(rows: np.ndarray) -> np.ndarray:
    columns = np.where(np.isnan(rows), 0, np.arange(rows.shape[1]))
    return np.take_along_axis(rows, np.maximum.accumulate(columns, axis=1), axis=1)


if __name__ == '__main__':
    sys.exit(main())
