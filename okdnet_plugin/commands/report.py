"""basicsr report: methods x test sets, measured and set beside the paper's tables, as Markdown, HTML and JSON."""

import argparse
import datetime
import json
import shlex
import signal
import sys
from itertools import chain
from os import path as osp

from okdnet_plugin import option_file


def main(argv: list[str] | None = None) -> int:
    """Run `basicsr report`.

    Args:
        argv: what follows `basicsr report`.

    Returns:
        0; 1 if a picture could not be restored or measured; 130 after Ctrl-C, which the same command goes on from.
    """
    parser = argparse.ArgumentParser(prog='basicsr report', description=__doc__.partition(': ')[2], allow_abbrev=False)
    parser.add_argument('-opt', required=True, metavar='FILE', help='what is measured, as options/benchmark.yml')
    parser.add_argument('-o', '--out', metavar='DIR', help='folder of the report (default: reports/<name>)')
    parser.add_argument('--ablation', action='store_true', help="set the paper's Table 4 beside it")
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
    import logging

    import okdnet_plugin
    from okdnet_plugin.cli import load_plugins
    from okdnet_plugin.report import page, plan
    from okdnet_plugin.report.collect import collect, failures_of, measured, write_csv
    from okdnet_plugin.report.evaluate import Evaluation

    okdnet_plugin.register()
    load_plugins()
    from basicsr.utils import get_root_logger

    get_root_logger(log_level=logging.WARNING)
    opt = option_file.load(args.opt)
    if args.ablation:
        opt['report'] = {**(opt.get('report') or {}), 'tables': [4]}
    rank, world_size, group = _start(args.launcher)
    this = plan.read(opt)
    folder = args.out or osp.join('reports', str(opt['name']))
    evaluation = Evaluation(this, folder, rank, world_size)
    evaluation.run()
    _wait(group)
    failures = failures_of(this, evaluation)
    if rank == 0:
        report = collect(this, evaluation, shlex.join(['basicsr', 'report', *arguments]))
        write_csv(osp.join(folder, 'pictures.csv'), chain.from_iterable(measured(this, evaluation).values()))
        for name, text in {
            'report.json': json.dumps(report, indent=1, ensure_ascii=False) + '\n',
            'report.md': page.markdown(report),
            'report.html': page.html(report),
        }.items():
            _write(osp.join(folder, name), text)
        print(f'{osp.join(folder, "report.html")}: {_summary(report, len(failures))}')
    _wait(group)
    return 1 if failures else 0


def _write(path: str, text: str) -> None:
    from okdnet_plugin.engine import checkpoints

    checkpoints.write(text.encode(), path)


def _start(launcher: str) -> tuple[int, int, object]:
    """Number of this process, how many there are, and what they wait for one another with."""
    if launcher == 'none':
        return 0, 1, None
    import torch.distributed
    from basicsr.utils.dist_util import get_dist_info, init_dist

    init_dist(launcher)
    # One may be done long before the others.
    return *get_dist_info(), torch.distributed.new_group(backend='gloo', timeout=datetime.timedelta(days=1))


def _wait(group: object) -> None:
    if group is not None:
        import torch.distributed

        torch.distributed.barrier(group)


def _summary(report: dict, failures: int) -> str:
    measured = {result['method'] for result in report['results']}
    missing = [method['label'] for method in report['methods'] if method['missing']]
    text = f'{len(measured)} methods on {len({result["set"] for result in report["results"]})} test sets'
    text += f'; without figures: {", ".join(missing)}' if missing else ''
    return text + (f'; {failures} figures failed, see its notes' if failures else '')
