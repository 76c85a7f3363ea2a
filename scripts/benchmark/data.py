"""How fast images are read: BasicSR's data set on its LMDB beside this plugin's, from every kind of store.

    python scripts/benchmark/data.py              # images made from photographs inside scikit-image
    python scripts/benchmark/data.py --clear DIR --depth DIR --depth-scale 6553.5
    python scripts/benchmark/data.py --build      # making an LMDB on one core and on two, too

The images are RGB PNGs of 620x460 with a hazy and a clear version, those of BasicSR's LMDB in its own encoding.
Every row gives pairs of 256x256: a random crop, or the whole image where it is stored at that size; all are flipped
and turned. The rows take turns for several rounds in one process, with workers that stay; the table has medians over
the rounds, `times (a)` the median of the ratios within a round.
"""

import argparse
import contextlib
import io
import itertools
import json
import shutil
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np

import okdnet_plugin  # goes first: it patches BasicSR

# isort: split
from basicsr.data import build_dataset
from basicsr.utils.lmdb_util import make_lmdb_from_imgs
from common import SIZE, hazy_of, in_turns, photographs, ratio, read, table, versions
from torch.utils.data import DataLoader, Dataset

from okdnet_plugin.data import lmdb_store
from okdnet_plugin.data.depth import painted_depth
from okdnet_plugin.map_dataset import MapDataset

CROP = 256
ROWS = {
    'a': 'PairedImageDataset, its LMDB',
    'b': 'PairedDehazeDataset, the same LMDB',
    'c': 'PairedDehazeDataset, own LMDB with --resize 256',
    'c png': 'the same with --encode png',
    'd': 'PairedDehazeDataset, folders',
    'e': 'SyntheticHazeDataset, folders',
    'e lmdb': 'SyntheticHazeDataset, clear and depth as own LMDBs',
}


class Repeated(Dataset):
    """The images of a data set over and over, so that an epoch is long."""

    def __init__(self, dataset: MapDataset, length: int):
        self.dataset, self.length = dataset, length

    def __getitem__(self, index: int) -> dict:
        return self.dataset[index % len(self.dataset)]

    def __len__(self) -> int:
        return self.length


def main() -> int:
    args = parse_arguments()
    okdnet_plugin.register()
    print(versions())
    with tempfile.TemporaryDirectory(prefix='benchmark_data_') as folder:
        root = Path(folder)
        make_images(args, root)
        if args.build:
            measure_builds(args, root)
        make_lmdbs(root)
        results = {'rows': measure(args, root), 'bytes': {row: disk(row, root) for row in ROWS}}
    print(as_table(results, args))
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--clear', type=Path, metavar='DIR', help='clear images of 620x460 instead of made ones')
    parser.add_argument('--depth', type=Path, metavar='DIR', help='their depth, 16-bit PNGs of equal stems')
    parser.add_argument(
        '--depth-scale', type=float, default=6553.5, help='depth = value / scale (default: %(default)s)'
    )
    parser.add_argument('--images', type=int, default=40, help='how many (default: %(default)s)')
    parser.add_argument('--samples', type=int, default=480, help='pairs a round reads (default: %(default)s)')
    parser.add_argument('--rounds', type=int, default=5, help='(default: %(default)s)')
    parser.add_argument('--workers', type=int, nargs='+', default=[1, 2], help='(default: 1 2)')
    parser.add_argument('--build', action='store_true', help='measure lmdb_store.build with one thread and with two')
    parser.add_argument('--json', metavar='FILE', help='write the figures there')
    args = parser.parse_args()
    if (args.clear is None) != (args.depth is None):
        parser.error('--clear and --depth go together')
    return args


# ------------------------------------------------------------------------------------------------------------- images


def make_images(args: argparse.Namespace, root: Path) -> None:
    """Write clear/, depth/ and hazy/ below the root, with equal stems, as BasicSR's LMDBs need them."""
    for name in ('clear', 'depth', 'hazy'):
        (root / name).mkdir()
    for number, (clear, depth) in enumerate(itertools.islice(own(args) if args.clear else made(), args.images)):
        hazy = hazy_of(clear, depth / args.depth_scale)
        cv2.imwrite(str(root / 'clear' / f'{number}.png'), clear)
        cv2.imwrite(str(root / 'depth' / f'{number}.png'), depth)
        cv2.imwrite(str(root / 'hazy' / f'{number}.png'), hazy)


def own(args: argparse.Namespace):
    for file in sorted(args.clear.iterdir()):
        yield read(file), read(args.depth / f'{file.stem}.png', cv2.IMREAD_UNCHANGED)


def made():
    """Windows of photographs, with the noise of a camera, and a made-up depth with some roughness."""
    rng = np.random.default_rng(0)
    photos = photographs(None)
    for photo in itertools.cycle(photos):
        height, width = (int(edge * rng.uniform(0.7, 1)) for edge in photo.shape[:2])
        top, left = (
            int(rng.integers(total - part + 1)) for total, part in zip(photo.shape, (height, width), strict=False)
        )
        window = cv2.resize(photo[top : top + height, left : left + width], SIZE[::-1], interpolation=cv2.INTER_CUBIC)
        clear = np.clip(window + rng.normal(0, 3, window.shape), 0, 255).astype(np.uint8)
        depth = painted_depth(window) * 6000 + rng.normal(0, 20, SIZE)
        yield clear, np.clip(depth, 0, 65535).astype(np.uint16)


