"""`_base_`: an option file that builds on others."""

from collections.abc import Sequence
from os import path as osp

from okdnet_plugin.errors import InputError, did_you_mean
from okdnet_plugin.option_file.reading import DEEPEST, neighbours, read
from okdnet_plugin.option_file.tree import Item

BASE, DELETE = '_base_', '_delete_'


def merge(base: Item | None, change: Item) -> Item:
    """A value with changes: mappings are merged key by key, all else is replaced.

    A mapping with `_delete_: true` stands alone. Neither argument is changed.
    """
    if not isinstance(change.value, dict):
        return change
    delete = change.value.get(DELETE)
    if delete is not None and not isinstance(delete.value, bool):
        raise InputError(f'{delete.place}: {DELETE} is {delete.plain()!r}; write true, or take it out')
    below = {} if base is None or (delete and delete.value) or not isinstance(base.value, dict) else base.value
    merged = dict(below)
    for key, item in change.value.items():
        if key != DELETE:
            merged[key] = merge(merged.get(key), item)
    return Item(merged, change.place)


def read_with_bases(path: str) -> Item:
    """What a file says, merged over what it builds on.

    Raises:
        InputError: a file cannot be read, or builds on itself.
    """
    return _with_bases(path, (path,))


def _with_bases(path: str, chain: Sequence[str]) -> Item:
    own = read(path)
    written = own.value.pop(BASE, None)
    bases = written.plain() if written else None
    bases = [] if bases is None else [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) and base for base in bases):
        raise InputError(f'option file {written.place}: {BASE} is {bases}; write a file, or a list of files')
    merged = Item({}, own.place)
    for base in bases:
        file = osp.normpath(osp.join(osp.dirname(path), base))
        where = f'option file {written.place}: {BASE}'
        if osp.realpath(file) in map(osp.realpath, chain):
            names = ' -> '.join(map(osp.basename, (*chain, file)))
            raise InputError(f'{where} leads back to itself ({names}); take one of them out')
        if len(chain) > DEEPEST:
            raise InputError(f'{where}: more than {DEEPEST} files build on one another; merge some')
        if not osp.isfile(file):
            hint = did_you_mean(osp.basename(file), neighbours(file))
            raise InputError(f'{where} names {file}, which does not exist{hint}; correct it')
        merged = merge(merged, _with_bases(file, (*chain, file)))
    return merge(merged, own)
