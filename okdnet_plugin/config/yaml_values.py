"""Reading YAML that can do nothing but hold values, with the line of every key.

A file of a stranger is read without running code, in little time and memory: its size, its nesting and what its
aliases stand for are bounded before anything is built.
"""

import os
import re
from collections.abc import Hashable
from os import path as osp
from typing import Any

import yaml

from okdnet_plugin.config.items import Item
from okdnet_plugin.config.types import is_number_to_a_reader
from okdnet_plugin.errors import InputError, did_you_mean
from okdnet_plugin.files import open_regular_file

LARGEST = 2**20  # bytes of a file
MOST_VALUES = 100_000
DEEPEST = 30  # levels of nesting, of files that build on one another, and of references to references
_LONGEST_NUMBER = 100  # characters; Python takes seconds for a number of a million digits
SafeLoader: Any = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)  # in C where there is one
_BACKSLASHES = re.compile(r'"[^"]*\\[^"]*"')
_PLAIN_WORDS = {'None': None, 'none': None}  # in an override, as BasicSR reads them


def read(path: str) -> Item:
    """The mapping that one file holds, without what it builds on.

    Raises:
        InputError: it cannot be read or is no YAML mapping; the message names file and line.
    """
    try:
        with open_regular_file(path, f'option file {path}') as file:
            content = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, 'strerror', None) or error
        hint = did_you_mean(osp.basename(path), neighbours(path))
        raise InputError(f'option file {path} cannot be read: {reason}{hint}') from error
    if len(content) > LARGEST:
        raise InputError(f'option file {path} has more than {LARGEST} bytes; it cannot be an option file')
    item = _Reader(f'option file {path}', path).item_of(_decoded(content, path))
    if item is None or not isinstance(item.value, dict):
        raise InputError(f'option file {path} holds no keys; see options/ for files to start from')
    return Item(item.value, f'{path}:1')


def read_value(text: str, name: str = 'the value') -> object:
    """A value as a command line or an environment variable gives it: YAML in one line, with a few words more.

    `5e-4` is a number, which YAML wants as `5.0e-4`; `none` is nothing; `007` and `1:30` are what they look like.

    Args:
        text: what was given.
        name: what a message begins with.

    Raises:
        InputError: it is no YAML.
    """
    if len(text) > LARGEST:
        raise InputError(f'{name} has more than {LARGEST} characters')
    item = _Reader(name, None).item_of(text)
    return None if item is None else item.plain()


def _decoded(content: bytes, path: str) -> str:
    try:
        return content.decode('utf-16' if content[:2] in (b'\xff\xfe', b'\xfe\xff') else 'utf-8-sig')
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b'\n') + 1
        raise InputError(f'option file {path}:{line} is not UTF-8; save the file as UTF-8') from None


def neighbours(path: str) -> list[str]:
    """Names in the folder where a file would be, without its own."""
    folder = osp.dirname(path) or os.curdir
    names = os.listdir(folder) if osp.isdir(folder) else []
    return [name for name in names if name != osp.basename(path)]


