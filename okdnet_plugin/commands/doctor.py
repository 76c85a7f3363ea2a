"""basicsr doctor: check this installation: versions, patches, GPU, disk, and one step of training."""

import argparse
import contextlib
import json
import os
import sys
import warnings

from okdnet_plugin.doctor.examination import GROUPS, HANGS, SELF_TEST, Group, examine
from okdnet_plugin.doctor.finding import Finding, worst
from okdnet_plugin.doctor.output import forgiving_output
from okdnet_plugin.doctor.show import Lines, as_json
from okdnet_plugin.errors import InputError


def main(argv: list[str] | None = None) -> int:
    """Run `basicsr doctor`.

    Args:
        argv: what follows `basicsr doctor`.

    Returns:
        0; 1 if something is wrong.

    Raises:
        InputError: there is no current folder.
    """
    args = _parse(argv)
    try:
        os.getcwd()
    except OSError as error:  # in which to import torch ends the process
        raise InputError('the current folder has been removed; change to one that exists') from error
    found: list[tuple[Group, Finding]] = []
    with forgiving_output():
        _examine(args, found)
    findings = [finding for _, finding in found]
    code = int(worst(findings) == 'wrong')
    if any(finding.key.endswith(HANGS) for finding in findings):
        sys.stdout.flush()
        os._exit(code)  # what hangs would keep the interpreter from ending
    return code


def _examine(args: argparse.Namespace, found: list[tuple[Group, Finding]]) -> None:
    """Look at everything, and show it as it comes, or as JSON at the end."""
    groups = [group for group in GROUPS if not (args.quick and group == SELF_TEST)]
    out, lines = sys.stdout, None if args.json else Lines(sys.stdout)
    # What packages print of themselves must not come between the lines.
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for group, finding in examine(groups):
            found.append((group, finding))
            if lines is not None:
                lines.show(group, finding)
    if lines is None:
        print(json.dumps(as_json(found), indent=2, ensure_ascii=False), file=out)
    else:
        lines.end([finding for _, finding in found])


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='basicsr doctor', description=(__doc__ or '').partition(': ')[2], allow_abbrev=False
    )
    parser.add_argument('--json', action='store_true', help='for a bug report, without names of folders and people')
    parser.add_argument('--quick', action='store_true', help='skip the self-test, which trains for one step')
    return parser.parse_args(argv)
