"""The mean of two sets of weights of one network, of which the second was trained on from the first.

  average_weights.py FIRST SECOND [--share 0.5] -o FILE

Between weights before and after a finetuning lie some that are better than both: the new haze is learnt, and what the
old training knew is kept. Source: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022, Eq. 1.
FIRST and SECOND are what `basicsr dehaze --weights` takes; FILE is a .safetensors or .pth that tells its network.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

import okdnet_plugin
from okdnet_plugin import shipped_weights
from okdnet_plugin.errors import InputError, SaveError
from okdnet_plugin.inference.export import exporting
from okdnet_plugin.inference.export.exporters import OF_WEIGHTS
from okdnet_plugin.weights.loading import Weights, build, load

_KEPT = ('licence', 'terms', 'training_data')


def main(argv: Sequence[str] | None = None) -> int:
    args = _parse(argv)
    okdnet_plugin.register()
    try:
        for path in (args.first, args.second):
            exporting.check_target(shipped_weights.resolve(path), args.out, args.force)
        mean = average(load(args.first, args.opt), load(args.second, args.opt), args.share)
        text = f'{1 - args.share:g} of {args.first} and {args.share:g} of {args.second}'
        exporting.export(mean, args.out, replace=args.force, more={'source': text})
    except (InputError, SaveError) as error:
        print(f'{Path(__file__).name}: error: {error}', file=sys.stderr)
        return 2
    print(f'{args.out}: {text}')
    return 0


def average(first: Weights, second: Weights, share: float) -> Weights:
    """Weights of which `share` is the second's; counters are the second's.

    Raises:
        InputError: they are not of one network.
    """
    different = (
        f'{first.path} and {second.path} are weights of different networks, {json.dumps(first.network)} and '
        f'{json.dumps(second.network)}; give two of one, or --opt FILE for both'
    )
    shapes = [{name: value.shape for name, value in weights.state.items()} for weights in (first, second)]
    if shapes[0] != shapes[1]:
        raise InputError(different)
    state: dict[str, Tensor] = {
        name: torch.lerp(first.state[name].float(), value.float(), share) if value.is_floating_point() else value
        for name, value in second.state.items()
    }
    metadata = {name: text for name, text in second.metadata.items() if name in _KEPT}
    mean = Weights(second.network, state, metadata)
    if first.network != second.network and not _is_same(mean, Weights(first.network, state)):
        raise InputError(different)
    return mean


def _is_same(one: Weights, other: Weights) -> bool:
    """Whether two networks make one image: arguments without weights, such as OKDNet's gate, show in it alone."""
    hazy = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    try:
        with torch.inference_mode():
            return torch.equal(build(one)(hazy), build(other)(hazy))
    except (RuntimeError, TypeError, ValueError):  # of networks that take or give something else
        return False


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('first', metavar='FIRST', help='weights before')
    parser.add_argument('second', metavar='SECOND', help='weights after')
    parser.add_argument('--share', type=float, default=0.5, help='of the second, 0 to 1 (default: %(default)s)')
    parser.add_argument('--opt', metavar='FILE', help='option file of the network, if the weights do not tell it')
    parser.add_argument('-o', '--out', required=True, metavar='FILE')
    parser.add_argument('--force', action='store_true', help='overwrite an existing file')
    args = parser.parse_args(argv)
    if not 0 <= args.share <= 1:
        parser.error(f'--share is {args.share}; write a number from 0 to 1')
    if Path(args.out).suffix.lower() not in OF_WEIGHTS:
        parser.error(f'-o {args.out}: the ending must be one of {", ".join(OF_WEIGHTS)}')
    return args


if __name__ == '__main__':
    sys.exit(main())
