"""Make clear images and depth of NYU Depth v2 ready for training and test, with RESIDE's scene numbers.

  prepare_nyu.py nyu_depth_v2_labeled.mat [OUT]     the original file; needs pip install okdnet_plugin[nyu]
  prepare_nyu.py FOLDER [OUT]                       FOLDER/clear and FOLDER/depth, of equal stems that are numbers

RESIDE's indoor haze is laid over this data set: ITS over scenes 1 to 1399, SOTS-indoor over 1400 to 1449, where scene
n is the n-th image of the file. OUT (default: datasets/NYU) gets train/clear, train/depth, test/clear and test/depth,
each scene as n.png. The white frame of 10 px is cut off images of 640x480, as RESIDE does. Depth in metres is stored
with 16 bits as 6553.5 per metre; depth of whole numbers keeps its numbers. ITS divides depth by its largest value in
the image: depth_norm: max.

What is there already stays, so that the same command goes on where it was interrupted.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from okdnet_plugin.commands.lmdb import size
from okdnet_plugin.data import lmdb_store
from okdnet_plugin.data.depth import DEPTH_EXTENSIONS, decode_depth
from okdnet_plugin.data.image_sources import IMAGE_EXTENSIONS
from okdnet_plugin.data.images import decode, resized
from okdnet_plugin.engine import checkpoints
from okdnet_plugin.errors import InputError, SaveError

FRAMED, FRAME = (480, 640), 10
LAST_OF_TRAINING, LAST = 1399, 1449
PER_METRE = 6553.5  # Kinect's depth ends at 10 m


class Scene(NamedTuple):
    """One image with its depth, as they are stored."""

    number: int
    clear: np.ndarray
    """(H, W, 3), BGR, uint8."""
    depth: np.ndarray
    """(H, W), whole numbers, or metres as floating-point numbers."""


def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    try:
        counts = prepare(args.source, args.out, args.resize, args.lmdb)
    except (InputError, SaveError) as error:
        print(f'{Path(__file__).name}: error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('\ninterrupted: the same command goes on', file=sys.stderr)
        return 130
    print(f'{args.out}: {counts["train"]} scenes for training, {counts["test"]} for the test')
    print(option_lines(args))
    return 0


def prepare(source: Path, out: Path, resize: tuple[int, int] | None, as_lmdb: bool) -> dict[str, int]:
    """Write the scenes of a source.

    Args:
        source: the .mat file, or a folder with clear and depth.
        out: folder, made if need be.
        resize: height and width to which images and depth are brought; None for their own.
        as_lmdb: make LMDBs of the folders too.

    Returns:
        Scenes of train and test.

    Raises:
        InputError: the source cannot be read, or holds no scene.
        SaveError: a file cannot be written.
    """
    counts = {'train': 0, 'test': 0}
    numbers, read = _open(source)
    for number in tqdm(numbers, unit='scene', dynamic_ncols=True, disable=None):
        part = 'train' if number <= LAST_OF_TRAINING else 'test'
        counts[part] += 1
        paths = [out / part / side / f'{number}.png' for side in ('clear', 'depth')]
        if all(path.is_file() for path in paths):
            continue
        scene = prepared(read(number), resize)
        for path, img in zip(paths, (scene.clear, scene.depth), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            checkpoints.write(cv2.imencode('.png', img)[1].data, str(path))
    for part, count in counts.items() if as_lmdb else ():
        if count:
            folder = out / part
            encode = 'bmp' if resize else None
            lmdb_store.build(str(folder), clear=str(folder / 'clear'), encode=encode)
            lmdb_store.build(str(folder), depth=str(folder / 'depth'))
    return counts


def prepared(scene: Scene, resize: tuple[int, int] | None) -> Scene:
    """A scene as it is stored: without the frame, depth as whole numbers, of the size that is asked for.

    Raises:
        InputError: image and depth have different sizes, or depth is not finite or nowhere above 0.
    """
    clear, depth = scene.clear, scene.depth
    if clear.shape[:2] != depth.shape:
        (h_clear, w_clear), (h_depth, w_depth) = clear.shape[:2], depth.shape
        raise InputError(
            f'scene {scene.number}: the image is {h_clear}x{w_clear}, its depth {h_depth}x{w_depth} (height x width); '
            'make the depth again, or take the scene out'
        )
    if not (np.isfinite(depth).all() and depth.min() >= 0 and depth.max() > 0):
        raise InputError(f'scene {scene.number}: its depth is not finite, negative or zero; take the scene out')
    if depth.shape == FRAMED:
        clear, depth = (img[FRAME:-FRAME, FRAME:-FRAME] for img in (clear, depth))
    if resize:
        if depth.dtype == np.uint8:  # a mean of several has more than 8 bits
            depth = depth.astype(np.uint16) * 257
        clear, depth = resized(clear, *resize), resized(np.ascontiguousarray(depth), *resize)
    if depth.dtype.kind == 'f':
        depth = np.clip(np.rint(depth.astype(np.float64) * PER_METRE), 0, 65535).astype(np.uint16)
    return Scene(scene.number, np.ascontiguousarray(clear), np.ascontiguousarray(depth))


def option_lines(args: argparse.Namespace) -> str:
    """What an option file needs to train on what was made."""
    ending, backend = ('.lmdb', 'lmdb') if args.lmdb else ('', 'disk')
    return (
        'type: SyntheticHazeDataset\n'
        f'dataroot_gt: {args.out}/train/clear{ending}\n'
        f'dataroot_depth: {args.out}/train/depth{ending}\n'
        'depth_norm: max\n'
        'preset: reside_its\n'
        f'io_backend: {{type: {backend}}}'
    )


def _open(source: Path):
    """Numbers of the scenes of a source, and what reads the scene of a number."""
    if source.is_dir():
        return _open_folder(source)
    if not source.is_file():
        raise InputError(f'{source} does not exist; give nyu_depth_v2_labeled.mat or a folder')
    try:
        import h5py
    except ImportError as error:
        raise InputError(f'{source} is read by h5py; pip install okdnet_plugin[nyu]') from error
    try:
        file = h5py.File(source, 'r')
        images: Any = file['images']
        depths: Any = file['depths']
    except (OSError, KeyError) as error:
        raise InputError(
            f'{source} is no nyu_depth_v2_labeled.mat (MATLAB 7.3, with images and depths): '
            f'{" ".join(str(error).split())}; download it again'
        ) from error
    if images.ndim != 4 or images.shape[1] != 3 or depths.shape != (images.shape[0], *images.shape[2:]):
        raise InputError(
            f'{source} holds images of {images.shape} and depths of {depths.shape}; the original has (1449, 3, 640, '
            '480) and (1449, 640, 480)'
        )

    def read(number: int) -> Scene:
        # MATLAB's columns are rows here: each image is (RGB, width, height).
        rgb, depth = images[number - 1].transpose(2, 1, 0), depths[number - 1].T
        return Scene(number, np.ascontiguousarray(rgb[..., ::-1]), depth)

    return range(1, min(len(images), LAST) + 1), read


def _open_folder(source: Path):
    clear, depth = (_numbered(source / 'clear', IMAGE_EXTENSIONS), _numbered(source / 'depth', DEPTH_EXTENSIONS))
    lonely = sorted(clear.keys() ^ depth.keys())
    if lonely or not clear:
        found = f'scene {lonely[0]} has no partner ({len(lonely)} such)' if lonely else 'there is no scene'
        raise InputError(f'{source}/clear and {source}/depth: {found}; each scene has a file such as 0001.png in both')

    def read(number: int) -> Scene:
        paths = clear[number], depth[number]
        img, values = decode(paths[0].read_bytes(), str(paths[0])), decode_depth(paths[1].read_bytes(), str(paths[1]))
        return Scene(number, img, values)

    return sorted(clear), read


def _numbered(folder: Path, extensions: tuple[str, ...]) -> dict[int, Path]:
    """Files of a folder by their scene numbers."""
    if not folder.is_dir():
        raise InputError(f'the folder {folder} does not exist; give a folder that holds clear and depth')
    files = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in extensions]
    wrong = [file for file in files if not file.stem.isdecimal() or not 1 <= int(file.stem) <= LAST]
    if wrong:
        raise InputError(f'{wrong[0]}: its name is no scene number from 1 to {LAST}; rename it or take it out')
    found = {int(file.stem): file for file in files}
    if len(found) < len(files):
        raise InputError(f'{folder} holds several files of one scene; take one of each out')
    return found


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', type=Path, metavar='SOURCE', help='nyu_depth_v2_labeled.mat, or a folder')
    parser.add_argument(
        'out', type=Path, nargs='?', default=Path('datasets/NYU'), metavar='OUT', help='default: %(default)s'
    )
    parser.add_argument(
        '--resize', type=size, metavar='N|HxW', help='store images and depth of this size (the paper: 256)'
    )
    parser.add_argument('--lmdb', action='store_true', help='make LMDBs too, which are read faster')
    return parser.parse_args(argv)


if __name__ == '__main__':
    sys.exit(main())
