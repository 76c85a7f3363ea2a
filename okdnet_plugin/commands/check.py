"""basicsr check: find the mistakes in option files, with their lines; nothing is trained or written."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from typing import Any


def main(argv: list[str] | None = None) -> int:
    """Run `basicsr check`.

    Args:
        argv: what follows `basicsr check`.

    Returns:
        0 if all files are right, perhaps with warnings; 2 if one is not.
    """
    parser = argparse.ArgumentParser(
        prog='basicsr check', description=(__doc__ or '').partition(': ')[2], allow_abbrev=False
    )
    parser.add_argument(
        '-opt',
        required=True,
        nargs='+',
        action='extend',
        metavar='FILE',
        help='option files of trainings, tests or reports',
    )
    parser.add_argument(
        '--set',
        nargs='+',
        action='extend',
        default=[],
        metavar='KEY=VALUE',
        help='change values of the files, as --set of train',
    )
    parser.add_argument(
        '--phase',
        choices=('train', 'test', 'report'),
        help='purpose of the files (default: recognised by their keys)',
    )
    parser.add_argument('--no-files', action='store_true', help='do not check whether images and weights exist')
    parser.add_argument('--json', action='store_true', help='print the mistakes as JSON')
    args = parser.parse_args(argv)

    from okdnet_plugin.plugins import load_plugins

    load_plugins()
    results = [_checked(path, args.set, args.phase, not args.no_files) for path in args.opt]
    if args.json:
        print(json.dumps(results, indent=1, ensure_ascii=False))
    else:
        for result in results:
            lines = [_line(mistake) for mistake in result['mistakes']]
            print('\n'.join(lines if _is_wrong(result) else [*lines, f'{result["file"]}: right']))
    return 2 if any(map(_is_wrong, results)) else 0


def _checked(path: str, overrides: Sequence[str], phase: Any, look: bool) -> dict[str, Any]:
    from okdnet_plugin import config
    from okdnet_plugin.config.check import check
    from okdnet_plugin.config.messages import with_places
    from okdnet_plugin.config.walk import phase_of
    from okdnet_plugin.engine import trial
    from okdnet_plugin.errors import InputError
    from okdnet_plugin.redaction import redacted

    try:
        opt, places = config.load_with_places(path, overrides)
    except InputError as error:
        mistake = {'place': path, 'key': '', 'kind': 'unreadable', 'message': redacted(str(error)), 'is_warning': False}
        return {'file': path, 'phase': phase, 'mistakes': [mistake]}
    phase = phase or phase_of(opt)
    mistakes = check(opt, places, phase, look)
    if look and phase != 'report' and not any(not mistake.is_warning for mistake in mistakes):
        logging.disable(logging.WARNING)
        try:
            mistakes += with_places(trial.attempts(opt, phase), places)
        finally:
            logging.disable(logging.NOTSET)
    names = ('place', 'key', 'kind', 'message', 'is_warning')
    told = [{name: getattr(one, name) for name in names} for one in mistakes]
    return {'file': path, 'phase': phase, 'mistakes': redacted(told)}


def _is_wrong(result: dict[str, Any]) -> bool:
    return any(not mistake['is_warning'] for mistake in result['mistakes'])


def _line(mistake: dict[str, Any]) -> str:
    if mistake['kind'] == 'unreadable':
        return mistake['message']  # names the file itself
    return f'{mistake["place"]}: {"warning: " if mistake["is_warning"] else ""}{mistake["message"]}'
