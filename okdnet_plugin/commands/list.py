"""basicsr list: list the registered networks, data sets, losses, metrics and models, with their arguments."""

import argparse
import inspect
import json
import shutil
import sys
import textwrap

from okdnet_plugin.doctor.finding import one_line
from okdnet_plugin.doctor.output import forgiving_output
from okdnet_plugin.errors import InputError, did_you_mean

KINDS = ('arch', 'data', 'loss', 'metric', 'model')
_WIDTH = 80  # columns, where the output is no terminal
_WIDEST = 120


def main(argv: list[str] | None = None) -> int:
    """Run `basicsr list`.

    Args:
        argv: what follows `basicsr list`.

    Returns:
        0; 1 if a plugin could not be loaded, whose names are missing.

    Raises:
        InputError: there is no such kind, name or plugin.
    """
    args = _parse(argv)
    if args.kind is not None and args.kind not in KINDS:
        raise InputError(f"no kind '{args.kind}'{did_you_mean(args.kind, KINDS)}; there are {', '.join(KINDS)}")
    from okdnet_plugin import listing

    entries, broken = listing.load()
    if args.kind is not None and args.name is not None:
        chosen = [listing.entry_of(entries, args.kind, args.name)]
    else:
        chosen = listing.of_plugin(entries, args.plugin) if args.plugin is not None else entries
        chosen = [entry for entry in chosen if args.kind in (None, entry.kind)]
    if args.json:
        text = json.dumps([_as_json(entry) for entry in chosen], indent=2, ensure_ascii=False)
    else:
        text = _page(chosen[0]) if args.name is not None else _overview(chosen)
    with forgiving_output():
        print(text)
    for plugin, error in broken.items():
        print(f'basicsr: error: plugin {plugin} cannot be loaded: {one_line(error)}', file=sys.stderr)
    return 1 if broken else 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='basicsr list',
        description=(__doc__ or '').partition(': ')[2],
        allow_abbrev=False,
    )
    parser.add_argument('kind', nargs='?', metavar='|'.join(KINDS), help='which kind (default: all)')
    parser.add_argument('name', nargs='?', metavar='NAME', help='show its signature and description')
    parser.add_argument('--plugin', metavar='NAME', help='only names of this plugin or distribution')
    parser.add_argument('--json', action='store_true', help='print JSON')
    return parser.parse_args(argv)


def _overview(entries: list) -> str:
    blocks = []
    for kind in dict.fromkeys(entry.kind for entry in entries):
        own = [entry for entry in entries if entry.kind == kind]
        blocks.append(f'{kind} ({len(own)})')
        blocks += [_item(entry) for entry in own]
        blocks.append('')
    return '\n'.join(blocks).rstrip() or 'nothing'


def _item(entry) -> str:
    width = _width()
    gap = max(2, width - 2 - len(entry.name) - len(entry.plugin.name))
    lines = [f'  {entry.name}{" " * gap}{entry.plugin.name}']
    if entry.summary:
        lines.append(_filled(entry.summary, width))
    arguments = [_short(parameter) for parameter in entry.parameters]
    if entry.option_keys:
        arguments = [f'keys: {", ".join(entry.option_keys)}']
    if arguments:
        lines.append(_filled(', '.join(arguments), width))
    return '\n'.join(lines)


def _page(entry) -> str:
    head = f'{entry.kind} {entry.name}, of {entry.plugin}, in {entry.object.__module__}'
    lines = [head, '', f'{entry.name}(']
    lines += [f'    {parameter},'.replace('collections.abc.', '') for parameter in entry.parameters]
    lines.append(')')
    if entry.option_keys:
        lines += ['', 'keys of its block in an option file, beside those of the loader:', '']
        lines += [f'    {key}: {meaning}' if meaning else f'    {key}' for key, meaning in entry.option_keys.items()]
    return '\n'.join([*lines, '', entry.doc or 'It has no description.'])


def _short(parameter: inspect.Parameter) -> str:
    """An argument without its type; the type is on the page of its class."""
    return str(parameter.replace(annotation=parameter.empty))


def _filled(text: str, width: int, indent: int = 6) -> str:
    margin = ' ' * indent
    return textwrap.fill(
        text,
        width,
        initial_indent=margin,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _width() -> int:
    return min(_WIDEST, max(40, shutil.get_terminal_size().columns)) if sys.stdout.isatty() else _WIDTH


def _as_json(entry) -> dict:
    return {
        'kind': entry.kind,
        'name': entry.name,
        'plugin': entry.plugin.name,
        'distribution': entry.plugin.distribution,
        'version': entry.plugin.version,
        'module': entry.object.__module__,
        'arguments': [_argument(parameter) for parameter in entry.parameters],
        'option_keys': entry.option_keys,
        'summary': entry.summary,
        'doc': entry.doc,
    }


def _argument(parameter: inspect.Parameter) -> dict:
    argument: dict[str, object] = {'name': parameter.name, 'kind': parameter.kind.description}
    if parameter.annotation is not parameter.empty:
        argument['type'] = inspect.formatannotation(parameter.annotation)
    if parameter.default is not parameter.empty:
        argument['default'] = _plain(parameter.default)
    return argument


def _plain(value: object) -> object:
    """A default as JSON has it; as Python writes it if JSON has no such thing, an infinite number for one."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        return repr(value)
