"""Reading option files: YAML that may build on other files, and can do nothing but hold values.

A file with `_base_: FILE`, or a list of files, paths relative to it, is merged over these: mappings key by key, all
else as a whole. A mapping with `_delete_: true` stands alone, whatever the bases have in its place.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from os import path as osp
from typing import IO

import yaml

from okdnet_plugin.errors import InputError, did_you_mean

_BASE, _DELETE = '_base_', '_delete_'
_LARGEST = 2**20  # bytes of a file
_MOST_VALUES = 100_000
_DEEPEST = 30  # levels of nesting, and of files that build on one another
_SafeLoader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)


def load(path: str) -> dict:
    """What an option file says, with what it builds on.

    Raises:
        InputError: a file cannot be read, is no YAML mapping, or builds on itself; the message names it.
    """
    return _resolved(_read(path), path, (osp.realpath(path),))


def merge(base: object, change: object) -> object:
    """A value with changes: mappings are merged key by key, all else is replaced. Neither argument is changed."""
    if not isinstance(change, Mapping):
        return change
    kept = base if isinstance(base, Mapping) and not change.get(_DELETE) else {}
    merged = dict(kept)
    for key, value in change.items():
        if key != _DELETE:
            merged[key] = merge(merged.get(key), value)
    return merged


@contextlib.contextmanager
def resolved_copy(path: str) -> Iterator[str]:
    """A file of the same name that says all that an option file and its bases say; the file itself if it has none."""
    if _BASE not in _read(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = osp.join(folder, osp.basename(path))
        with open(copy, 'w', encoding='utf-8') as file:
            yaml.safe_dump(load(path), file, sort_keys=False, allow_unicode=True)
        yield copy


class OptionLoader(_SafeLoader):
    """Loader for `yaml.load(file, Loader=OptionLoader)`, as the toolbox calls it; gives what `load` gives."""

    def __init__(self, stream: IO[str] | str):
        self._path = getattr(stream, 'name', None)
        super().__init__(stream)

    def get_single_data(self) -> object:
        data = super().get_single_data()
        if self._path is None or not isinstance(data, Mapping):
            return data
        return load(self._path)


def _resolved(opt: Mapping, path: str, chain: Sequence[str]) -> dict:
    bases = opt.get(_BASE) or []
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise InputError(f'option file {path}: {_BASE} is {bases}; write a file, or a list of files')
    merged: dict = {}
    for base in bases:
        file = osp.normpath(osp.join(osp.dirname(path), base))
        if osp.realpath(file) in chain:
            names = ' -> '.join(map(osp.basename, (*chain, file)))
            raise InputError(f'option file {path}: {_BASE} leads back to itself ({names}); take one of them out')
        if len(chain) > _DEEPEST:
            raise InputError(f'option file {path}: more than {_DEEPEST} files build on one another; merge some')
        if not osp.isfile(file):
            hint = did_you_mean(osp.basename(file), _neighbours(file))
            raise InputError(f'option file {path}: {_BASE} names {file}, which does not exist{hint}; correct it')
        merged = merge(merged, _resolved(_read(file), file, (*chain, osp.realpath(file))))
    return merge(merged, {key: value for key, value in opt.items() if key != _BASE})


def _read(path: str) -> dict:
    try:
        if osp.getsize(path) > _LARGEST:
            raise InputError(f'option file {path} has more than {_LARGEST} bytes; it cannot be an option file')
        with open(path, 'rb') as file:  # YAML tells its encoding itself
            loader = _SafeLoader(file)
            try:
                node = loader.get_single_node()
                _check_size(node, path)
                opt = loader.construct_document(node) if node is not None else None
            finally:
                loader.dispose()
    except OSError as error:
        hint = did_you_mean(osp.basename(path), _neighbours(path))
        raise InputError(f'option file {path} cannot be read: {error.strerror}{hint}') from error
    except yaml.YAMLError as error:
        raise InputError(f'option file {path} is not valid YAML: {" ".join(str(error).split())}') from error
    if not isinstance(opt, dict):
        raise InputError(f'option file {path} holds no keys; see options/ for files to start from')
    return opt


def _check_size(root: yaml.Node | None, path: str) -> None:
    """Refuse nesting without end, and aliases that make a small file stand for a huge one."""
    waiting, count = [(root, 0)], 0
    while waiting:
        node, depth = waiting.pop()
        count += 1
        if depth > _DEEPEST or count > _MOST_VALUES:
            raise InputError(
                f'option file {path} has more than {_DEEPEST} levels or {_MOST_VALUES} values; no option file has'
            )
        if isinstance(node, yaml.MappingNode):
            waiting += [(child, depth + 1) for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += [(child, depth + 1) for child in node.value]


def _neighbours(path: str) -> list[str]:
    folder = osp.dirname(path) or os.curdir
    return os.listdir(folder) if osp.isdir(folder) else []
