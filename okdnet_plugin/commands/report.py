"""basicsr report: measure methods on test sets, beside the paper's tables, as Markdown, HTML and JSON."""

import argparse
import logging
import shlex
import signal
import sys
from os import path as osp


def main(argv: list[str] | None = None) -> int:
    """Run `basicsr report`.

    Args:
        argv: what follows `basicsr report`.

    Returns:
        0; 1 if an image could not be restored or measured; 130 after Ctrl-C, which the same command goes on from.
    """
    parser = argparse.ArgumentParser(
        prog='basicsr report', description=(__doc__ or '').partition(': ')[2], allow_abbrev=False
    )
    parser.add_argument('-opt', required=True, metavar='FILE', help='methods and test sets, as options/benchmark.yml')
    parser.add_argument(
        '--set',
        nargs='+',
        action='extend',
        default=[],
        metavar='KEY.KEY=VALUE',
        help='change values of the file, as --set of train',
    )
    parser.add_argument('-o', '--out', metavar='DIR', help='folder of the report (default: reports/<name>)')
    parser.add_argument('--ablation', action='store_true', help="compare with the paper's Table 4")
    parser.add_argument(
        '--launcher', choices=('none', 'pytorch'), default='none', help='how the processes were started'
    )
    args = parser.parse_args(argv)
    try:
        return _run(args, sys.argv[2:] if argv is None else argv)
    except KeyboardInterrupt:
        print('\ninterrupted: the same command goes on', file=sys.stderr)
        return 128 + signal.SIGINT


def _run(args: argparse.Namespace, arguments: list[str]) -> int:
    from basicsr.utils import get_root_logger

    from okdnet_plugin import config
    from okdnet_plugin.config.check import refuse
    from okdnet_plugin.plugins import load_plugins
    from okdnet_plugin.report.make import make, summary

    load_plugins()
    get_root_logger(log_level=logging.WARNING)
    opt, places = config.load_with_places(args.opt, args.set)
    refuse(opt, places, 'report')
    if args.ablation:
        opt['report'] = {**(opt.get('report') or {}), 'tables': [4]}
    folder = args.out or osp.join('reports', str(opt.get('name')))
    report, failures = make(opt, folder, args.launcher, shlex.join(['basicsr', 'report', *arguments]))
    if report is not None:
        print(f'{osp.join(folder, "report.html")}: {summary(report, len(failures))}')
    return 1 if failures else 0
