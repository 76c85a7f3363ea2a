"""What a validation costs beside its network: as it was, one thing after another, and now, with metrics in threads.

    python scripts/benchmark/validation.py                     # 100 images of 620x460, OKDNet
    python scripts/benchmark/validation.py --network AODNet    # a network that takes next to nothing
    python scripts/benchmark/validation.py --images 20 --json validation.json

Both ways take turns, some images each, in one process, so that a busy machine is busy for both. The time of the network
is that between its call and its result; the share outside is what is left of the time of the whole validation: reading,
metrics, copies. `before` has BasicSR's SSIM and no threads. Both give PSNR and SSIM, which have to be equal.
"""

import argparse
import json
import logging
import math
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import okdnet_plugin  # goes first: it patches BasicSR

# isort: split
from basicsr.data import build_dataloader, build_dataset
from basicsr.utils import get_root_logger
from torch.utils.data import DataLoader

from okdnet_plugin.models.restoration_model import RestorationModel

HEIGHT, WIDTH = 460, 620
WAYS: dict[str, tuple[int | None, str]] = {'before': (0, 'calculate_ssim'), 'now': (None, 'calculate_fast_ssim')}


def main() -> int:
    arguments = parse()
    okdnet_plugin.register()
    logging.getLogger('basicsr').setLevel('ERROR')
    get_root_logger().setLevel('ERROR')
    with tempfile.TemporaryDirectory() as folder:
        result = measure(arguments, Path(folder))
    print(table(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1), encoding='utf-8')
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--network', default='OKDNet', metavar='NAME', help='registered name; default: OKDNet')
    parser.add_argument('--images', type=int, default=100, metavar='N', help='for each way; default: 100')
    parser.add_argument('--turn', type=int, default=10, metavar='N', help='images of a turn; default: 10')
    parser.add_argument('--size', type=int, nargs=2, default=(HEIGHT, WIDTH), metavar=('HEIGHT', 'WIDTH'))
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--json', type=Path, metavar='FILE')
    return parser.parse_args()


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Validate in turns; seconds of each way by what they were spent on."""
    loader = loader_of(folder, arguments.turn, *arguments.size)
    model = model_of(arguments.network, int(arguments.device == 'cuda'))
    network = [0.0]
    test = model.test

    def timed() -> None:
        begin = time.perf_counter()
        test()
        if arguments.device == 'cuda':
            import torch

            torch.cuda.synchronize()
        network[0] += time.perf_counter() - begin

    model.test = timed
    ways: dict[str, dict[str, Any]] = {name: {'all': 0.0, 'network': 0.0} for name in WAYS}
    turns = math.ceil(arguments.images / arguments.turn)
    for turn in range(turns + 1):
        for name, (threads, ssim) in WAYS.items():
            RestorationModel.metric_threads = threads
            metrics = {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}, 'ssim': {'type': ssim, 'crop_border': 0}}
            model.opt['val']['metrics'] = metrics
            network[0], begin = 0.0, time.perf_counter()
            model.validation(loader, turn, None)
            seconds = time.perf_counter() - begin
            if turn:  # the first is for what is made once
                ways[name]['all'] += seconds
                ways[name]['network'] += network[0]
            ways[name]['values'] = model.metric_results
            print(f'turn {turn} of {turns}, {name}: {seconds:.1f} s', file=sys.stderr, flush=True)
    for row in ways.values():
        row['outside'] = 1 - row['network'] / row['all']
    differences = [abs(ways['now']['values'][key] - value) for key, value in ways['before']['values'].items()]
    shape = {'network': arguments.network, 'images': turns * arguments.turn, 'size': list(arguments.size)}
    return {**shape, 'device': arguments.device, 'ways': ways, 'largest_difference': max(differences)}


def loader_of(folder: Path, count: int, height: int, width: int) -> DataLoader:
    """Made pairs, read from PNG by one worker."""
    generator = np.random.default_rng(0)
    for kind in ('hazy', 'clear'):
        (folder / kind).mkdir()
    for number in range(count):
        small = generator.integers(0, 256, (math.ceil(height / 4), math.ceil(width / 4), 3), np.uint8)
        clear = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f'clear/{number}.png'), clear)
        cv2.imwrite(str(folder / f'hazy/{number}_1_0.9.png'), (0.5 * clear + 110).astype(np.uint8))
    block = {
        'name': 'made',
        'type': 'PairedDehazeDataset',
        'phase': 'test',
        'scale': 1,
        'dataroot_lq': str(folder / 'hazy'),
        'dataroot_gt': str(folder / 'clear'),
        'layout': 'its',
        'io_backend': {'type': 'disk'},
        'num_worker_per_gpu': 1,
    }
    return build_dataloader(build_dataset(block), block)


def model_of(network: str, num_gpu: int) -> Any:
    """A test's model of a network with random weights, which cost what trained ones do."""
    return RestorationModel(
        {
            'name': 'benchmark',
            'is_train': False,
            'datasets': {'test': {}},
            'dist': False,
            'rank': 0,
            'world_size': 1,
            'num_gpu': num_gpu,
            'channels_last': True,
            'network_g': {'type': network},
            'path': {},
            'val': {},
        }
    )


def table(result: Mapping[str, Any]) -> str:
    """A result as Markdown."""
    height, width = result['size']
    count = result['images']
    lines = [
        f'{result["network"]}, {count} images of {width}x{height}, {result["device"]}; '
        f'largest difference of a mean: {result["largest_difference"]:.1g}',
        '',
        '| | s an image | of the network | outside of it | share outside |',
        '|---|---|---|---|---|',
    ]
    for name, row in result['ways'].items():
        whole, network = row['all'] / count, row['network'] / count
        lines.append(f'| {name} | {whole:.3f} | {network:.3f} | {whole - network:.3f} | {row["outside"]:.1%} |')
    return '\n'.join(lines)


if __name__ == '__main__':
    sys.exit(main())
