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
        0 if all files are right, 2 if one is not.
    """
    parser = argparse.ArgumentParser(
        prog='basicsr check', description=(__doc__ or '').partition(': ')[2], allow_abbrev=False
    )
    parser.add_argument(
        '-opt', required=True, nargs='+', metavar='FILE', help='option files of trainings, tests or reports'
    )
    parser.add_argument(
        '--set', nargs='+', default=[], metavar='KEY=VALUE', help='change values of the files, as --set of train'
    )
    parser.add_argument(
        '--phase',
        choices=('train', 'test', 'report'),
        help='purpose of the files (default: recognised by their keys)',
    )
    parser.add_argument('--no-files', action='store_true', help='do not check whether images and weights exist')
    parser.add_argument('--json', action='store_true', help='print the mistakes as JSON')
    args = parser.parse_args(argv)

    from okdnet_plugin.cli import load_plugins

    load_plugins()
    results = [_checked(path, args.set, args.phase, not args.no_files) for path in args.opt]
    if args.json:
        print(json.dumps(results, indent=1, ensure_ascii=False))
    else:
        for result in results:
            print('\n'.join(map(_line, result['mistakes'])) or f'{result["file"]}: right')
    return 2 if any(result['mistakes'] for result in results) else 0


def _checked(path: str, overrides: Sequence[str], phase: Any, look: bool) -> dict[str, Any]:
    from okdnet_plugin import option_file, schema
    from okdnet_plugin.errors import InputError

    try:
        opt, places = option_file.load_with_places(path, overrides)
    except InputError as error:
        mistake = {'place': path, 'key': '', 'kind': 'unreadable', 'message': str(error)}
        return {'file': path, 'phase': phase, 'mistakes': [mistake]}
    phase = phase or schema.phase_of(opt)
    mistakes = schema.check(opt, places, phase, look)
    if not mistakes and look and phase != 'report':
        logging.disable(logging.WARNING)
        try:
            mistakes = schema.with_places(schema.unmade(opt, phase), places)
        finally:
            logging.disable(logging.NOTSET)
    told = [{'place': one.place, 'key': one.key, 'kind': one.kind, 'message': one.message} for one in mistakes]
    return {'file': path, 'phase': phase, 'mistakes': told}


def _line(mistake: dict[str, str]) -> str:
    if mistake['kind'] == 'unreadable':
        return mistake['message']  # names the file itself
    return f'{mistake["place"]}: {mistake["message"]}'
