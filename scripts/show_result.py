"""Show what `basicsr test` did: every metric of the hazy input beside that of the result, and a before/after grid.

  show_result.py options/okdnet_quickstart_test.yml

Run it in the folder where the test was run, with the same option file; its images must have been saved. Input and
result are measured alike, by the metrics of the option file. The grid goes to results/<name>/before_after.png.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

import okdnet_plugin  # goes first: it patches BasicSR

# isort: split
from basicsr.data import build_dataset
from basicsr.metrics import calculate_metric
from basicsr.utils import tensor2img

from okdnet_plugin import config
from okdnet_plugin.errors import InputError
from okdnet_plugin.map_dataset import MapDataset

TILE_WIDTH = 320
CAPTION = 26
GAP = 6


class Row(NamedTuple):
    """One image, uint8 BGR (H, W, 3) in each of its three forms."""

    name: str
    hazy: np.ndarray
    result: np.ndarray
    clear: np.ndarray


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('opt', type=Path, metavar='FILE', help='option file of the test')
    parser.add_argument(
        '--rows', type=int, default=6, help='images of a data set in the grid at most (default: %(default)s)'
    )
    args = parser.parse_args(argv)
    if args.rows < 1:
        parser.error('--rows must be positive')
    okdnet_plugin.register()
    try:
        show(config.load(str(args.opt)), args.rows)
    except (InputError, OSError) as error:
        print(f'{Path(__file__).name}: error: {error}', file=sys.stderr)
        return 2
    return 0


def show(opt: dict, max_rows: int) -> None:
    folder = Path('results', opt['name'])
    grid = []
    for dataset_opt in opt['datasets'].values():
        figures, strips = [], []
        dataset = build_dataset({**dataset_opt, 'phase': 'test', 'scale': opt['scale']})
        chosen = set(np.linspace(0, len(dataset) - 1, min(max_rows, len(dataset))).astype(int))
        for i, row in enumerate(read_rows(opt, dataset, folder / 'visualization' / dataset_opt['name'])):
            figures.append([measure(image, row.clear, opt['val']['metrics']) for image in (row.hazy, row.result)])
            if i in chosen:
                strips.append(draw(row, *figures[-1]))
        print_means(dataset_opt['name'], figures)
        grid += strips

    path = folder / 'before_after.png'
    write_image(path, np.vstack(grid))
    print(f'before/after grid  {path.resolve()}')


def print_means(title: str, figures: list[list[dict[str, float]]]) -> None:
    print(f'{title}, mean of {len(figures)} images')
    print(f'{"":<19}{"hazy":>11}{"result":>11}')
    for name in figures[0][0]:
        before, after = (np.mean([pair[side][name] for pair in figures]) for side in (0, 1))
        print(f'{name:<19}{before:11.4f}{after:11.4f}')


def read_rows(opt: dict, dataset: MapDataset, folder: Path) -> Iterator[Row]:
    """Pairs as the test read them, and the images that it saved in the folder.

    Raises:
        InputError: the test has saved no image of that name.
    """
    for i in range(len(dataset)):
        pair = dataset[i]
        stem = Path(pair['lq_path']).stem
        path = folder / f'{stem}_{opt["val"].get("suffix") or opt["name"]}.png'
        image = cv2.imread(str(path)) if path.is_file() else None
        if image is None:
            raise InputError(f'{path} is missing: run `basicsr test` with val:save_img: true first')
        yield Row(stem, tensor2img(pair['lq']), image, tensor2img(pair['gt']))


def measure(image: np.ndarray, clear: np.ndarray, metrics: dict[str, dict]) -> dict[str, float]:
    return {name: calculate_metric({'img': image, 'img2': clear}, opt) for name, opt in metrics.items()}


def draw(row: Row, hazy: dict[str, float], result: dict[str, float]) -> np.ndarray:
    """One row of the grid: hazy, dehazed and clear, each under a caption."""
    captions = (f'hazy {numbers(hazy)}', f'dehazed {numbers(result)}', f'clear {row.name}')
    return np.hstack([tile(image, text) for image, text in zip(row[1:], captions, strict=True)])


def numbers(values: dict[str, float]) -> str:
    return ' '.join(f'{name} {value:.3g}' for name, value in values.items())


def tile(image: np.ndarray, caption: str) -> np.ndarray:
    height = round(image.shape[0] * TILE_WIDTH / image.shape[1])
    canvas = np.full((CAPTION + height + GAP, TILE_WIDTH + GAP, 3), 255, np.uint8)
    small = cv2.resize(image, (TILE_WIDTH, height), interpolation=cv2.INTER_AREA)
    canvas[CAPTION : CAPTION + height, :TILE_WIDTH] = small
    cv2.putText(canvas, caption, (2, CAPTION - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return canvas


def write_image(path: Path, image: np.ndarray) -> None:
    # First beside the place, so that the name never stands for half a file.
    part = path.with_name(path.name + '.part')
    part.write_bytes(cv2.imencode('.png', image)[1].tobytes())
    os.replace(part, path)


if __name__ == '__main__':
    sys.exit(main())
