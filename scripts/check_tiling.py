"""How far results in tiles differ from results in one piece, in dB and in steps of 8 bits.

    python scripts/check_tiling.py -w WEIGHTS IMAGE... [--tiles 256,512,1024]
    python scripts/check_tiling.py IMAGE... --megapixels 1,2,4,8,12 --markdown       the table of docs/dehazing.md
    python scripts/check_tiling.py hazy.jpg --clear clear.jpg                        PSNR of both against a clear image

An image has to fit into memory in one piece: an OKDNet needs about 1.5 KB a pixel, 18 GB for 12 megapixels.
"""

import argparse
import math
import sys
from itertools import zip_longest

import cv2
import numpy as np

from okdnet_plugin import Dehazer
from okdnet_plugin.cli import load_plugins
from okdnet_plugin.errors import InputError
from okdnet_plugin.inference.images.reading import OpenedImage, without_other_limits
from okdnet_plugin.weights.loading import weights_for

_COLUMNS = ('image', 'size', 'tile', 'PSNR, dB', 'largest', 'differ by > 1')
_AGAINST_CLEAR = ('whole, dB', 'tiles, dB')


def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    load_plugins()
    try:
        for option, others in {'megapixels': args.megapixels, 'clear': args.clear}.items():
            if others and len(others) != len(args.images):
                raise InputError(
                    f'--{option} has {len(others)} entries for {len(args.images)} images; give one for each'
                )
        net = weights_for(args.weights, args.opt, args.network, None)
        dehazer = Dehazer(net, backend=args.backend, precision=args.precision, device=args.device, tile=0)
        print(f'{dehazer.description}\n')
        columns = _COLUMNS + (_AGAINST_CLEAR if args.clear else ())
        print(_line(columns, args.markdown))
        if args.markdown:
            print('|---' * len(columns) + '|')
        for path, size, clear in zip_longest(args.images, args.megapixels, args.clear):
            for row in _compare(dehazer, _read(path, size), clear and _read(clear, size), args.tiles):
                print(_line((path.rpartition('/')[2], *row), args.markdown), flush=True)
    except InputError as error:
        print(f'{error}', file=sys.stderr)
        return 2
    return 0


def _line(cells: tuple[str, ...], is_markdown: bool) -> str:
    return (
        f'| {" | ".join(cells)} |' if is_markdown else f'{cells[0]:40}' + ''.join(f'{cell:>15}' for cell in cells[1:])
    )


def _read(path: str, megapixels: float | None) -> np.ndarray:
    """An image, brought to a number of pixels if one is given."""
    with without_other_limits():
        image = OpenedImage(path, path, max_megapixels=1000).load().pixels
    if megapixels is None:
        return image
    height, width = image.shape[:2]
    factor = math.sqrt(megapixels * 1e6 / (height * width))
    return cv2.resize(image, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_CUBIC)


def _compare(dehazer: Dehazer, image: np.ndarray, clear: np.ndarray | None, tiles: list[int]):
    """Rows of the table: an image in tiles of each size."""
    dehazer.tile = 0
    whole = dehazer(image)
    height, width = image.shape[:2]
    for tile in tiles:
        if max(height, width) <= tile:
            continue
        dehazer.tile = tile
        result = dehazer(image)
        difference = np.abs(result.astype(np.float32) - whole) * (255 / np.iinfo(image.dtype).max)
        row = (f'{width}x{height}', f'{tile}', f'{_psnr(result, whole):.2f}', f'{difference.max():.0f}')
        row += (f'{(difference > 1).mean():.2%}',)
        yield row if clear is None else (*row, f'{_psnr(whole, clear):.3f}', f'{_psnr(result, clear):.3f}')


def _psnr(first: np.ndarray, second: np.ndarray) -> float:
    error = float(np.square(first.astype(np.float32) - second.astype(np.float32)).mean(dtype=np.float64))
    return 10 * math.log10(float(np.iinfo(first.dtype).max) ** 2 / error) if error else math.inf


def _numbers(kind):
    return lambda text: [kind(part) for part in text.split(',')]


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('images', nargs='+', metavar='IMAGE')
    parser.add_argument('-w', '--weights', metavar='FILE')
    parser.add_argument('--opt', metavar='FILE')
    parser.add_argument('--network', metavar='NAME', help='a network without weights: DCP')
    parser.add_argument('--tiles', type=_numbers(int), default=[256, 512, 1024], metavar='PX,...')
    parser.add_argument(
        '--megapixels', type=_numbers(float), default=[], metavar='N,...', help='bring each image to this size first'
    )
    parser.add_argument(
        '--clear', nargs='+', action='extend', default=[], metavar='IMAGE', help='the clear image of each one'
    )
    parser.add_argument('--markdown', action='store_true', help='as a table of a page')
    parser.add_argument('--backend', default='auto')
    parser.add_argument('--precision', default='fp32')
    parser.add_argument('--device', default='auto')
    return parser.parse_args(argv)


if __name__ == '__main__':
    sys.exit(main())
