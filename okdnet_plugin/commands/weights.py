"""basicsr weights: the weights that come with the package, and how good they are."""

import argparse
import json
from collections.abc import Mapping
from os import path as osp

from okdnet_plugin import shipped_weights

_METRICS = {'psnr': ('PSNR, dB', 2), 'ssim': ('SSIM', 4), 'ciede2000': ('CIEDE2000', 2), 'loe': ('LOE', 1)}
_VALUES = ('network', 'metrics', 'parameters')  # which the file has as JSON
_FACTS = ('recipe', 'training_data', 'terms', 'licence', 'commit', 'made')


def main(argv: list[str] | None = None) -> int:
    """Run `basicsr weights`.

    Args:
        argv: what follows `basicsr weights`.

    Returns:
        0.

    Raises:
        InputError: there are no weights of that name, or their file is damaged.
    """
    parser = argparse.ArgumentParser(
        prog='basicsr weights', description=(__doc__ or '').partition(': ')[2], allow_abbrev=False
    )
    parser.add_argument('names', nargs='*', metavar='NAME', help='which of them (default: all)')
    parser.add_argument('--json', action='store_true', help='all that the files tell, as JSON')
    args = parser.parse_args(argv)
    files = {name: shipped_weights.path_of(name) for name in args.names or shipped_weights.names()}
    if args.json:
        print(json.dumps({name: {'path': path, **_facts(path)} for name, path in files.items()}, indent=1))
        return 0
    print('\n\n'.join(described(name, path, shipped_weights.metadata_of(path)) for name, path in files.items()))
    return 0


def _facts(path: str) -> dict:
    metadata = shipped_weights.metadata_of(path)
    return {name: json.loads(text) if name in _VALUES else text for name, text in metadata.items()}


def described(name: str, path: str, metadata: Mapping[str, str]) -> str:
    """What is known of weights, in lines.

    Args:
        name: their name.
        path: their file.
        metadata: what it tells.
    """
    network = json.loads(metadata.get('network', '{}'))
    default = ', used where nothing is named' if name == shipped_weights.DEFAULT else ''
    lines = [
        f'{name} ({network.get("type", "unknown network")}, {osp.getsize(path) / 1e6:.1f} MB{default})',
        f'  {path}',
    ]
    lines += [f'  {fact.replace("_", " ")}: {metadata[fact]}' for fact in _FACTS if fact in metadata]
    figures = json.loads(metadata.get('metrics', '{}'))
    if figures:
        width = max(map(len, figures)) + 2
        heads = ''.join(f'{label:>12}' for label, _ in _METRICS.values())
        lines.append(f'  {"test set":<{width}}{"images":>7}{heads}')
        for test_set, values in figures.items():
            cells = ''.join(
                f'{values[key]:12.{digits}f}' if key in values else f'{"-":>12}'
                for key, (_, digits) in _METRICS.items()
            )
            lines.append(f'  {test_set:<{width}}{values.get("images", ""):>7}{cells}')
    return '\n'.join(lines)
