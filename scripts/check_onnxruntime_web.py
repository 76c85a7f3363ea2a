"""Does onnxruntime-web restore as the network does? An exported network in Node, by the package of a web page.

    npm install --prefix FOLDER onnxruntime-web
    NODE_PATH=FOLDER/node_modules python scripts/check_onnxruntime_web.py [-w WEIGHTS]

It exports the weights (the shipped ones where none are named) in float32 and in half precision, restores noise with
both and says the largest difference from the network; the exit code is 1 where it is above 1e-5 or, in half precision,
above 1e-3.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from okdnet_plugin.cli import load_plugins
from okdnet_plugin.errors import InputError, one_line
from okdnet_plugin.inference.export.exporting import export
from okdnet_plugin.weights.loading import Weights, build, weights_for

BOUNDS = {'float32': 1e-5, 'half': 1e-3}  # of an image in [0, 1]
_SHAPES = ((1, 3, 64, 48), (2, 3, 50, 75))
_NODE = Path(__file__).with_name('run_onnx.cjs')


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-w', '--weights', help='weights of a network; the shipped ones where it is left out')
    args = parser.parse_args(argv)
    load_plugins()
    try:
        _node('-e', "require.resolve('onnxruntime-web')")
        weights = weights_for(args.weights, None, None, None)
        are_right = [_checked(weights, half) for half in (False, True)]
    except InputError as error:
        print(f'{error}', file=sys.stderr)
        return 2
    return int(not all(are_right))


def _checked(weights: Weights, half: bool) -> bool:
    """Print the largest difference of the exported network from the network, and give whether it is within bounds."""
    net, worst = build(weights), 0.0
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        path = Path(folder)
        export(weights, str(path / 'net.onnx'), half=half)
        for shape in _SHAPES:
            hazy = torch.rand(shape, generator=torch.Generator().manual_seed(0))
            (path / 'in.bin').write_bytes(hazy.numpy().tobytes())
            _node(_NODE, path / 'net.onnx', path / 'in.bin', ','.join(map(str, shape)), path / 'out.bin')
            restored = torch.from_numpy(np.fromfile(path / 'out.bin', np.float32)).reshape(shape)
            worst = max(worst, (restored - net(hazy)).abs().max().item())
    precision = 'half' if half else 'float32'
    is_right = worst <= BOUNDS[precision]
    print(f'{"ok" if is_right else "FAILED":8}{precision:10}differs by {worst:.1e} at most', flush=True)
    return is_right


def _node(*arguments: str | Path) -> None:
    try:
        done = subprocess.run(['node', *map(str, arguments)], capture_output=True, text=True)
    except FileNotFoundError:
        raise InputError('Node is not installed; it runs onnxruntime-web here as a browser would') from None
    if done.returncode and 'Cannot find module' in done.stderr:
        raise InputError(
            'Node does not find onnxruntime-web: run "npm install --prefix FOLDER onnxruntime-web" '
            'and set NODE_PATH=FOLDER/node_modules'
        )
    if done.returncode:
        raise InputError(f'Node: {one_line(done.stderr)}')


if __name__ == '__main__':
    sys.exit(main())
