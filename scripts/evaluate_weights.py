"""Measure weights on test sets beside the hazy input, DCP, AOD-Net and GCANet, and show them on real photographs.

  evaluate_weights.py DATA --weights FILE [--aodnet FILE] [--gcanet FILE] [-o DIR] [--limit N]

DATA holds what there is of these folders; what is missing is said in the report:

  rgbd_indoor/clear, rgbd_indoor/depth    scenes of SOTS-indoor, of which its images are made again (depth / 6553.5)
  sots_indoor_val/hazy, …/clear           pairs named as in SOTS-indoor
  sots_outdoor_val/hazy, …/clear          pairs of equal names
  o_haze/hazy, …/clear                    pairs named as in O-HAZE
  real_hazy                               photographs without clear ones, for the sheet

DIR (default: reports/NAME_OF_THE_WEIGHTS) gets report.html with best and worst images, table.md, the Markdown table of
docs/weights.md, which is printed too, figures.json, the metric values of these weights for scripts/pack_weights.py, and
sheet.png, photographs as they are, by DCP and by the weights. What is in DIR is not measured again: an interrupted
run goes on with the same command, and new weights cost only their own time.
"""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

import okdnet_plugin
from okdnet_plugin import Dehazer
from okdnet_plugin.data.image_sources import ImageFolder
from okdnet_plugin.data.images import decode
from okdnet_plugin.engine import checkpoints
from okdnet_plugin.engine.memory import keep_freed_memory
from okdnet_plugin.errors import InputError, SaveError
from okdnet_plugin.report.make import make
from okdnet_plugin.report.plan import INPUT
from okdnet_plugin.weights.loading import Weights, load

OURS = 'these weights'
METRICS = {
    'psnr': {'type': 'calculate_psnr', 'crop_border': 0},
    'ssim': {'type': 'calculate_fast_ssim', 'crop_border': 0},
    'ciede2000': {'type': 'calculate_ciede2000'},
    'loe': {'type': 'calculate_loe', 'variant': 'wang', 'reference': 'input'},
}
DIGITS = {'psnr': 2, 'ssim': 4, 'ciede2000': 2, 'loe': 1}
LONGEST = 1024  # px of a photograph's longer side, to which larger ones are brought for the sheet
TILE_WIDTH, CAPTION, GAP = 400, 26, 6


