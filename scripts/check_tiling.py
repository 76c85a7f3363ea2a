"""How far results in tiles differ from results in one piece, in dB and in steps of 8 bits.

    python scripts/check_tiling.py -w WEIGHTS IMAGE... [--tiles 256,512,1024]

An image has to fit into memory in one piece: an OKDNet needs about 2.5 KB a pixel.
"""

import argparse
import sys

import numpy as np

from okdnet_plugin import Dehazer
from okdnet_plugin.cli import load_plugins
from okdnet_plugin.errors import InputError
from okdnet_plugin.inference.images.reading import OpenedImage, without_other_limits
from okdnet_plugin.weights.loading import weights_for


def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    load_plugins()
    try:
        net = weights_for(args.weights, args.opt, args.network, None)
        dehazer = Dehazer(net, backend=args.backend, precision=args.precision, device=args.device, tile=0)
        print(dehazer.description)
        print(f'{"image":40}{"size":>12}{"tile":>6}{"PSNR":>8}{"largest":>9}{"differ by > 1":>15}')
        for path in args.images:
            _compare(path, dehazer, args.tiles)
    except InputError as error:
        print(f'{error}', file=sys.stderr)
        return 2
    return 0


def _compare(path: str, dehazer: Dehazer, tiles: list[int]) -> None:
    with without_other_limits():
        image = OpenedImage(path, path, max_megapixels=1000).load().pixels
    dehazer.tile = 0
    whole = dehazer(image).astype(float)
    height, width = image.shape[:2]
    for tile in tiles:
        if max(height, width) <= tile:
            continue
        dehazer.tile = tile
        difference = np.abs(dehazer(image) - whole) * (255 / np.iinfo(image.dtype).max)
        error = float((difference**2).mean())
        psnr = 10 * np.log10(255**2 / error) if error else np.inf
        size, share = f'{width}x{height}', (difference > 1).mean()
        print(f'{path[-39:]:40}{size:>12}{tile:>6}{psnr:>8.2f}{difference.max():>9.0f}{share:>15.2%}', flush=True)


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('images', nargs='+', metavar='IMAGE')
    parser.add_argument('-w', '--weights', metavar='FILE')
    parser.add_argument('--opt', metavar='FILE')
    parser.add_argument('--network', metavar='NAME', help='a network without weights: DCP')
    parser.add_argument('--tiles', type=lambda text: [int(part) for part in text.split(',')], default=[256, 512, 1024])
    parser.add_argument('--backend', default='auto')
    parser.add_argument('--precision', default='fp32')
    parser.add_argument('--device', default='auto')
    return parser.parse_args(argv)


if __name__ == '__main__':
    sys.exit(main())
