"""Reading option files: `_base_`, the overrides of the command line, then `${key.path}` and `${env:NAME}`.

A file with `_base_: FILE`, or a list of files, paths relative to it, is merged over these: mappings key by key, all
else as a whole. `KEY: _delete_` takes out what the bases have there; a mapping with `_delete_: true` stands alone. A
data set, a part of one or a metric that is empty (`val: ~`) is taken out as well.
"""

from collections.abc import Collection, Sequence
from os import path as osp

from okdnet_plugin.config.items import BASE, DELETE, Item, Places
from okdnet_plugin.config.overrides import Override, apply
from okdnet_plugin.config.references import resolve
from okdnet_plugin.config.yaml_values import DEEPEST, neighbours, read
from okdnet_plugin.errors import InputError, did_you_mean

# Mappings of blocks under names of the user's.
_OF_NAMED_BLOCKS = (('datasets',), ('datasets', '*', 'parts'), ('metrics',), ('val', 'metrics'))


def load(path: str, overrides: Sequence[Override | str] = ()) -> dict:
    """What an option file says, with what it builds on; see `load_with_places`."""
    return load_with_places(path, overrides)[0]


def load_with_places(path: str, overrides: Sequence[Override | str] = ()) -> tuple[dict, Places]:
    """What an option file says, and where.

    Args:
        path: the file.
        overrides: `KEY=VALUE` of the command line, as of `--set`; the last one of a key counts.

    Returns:
        The options, with bases, overrides and references resolved, and the places of their keys.

    Raises:
        InputError: a file cannot be read, is no YAML mapping, builds on itself or refers to what is not there, or an
            override does not fit; the message is one line that names file and line, or the override.
    """
    root = _without_empty_blocks(resolve(apply(read_with_bases(path), overrides)))
    return root.plain(), Places(root)


def _without_empty_blocks(item: Item, places: Collection[tuple[str, ...]] = _OF_NAMED_BLOCKS) -> Item:
    """Without the empty blocks of mappings at these places."""
    if not isinstance(item.value, dict) or not places:
        return item
    kept = {key: child for key, child in item.value.items() if child.value is not None or () not in places}
    below = {key: [place[1:] for place in places if place and place[0] in (key, '*')] for key in kept}
    return Item({key: _without_empty_blocks(child, below[key]) for key, child in kept.items()}, item.place)


def merge(base: Item | None, change: Item) -> Item:
    """A value with changes: mappings are merged key by key, all else is replaced; see above of `_delete_`.

    Neither argument is changed.
    """
    if not isinstance(change.value, dict):
        return change
    delete = change.value.get(DELETE)
    if delete is not None and not isinstance(delete.value, bool):
        raise InputError(f'{delete.place}: {DELETE} is {delete.plain()!r}; write true, or take it out')
    below = {} if base is None or (delete and delete.value) or not isinstance(base.value, dict) else base.value
    merged = dict(below)
    for key, item in change.value.items():
        if key == DELETE:
            continue
        if isinstance(item.value, str) and item.value == DELETE:
            if key not in below:
                hint = did_you_mean(key, map(str, below))
                raise InputError(f'{item.place}: {key}: {DELETE}: there is no {key} to take out{hint}; correct the key')
            del merged[key]
        else:
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
