"""basicsr dehaze: remove the haze from images and videos."""

import argparse
import sys

_FORMATS = ('png', 'jpg', 'webp', 'tif', 'bmp')


def main(argv: list[str] | None = None) -> int:
    """Run `basicsr dehaze`.

    Args:
        argv: what follows `basicsr dehaze`.

    Returns:
        0; 1 if a file has failed, 130 after Ctrl-C.

    Raises:
        InputError: nothing can be done with what was given.
    """
    args = _parse(argv)
    from okdnet_plugin.compat.devices import refuse_processes_without_launcher
    from okdnet_plugin.inference import jobs as plan
    from okdnet_plugin.inference import run_jobs as run
    from okdnet_plugin.inference import shares
    from okdnet_plugin.inference.dehazer import Dehazer
    from okdnet_plugin.inference.images import extras as extra_images
    from okdnet_plugin.inference.images.writing import KINDS
    from okdnet_plugin.inference.video import Encoding
    from okdnet_plugin.redaction import redacted
    from okdnet_plugin.weights.loading import weights_for

    refuse_processes_without_launcher('dehaze -i INPUT -o OUTPUT', args.launcher)
    share = shares.launched(args.launcher)
    extension = args.format and f'.{args.format}'
    extras = plan.Extras(args.compare, args.save_transmission, args.save_airlight, args.save_depth)
    jobs = plan.jobs(
        args.input,
        args.output,
        suffix=args.suffix,
        extension=extension,
        extras=extras,
        overwrite=args.overwrite,
        notify=_say if share.index == 0 else None,
    )
    weights = weights_for(args.weights, args.opt, args.network, args.param_key)
    dehazer = Dehazer(
        weights,
        backend=args.backend,
        precision=args.precision,
        device=share.device(args.device),
        tile=args.tile,
        strength=args.strength,
        maps=args.save_transmission or args.save_airlight or args.save_depth,
        self_ensemble=args.self_ensemble,
        notify=_say,
    )
    if dehazer.maps:
        extra_images.check_maps(dehazer, args.save_transmission, args.save_airlight, args.save_depth)
    if share.index == 0:
        sys.stderr.write(redacted(f'{weights}; {dehazer.description}\n'))
    return run.run(
        share.of(jobs, args.output),
        dehazer,
        run.Writing(args.quality, extension and KINDS[extension], args.max_megapixels),
        run.VideoSettings(args.compare, args.smoothing, Encoding(args.codec, args.crf)),
        overwrite=args.overwrite,
        quiet_output=args.output == plan.STANDARD,
        share=share,
    )


def _say(line: str) -> None:
    sys.stderr.write(f'basicsr: note: {line}\n')


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='basicsr dehaze',
        description='Remove the haze from images and videos. Existing results are skipped, so the same command '
        'continues an interrupted run.',
        allow_abbrev=False,
    )
    parser.add_argument(
        '-i',
        '--input',
        nargs='+',
        action='extend',
        required=True,
        metavar='INPUT',
        help='images, videos, folders (with their sub-folders), patterns such as "*.jpg", or - for standard input',
    )
    parser.add_argument(
        '-o',
        '--output',
        required=True,
        metavar='OUTPUT',
        help='folder for the results; for a single input also a file name; - for standard output',
    )
    parser.add_argument(
        '--launcher',
        default='none',
        choices=('none', 'pytorch', 'slurm'),
        help='each of several processes, of torchrun, srun or an array of jobs, takes its share of the files',
    )
    network = parser.add_argument_group('network')
    network.add_argument(
        '-w',
        '--weights',
        metavar='FILE',
        help='.pth of a training, .safetensors, or a name that `basicsr weights` lists (default: okdnet)',
    )
    network.add_argument('--opt', metavar='FILE', help='option file of the network, where the weights do not tell it')
    network.add_argument('--param-key', metavar='KEY', help='weights in the file (default: params_ema, else params)')
    network.add_argument('--network', metavar='NAME', help='a network that needs no weights: DCP')
    network.add_argument('--device', default='auto', metavar='DEVICE', help='auto, cpu, cuda, cuda:1 …')
    network.add_argument('--precision', default='fp32', choices=('fp32', 'bf16', 'fp16'), help='default: fp32')
    network.add_argument('--backend', default='auto', metavar='NAME', help='auto, eager, compile, onnx, openvino')
    network.add_argument(
        '--tile',
        type=_tile,
        metavar='N|auto|none',
        help='tiles of at most NxN px, or never; auto (default): one piece if memory allows',
    )
    network.add_argument(
        '--strength',
        type=float,
        default=1.0,
        metavar='0..1',
        help='share of the result, the rest is the input (default: 1)',
    )
    network.add_argument(
        '--self-ensemble',
        action='store_true',
        help='mean over the 8 orientations of an image; takes 8 times as long',
    )
    results = parser.add_argument_group('results')
    results.add_argument(
        '--suffix', default='', type=_suffix, metavar='TEXT', help='appended to the names of the results'
    )
    results.add_argument('--format', choices=_FORMATS, help='of images (default: as the input)')
    results.add_argument(
        '--quality',
        type=_quality,
        default=95,
        metavar='1..100',
        help='of JPEG, WebP (default: 95; WebP 100: lossless)',
    )
    results.add_argument(
        '--compare', action='store_true', help='also write NAME_compare: hazy | result (videos: only this)'
    )
    results.add_argument(
        '--save-transmission', action='store_true', help='write NAME_transmission.png (colours) and _raw.png (16 bits)'
    )
    results.add_argument('--save-airlight', action='store_true', help='write NAME_airlight.png and .json')
    results.add_argument(
        '--save-depth', action='store_true', help='write NAME_depth.png (colours) and _raw.png (16 bits): DGDNet'
    )
    results.add_argument('--overwrite', action='store_true', help='replace existing results, but never an input')
    results.add_argument(
        '--max-megapixels', type=_positive, default=200, metavar='N', help='refuse larger images (default: 200)'
    )
    video = parser.add_argument_group('videos')
    video.add_argument(
        '--smoothing',
        type=float,
        default=1.0,
        metavar='SECONDS',
        help='of the airlight, against flicker (default: 1)',
    )
    video.add_argument('--codec', metavar='NAME', help='encoder, for example libx264')
    video.add_argument('--crf', type=int, metavar='N', help='constant rate factor, on the scale of the encoder')
    return parser.parse_args(argv)


def _tile(text: str) -> int | None:
    if text in ('auto', 'none'):
        return None if text == 'auto' else 0
    if not text.isascii() or not text.isdigit() or int(text) < 128:
        raise argparse.ArgumentTypeError(f'{text!r}: give a number of px of at least 128, auto or none')
    return int(text)


def _suffix(text: str) -> str:
    if '/' in text or '\\' in text or '\0' in text:
        raise argparse.ArgumentTypeError(f'{text!r} holds a separator of folders')
    return text


def _quality(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f'{text!r}: give a whole number from 1 to 100')
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not value > 0:
        raise argparse.ArgumentTypeError(f'{text!r}: give a number above 0')
    return value
