"""What the losses beyond the paper's equation bring in equal time: a small table, several seeds.

  faster_learning.py CLEAR DEPTH [--minutes 5] [--seeds 0 1 2] [-o DIR]

CLEAR and DEPTH are folders of equal stems, depth as SyntheticHazeDataset reads it with depth_norm: max. Every variant
trains a new OKDNet by `basicsr train` on haze as in ITS, for the same time and from the same seeds, and is measured on
every tenth image, which none of them trains on. The time is turned into steps once for each variant, by a few of its
steps, so that a variant that costs more gets fewer. What is in DIR is not trained again: interrupted, the same command
goes on.
"""

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import common

from okdnet_plugin.data.depth import DEPTH_EXTENSIONS
from okdnet_plugin.data.image_sources import IMAGE_EXTENSIONS
from okdnet_plugin.errors import InputError

_L1 = {'type': 'L1Loss', 'reduction': 'mean'}
VARIANTS: dict[str, dict] = {
    'as in the paper': {},
    'branch_opt': {'branch_opt': {**_L1, 'loss_weight': 0.3}},
    'transmission_opt, airlight_opt': {
        'transmission_opt': {**_L1, 'loss_weight': 0.5},
        'airlight_opt': {**_L1, 'loss_weight': 0.5},
    },
    'all three': {
        'branch_opt': {**_L1, 'loss_weight': 0.3},
        'transmission_opt': {**_L1, 'loss_weight': 0.5},
        'airlight_opt': {**_L1, 'loss_weight': 0.5},
    },
}
_MEASURED = 8  # steps, of which the first two do not count


def main(argv: Sequence[str] | None = None) -> int:
    args = _parse(argv)
    return common.exit_code_of(lambda: print(table(measure(args))))


def measure(args: argparse.Namespace) -> dict[str, list[dict]]:
    """Train and measure what is not there yet.

    Returns:
        For each variant a block for each seed: steps, psnr and ssim.

    Raises:
        InputError: the folders cannot be used, or a training failed.
    """
    args.out.mkdir(parents=True, exist_ok=True)
    lists = _split(args)
    decisive = {key: value for key, value in sorted(vars(args).items()) if key not in ('out', 'seeds')}
    kept = common.Kept(args.out, decisive)
    for seed in args.seeds:
        for variant, losses in VARIANTS.items():
            key = f'{variant}/{seed}'
            if key in kept:
                continue
            name = key.replace(', ', '_').replace(' ', '_').replace('/', '_')
            steps = kept.get(f'steps of {variant}')
            if steps is None:
                entries = _train(args, lists, f'{name}_try', losses, seed, _MEASURED)
                times = [entry['time'] for entry in entries if entry['iter'] > 2 and 'time' in entry]
                steps = max(1, round(60 * args.minutes / statistics.median(times)))
                kept.keep(f'steps of {variant}', steps)
            (last,) = [entry for entry in _train(args, lists, name, losses, seed, steps) if 'dataset' in entry][-1:]
            found = {'steps': steps, 'psnr': last['psnr'], 'ssim': last['ssim']}
            print(f'{key}: {kept.keep(key, found)}', flush=True)
    return {variant: [kept[f'{variant}/{seed}'] for seed in args.seeds] for variant in VARIANTS}


def table(results: Mapping[str, Sequence[Mapping]]) -> str:
    """The Markdown table: means over the seeds, and the gain over the first variant seed by seed."""
    base = next(iter(results.values()))
    lines = ['| losses | steps | PSNR | SSIM | gain in PSNR, by seed |', '|---|---|---|---|---|']
    for variant, runs in results.items():
        psnr, ssim = (statistics.mean(run[key] for run in runs) for key in ('psnr', 'ssim'))
        gains = ', '.join(f'{run["psnr"] - other["psnr"]:+.2f}' for run, other in zip(runs, base, strict=True))
        lines.append(f'| {variant} | {runs[0]["steps"]} | {psnr:.2f} | {ssim:.4f} | {gains} |')
    return '\n'.join(lines)