def make_lmdbs(root: Path) -> None:
    for side in ('hazy', 'clear'):
        files = sorted(file.name for file in (root / side).iterdir())
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            make_lmdb_from_imgs(
                str(root / side), str(root / f'{side}.lmdb'), files, [Path(file).stem for file in files]
            )
    hazy, clear, depth = (str(root / side) for side in ('hazy', 'clear', 'depth'))
    lmdb_store.build(str(root / 'bmp'), hazy, clear, resize=(CROP, CROP))
    lmdb_store.build(str(root / 'png'), hazy, clear, resize=(CROP, CROP), encode='png')
    lmdb_store.build(str(root / 'keep'), clear=clear, depth=depth)


def measure_builds(args: argparse.Namespace, root: Path) -> None:
    """Time a build with one thread and with two, in turns."""
    rows = []
    for name, options in {
        '--resize 256': {'resize': (CROP, CROP)},
        '--encode png': {'encode': 'png'},
        'keep': {},
    }.items():
        seconds = in_turns({workers: partial(time_build, root, workers, options) for workers in (1, 2)}, args.rounds, 0)
        medians = (f'{statistics.median(seconds[workers]):.2f}' for workers in (1, 2))
        rows.append([name, *medians, f'{ratio(seconds[1], seconds[2]):.2f}'])
    print(table(['build', 'one thread, s', 'two threads, s', 'ratio'], rows), end='\n\n')


def time_build(root: Path, workers: int, options: dict) -> float:
    begin = time.perf_counter()
    lmdb_store.build(str(root / 'timed'), str(root / 'hazy'), str(root / 'clear'), workers=workers, **options)
    seconds = time.perf_counter() - begin
    shutil.rmtree(root / 'timed')
    return seconds


# ------------------------------------------------------------------------------------------------------------ measuring


def dataset_of(row: str, args: argparse.Namespace, root: Path) -> MapDataset:
    block = {'name': row, 'phase': 'train', 'scale': 1, 'use_hflip': True, 'use_rot': True}
    paired = block | {'type': 'PairedDehazeDataset', 'gt_size': CROP, 'io_backend': {'type': 'lmdb'}}
    of_basicsr = {'dataroot_lq': str(root / 'hazy.lmdb'), 'dataroot_gt': str(root / 'clear.lmdb')}
    haze = block | {
        'type': 'SyntheticHazeDataset',
        'preset': 'reside_its',
        'gt_size': CROP,
        'depth_scale': args.depth_scale,
    }
    blocks = {
        'a': paired | of_basicsr | {'type': 'PairedImageDataset'},
        'b': paired | of_basicsr,
        'c': paired | stored(root / 'bmp'),
        'c png': paired | stored(root / 'png'),
        'd': paired
        | {'io_backend': {'type': 'disk'}, 'dataroot_lq': str(root / 'hazy'), 'dataroot_gt': str(root / 'clear')},
        'e': haze | {'dataroot_gt': str(root / 'clear'), 'dataroot_depth': str(root / 'depth')},
        'e lmdb': haze
        | {
            'io_backend': {'type': 'lmdb'},
            'dataroot_gt': str(root / 'keep' / 'clear.lmdb'),
            'dataroot_depth': str(root / 'keep' / 'depth.lmdb'),
        },
    }
    return build_dataset(blocks[row])


def stored(folder: Path) -> dict:
    return {'dataroot_lq': str(folder / 'hazy.lmdb'), 'dataroot_gt': str(folder / 'clear.lmdb')}


def measure(args: argparse.Namespace, root: Path) -> dict:
    """Pairs per second of each row and number of workers, round by round."""
    loaders = {
        (row, workers): DataLoader(
            Repeated(dataset_of(row, args, root), args.samples),
            batch_size=4,
            shuffle=True,
            num_workers=workers,
            persistent_workers=True,
        )
        for workers in args.workers
        for row in ROWS
    }
    speeds = in_turns({key: partial(time_epoch, loader, args.samples) for key, loader in loaders.items()}, args.rounds)
    return {row: {workers: speeds[row, workers] for workers in args.workers} for row in ROWS}


def time_epoch(loader: DataLoader, samples: int) -> float:
    """Pairs per second."""
    begin = time.perf_counter()
    for _ in loader:
        pass
    return samples / (time.perf_counter() - begin)


def disk(row: str, root: Path) -> int:
    folders = {
        'a': ('hazy.lmdb', 'clear.lmdb'),
        'b': ('hazy.lmdb', 'clear.lmdb'),
        'c': ('bmp',),
        'c png': ('png',),
        'd': ('hazy', 'clear'),
        'e': ('clear', 'depth'),
        'e lmdb': ('keep',),
    }[row]
    return sum(file.stat().st_size for folder in folders for file in (root / folder).rglob('*') if file.is_file())


def as_table(results: dict, args: argparse.Namespace) -> str:
    head = ['', '']
    for workers in args.workers:
        head += [f'{workers} worker{"s" * (workers > 1)}, pairs/s', 'times (a)']
    rows = []
    for row, label in ROWS.items():
        cells = []
        for workers in args.workers:
            ours, stock = results['rows'][row][workers], results['rows']['a'][workers]
            cells += [f'{statistics.median(ours):.0f}', f'{ratio(ours, stock):.2f}']
        rows.append([f'({row})', label, *cells, f'{results["bytes"][row] / 1e6:.1f}'])
    return table([*head, 'disk, MB'], rows)


if __name__ == '__main__':
    sys.exit(main())
