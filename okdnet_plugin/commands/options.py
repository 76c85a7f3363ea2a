"""basicsr options: list the keys of option files with their meaning, or write a JSON schema for editors."""

from __future__ import annotations

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Run `basicsr options`.

    Args:
        argv: what follows `basicsr options`.

    Returns:
        0.
    """
    parser = argparse.ArgumentParser(
        prog='basicsr options', description=(__doc__ or '').partition(': ')[2], allow_abbrev=False
    )
    parser.add_argument(
        'key',
        nargs='?',
        metavar='KEY',
        help='list only what is below a key, for example train.optim_g or datasets:train',
    )
    parser.add_argument('--model', default='RestorationModel', metavar='TYPE', help='model_type (default: %(default)s)')
    parser.add_argument('--schema', action='store_true', help='print a JSON schema (draft 2020-12) of option files')
    parser.add_argument(
        '--write-docs', action='store_true', help='write docs/config_reference.md and options/schema.json below here'
    )
    args = parser.parse_args(argv)

    from okdnet_plugin.plugins import load_plugins

    load_plugins()
    if args.schema:
        from okdnet_plugin.config.json_schema import json_schema, text_of

        print(text_of(json_schema()), end='')
        return 0
    from okdnet_plugin.config.reference import lines, page

    if args.write_docs:
        from okdnet_plugin.config.json_schema import json_schema, text_of

        for file, text in {'docs/config_reference.md': page(), 'options/schema.json': text_of(json_schema())}.items():
            Path(file).write_text(text, encoding='utf-8')
            print(file)
        return 0
    print('\n'.join(lines(args.model, args.key)))
    return 0
