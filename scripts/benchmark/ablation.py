"""The paper's Table 4 by small trainings: does each module help? Variants A to F, equal iterations, several seeds.

  ablation.py DATA [--iterations 3000] [--seeds 0 1] [-o DIR]
  ablation.py DATA --iterations 20 --seeds 0 1 --limit 2 -o /tmp/ablation      a rehearsal

DATA holds nyu/clear and nyu/depth (or nyu/train/…, as scripts/prepare_nyu.py makes it), and of the test sets what there
is: sots_indoor_val/hazy and clear, sots_outdoor_val/hazy and clear. Every variant is that of options/ablation, with its
losses and network, and is trained by `basicsr train` on haze as in ITS, in samples of 64 px, for the same number of
iterations and from the same seeds; at its end it is tested on the whole images. A variant and a seed is one training;
what is in DIR is not trained again: interrupted, also in the middle of a training, the same command goes on.

The table says mean and spread (half of what lies between the lowest and the highest seed) beside the paper's values,
and what each variant loses against F, seed by seed. 64 px and a few thousand iterations are not the paper's 256 px and
104,940: only the order may be compared.
"""

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import common

from okdnet_plugin import config, files
from okdnet_plugin.errors import InputError
from okdnet_plugin.report.published import TABLES

OPTIONS = Path(__file__).parents[2] / 'options'
VARIANTS = {letter: f'ablation/{letter.lower()}.yml' for letter in 'ABCDE'} | {'F': 'okdnet.yml'}
SETS = {'sots_indoor_val': 'sots_indoor', 'sots_outdoor_val': None}
_METRICS = {
    'psnr': {'type': 'calculate_psnr', 'crop_border': 0},
    'ssim': {'type': 'calculate_fast_ssim', 'crop_border': 0},
}
_DIGITS = {'psnr': 2, 'ssim': 4}


def main(argv: Sequence[str] | None = None) -> int:
    args = _parse(argv)

    def work() -> None:
        text = table(measure(args), args)
        files.write(str(args.out / 'table.md'), text.encode())
        print(text)

    return common.exit_code_of(work)


def measure(args: argparse.Namespace) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Train and test what is not there yet.

    Returns:
        By variant, seed, test set and metric.

    Raises:
        InputError: the data cannot be used, or a training or test failed.
    """
    train, sets = _data(args.data)
    decisive = {key: value for key, value in sorted(vars(args).items()) if key not in ('out', 'seeds', 'variants')}
    kept = common.Kept(args.out, decisive)
    for seed in args.seeds:  # all variants of a seed first, so that an early end leaves whole seeds
        for variant in args.variants:
            key = f'{variant}/{seed}'
            if key not in kept:
                name = f'{variant}_{seed}'
                found = _run(args, name, _options(args, name, variant, seed, train, sets))
                print(f'{key}: {kept.keep(key, found)}', flush=True)
    return {variant: {str(seed): kept[f'{variant}/{seed}'] for seed in args.seeds} for variant in args.variants}


def table(results: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]], args: argparse.Namespace) -> str:
    """The table of Markdown, the paper's values beside those measured."""
    published = {(row.set, row.metric): dict(zip(TABLES[4].methods, row.values, strict=True)) for row in TABLES[4].rows}
    sets = list(dict.fromkeys(name for runs in results.values() for values in runs.values() for name in values))
    head = [
        'variant',
        'paper, SOTS-outdoor PSNR / SSIM',
        *(f'{name} {metric.upper()}' for name in sets for metric in _METRICS),
    ]
    head += [f'PSNR against F on {name}, by seed' for name in sets]
    rows = []
    for variant, runs in results.items():
        of_paper = ' / '.join(f'{published["SOTS-outdoor", metric][variant]:g}' for metric in _METRICS)
        cells = [
            _spread([values[name][metric] for values in runs.values()], _DIGITS[metric])
            for name in sets
            for metric in _METRICS
        ]
        for name in sets:
            whole = results.get('F', {})
            gaps = [
                f'{values[name]["psnr"] - whole[seed][name]["psnr"]:+.2f}'
                for seed, values in runs.items()
                if seed in whole
            ]
            cells.append(', '.join(gaps) or '-')
        rows.append([variant, of_paper, *cells])
    seeds = ', '.join(map(str, args.seeds))
    note = f'{args.iterations} iterations of {args.batch} samples of {args.size} px, seeds {seeds}; mean ± half range.'
    return f'{common.table(head, rows)}\n\n{note} {TABLES[4].note}\n{common.versions()}\n'


def _spread(values: Sequence[float], digits: int) -> str:
    return f'{statistics.mean(values):.{digits}f} ± {(max(values) - min(values)) / 2:.{digits}f}'


