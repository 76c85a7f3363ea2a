"""The mean of two sets of weights of one network, of which the second was trained on from the first.

  average_weights.py FIRST SECOND [--share 0.5] -o FILE

Between weights before and after a finetuning lie some that are better than both: the new haze is learnt, and what the
old training knew is kept. Source: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022, Eq. 1.
FIRST and SECOND are what `basicsr dehaze --weights` takes; FILE is a .pth of BasicSR with the key `params`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

import okdnet_plugin
from okdnet_plugin.engine import checkpoints
from okdnet_plugin.errors import InputError, SaveError
from okdnet_plugin.weights.loading import load


def main(argv: Sequence[str] | None = None) -> int:
    args = _parse(argv)
    okdnet_plugin.register()
    try:
        state = average(args.first, args.second, args.share)
        checkpoints.save({'params': state}, str(args.out))
    except (InputError, SaveError) as error:
        print(f'{Path(__file__).name}: error: {error}', file=sys.stderr)
        return 2
    print(f'{args.out}: {1 - args.share:g} of {args.first} and {args.share:g} of {args.second}')
    return 0


def average(first: str, second: str, share: float) -> dict[str, Tensor]:
    """Weights of which `share` is the second's; counters are the second's.

    Raises:
        InputError: a file cannot be read, or they are not of one network.
    """
    before, after = load(first).state, load(second).state
    shapes = [{name: value.shape for name, value in state.items()} for state in (before, after)]
    if shapes[0] != shapes[1]:
        raise InputError(f'{first} and {second} are weights of different networks; give two of one')
    return {
        name: torch.lerp(before[name].float(), value.float(), share) if value.is_floating_point() else value
        for name, value in after.items()
    }


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('first', metavar='FIRST', help='weights before')
    parser.add_argument('second', metavar='SECOND', help='weights after')
    parser.add_argument('--share', type=float, default=0.5, help='of the second, 0 to 1 (default: %(default)s)')
    parser.add_argument('-o', '--out', type=Path, required=True, metavar='FILE')
    args = parser.parse_args(argv)
    if not 0 <= args.share <= 1:
        parser.error(f'--share is {args.share}; write a number from 0 to 1')
    return args


if __name__ == '__main__':
    sys.exit(main())
