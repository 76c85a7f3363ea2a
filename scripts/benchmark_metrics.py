"""How fast the metrics are: this plugin's beside those of the toolbox and of scikit-image.

    python scripts/benchmark_metrics.py                  # photographs inside scikit-image, at 620x460
    python scripts/benchmark_metrics.py --pictures DIR   # pictures of a folder as they are

Each picture is the clear one, and its hazy version, made with a painted depth, what a metric looks at. The rows take
turns on each picture, for several rounds in one process with one thread; the table has medians over rounds and
pictures. `times` is the median of the ratios within a turn, `deviation` the largest difference of the values.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import torch

import okdnet_plugin  # goes first: it mends the toolbox

# isort: split
from basicsr.metrics import calculate_niqe, calculate_psnr, calculate_ssim

from okdnet_plugin.data.depth import painted_depth
from okdnet_plugin.data.haze import add_haze, transmission
from okdnet_plugin.metrics.ciede2000_metric import calculate_ciede2000
from okdnet_plugin.metrics.loe_metric import calculate_loe, lightness_map
from okdnet_plugin.metrics.niqe_metric import calculate_fast_niqe
from okdnet_plugin.metrics.ssim_metric import calculate_fast_ssim

SIZE = (460, 620)
PHOTOS = ('astronaut.png', 'coffee.png', 'rocket.jpg', 'chelsea.png')


def pairwise_loe(hazy: np.ndarray, clear: np.ndarray) -> float:
    """LOE as its formula reads, a comparison of each place with all."""
    maps = [lightness_map(picture).ravel() for picture in (clear, hazy)]
    return float(np.mean([np.sum((maps[0] >= one) != (maps[1] >= two)) for one, two in zip(*maps, strict=True)]))


def skimage_ciede2000(hazy: np.ndarray, clear: np.ndarray) -> float:
    from skimage.color import deltaE_ciede2000, rgb2lab

    return float(deltaE_ciede2000(rgb2lab(hazy[..., ::-1]), rgb2lab(clear[..., ::-1])).mean())


ROWS: dict[str, tuple[Callable, str, Callable | None]] = {
    'calculate_fast_niqe': (
        lambda hazy, clear: calculate_fast_niqe(hazy),
        'calculate_niqe of the toolbox',
        lambda hazy, clear: calculate_niqe(hazy, 0),
    ),
    'calculate_fast_ssim': (
        calculate_fast_ssim,
        'calculate_ssim of the toolbox',
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
    'calculate_psnr of the toolbox': (lambda hazy, clear: calculate_psnr(hazy, clear, 0), '', None),
}


def main() -> int:
    args = parse_arguments()
    okdnet_plugin.register()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    pairs = [(hazy_of(clear), clear) for clear in pictures(args)]
    sizes = sorted({f'{clear.shape[1]}x{clear.shape[0]}' for _, clear in pairs})
    print(f'{len(pairs)} pictures of {", ".join(sizes)}, {args.rounds} rounds\n')
    print(table(measure(pairs, args.rounds)))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--pictures', type=Path, metavar='DIR', help='clear pictures instead of photographs')
    parser.add_argument('--rounds', type=int, default=7, help='(default: %(default)s)')
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f'--rounds is {args.rounds}; write a whole number from 1')
    if args.pictures and not pictures(args):
        parser.error(f'--pictures {args.pictures}: no picture in it can be read')
    return args


def read(files: Iterable[Path]) -> list[np.ndarray]:
    """Those files that are pictures."""
    found = (cv2.imread(str(file)) for file in files)
    return [picture for picture in found if picture is not None]


def pictures(args: argparse.Namespace) -> list[np.ndarray]:
    """Clear pictures, uint8 BGR."""
    if args.pictures:
        return read(file for file in sorted(args.pictures.glob('*')) if file.is_file())
    import skimage

    files = (Path(skimage.__file__).parent / 'data' / name for name in PHOTOS)
    return [cv2.resize(picture, SIZE[::-1], interpolation=cv2.INTER_AREA) for picture in read(files)]


def hazy_of(clear: np.ndarray) -> np.ndarray:
    hazy = add_haze(clear / 255, transmission(painted_depth(clear), 1.0), 0.9)
    return np.rint(hazy * 255).clip(0, 255).astype(np.uint8)


def measure(pairs: list[tuple[np.ndarray, np.ndarray]], rounds: int) -> dict[str, list[tuple]]:
    """For each row and turn the seconds and the value of ours, and of the other if there is one."""
    turns = {row: [] for row in ROWS}
    for round_ in range(rounds + 1):  # the first fills the tables that are made once
        for hazy, clear in pairs:
            for row, (ours, _, other) in ROWS.items():
                turn = timed(ours, hazy, clear) + (timed(other, hazy, clear) if other else ())
                if round_:
                    turns[row].append(turn)
    return turns


def timed(function: Callable, hazy: np.ndarray, clear: np.ndarray) -> tuple[float, float]:
    begin = time.perf_counter()
    value = function(hazy, clear)
    return time.perf_counter() - begin, value


def table(turns: dict[str, list[tuple]]) -> str:
    lines = ['| | ms | beside | ms | times | deviation |', '|---|---|---|---|---|---|']
    for row, (_, beside, other) in ROWS.items():
        cells = [f'{1e3 * statistics.median(turn[0] for turn in turns[row]):.1f}', beside, '', '', '']
        if other:
            cells[2:] = [
                f'{1e3 * statistics.median(turn[2] for turn in turns[row]):.1f}',
                f'{statistics.median(turn[2] / turn[0] for turn in turns[row]):.1f}',
                f'{max(abs(turn[1] - turn[3]) for turn in turns[row]):.1g}',
            ]
        lines.append(f'| {row} | {" | ".join(cells)} |')
    return '\n'.join(lines)


if __name__ == '__main__':
    sys.exit(main())
