"""Plant mistakes in option files, each key misspelt, mistyped, emptied and removed, and count how many the check finds.

  python tests/harness/planted_mistakes.py [FOLDER]

Every file of the folder (default: options) but those in base/, which others build on, is copied, spoilt in one place
at a time, and checked. A mistake is located if a message names its file and line; that a
key is gone to which `${…}` refers is told with the line of the reference.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

import okdnet_plugin  # goes first: it patches BasicSR

# isort: split
from okdnet_plugin import config
from okdnet_plugin.config import check
from okdnet_plugin.config.messages import Places
from okdnet_plugin.config.walk import Phase, nodes_of, phase_of
from okdnet_plugin.errors import InputError

# Names that a user gives as he likes stand below these keys, and so cannot be misspelt.
_OF_THE_USER = {
    *(('methods',), ('metrics',), ('val', 'metrics'), ('datasets', 'train', 'parts'), ('teachers',)),
    *(('train', 'lr_factors'), ('train', 'distillation')),
}

_EMPTIED = 'emptied block'
_BLOCK_OR_NUMBER = {'resize'}  # where a number is no mistake


@dataclass
class Count:
    """What came of the mistakes of one kind."""

    planted: int = 0
    caught: int = 0
    located: int = 0
    missed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Spot:
    """A key as a file has it: its way, and where key and value stand in the text."""

    path: tuple
    key: yaml.Node
    value: yaml.Node


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0], allow_abbrev=False)
    parser.add_argument('folder', nargs='?', type=Path, default=Path('options'), help='(default: options)')
    args = parser.parse_args(argv)
    okdnet_plugin.register()
    with tempfile.TemporaryDirectory() as scratch:
        counts = plant_all(files_of(args.folder), args.folder, Path(scratch) / 'options', is_thorough=True)
    print(table(counts))
    missed = [line for count in counts.values() for line in count.missed]
    print('\n'.join(missed), file=sys.stderr)
    return 1 if missed else 0


def files_of(root: Path) -> list[Path]:
    """The option files of a folder that are whole."""
    return [file for file in sorted(root.rglob('*.yml')) if file.parent.name != 'base']


def plant_all(entries: list[Path], root: Path, scratch: Path, is_thorough: bool) -> dict[str, Count]:
    """Plant each mistake by itself, and see whether the check finds it, with its file and line.

    A key of a file that several build on is planted once.

    Args:
        entries: option files below `root`.
        root: folder that is copied, so that the files may be spoilt.
        scratch: where to.
        is_thorough: every misspelling and mistyping of each key; otherwise one of each, in turn.
    """
    counts: dict[str, Count] = {}
    seen: set[tuple[str, tuple]] = set()
    shutil.copytree(root, scratch, dirs_exist_ok=True)
    for entry in entries:
        file = scratch / entry.relative_to(root)
        opt, places = config.load_with_places(str(file))
        phase = phase_of(opt)
        assert check.check(opt, places, phase, look=False) == [], file
        required = _required(opt, phase)
        for written in _files_of(file, opt, places):
            text = written.read_text()
            for spot in _spots(yaml.compose(text, Loader=yaml.SafeLoader)):
                place = f'{written}:{spot.key.start_mark.line + 1}'
                if (
                    (place, spot.path) in seen
                    or places.of(spot.path) != place
                    or spot.path[0] in ('_base_', '_delete_')
                ):
                    continue
                seen.add((place, spot.path))
                mistakes = list(_spoilt(text, spot, phase, spot.path in required))
                for kind, spoilt in mistakes if is_thorough else _one_of_each(mistakes, len(seen)):
                    written.write_text(spoilt)
                    if kind == 'removed' and not _is_missed(file, spot.path):
                        continue
                    if kind == _EMPTIED and not _is_empty(file, spot.path):
                        continue
                    _note(counts.setdefault(kind, Count()), kind, file, phase, spot.path, place, places)
            written.write_text(text)
    return counts


def table(counts: dict[str, Count]) -> str:
    """The counts, a line for each kind."""
    lines = [f'{"":<34}{"planted":>8}{"caught":>8}{"right file and line":>21}']
    for kind, count in [*counts.items(), ('all', _sum(counts))]:
        share = count.located / count.caught if count.caught else 0
        lines.append(f'{kind:<34}{count.planted:>8}{count.caught:>8}{share:>20.1%}')
    return '\n'.join(lines)


def _sum(counts: dict[str, Count]) -> Count:
    every = counts.values()
    total = Count(sum(one.planted for one in every), sum(one.caught for one in every))
    total.located = sum(one.located for one in every)
    return total


def _note(count: Count, kind: str, file: Path, phase: Phase, path: tuple, place: str, places: Places) -> None:
    count.planted += 1
    try:
        opt, spoilt_places = config.load_with_places(str(file))
    except InputError as error:
        told, found = [str(error)], [str(error)]
    else:
        mistakes = check.check(opt, spoilt_places, phase, look=False)
        told = [str(mistake) for mistake in mistakes]
        found = [mistake.place for mistake in mistakes]
    count.caught += bool(told)
    expected = places.of(path[:-1]) if kind == 'removed' else place
    count.located += any(expected in one for one in found)
    if not told:
        count.missed.append(f'{kind}: {place} {":".join(map(str, path))}: {told}')


def _is_missed(file: Path, path: tuple) -> bool:
    """Whether neither a base has the key, nor its block is empty now, which many may be."""
    try:
        value = config.load(str(file))
    except InputError:  # what refers to the key says so
        return True
    for key in path[:-1]:
        value = value.get(key) if isinstance(value, dict) else None
    return isinstance(value, dict) and path[-1] not in value


def _is_empty(file: Path, path: tuple) -> bool:
    """Whether the block is empty though others are merged over it."""
    try:
        value = config.load(str(file))
    except InputError:  # what refers to its keys says so
        return True
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value is None


def _files_of(file: Path, opt: dict, places: Places) -> list[Path]:
    """The files that an option file is made of."""
    paths = [path for path, _ in _paths(opt)]
    return [Path(name) for name in dict.fromkeys(places.of(path).rpartition(':')[0] for path in paths)]


def _paths(value: object, path: tuple = ()) -> Iterator[tuple[tuple, object]]:
    for key, content in value.items() if isinstance(value, dict) else ():
        yield (*path, key), content
        yield from _paths(content, (*path, key))


def _spots(node: yaml.Node | None, path: tuple = ()) -> Iterator[Spot]:
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        here = (*path, key.value)
        yield Spot(here, key, value)
        yield from _spots(value, here)


def _required(opt: dict, phase: Phase) -> set[tuple]:
    return {
        (*node.path, name)
        for node in nodes_of(opt, phase)
        if node.block is not None
        for name, key in node.block.keys.items()
        if phase in key.needed and name not in node.given
    }


def _spoilt(text: str, spot: Spot, phase: Phase, is_required: bool) -> Iterator[tuple[str, str]]:
    above = spot.path[:-1]
    is_label = above in _OF_THE_USER or (above == ('datasets',) and phase == 'report')
    start, end = spot.key.start_mark.index, spot.key.end_mark.index
    if not is_label:
        for kind, name in _misspellings(text[start:end]):
            yield kind, text[:start] + name + text[end:]
    start, end = spot.value.start_mark.index, _end(spot.value)
    for kind, value in _mistypings(str(spot.path[-1]), spot.value):
        yield kind, text[:start] + value + text[end:]
    if is_required and isinstance(spot.value, yaml.MappingNode):
        yield _EMPTIED, text[:start] + ' ~' + text[end:]
    if is_required:
        yield 'removed', _without(text, spot)


def _end(node: yaml.Node) -> int:
    """Where a value ends; YAML lets a block end where the next one begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return node.end_mark.index