def _split(args: argparse.Namespace) -> dict[str, Path]:
    """Lists of the images that are trained on and of those that are measured."""
    for folder in (args.clear, args.depth):
        if not folder.is_dir():
            raise InputError(f'the folder {folder} does not exist; give a folder of images and one of their depth')
    depth = {file.stem for file in args.depth.iterdir() if file.suffix.lower() in DEPTH_EXTENSIONS}
    names = sorted(
        file.name for file in args.clear.iterdir() if file.suffix.lower() in IMAGE_EXTENSIONS and file.stem in depth
    )
    if len(names) < 4:
        raise InputError(f'{args.clear} has {len(names)} images with depth in {args.depth}; give four or more')
    held = names[:: min(10, len(names))][: args.images]
    lists = {'train': args.out / 'train.txt', 'val': args.out / 'val.txt'}
    lists['val'].write_text(''.join(f'{name}\n' for name in held), encoding='utf-8')
    lists['train'].write_text(''.join(f'{name}\n' for name in names if name not in held), encoding='utf-8')
    return lists


def _train(
    args: argparse.Namespace, lists: Mapping[str, Path], name: str, losses: Mapping, seed: int, steps: int
) -> list[dict]:
    """What the journal of a training says, which is run if it has not ended yet."""
    return common.trained(args.out, name, _options(args, lists, name, losses, seed, steps), steps)


def _options(args, lists: Mapping[str, Path], name: str, losses: Mapping, seed: int, steps: int) -> dict:
    """The option file of a training; its schedule spans its own steps."""
    data = {
        'type': 'SyntheticHazeDataset',
        'dataroot_gt': str(args.clear.resolve()),
        'dataroot_depth': str(args.depth.resolve()),
        'depth_norm': 'max',
        'preset': 'reside_its',
    }
    loader = {'num_worker_per_gpu': 0, 'batch_size_per_gpu': args.batch, 'use_hflip': True, 'use_rot': False}
    needs_maps = {'return_maps': True} if 'transmission_opt' in losses else {}
    train = data | loader | needs_maps | {'name': 'train', 'resize': args.size}
    return {
        'name': name,
        'model_type': 'OKDNetModel',
        'scale': 1,
        'num_gpu': 'auto',
        'channels_last': True,
        'amp': args.amp,
        'manual_seed': seed,
        'datasets': {
            'train': train | {'meta_info_file': str(lists['train'].resolve())},
            'val': data | {'name': 'held', 'resize': args.size, 'meta_info_file': str(lists['val'].resolve())},
        },
        'network_g': {'type': 'OKDNet'},
        'path': {'pretrain_network_g': None, 'strict_load_g': True, 'resume_state': None},
        'train': {
            'ema_decay': 0.98,
            'optim_g': {'type': 'Adam', 'lr': 1e-3, 'betas': [0.9, 0.999]},
            'scheduler': {
                'type': 'CosineAnnealingRestartLR',
                'periods': [steps],
                'restart_weights': [1],
                'eta_min': 1e-5,
            },
            'total_iter': steps,
            'warmup_iter': -1,
            'pixel_opt': {**_L1, 'loss_weight': 1.0},
            'ssim_opt': {'type': 'SSIMLoss', 'loss_weight': 1.0},
            'distill_opt': {'type': 'OnlineDistillationLoss', 'loss_weight': 0.5},
            **losses,
        },
        'val': {
            'val_freq': steps,
            'save_img': False,
            'metrics': {
                'psnr': {'type': 'calculate_psnr', 'crop_border': 0},
                'ssim': {'type': 'calculate_fast_ssim', 'crop_border': 0},
            },
        },
        'logger': {
            'print_freq': 1,
            'save_checkpoint_freq': max(1, steps // 10),
            'keep_last': 1,
            'use_tb_logger': False,
        },
        'dist_params': {'backend': 'gloo', 'port': 29500},
    }


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('clear', type=Path, metavar='CLEAR', help='folder of clear images')
    parser.add_argument('depth', type=Path, metavar='DEPTH', help='folder of their depth')
    parser.add_argument('--minutes', type=float, default=5, help='of each training (default: %(default)s)')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], metavar='N', help='default: 0 1 2')
    parser.add_argument('--size', type=int, default=64, help='edge of the samples in px (default: %(default)s)')
    parser.add_argument('--batch', type=int, default=8, help='samples of a step (default: %(default)s)')
    parser.add_argument('--images', type=int, default=40, help='images that are measured (default: %(default)s)')
    parser.add_argument('--amp', choices=('bf16', 'off'), default='off', help='default: %(default)s')
    parser.add_argument('-o', '--out', type=Path, default=Path('reports/faster_learning'), metavar='DIR')
    return parser.parse_args(argv)


if __name__ == '__main__':
    sys.exit(main())
