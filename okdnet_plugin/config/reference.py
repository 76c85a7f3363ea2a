"""The keys of option files as lines to read, and as the page docs/config_reference.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from okdnet_plugin.config.blocks import DataSet, Loader
from okdnet_plugin.config.docstrings import summary_of
from okdnet_plugin.config.keys import NOTHING, Block, Key, Kind, Typed, block_of, declares, own_block
from okdnet_plugin.config.messages import shown
from okdnet_plugin.config.registered import (
    LISTED,
    NOUNS,
    block_of_type,
    find,
    is_basicsrs,
    names_of,
    type_key,
    unknown_name,
)
from okdnet_plugin.config.types import described
from okdnet_plugin.config.walk import declaring_models, top_block
from okdnet_plugin.errors import InputError, did_you_mean

_KINDS: tuple[Kind, ...] = ('dataset', 'network', 'loss', 'metric')
_HEAD = """\
# Keys of option files

`basicsr options --write-docs` makes this page and options/schema.json from what the classes declare; do not edit them.
`*` marks what has to be there. Arguments of BasicSR's own classes are those of their constructors: `basicsr list`.
"""


def lines(model: str, below: str | None = None) -> list[str]:
    """A line for each key that a model reads: the key, what it may be, what it means; `*` where it has to be there.

    Args:
        model: `model_type`.
        below: list only this key and what is below it, parted by colons or points, as train.optim_g.

    Raises:
        InputError: there is no such model or key.
    """
    if find('model', model) is None:
        raise InputError(f'--model: {unknown_name("model", model)}')
    keys = dict(top_block({'model_type': model, 'network_g': {}}, 'train').flat())
    if below is not None:
        below = below.replace('.', ':').strip(':')
        if below.startswith('datasets:'):
            label = ':'.join(below.split(':')[:2])
            keys |= {f'{label}:{name}': key for name, key in _keys_of_data_sets().items()}
        hint = did_you_mean(below, keys)
        keys = {name: key for name, key in keys.items() if name == below or name.startswith(f'{below}:')}
        if not keys:
            raise InputError(f"{model} reads no key '{below}'{hint}; `basicsr options` lists all")
    width = max(map(len, keys)) + 2
    return [
        f'{name + ("*" if "train" in key.needed else ""):<{width}}{key.says} ({kind_of(key)})'
        for name, key in keys.items()
    ]


def _keys_of_data_sets() -> dict[str, Key]:
    """The keys of all data sets, then those of the classes that declare some, each with the classes that read it."""
    readers: dict[str, list[str]] = {}
    keys: dict[str, Key] = {}
    for name, target in _declaring('dataset'):
        for label, key in own_block(target).flat():
            readers.setdefault(label, []).append(name)
            keys.setdefault(label, replace(key, needed=()))
    own = {label: replace(key, says=f'{key.says} [{", ".join(readers[label])}]') for label, key in keys.items()}
    every = dict(_every_data_set().flat())
    return every | {label: key for label, key in own.items() if label not in every}


def kind_of(key: Key) -> str:
    """What a key may be, in words."""
    if isinstance(key.inside, Typed):
        kind = key.inside.kind
        names = f'`basicsr list {LISTED[kind]}`' if kind in LISTED else ', '.join(names_of(kind))
        article = 'an' if kind == 'optimizer' else 'a'
        return f'{"blocks" if key.each else "a block"} with the type of {article} {NOUNS[kind]}: {names}'
    return 'a block' if isinstance(key.inside, Block) else described(key.annotation)


# ------------------------------------------------------------------------------------------------------------- the page


def page() -> str:
    """The keys of an option file and of every class of this package that is named in one, as Markdown."""
    parts = [_HEAD, '## Trainings and tests\n', _table(top_block({'model_type': 'SRModel', 'network_g': {}}, 'train'))]
    parts += ['## Every data set\n', _table(_every_data_set()), '## Reports\n', _table(top_block({}, 'report'))]
    for model in declaring_models():
        if _is_ours(model) and declares(model):
            parts += [f'## Model {model.__name__}\n', f'{summary_of(model)}.\n', _table(own_block(model))]
    for kind in _KINDS:
        for name, target in _declaring(kind):
            block = own_block(target) if kind == 'dataset' else block_of_type(kind, name)
            title = f'## {NOUNS[kind].capitalize()} {name}\n'
            parts += [title, f'{summary_of(target).rstrip(".")}.\n', _table(block)]
    return '\n'.join(parts)


def _every_data_set() -> Block:
    return Block('', {'type': type_key('dataset')}) | block_of(DataSet) | block_of(Loader)


def _declaring(kind: Kind) -> list[tuple[str, Callable]]:
    """Names and classes of this package that say what they read."""
    found = [(name, find(kind, name)) for name in names_of(kind)]
    return [(name, one) for name, one in found if one is not None and _is_ours(one)]


def _is_ours(target: Any) -> bool:
    return target.__module__.split('.')[0] == __name__.split('.')[0] and not is_basicsrs(target)


def _table(block: Block | None) -> str:
    rows = []
    for name, key in block.flat() if block is not None else ():
        if block is not None and block.noun == 'argument' and name == 'type':
            continue
        default = list(key.default) if isinstance(key.default, tuple) else key.default
        star = ' *' if {'train', 'report'} & set(key.needed) else ''
        cells = (f'`{name}`{star}', kind_of(key), '' if default is NOTHING else shown(default), key.says)
        rows.append(' | '.join(cell.replace('|', '\\|') for cell in cells))
    if not rows:
        return 'It has none.\n'
    head = ['| key | value | default | meaning |', '|---|---|---|---|']
    return '\n'.join([*head, *(f'| {row} |' for row in rows), ''])
