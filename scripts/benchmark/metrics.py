"""How fast the metrics are: this plugin's beside those of BasicSR and of scikit-image.

    python scripts/benchmark/metrics.py                  # photographs inside scikit-image, at 620x460
    python scripts/benchmark/metrics.py --images DIR   # images of a folder as they are

Each image is the clear one, and its hazy version, made with a painted depth, what a metric looks at. The rows take
turns on each image, for several rounds in one process with one thread; the table has medians over rounds and
images. `times` is the median of the ratios within a turn, `deviation` the largest difference of the values.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

import okdnet_plugin  # goes first: it patches BasicSR

# isort: split
from basicsr.metrics import calculate_niqe, calculate_psnr, calculate_ssim
from common import hazy_of, images_in, in_turns, photographs, ratio, table, versions

from okdnet_plugin.metrics.ciede2000_metric import calculate_ciede2000
from okdnet_plugin.metrics.loe_metric import calculate_loe, lightness_map
from okdnet_plugin.metrics.niqe_metric import calculate_fast_niqe
from okdnet_plugin.metrics.ssim_metric import calculate_fast_ssim


def pairwise_loe(hazy: np.ndarray, clear: np.ndarray) -> float:
    """LOE as its formula reads, a comparison of each place with all."""
    maps = [lightness_map(image).ravel() for image in (clear, hazy)]
    return float(np.mean([np.sum((maps[0] >= one) != (maps[1] >= two)) for one, two in zip(*maps, strict=True)]))


def skimage_ciede2000(hazy: np.ndarray, clear: np.ndarray) -> float:
    from skimage.color import deltaE_ciede2000, rgb2lab

    return float(deltaE_ciede2000(rgb2lab(hazy[..., ::-1]), rgb2lab(clear[..., ::-1])).mean())


ROWS: dict[str, tuple[Callable, str, Callable | None]] = {
    'calculate_fast_niqe': (
        lambda hazy, clear: calculate_fast_niqe(hazy),
        'calculate_niqe of BasicSR',
        lambda hazy, clear: calculate_niqe(hazy, 0),
    ),
    'calculate_fast_ssim': (
        calculate_fast_ssim,
        'calculate_ssim of BasicSR',
        lambda hazy, clear: calculate_ssim(hazy, clear, 0),
    ),
    'calculate_ciede2000': (calculate_ciede2000, 'deltaE_ciede2000 of scikit-image', skimage_ciede2000),
    'calculate_loe, wang': (
        lambda hazy, clear: calculate_loe(hazy, lq=clear),
        'all pairs in NumPy, on the same maps',
        pairwise_loe,
    ),
    'calculate_loe, formula': (lambda hazy, clear: calculate_loe(hazy, lq=clear, variant='formula'), '', None),
    'calculate_loe, bimef': (lambda hazy, clear: calculate_loe(hazy, lq=clear, variant='bimef'), '', None),
    'calculate_psnr of BasicSR': (lambda hazy, clear: calculate_psnr(hazy, clear, 0), '', None),
}


def main() -> int:
    args = parse_arguments()
    okdnet_plugin.register()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    pairs = [(hazy_of(clear), clear) for clear in images(args)]
    sizes = sorted({f'{clear.shape[1]}x{clear.shape[0]}' for _, clear in pairs})
    print(versions())
    print(f'{len(pairs)} images of {", ".join(sizes)}, {args.rounds} rounds\n')
    print(as_table(measure(pairs, args.rounds)))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=Path, metavar='DIR', help='clear images instead of photographs')
    parser.add_argument('--rounds', type=int, default=7, help='(default: %(default)s)')
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f'--rounds is {args.rounds}; write a whole number from 1')
    if args.images and not images(args):
        parser.error(f'--images {args.images}: no image in it can be read')
    return args


def images(args: argparse.Namespace) -> list[np.ndarray]:
    """Clear images, uint8 BGR."""
    return images_in(args.images) if args.images else photographs()


def measure(pairs: list[tuple[np.ndarray, np.ndarray]], rounds: int) -> dict[str, list[tuple]]:
    """For each row and turn the seconds and the value of ours, and of the other if there is one."""
    turns = {
        (number, row): partial(turn, ours, other, *pair)
        for number, pair in enumerate(pairs)
        for row, (ours, _, other) in ROWS.items()
    }
    results = in_turns(turns, rounds)  # the first round, left out, fills the tables that are made once
    return {row: [one for key, found in results.items() if key[1] == row for one in found] for row in ROWS}


def turn(ours: Callable, other: Callable | None, hazy: np.ndarray, clear: np.ndarray) -> tuple:
    return timed(ours, hazy, clear) + (timed(other, hazy, clear) if other else ())


def timed(function: Callable, hazy: np.ndarray, clear: np.ndarray) -> tuple[float, float]:
    begin = time.perf_counter()
    value = function(hazy, clear)
    return time.perf_counter() - begin, value


def as_table(turns: dict[str, list[tuple]]) -> str:
    rows = []
    for row, (_, beside, other) in ROWS.items():
        found = turns[row]
        cells = [row, milliseconds(found, 0), beside, '', '', '']
        if other:
            cells[3:] = [
                milliseconds(found, 2),
                f'{ratio([one[2] for one in found], [one[0] for one in found]):.1f}',
                f'{max(abs(one[1] - one[3]) for one in found):.1g}',
            ]
        rows.append(cells)
    return table(['', 'ms', 'beside', 'ms', 'times', 'deviation'], rows)


def milliseconds(turns: list[tuple], place: int) -> str:
    return f'{1e3 * statistics.median(turn[place] for turn in turns):.1f}'


if __name__ == '__main__':
    sys.exit(main())
