"""basicsr demo: a page on which dehazing is tried out in a browser."""

import argparse
import importlib.util

_BYTES_PER_PIXEL = 8  # of a file at most: 16 bits of four channels, not compressed


def main(argv: list[str] | None = None) -> int:
    """Run `basicsr demo`, until Ctrl-C.

    Args:
        argv: what follows `basicsr demo`.

    Returns:
        0.

    Raises:
        InputError: Gradio is missing, weights cannot be used, or the address cannot be bound.
    """
    args = _parse(argv)
    from okdnet_plugin.errors import InputError

    if importlib.util.find_spec('gradio') is None:
        raise InputError('basicsr demo needs Gradio; install it: pip install okdnet_plugin[demo]')
    from okdnet_plugin import shipped_weights
    from okdnet_plugin.demo import page
    from okdnet_plugin.demo.worker import Worker
    from okdnet_plugin.weights.loading import load

    for path in args.weights:
        load(path)  # a mistake is told now, not to the first user
    worker = Worker(args.device, args.precision, args.backend, args.max_megapixels)
    blocks = page.build(worker, [*args.weights, *shipped_weights.names()])
    try:
        address = page.serve(blocks, args.host, args.port, int(args.max_megapixels * 1e6 * _BYTES_PER_PIXEL))
        print(f'The page is at {address} (Ctrl-C ends it)', flush=True)
        blocks.block_thread()
    finally:
        blocks.close(verbose=False)
        worker.close()
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='basicsr demo',
        description='Serve a page on which images and clips are dehazed in a browser. Nothing leaves this machine.',
        allow_abbrev=False,
    )
    parser.add_argument(
        '-w',
        '--weights',
        nargs='+',
        action='extend',
        default=[],
        metavar='FILE',
        help='weights that can be chosen, besides the shipped',
    )
    parser.add_argument(
        '--host', default='127.0.0.1', help='address to bind; 0.0.0.0 for the network (default: 127.0.0.1)'
    )
    parser.add_argument('--port', type=int, metavar='N', help='default: the first free one from 7860')
    parser.add_argument('--device', default='auto', metavar='DEVICE', help='auto, cpu, cuda, cuda:1 …')
    parser.add_argument('--precision', default='fp32', choices=('fp32', 'bf16', 'fp16'), help='default: fp32')
    parser.add_argument('--backend', default='auto', metavar='NAME', help='auto, eager, compile, onnx, openvino')
    parser.add_argument(
        '--max-megapixels', type=float, default=50, metavar='N', help='refuse larger images (default: 50)'
    )
    return parser.parse_args(argv)
