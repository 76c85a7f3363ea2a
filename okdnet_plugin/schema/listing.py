"""The keys of option files as lines to read."""

from __future__ import annotations

import re
from collections.abc import Iterator

from okdnet_plugin.errors import InputError, did_you_mean
from okdnet_plugin.schema.keys import Block, Key, Typed
from okdnet_plugin.schema.registered import NOUNS, block_of_type, find, names_of, unknown_name
from okdnet_plugin.schema.tree import top_block
from okdnet_plugin.schema.values import described

_LISTED = {'network': 'arch', 'loss': 'loss', 'metric': 'metric', 'dataset': 'data', 'model': 'model'}


def lines(model: str, below: str | None = None) -> list[str]:
    """A line for each key that a model reads: the key, what it may be, what it means; `*` where it has to be there.

    Args:
        model: `model_type`.
        below: list only this key and what is below it; in colons, as train:optim_g.

    Raises:
        InputError: there is no such model or key.
    """
    if find('model', model) is None:
        raise InputError(f'--model: {unknown_name("model", model)}')
    block = top_block({'model_type': model, 'network_g': {}}, 'train')
    rows = list(_rows(block, ''))
    if below is not None:
        rows += _rows_of_a_data_set(below)
        rows = [row for row in rows if row[0] == below or row[0].startswith(f'{below}:')]
        if not rows:
            known = [name for name, *_ in _rows(block, '')]
            raise InputError(f"{model} reads no key '{below}'{did_you_mean(below, known)}; `basicsr options` lists all")
    width = max(len(name) for name, *_ in rows) + 2
    return [f'{name + star:<{width}}{says} ({kind})' for name, star, says, kind in rows]


def _rows_of_a_data_set(below: str) -> Iterator[tuple[str, str, str, str]]:
    """The keys of one block of `datasets`, where a user names it: those of PairedDehazeDataset."""
    name = re.match(r'datasets:[^:]+', below)
    block = block_of_type('dataset', 'PairedDehazeDataset')
    if name is not None and block is not None:
        yield name[0], '', 'here of PairedDehazeDataset; `basicsr list data NAME` has those of others', 'a block'
        yield from _rows(block, f'{name[0]}:')


def _rows(block: Block, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for name, key in block.keys.items():
        path = f'{prefix}{name}'
        star = '*' if 'train' in key.needed else ''
        yield path, star, key.says, _kind(key)
        if isinstance(key.inside, Block) and not key.each:
            yield from _rows(key.inside, f'{path}:')


def _kind(key: Key) -> str:
    if isinstance(key.inside, Typed):
        kind = key.inside.kind
        names = f'`basicsr list {_LISTED[kind]}`' if kind in _LISTED else ', '.join(names_of(kind))
        return f'{"blocks" if key.each else "a block"} with the type of a {NOUNS[kind]}: {names}'
    return 'a block' if isinstance(key.inside, Block) else described(key.annotation)