def _data(root: Path) -> tuple[Path, dict[str, dict]]:
    """Folder of the training's images with depth, and the test sets that are there."""
    train = next((one for one in (root / 'nyu/train', root / 'nyu') if (one / 'clear').is_dir()), None)
    if train is None or not (train / 'depth').is_dir():
        raise InputError(f'{root}/nyu/clear and depth do not exist; the head of this script says what DATA holds')
    sets = {
        name: {'type': 'PairedDehazeDataset', 'dataroot_lq': f'{folder}/hazy', 'dataroot_gt': f'{folder}/clear'}
        | ({'layout': layout} if layout else {})
        for name, layout in SETS.items()
        if (folder := (root / name).resolve()).is_dir()
    }
    if not sets:
        raise InputError(f'{root} holds none of {", ".join(SETS)}, on which the variants are tested')
    return train.resolve(), sets


def _options(
    args: argparse.Namespace, name: str, variant: str, seed: int, train: Path, sets: Mapping[str, Mapping]
) -> dict:
    """The option file of a training: the variant's network and losses, and a schedule that spans its iterations."""
    opt = config.load(str(OPTIONS / VARIANTS[variant]))
    losses = {key: block for key, block in opt['train'].items() if key.endswith('_opt')}
    tests = {}
    for number, (key, block) in enumerate(sets.items(), 1):
        limit = {'meta_info_file': _listed(args, key, block)} if args.limit else {}
        tests['val' if number == 1 else f'val_{number}'] = {'name': key, **block, **limit}
    return {
        'name': name,
        'model_type': opt['model_type'],
        'scale': 1,
        'num_gpu': 'auto',
        'channels_last': True,
        'amp': args.amp,
        'manual_seed': seed,
        'datasets': {
            'train': {
                'name': 'NYU',
                'type': 'SyntheticHazeDataset',
                'dataroot_gt': str(train / 'clear'),
                'dataroot_depth': str(train / 'depth'),
                'depth_norm': 'max',
                'depth_smooth': 3,
                'preset': 'reside_its',
                'resize': {'shorter': [args.size, 2 * args.size]},
                'gt_size': args.size,
                'use_hflip': True,
                'use_rot': False,
                'num_worker_per_gpu': args.workers,
                'batch_size_per_gpu': args.batch,
            },
            **tests,
        },
        'network_g': opt['network_g'],
        'path': {'pretrain_network_g': None, 'strict_load_g': True, 'resume_state': None},
        'train': {
            'ema_decay': min(0.998, 1 - 10 / max(20, args.iterations)),
            'optim_g': {'type': 'Adam', 'lr': 1e-3, 'betas': [0.9, 0.999]},
            'scheduler': {
                'type': 'CosineAnnealingRestartLR',
                'periods': [args.iterations],
                'restart_weights': [1],
                'eta_min': 1e-5,
            },
            'total_iter': args.iterations,
            'warmup_iter': -1,
            'grad_clip': 1.0,
            **losses,
        },
        'val': {'val_freq': args.iterations, 'save_img': False, 'tile': 'auto', 'metrics': _METRICS},
        'logger': {
            'print_freq': max(1, min(50, args.iterations // 10)),
            'save_checkpoint_freq': max(1, min(200, args.iterations // 4)),
            'keep_last': 1,
            'use_tb_logger': False,
        },
        'dist_params': {'backend': 'gloo', 'port': 29500},
    }


def _listed(args: argparse.Namespace, name: str, block: Mapping) -> str:
    """A list of the first clear images of a test set."""
    file = args.out / f'{name}.txt'
    names = sorted(path.name for path in Path(block['dataroot_gt']).iterdir())[: args.limit]
    file.write_text(''.join(f'{name}\n' for name in names), encoding='utf-8')
    return str(file.resolve())


def _run(args: argparse.Namespace, name: str, opt: Mapping) -> dict[str, dict[str, float]]:
    """Train, or go on, and give the values at the end by test set."""
    found = {
        entry['dataset']: {metric: entry[metric] for metric in _METRICS}
        for entry in common.trained(args.out, name, opt, args.iterations)
        if 'dataset' in entry and entry['iter'] == args.iterations
    }
    return {block['name']: found[block['name']] for key, block in opt['datasets'].items() if key != 'train'}


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, metavar='DATA', help='folder of the training images and of the test sets')
    parser.add_argument('--iterations', type=int, default=3000, metavar='N', help='default: %(default)s')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1], metavar='N', help='default: 0 1')
    parser.add_argument('--variants', nargs='+', choices=list(VARIANTS), default=list(VARIANTS), help='default: all')
    parser.add_argument('--size', type=int, default=64, help='edge of the samples in px (default: %(default)s)')
    parser.add_argument('--batch', type=int, default=8, help='samples of an iteration (default: %(default)s)')
    parser.add_argument('--workers', type=int, default=1, help='processes that read images (default: %(default)s)')
    parser.add_argument('--limit', type=int, metavar='N', help='test on the first N scenes of each set only')
    parser.add_argument('--amp', choices=('bf16', 'off'), default='off', help='default: %(default)s')
    parser.add_argument('-o', '--out', type=Path, default=Path('reports/ablation'), metavar='DIR')
    return parser.parse_args(argv)


if __name__ == '__main__':
    sys.exit(main())
