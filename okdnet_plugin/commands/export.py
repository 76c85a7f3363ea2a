"""basicsr export: write a trained network as ONNX, torch.export, TorchScript, safetensors or .pth."""

import argparse
import statistics

from okdnet_plugin.errors import InputError

_EPILOG = """\
the ending of OUT selects the format:
  .onnx          ONNX, opset 18: input `hazy`, output `dehazed`, any batch, height and width
  .pt2           torch.export, any batch, height and width; runs on a CPU
  .pt            TorchScript, any batch, height and width; runs on a CPU
  .safetensors   the weights, with network, options, training data, metrics, licence and version as metadata
  .pth           the weights as BasicSR reads them

examples:
  basicsr export -w experiments/OKDNet/models/net_g_latest.pth -o okdnet.onnx
  basicsr export -w net_g_latest.pth --opt options/okdnet.yml -o okdnet.safetensors --licence CC-BY-4.0
  basicsr export -w swinir.pth --size 256x384 -o swinir.onnx --half
  basicsr export -w okdnet -o okdnet8.onnx --int8 --calibrate datasets/SOTS/indoor/hazy
"""


def main(argv: list[str] | None = None) -> int:
    """Run `basicsr export`.

    Args:
        argv: what follows `basicsr export`.

    Returns:
        0.
    """
    parser = argparse.ArgumentParser(
        prog='basicsr export',
        description=(__doc__ or '').partition(': ')[2],
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('-w', '--weights', metavar='FILE', help='.pth or .safetensors')
    parser.add_argument('--opt', metavar='FILE', help='option file of the network, if the weights do not tell it')
    parser.add_argument('--param-key', metavar='KEY', help='weights in the file (default: params_ema, else params)')
    parser.add_argument('-o', '--out', required=True, metavar='OUT', help='output file')
    parser.add_argument('--force', action='store_true', help='overwrite an existing file')
    parser.add_argument('--no-fuse', action='store_true', help='keep the layers of the training')
    parser.add_argument(
        '--size', type=_size, metavar='HxW', help='for one image of this size, where a network cannot take any'
    )
    parser.add_argument('--half', action='store_true', help='weights in float16, of .onnx, .safetensors and .pth')
    parser.add_argument('--int8', action='store_true', help='convolutions of .onnx in int8; needs --calibrate')
    parser.add_argument('--calibrate', metavar='FOLDER', help='hazy images for --int8; 20 of them are used')
    parser.add_argument('--licence', metavar='TEXT', help='licence of the weights, for the metadata')
    parser.add_argument(
        '--meta', action='append', default=[], metavar='KEY=TEXT', help='further metadata; may be repeated'
    )
    args = parser.parse_args(argv)
    if args.int8 != (args.calibrate is not None):
        raise InputError('--int8 and --calibrate go together: --int8 --calibrate FOLDER, with hazy images in FOLDER')
    more = _metadata(args.meta) | ({'licence': args.licence} if args.licence else {})
    return _run(args, more)


def _run(args: argparse.Namespace, more: dict[str, str]) -> int:
    from okdnet_plugin.inference.export import exporters, exporting
    from okdnet_plugin.plugins import load_plugins
    from okdnet_plugin.weights import loading

    exporting.check_target(args.weights, args.out, args.force)
    load_plugins()
    loaded = loading.load(args.weights, args.opt, args.param_key)
    print(loaded)
    done = exporting.export(
        loaded,
        args.out,
        fuse=not args.no_fuse,
        more=more,
        replace=args.force,
        size=args.size,
        half=args.half,
        calibrate=args.calibrate,
    )
    fused = ', fused' if done.is_fused else ''
    numbers = ', float16' if args.half else ', int8' if done.quantized else ''
    print(f'{done.path}: {done.kind}{fused}{numbers}, {done.size / 1e3:,.0f} kB, in {done.seconds:.0f} s')
    if done.smallest is not None:
        shape = f'(1, 3, {args.size[0]}, {args.size[1]})' if args.size else '(N, 3, H, W)'
        least = '' if args.size else f', each side from {done.smallest} px'
        print(f'  {exporters.INPUT} -> {exporters.OUTPUT}: float32 RGB in [0, 1], {shape}{least}')
        differences = (f'{"x".join(map(str, shape))} {value:.1e}' for shape, value in done.differences.items())
        before = ' before int8' if done.quantized else ''
        print(f'  largest difference to the network{before}: {", ".join(differences)}')
    if done.quantized is not None:
        psnr, kept = done.quantized.psnr, done.quantized.in_float
        print(f'  int8 against float32: {min(psnr):.1f} dB at least, {statistics.mean(psnr):.1f} dB in the mean')
        print(f'  of {done.quantized.num_layers} convolutions in float32: {", ".join(kept) or "none"}')
    return 0


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition('x')
    if not (height.isdigit() and width.isdigit() and min(int(height), int(width)) >= 16):
        raise argparse.ArgumentTypeError(f'{text} is no size; write HxW in px, each from 16, as 256x384')
    return int(height), int(width)


def _metadata(entries: list[str]) -> dict[str, str]:
    more = {}
    for entry in entries:
        key, is_there, text = entry.partition('=')
        if not is_there or not key:
            raise InputError(f'--meta {entry}: write KEY=TEXT')
        own = ('network', 'sha256', 'format', 'parameters', 'version')
        if key in own:
            raise InputError(f'--meta {key}: it is written by itself; take another name')
        more[key] = text
    return more