def _one_of_each(mistakes: list[tuple[str, str]], turn: int) -> Iterator[tuple[str, str]]:
    for group in ('misspelt', 'mistyped', 'emptied', 'removed'):
        some = [mistake for mistake in mistakes if mistake[0].startswith(group)]
        if some:
            yield some[turn % len(some)]


def _misspellings(name: str) -> Iterator[tuple[str, str]]:
    middle = max(1, len(name) // 2)
    swapped = name[: middle - 1] + name[middle] + name[middle - 1] + name[middle + 1 :] if len(name) > 1 else name * 2
    yield 'misspelt: two letters swapped', swapped if swapped != name else name + name[-1]
    yield 'misspelt: a letter too many', name[:middle] + name[middle - 1] + name[middle:]
    yield 'misspelt: a letter too few', name[: middle - 1] + name[middle:] if len(name) > 2 else name[:1] + 'x'


def _mistypings(name: str, value: yaml.Node) -> Iterator[tuple[str, str]]:
    if isinstance(value, yaml.MappingNode):
        if name in _BLOCK_OR_NUMBER:
            return
        yield 'mistyped: a number for a block', ' 7'
    elif isinstance(value, yaml.SequenceNode):
        yield 'mistyped: a text for a list', 'many'
    elif value.tag.endswith((':int', ':float')):
        yield 'mistyped: a text for a number', 'many'
        yield 'mistyped: a switch for a number', 'true'
        yield 'mistyped: 2e-4, a text to YAML', '2e-4'
    elif value.tag.endswith(':bool'):
        yield 'mistyped: a text for a switch', 'perhaps'
        yield 'mistyped: a number for a switch', '1'
    elif value.tag.endswith(':null'):
        yield 'mistyped: a list for a value or ~', '[x]'
    else:
        if value.value != 'auto' and '${' not in value.value:  # for which a number may stand
            yield 'mistyped: a number for a text', '7'
        yield 'mistyped: a list for a text', '[x]'


def _without(text: str, spot: Spot) -> str:
    """The text without a key; a block that would be empty is one that is."""
    start, end = spot.key.start_mark.index, _end(spot.value)
    line = text.rfind('\n', 0, start) + 1
    if text[line:start].strip() == '':  # block style: whole lines
        after = text.find('\n', end)
        return text[:line] + (text[after + 1 :] if after >= 0 else '')
    rest = text[end:].lstrip(' ')
    if rest.startswith(','):
        return text[:start] + rest[1:].lstrip(' ')
    return text[:start].rstrip().removesuffix(',') + text[end:]


if __name__ == '__main__':
    sys.exit(main())
