"""A report from its option file to its pages, by one process or several."""

import contextlib
import datetime
import json
from collections.abc import Mapping
from itertools import chain
from os import path as osp
from typing import Any

import torch.distributed
from basicsr.utils.dist_util import get_dist_info, init_dist

from okdnet_plugin import files
from okdnet_plugin.locks import Lock
from okdnet_plugin.redaction import redacted
from okdnet_plugin.report import page, plan, supplement
from okdnet_plugin.report.collect import collect, failures_of, measured, write_csv
from okdnet_plugin.report.evaluate import Evaluation


def make(opt: Mapping, folder: str, launcher: str, command: str) -> tuple[dict | None, list[str]]:
    """Measure what an option file asks for, and write its pages, tables and images.

    They are report.html, report.md, report.json, pictures.csv, and in `tables/` and `images/` what `supplement` writes.

    Args:
        opt: the option file, see `plan.read`.
        folder: where the report goes.
        launcher: none, or pytorch for processes of torchrun.
        command: how it was started.

    Returns:
        The report as in report.json, in the first process; and what could not be restored or measured, a line each.

    Raises:
        InputError: the option file is wrong, or another process writes to the folder.
        StoreError: the images of a set cannot be read at all.
        SaveError: the folder cannot be written.
    """
    rank, world_size, group = _start(launcher)
    this = plan.read(opt)
    with contextlib.ExitStack() as stack:
        if rank == 0:
            lock = Lock(folder, 'is being written', 'wait for it, which ends with what this one would make, or give -o')
            stack.callback(lock.release)
        return _make(this, Evaluation(this, folder, rank, world_size), command, group)


def _make(
    this: plan.Plan, evaluation: Evaluation, command: str, group: torch.distributed.ProcessGroup | None
) -> tuple[dict | None, list[str]]:
    evaluation.run()
    _wait(group)
    report = None
    if evaluation.rank == 0:
        report = redacted(collect(this, evaluation, command))
        write_csv(osp.join(evaluation.folder, 'pictures.csv'), chain.from_iterable(measured(this, evaluation).values()))
        for name, text in {
            'report.json': json.dumps(report, indent=1, ensure_ascii=False) + '\n',
            'report.md': page.markdown(report),
            'report.html': page.html(report),
        }.items():
            files.write(osp.join(evaluation.folder, name), text.encode())
        supplement.write(report, evaluation.folder)
    _wait(group)
    return report, failures_of(this, evaluation)


def summary(report: Mapping, failures: int) -> str:
    """What there is and what there is not, in a line."""
    methods = {result['method'] for result in report['results']}
    missing = [method['label'] for method in report['methods'] if method['missing']]
    text = f'{len(methods)} methods on {len({result["set"] for result in report["results"]})} test sets'
    text += f'; without figures: {", ".join(missing)}' if missing else ''
    return text + (f'; {failures} figures failed, see its notes' if failures else '')


def _start(launcher: str) -> tuple[int, int, torch.distributed.ProcessGroup | None]:
    """Number of this process, how many there are, and what they wait for one another with."""
    if launcher == 'none':
        return 0, 1, None
    init_dist(launcher)
    # One may be done long before the others.
    group: Any = torch.distributed.new_group(backend='gloo', timeout=datetime.timedelta(days=1))
    return *get_dist_info(), group


def _wait(group: torch.distributed.ProcessGroup | None) -> None:
    if group is not None:
        torch.distributed.barrier(group)
