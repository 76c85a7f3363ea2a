"""basicsr doctor: what works here, what does not, and how to mend it."""

import argparse
import contextlib
import itertools
import json
import os
import sys
import warnings
from collections.abc import Iterator

from okdnet_plugin.doctor.examination import GROUPS, HANGS, PATIENCE, SELF_TEST, Group, examine
from okdnet_plugin.doctor.finding import Finding, one_line, worst, wrong
from okdnet_plugin.doctor.output import forgiving_output
from okdnet_plugin.doctor.packages import cure_of
from okdnet_plugin.doctor.show import Lines, as_json


def main(argv: list[str] | None = None, import_error: Exception | None = None) -> int:
    """Run `basicsr doctor`.

    Args:
        argv: what follows `basicsr doctor`.
        import_error: why okdnet_plugin itself could not be imported, if it could not.

    Returns:
        0; 1 if something is wrong.
    """
    args = _parse(argv)
    found: list[tuple[Group, Finding]] = []
    with forgiving_output():
        _examine(args, import_error, found)
    findings = [finding for _, finding in found]
    code = int(worst(findings) == 'wrong')
    if any(finding.key.endswith(HANGS) for finding in findings):
        sys.stdout.flush()
        os._exit(code)  # what hangs would keep the interpreter from ending
    return code


def _examine(args: argparse.Namespace, import_error: Exception | None, found: list[tuple[Group, Finding]]) -> None:
    """Look at everything, and show it as it comes, or as JSON at the end."""
    groups = [group for group in GROUPS if not (args.quick and group == SELF_TEST)]
    out, lines = sys.stdout, None if args.json else Lines(sys.stdout)
    # What packages print of themselves must not come between the lines.
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        patience = None if import_error else PATIENCE
        for group, finding in itertools.chain(_import_failed(import_error), examine(groups, patience)):
            found.append((group, finding))
            if lines is not None:
                lines.show(group, finding)
    if lines is None:
        print(json.dumps(as_json(found), indent=2, ensure_ascii=False), file=out)
    else:
        lines.end([finding for _, finding in found])


def _import_failed(error: Exception | None) -> Iterator[tuple[Group, Finding]]:
    if error is not None:
        failure = one_line(error)
        text = f'okdnet_plugin cannot be imported: {failure}'
        yield Group('import', 'import', ''), wrong('import', text, cure_of(failure))


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='basicsr doctor',
        description='what works here, what does not, and how to mend it; scripts/check_gpu.py tries a GPU with more',
        allow_abbrev=False,
    )
    parser.add_argument('--json', action='store_true', help='for a bug report, without names of folders and people')
    parser.add_argument('--quick', action='store_true', help='without the self-test, which trains for one step')
    return parser.parse_args(argv)