class _Reader:
    """Reads one text; `path` is None for a value of a command line."""

    def __init__(self, name: str, path: str | None):
        self.name, self.path = name, path

    def item_of(self, content: str) -> Item | None:
        """The tree of the text; None if there is nothing in it."""
        self.lines = content.splitlines()
        control = yaml.reader.Reader.NON_PRINTABLE.search(content)
        if control is not None:
            line = content[: control.start()].count('\n') + 1
            raise InputError(f'{self._in_line(line)} has the control character {control[0]!r}; take it out')
        try:
            self._check_nesting(content)
            self.loader = SafeLoader(content)
            try:
                node = self.loader.get_single_node()
                if node is None:
                    return None
                self._check_nodes(node)
                return self._item(node, self._place(node))
            finally:
                self.loader.dispose()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            said = ', '.join(part for part in (error.context, error.problem) if part)
            raise InputError(f'{self._at(mark)} is not valid YAML: {said}{self._hint(mark)}') from error
        except (yaml.YAMLError, UnicodeError) as error:
            raise InputError(f'{self.name} is not valid YAML: {" ".join(str(error).split())}') from error

    def _check_nesting(self, content: str) -> None:
        """Refuse nesting without end while it is still a row of events: the composer goes down without looking."""
        depth = 0
        for event in yaml.parse(content, SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise self._too_much(event.start_mark)

    def _check_nodes(self, root: yaml.Node) -> None:
        """Refuse aliases that make a small file stand for a huge or endless one, and keys that are written twice."""
        waiting, count = [(root, 0)], 0
        while waiting:
            node, depth = waiting.pop()
            count += 1
            if depth > DEEPEST or count > MOST_VALUES:
                raise self._too_much(node.start_mark)
            if isinstance(node, yaml.MappingNode):
                self._check_keys(node)
                waiting += [(child, depth + 1) for pair in node.value for child in pair]
            elif isinstance(node, yaml.SequenceNode):
                waiting += [(child, depth + 1) for child in node.value]

    def _check_keys(self, mapping: yaml.MappingNode) -> None:
        lines: dict[tuple[str, str], int] = {}
        for key, _ in mapping.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise InputError(f'{self._at(key.start_mark)} has a key that is no single word; write KEY: VALUE')
            if (key.tag, key.value) in lines:
                raise InputError(
                    f'{self._at(key.start_mark)}: {key.value} is written twice, in line {lines[key.tag, key.value]} '
                    f'and in line {line}; take one of them out'
                )
            lines[key.tag, key.value] = line

    def _item(self, node: yaml.Node, place: str) -> Item:
        if isinstance(node, yaml.MappingNode) and node.tag == self.loader.DEFAULT_MAPPING_TAG:
            self.loader.flatten_mapping(node)  # what `<<: *anchor` brings in comes first
            pairs = {self._value(key): (key, child) for key, child in node.value}
            return Item({key: self._item(child, self._place(at)) for key, (at, child) in pairs.items()}, place)
        if isinstance(node, yaml.SequenceNode) and node.tag == self.loader.DEFAULT_SEQUENCE_TAG:
            return Item([self._item(child, self._place(child)) for child in node.value], place)
        if not isinstance(node, yaml.ScalarNode):
            kind = node.tag.rpartition(':')[2]
            raise InputError(f'{self._at(node.start_mark)} has a value with the tag !!{kind}; write a list, or a block')
        return Item(self._value(node), place)

    def _value(self, node: Any) -> Hashable:
        """The value of a single word."""
        kind = node.tag.rpartition(':')[2]
        if kind not in ('str', 'binary') and len(node.value) > _LONGEST_NUMBER:
            raise InputError(f'{self._at(node.start_mark)} has a number of {len(node.value)} characters; shorten it')
        if self.path is None and not node.style:
            if node.value in _PLAIN_WORDS:
                return _PLAIN_WORDS[node.value]
            if is_number_to_a_reader(node.value):
                return float(node.value)
            if node.value.isascii() and node.value.isdecimal():
                return int(node.value)
            if ':' in node.value and kind in ('int', 'float'):  # base 60
                return node.value
        try:
            return self.loader.construct_object(node, deep=True)
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            at = self._at(node.start_mark)
            raise InputError(f'{at}: {node.value} is no {kind}; correct it, or put it in quotation marks') from error

    def _place(self, node: yaml.Node) -> str:
        return f'{self.path}:{node.start_mark.line + 1}'

    def _at(self, mark: yaml.Mark | None) -> str:
        return self.name if mark is None else self._in_line(mark.line + 1)

    def _in_line(self, line: int) -> str:
        return self.name if self.path is None else f'{self.name}:{line}'

    def _too_much(self, mark: yaml.Mark) -> InputError:
        return InputError(f'{self._at(mark)} has more than {DEEPEST} levels or {MOST_VALUES} values; simplify it')

    def _hint(self, mark: yaml.Mark | None) -> str:
        near = self.lines[max(mark.line - 1, 0) : mark.line + 1] if mark else []
        if any('\t' in line[: len(line) - len(line.lstrip())] for line in near):
            return '; a tab stands at the beginning of a line: YAML wants spaces there'
        if any(_BACKSLASHES.search(line) for line in near):
            return ': within double quotes a backslash begins a special character; write / instead, or single quotes'
        is_reference = any('${' in line for line in near)
        return '; within { } and [ ] a reference needs quotation marks' if is_reference else ''
