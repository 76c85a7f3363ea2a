"""How fast and how near an exported network in int8 is, beside the same in float32 and bfloat16.

  basicsr export -w okdnet -o okdnet.onnx
  basicsr export -w okdnet -o okdnet8.onnx --int8 --calibrate FOLDER
  int8.py okdnet.onnx okdnet8.onnx IMAGES [--images 10] [--rounds 5]

All take turns on the images of a folder, in OpenVINO and in ONNX Runtime, with as many threads as torch has. PSNR is
against float32 in ONNX Runtime: of the first round, the lowest and the mean.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import exit_code_of, images_in, in_turns, ratio, table, versions

from okdnet_plugin.data.images import to_tensor
from okdnet_plugin.errors import InputError
from okdnet_plugin.inference.backends.open_vino import has_bf16, request_of
from okdnet_plugin.inference.export.exporters import INPUT
from okdnet_plugin.inference.export.quantizing import psnr

Run = Callable[[np.ndarray], np.ndarray]


def main(argv: Sequence[str] | None = None) -> int:
    args = _parse(argv)
    return exit_code_of(lambda: print(measured(args)))


def measured(args: argparse.Namespace) -> str:
    """The table of Markdown.

    Raises:
        InputError: a file is not there, or the folder holds no image.
    """
    for file in (args.float32, args.int8):
        if not file.is_file():
            raise InputError(f'{file} does not exist; the head of this script says how it is made')
    if min(args.images, args.rounds) < 1:
        raise InputError('--images and --rounds are 1 or more')
    images = [to_tensor(image)[None].numpy() for image in images_in(args.folder)[: args.images]]
    if not images:
        raise InputError(f'{args.folder} holds no image; give a folder of hazy ones')
    runs: dict[str, Run] = {
        'float32, ONNX Runtime': _of_onnx_runtime(args.float32),
        'int8, ONNX Runtime': _of_onnx_runtime(args.int8),
        'float32, OpenVINO': _of_openvino(args.float32, 'fp32'),
    }
    if has_bf16():
        runs['bfloat16, OpenVINO'] = _of_openvino(args.float32, 'bf16')
    runs['int8, OpenVINO'] = _of_openvino(args.int8, 'fp32')
    results: dict[str, list[np.ndarray]] = {}

    def turn(name: str) -> float:
        begin = time.perf_counter()
        given = [runs[name](image) for image in images]
        seconds = (time.perf_counter() - begin) / len(images)
        results.setdefault(name, given)
        return seconds

    seconds = in_turns({name: lambda name=name: turn(name) for name in runs}, args.rounds)
    exact = results['float32, ONNX Runtime']
    rows = []
    for name, times in seconds.items():
        pairs = zip(results[name], exact, strict=True)
        near = [psnr(torch.from_numpy(one), torch.from_numpy(other)) for one, other in pairs]
        told = '-' if name == 'float32, ONNX Runtime' else f'{min(near):.1f} / {statistics.mean(near):.1f}'
        against = ratio(seconds['float32, OpenVINO'], times)
        rows.append([name, f'{1000 * statistics.median(times):.0f}', f'{against:.2f}', told])
    head = [
        '',
        'ms an image, median',
        'times as fast as float32 in OpenVINO, median of the rounds',
        'PSNR, lowest / mean',
    ]
    return f'{table(head, rows)}\n\n{len(images)} images, {args.rounds} rounds. {versions()}'


def _of_onnx_runtime(file: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session: Any = onnxruntime.InferenceSession(str(file), options, providers=['CPUExecutionProvider'])
    return lambda image: session.run(None, {INPUT: image})[0]


def _of_openvino(file: Path, precision: str) -> Run:
    request = request_of(str(file), precision)
    return lambda image: request.infer({INPUT: image})[0].copy()


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('float32', type=Path, metavar='FLOAT32', help='.onnx')
    parser.add_argument('int8', type=Path, metavar='INT8', help='.onnx, of the same weights')
    parser.add_argument('folder', type=Path, metavar='IMAGES', help='folder of hazy images')
    parser.add_argument('--images', type=int, default=10, help='how many of them (default: %(default)s)')
    parser.add_argument('--rounds', type=int, default=5, help='default: %(default)s')
    return parser.parse_args(argv)


if __name__ == '__main__':
    sys.exit(main())
