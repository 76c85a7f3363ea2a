"""Make the file of weights that comes with the package, in half precision, from a checkpoint of a training.

  pack_weights.py CHECKPOINT --figures reports/NAME/figures.json --recipe TEXT --data TEXT --terms TEXT [-o FILE]

CHECKPOINT is a net_g_*.pth; its average is taken (params_ema), or else its weights. --figures are the metric values
that scripts/evaluate_weights.py has written for this checkpoint. The file is okdnet_plugin/weights/NAME.safetensors,
and tells network and arguments, recipe, training data and its terms, commit and metric values. It is refused if it is
larger than 6 MB, or if the network in half precision restores a test image otherwise.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

import okdnet_plugin
from okdnet_plugin import shipped_weights
from okdnet_plugin.engine import checkpoints
from okdnet_plugin.errors import InputError, SaveError
from okdnet_plugin.inference.export.metadata import describe
from okdnet_plugin.weights import reading
from okdnet_plugin.weights.loading import Weights, build, load

LARGEST = 6_000_000  # bytes
TOLERANCE = 0.004  # of values in [0, 1]: a step of 8 bits
REPOSITORY = Path(__file__).resolve().parent.parent


def main(argv: Sequence[str] | None = None) -> int:
    args = _parse(argv)
    okdnet_plugin.register()
    try:
        path = pack(args)
    except (InputError, SaveError) as error:
        print(f'{Path(__file__).name}: error: {error}', file=sys.stderr)
        return 2
    print(f'{path}: {path.stat().st_size / 1e6:.2f} MB')
    return 0


def pack(args: argparse.Namespace) -> Path:
    """Write the file.

    Raises:
        InputError: the checkpoint or the metric values cannot be read, or the result is too large or too inexact.
        SaveError: it cannot be written.
    """
    weights = load(str(args.checkpoint), args.opt and str(args.opt))
    figures = _figures(args.figures)
    state = halved(weights)
    metadata = describe(weights, state)
    for name in ('options', 'source'):  # the recipe says it in words
        metadata.pop(name, None)
    metadata |= {
        'recipe': args.recipe,
        'training_data': args.data,
        'terms': args.terms,
        'licence': args.licence,
        'commit': args.commit or _commit(),
        'made': datetime.now(timezone.utc).strftime('%Y-%m-%d'),
        'metrics': json.dumps(figures),
        'sha256': reading.digest(state),
    }
    content = save(state, metadata)
    if len(content) > LARGEST:
        raise InputError(f'{args.checkpoint} would be {len(content) / 1e6:.1f} MB, and {LARGEST / 1e6:.0f} are allowed')
    path = args.out or Path(shipped_weights.FOLDER, f'{args.name}.safetensors')
    checkpoints.write(content, str(path))
    return path


def halved(weights: Weights) -> dict[str, Tensor]:
    """Tensors in half precision; those that it cannot hold stay as they are.

    Raises:
        InputError: the network restores a test image otherwise by more than a step of 8 bits.
    """
    state = {}
    for name, value in weights.state.items():
        half = value.half() if value.is_floating_point() else value
        state[name] = (half if torch.isfinite(half).all() else value).contiguous()
    hazy = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    whole = build(weights)
    other = build(Weights(weights.network, state))
    with torch.inference_mode():
        difference = (whole(hazy) - other(hazy)).abs().max().item()
    if difference > TOLERANCE:
        raise InputError(
            f'{weights.path}: in half precision its network differs by {difference:.4f} on a test image, and '
            f'{TOLERANCE} is allowed; train with a smaller rate or weight decay'
        )
    return state


def _figures(path: Path) -> dict:
    try:
        figures = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise InputError(f'{path}: no JSON can be read from it; give figures.json of evaluate_weights.py') from error
    if not isinstance(figures, dict) or not all(isinstance(values, dict) for values in figures.values()):
        raise InputError(f'{path}: it is no figures.json of evaluate_weights.py, which has a block a test set')
    return figures


def _commit() -> str:
    done = subprocess.run(['git', 'rev-parse', '--short', 'HEAD'], cwd=REPOSITORY, capture_output=True, text=True)
    return done.stdout.strip() or 'unknown'


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', type=Path, metavar='CHECKPOINT', help='net_g_*.pth of a training')
    parser.add_argument(
        '--opt', type=Path, metavar='FILE', help='option file of the network, if the weights do not tell'
    )
    parser.add_argument('--figures', type=Path, required=True, metavar='JSON', help='metric values of these weights')
    parser.add_argument('--recipe', required=True, metavar='TEXT', help='how they were trained')
    parser.add_argument('--data', required=True, metavar='TEXT', help='what they were trained on')
    parser.add_argument('--terms', required=True, metavar='TEXT', help='terms of use of that data')
    parser.add_argument('--licence', default='Apache-2.0', metavar='TEXT', help='of the weights (default: %(default)s)')
    parser.add_argument('--commit', metavar='TEXT', help='of the code that trained them (default: the present one)')
    parser.add_argument('--name', default=shipped_weights.DEFAULT, metavar='NAME', help='default: %(default)s')
    parser.add_argument('-o', '--out', type=Path, metavar='FILE', help='other place than the package')
    return parser.parse_args(argv)


if __name__ == '__main__':
    sys.exit(main())
