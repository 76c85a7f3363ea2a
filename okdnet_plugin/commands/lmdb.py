"""basicsr lmdb: build, verify and list LMDBs of hazy and clear images."""

import argparse
import signal
import sys
from functools import partial

from okdnet_plugin.data.layouts import LAYOUTS, RULES, Layout, layout_of
from okdnet_plugin.progress import fitting

ENCODINGS = ('keep', 'png', 'webp', 'bmp')  # those of lmdb_store, which imports OpenCV


def main(argv: list[str] | None = None) -> int:
    """Run `basicsr lmdb build`, `verify` or `ls`.

    Args:
        argv: what follows `basicsr lmdb`.

    Returns:
        0; 1 if `verify` has found something; 130 after Ctrl-C, which a build can go on from.
    """
    args = _parse(argv)
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print('\ninterrupted: the same command goes on', file=sys.stderr)
        return 128 + signal.SIGINT


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='basicsr lmdb', description=(__doc__ or '').partition(': ')[2], allow_abbrev=False
    )
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    pairing = argparse.ArgumentParser(add_help=False)
    pairing.add_argument('--layout', metavar='NAME', help=f'naming rule: {", ".join(LAYOUTS)}')
    pairing.add_argument('--pairing', metavar='REGEX', help='naming rule: its only group is the scene')
    pairing.add_argument('--filename-tmpl', metavar='TEMPLATE', help='naming rule: hazy stem for a clear stem {}')
    workers = argparse.ArgumentParser(add_help=False)
    workers.add_argument('--workers', type=int, metavar='N', help='threads (default: one a core)')

    build = commands.add_parser('build', parents=[pairing, workers], help='make LMDBs from folders')
    build.add_argument('out', metavar='OUT', help='folder for hazy.lmdb, clear.lmdb and depth.lmdb')
    build.add_argument('--hazy', metavar='DIR', help='folder of hazy images')
    build.add_argument('--clear', metavar='DIR', help='folder of clear images; each is stored once')
    build.add_argument('--depth', metavar='DIR', help='folder of depth files, for SyntheticHazeDataset')
    build.add_argument('--resize', metavar='N|HxW', type=size, help='resize images (the paper: 256)')
    build.add_argument(
        '--encode',
        metavar='|'.join(ENCODINGS),
        help='original bytes (default), or a lossless encoding (default with --resize: bmp, fastest to read)',
    )
    build.set_defaults(run=_build)

    verify = commands.add_parser('verify', parents=[pairing, workers], help='check every record and every pair')
    verify.add_argument('paths', nargs='+', metavar='PATH', help='an LMDB, or a folder with LMDBs')
    verify.set_defaults(run=_verify)

    listing = commands.add_parser('ls', help='list the content of LMDBs')
    listing.add_argument('paths', nargs='+', metavar='PATH', help='an LMDB, or a folder with LMDBs')
    listing.add_argument('--keys', action='store_true', help='one line for each record')
    listing.set_defaults(run=_list)
    return parser.parse_args(argv)


def size(text: str) -> tuple[int, int]:
    height, width = text.split('x') if 'x' in text else (text, text)
    return int(height), int(width)


def _layout(args: argparse.Namespace) -> Layout | None:
    opt = {key: getattr(args, key) for key in RULES if getattr(args, key) is not None}
    return layout_of(opt) if opt else None


def _build(args: argparse.Namespace) -> int:
    from okdnet_plugin.data import lmdb_check, lmdb_store

    made = lmdb_store.build(
        args.out,
        args.hazy,
        args.clear,
        _layout(args),
        depth=args.depth,
        resize=args.resize,
        encode=args.encode,
        workers=args.workers,
    )
    print('\n'.join(lmdb_check.summary(path) for path in made))
    print(f'\nfor an option file:\n\n{lmdb_check.option_lines(made)}', end='')
    return 0


def _verify(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from okdnet_plugin.data import lmdb_check

    found = 0
    for root in lmdb_check.find(args.paths):
        problems = 0
        with tqdm(desc=root, unit='image', **fitting(), disable=None) as bar:
            for problem in lmdb_check.verify(root, _layout(args), args.workers, partial(bar.update, 1)):
                bar.write(problem)
                problems += 1
        print(
            f'{root}: {problems} problem{"s" * (problems > 1)}' if problems else f'{root}: {lmdb_check.verdict(root)}'
        )
        found += problems
    return 1 if found else 0


def _list(args: argparse.Namespace) -> int:
    from okdnet_plugin.data import lmdb_check

    for root in lmdb_check.find(args.paths):
        print(lmdb_check.summary(root))
        for line in lmdb_check.read(root).lines.values() if args.keys else ():
            print(f'  {line.name}  {"x".join(map(str, line.shape))}')
    return 0