def main(argv: Sequence[str] | None = None) -> int:
    args = _parse(argv)
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    keep_freed_memory()
    okdnet_plugin.register()
    try:
        return _run(args, shlex.join(['evaluate_weights.py', *(sys.argv[1:] if argv is None else argv)]))
    except (InputError, SaveError) as error:
        print(f'{Path(__file__).name}: error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('\ninterrupted: the same command goes on', file=sys.stderr)
        return 130


def _run(args: argparse.Namespace, command: str) -> int:
    if not args.data.is_dir():
        raise InputError(f'the folder {args.data} does not exist; give the folder of the test sets')
    weights = load(str(args.weights), args.opt and str(args.opt))
    out = args.out or Path('reports', args.weights.stem)
    sets = test_sets(args.data)
    print(f'{weights}\n{out}: {", ".join(sets)}', flush=True)
    report, failures = make(_options(args, weights, out, sets), str(out), 'none', command)
    assert report is not None, 'one process makes it'
    table = markdown(report)
    checkpoints.write(table.encode(), str(out / 'table.md'))
    checkpoints.write((json.dumps(metric_values_of(report), indent=1) + '\n').encode(), str(out / 'figures.json'))
    print(f'\n{table}\nreport  {out / "report.html"}\nfigures {out / "figures.json"}', flush=True)
    photos = args.photos or args.data / 'real_hazy'
    if photos.is_dir():
        write_sheet(photos, weights, out / 'sheet.png', args.limit)
        print(f'sheet   {out / "sheet.png"}')
    for failure in failures:
        print(f'{Path(__file__).name}: warning: {failure}', file=sys.stderr)
    return 1 if failures else 0


def test_sets(data: Path) -> dict[str, dict]:
    """Blocks `datasets` of an option file: the test sets below a folder, present or not."""
    rgbd, paired = data / 'rgbd_indoor', {'type': 'PairedDehazeDataset'}

    def sides(name: str) -> dict[str, str]:
        return {'dataroot_lq': str(data / name / 'hazy'), 'dataroot_gt': str(data / name / 'clear')}

    return {
        'sots_indoor_val': paired | sides('sots_indoor_val') | {'layout': 'sots_indoor'},
        'sots_outdoor_val': paired | sides('sots_outdoor_val'),
        'o_haze': paired | sides('o_haze') | {'layout': 'o_haze'},
        'SOTS-indoor, made again': {
            'type': 'SyntheticHazeDataset',
            'preset': 'sots_indoor',
            'dataroot_gt': str(rgbd / 'clear'),
            'dataroot_depth': str(rgbd / 'depth'),
            'depth_scale': 6553.5,
        },
    }


def markdown(report: Mapping) -> str:
    """The Markdown table of the model card: a line for each set and method."""
    found = {(result['set'], result['method']): result['figures'] for result in report['results']}
    names = [metric['label'].partition(' (')[0] for metric in report['metrics']]
    heads = [
        f'{name} {"↑" if metric["better"] == "higher" else "↓"}'
        for name, metric in zip(names, report['metrics'], strict=True)
    ]
    lines = [f'| test set (images) | method | {" | ".join(heads)} |', f'|---|---|{"---|" * len(heads)}']
    for test_set in report['sets']:
        methods = [method for method in report['methods'] if (test_set['key'], method['key']) in found]
        for method in methods:
            figures = found[test_set['key'], method['key']]
            cells = [_cell(figures, metric['key']) for metric in report['metrics']]
            name = f'**{method["label"]}**' if method['key'] == OURS else method['label']
            first = f'{test_set["label"]} ({test_set["pictures"]})' if method is methods[0] else ''
            lines.append(f'| {first} | {name} | {" | ".join(cells)} |')
    return '\n'.join(lines) + '\n'


def metric_values_of(report: Mapping) -> dict[str, dict]:
    """Metric values of the weights themselves by test set, with the number of images."""
    counts = {test_set['key']: test_set['pictures'] for test_set in report['sets']}
    return {
        result['set']: {
            'images': counts[result['set']],
            **{key: round(figure['mean'], DIGITS[key] + 2) for key, figure in result['figures'].items()},
        }
        for result in report['results']
        if result['method'] == OURS
    }


def write_sheet(folder: Path, weights: Weights, path: Path, limit: int | None) -> None:
    """Write one PNG of photographs, a row each: as it is, by DCP, by the weights."""
    names = ImageFolder(str(folder), recursive=False).names()[:limit]
    methods = {'DCP': Dehazer(Weights({'type': 'DCP'}, {})), OURS: Dehazer(weights)}
    rows = []
    for name in names:
        try:
            hazy = _at_most(decode(Path(name).read_bytes(), name), LONGEST)
        except InputError as error:
            print(f'{Path(__file__).name}: warning: {error}', file=sys.stderr)
            continue
        tiles = [_tile(hazy, Path(name).name)]
        tiles += [_tile(dehazer(hazy[..., ::-1].copy())[..., ::-1], label) for label, dehazer in methods.items()]
        rows.append(np.hstack(tiles))
    if rows:
        checkpoints.write(cv2.imencode('.png', np.vstack(rows))[1].data, str(path))


def _options(args: argparse.Namespace, weights: Weights, out: Path, sets: Mapping) -> dict:
    """The option file of a report."""
    published = {'AOD-Net': ('AODNet', args.aodnet), 'GCANet': ('GCANet', args.gcanet)}
    return {
        'name': out.name,
        'num_gpu': 'auto',
        'channels_last': True,
        'methods': {
            INPUT: {},
            'DCP': {'network_g': {'type': 'DCP'}},
            **{
                label: {'network_g': {'type': network}, 'path': {'pretrain_network_g': str(file), 'param_key_g': None}}
                for label, (network, file) in published.items()
                if file is not None
            },
            OURS: {'network_g': dict(weights.network), 'path': _pth_of(weights, out)},
        },
        'datasets': dict(sets),
        'metrics': METRICS,
        'report': {'tables': [], 'cost_rounds': 1, 'examples': 3, 'num_worker': 0, 'limit': args.limit},
    }


def _pth_of(weights: Weights, out: Path) -> dict:
    """Block `path` of the weights; those in another file than a .pth are written as one."""
    assert weights.path is not None, 'they come from a file'
    if not weights.path.endswith('.safetensors'):
        return {'pretrain_network_g': weights.path, 'param_key_g': weights.param_key}
    os.makedirs(out, exist_ok=True)
    path = out / 'weights.pth'
    torch.save({'params': {name: value.float() for name, value in weights.state.items()}}, path)
    return {'pretrain_network_g': str(path), 'param_key_g': 'params'}


def _cell(figures: Mapping, key: str) -> str:
    mean = figures[key]['mean'] if key in figures else None
    return f'{mean:.{DIGITS[key]}f}' if isinstance(mean, float) else '-' if mean is None else str(mean)


def _at_most(img: np.ndarray, longest: int) -> np.ndarray:
    scale = longest / max(img.shape[:2])
    return img if scale >= 1 else cv2.resize(img, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _tile(img: np.ndarray, caption: str) -> np.ndarray:
    height = round(img.shape[0] * TILE_WIDTH / img.shape[1])
    canvas = np.full((CAPTION + height + GAP, TILE_WIDTH + GAP, 3), 255, np.uint8)
    canvas[CAPTION : CAPTION + height, :TILE_WIDTH] = cv2.resize(
        img, (TILE_WIDTH, height), interpolation=cv2.INTER_AREA
    )
    cv2.putText(canvas, caption, (2, CAPTION - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return canvas


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError('write a whole number from 1')
    return value


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, metavar='DATA', help='folder of the test sets')
    parser.add_argument('-w', '--weights', type=Path, required=True, metavar='FILE', help='.pth or .safetensors')
    parser.add_argument(
        '--opt', type=Path, metavar='FILE', help='option file of the network, if the weights do not tell'
    )
    parser.add_argument('--aodnet', type=Path, metavar='FILE', help='published weights of AOD-Net')
    parser.add_argument('--gcanet', type=Path, metavar='FILE', help='published weights of GCANet')
    parser.add_argument('--photos', type=Path, metavar='DIR', help='photographs of the sheet (default: DATA/real_hazy)')
    parser.add_argument('-o', '--out', type=Path, metavar='DIR', help='folder of the results')
    parser.add_argument('--limit', type=_count, metavar='N', help='images of each test set, and photographs, at most')
    parser.add_argument('--threads', type=_count, default=1, metavar='N', help='CPU threads (default: %(default)s)')
    return parser.parse_args(argv)


if __name__ == '__main__':
    sys.exit(main())
