"""Which block governs which mapping of an option file."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from okdnet_plugin.config import blocks
from okdnet_plugin.config.keys import Block, Key, Parts, Typed, block_of, declared, declares, joined_options
from okdnet_plugin.config.registered import (
    block_of_type,
    find,
    is_basicsrs,
    names_in_code,
    names_of,
    type_key,
)
from okdnet_plugin.config.types import note_of

Phase = Literal['train', 'test', 'report']
KeyPath = tuple[Any, ...]
_LOADER = block_of(blocks.Loader).keys


@dataclass(frozen=True)
class Node:
    """A mapping of an option file.

    Args:
        path: keys that lead to it.
        value: the mapping.
        block: what it may say; None where nothing is known of it, as its `type` is not registered.
        kind: of what `type` is a name.
        given: keys that it need not have, as others give them.
    """

    path: KeyPath
    value: Mapping
    block: Block | None
    kind: Any = None
    given: frozenset[str] = frozenset()


def phase_of(opt: Mapping) -> Phase:
    """What an option file is for, as far as its keys tell."""
    if 'methods' in opt:
        return 'report'
    sets = opt.get('datasets')
    is_training = isinstance(opt.get('train'), Mapping) or (isinstance(sets, Mapping) and 'train' in sets)
    return 'train' if is_training else 'test'


def nodes_of(opt: Mapping, phase: Phase) -> Iterator[Node]:
    """All mappings of an option file that anything is known of, from the top down.

    Args:
        opt: the option file as it is written.
        phase: what it is used for.
    """
    yield from below(Node((), opt, top_block(opt, phase)), opt)


def below(node: Node, opt: Mapping) -> Iterator[Node]:
    """A mapping and all that it holds."""
    yield node
    if node.block is None:
        return
    parts = parts_key(node.block)
    if parts is not None:
        for part in _parts(node, *parts):
            yield from below(part, opt)
    for name, value in node.value.items():
        key = node.block.keys.get(name)
        inside = key.inside if key is not None else None
        if key is None or inside is None:
            continue
        places = value.items() if key.each and isinstance(value, Mapping) else [(None, value)]
        for label, content in places:
            path = (*node.path, name) if label is None else (*node.path, name, label)
            if isinstance(content, Mapping):
                yield from below(_node(path, content, inside, opt), opt)


def _node(path: KeyPath, value: Mapping, inside: Block | Typed, opt: Mapping) -> Node:
    if isinstance(inside, Block):
        return Node(path, value, inside)
    if inside.kind == 'dataset':
        return _data_set(path, value, opt)
    return Node(path, value, block_of_typed(inside, value), inside.kind)


def block_of_typed(inside: Typed, value: Mapping) -> Block | None:
    """The block that its `type` decides; with `type` alone where that is missing."""
    if 'type' not in value and inside.default is not None:
        block = block_of_type(inside.kind, inside.default)
        return block and replace(block, keys={**block.keys, 'type': block.keys['type'].optional()})
    if 'type' not in value:
        return Block(str(inside.kind), {'type': type_key(inside.kind)}, is_open=True)
    return block_of_type(inside.kind, value['type'])


# ------------------------------------------------------------------------------------------------------------ data sets


def _data_set(path: KeyPath, value: Mapping, opt: Mapping) -> Node:
    block = block_of_typed(Typed('dataset'), value)
    given = frozenset(['scale'] if opt.get('scale') is not None else [])
    if block is None:
        return Node(path, value, None, 'dataset')
    if not (len(path) == 2 and path[0] == 'datasets' and str(path[1]).split('_')[0] == 'train'):
        keys = {name: key.optional() if name in _LOADER else key for name, key in block.keys.items()}
        block = replace(block, keys=keys)
    if 'methods' in opt:
        given |= {'name'}
    return data_set_node(path, value, block, given)


def data_set_node(path: KeyPath, value: Mapping, block: Block, given: frozenset[str]) -> Node:
    """The mapping of a data set, of which a mixture has the keys of its parts as well."""
    parts = parts_key(block)
    if parts is not None and isinstance(value.get(parts[0]), Mapping) and value[parts[0]]:
        block = _mixture(block, value, parts[0])
    elif parts is not None:  # of which nothing is known then
        block = replace(block, is_open=True)
    return Node(path, value, block, 'dataset', given)


def parts_key(block: Block) -> tuple[str, Parts] | None:
    """The key of a block that holds data sets, and what is noted of them; see `Parts`."""
    for name, key in block.keys.items():
        parts = note_of(key.annotation, Parts)
        if parts is not None:
            return name, parts
    return None


def _mixture(block: Block, value: Mapping, key: str) -> Block:
    """Any key of a part may stand beside the parts, as a default for all of them."""
    shared: dict[str, Key] = {}
    is_open, near = block.is_open, block.near
    for part in value[key].values():
        if isinstance(part, Mapping):
            of_part = block_of_typed(Typed('dataset'), part)
            is_open |= of_part is None or of_part.is_open
            near |= of_part.near if of_part else frozenset()
            shared |= {name: one.optional() for name, one in (of_part.keys if of_part else {}).items()}
    strict = frozenset({*block.keys} - {*block_of(blocks.DataSet).keys, *_LOADER, 'type'})
    return replace(block, keys={**shared, **block.keys}, is_open=is_open, near=near, strict=strict)


def _parts(node: Node, key: str, note: Parts) -> Iterator[Node]:
    """The parts of a mixture, each with what the mixture gives it."""
    parts = node.value.get(key)
    given = frozenset({*node.value, 'name', *node.given} - {'type', key})
    for label, part in parts.items() if isinstance(parts, Mapping) else ():
        if not isinstance(part, Mapping):
            continue
        block = block_of_typed(Typed('dataset'), part)
        if block is not None:
            own = {name: one for name, one in block.keys.items() if name not in _LOADER}
            extra = block_of(note.extra).keys
            block = replace(block, keys={**own, **extra}, strict=frozenset(extra))
        yield Node((*node.path, key, label), part, block, 'dataset', given)


# ------------------------------------------------------------------------------------------------------------ the model


def model_of(opt: Mapping) -> type | None:
    """The class that `model_type` names, or nearly names; None if there is none."""
    name = opt.get('model_type')
    near = difflib.get_close_matches(name, names_of('model'), n=1, cutoff=0.75) if isinstance(name, str) else []
    model = find('model', name) or find('model', *near or [None])
    return model if isinstance(model, type) else None


def losses_of(model: type | None) -> dict[str, str]:
    """Blocks of `train` that a model declares to be losses, with their names in the log; empty if it declares none."""
    return dict(getattr(model, 'loss_blocks', None) or {})


def is_closed(model: type | None) -> bool:
    """Whether a model says itself which options it reads."""
    return model is not None and (declares(model) or 'loss_blocks' in vars(model))


def top_block(opt: Mapping, phase: Phase) -> Block:
    """The top of an option file, which depends on its model."""
    if phase == 'report':
        return block_of(blocks.ReportTop, 'a report')
    model = model_of(opt)
    name = model.__name__ if model else 'BasicSR'
    block = block_of(blocks.Top, name)
    options = declared(model)
    if options:
        block |= block_of(joined_options(tuple(options)), name)
    keys = dict(block.keys)
    if not (is_closed(model) or (model is not None and is_basicsrs(model))):  # others may do without
        keys['network_g'] = keys['network_g'].optional()
    network = keys['network_g'].optional()
    networks = [key for key in opt if str(key).startswith('network_')]
    if not is_closed(model) or phase == 'test':
        keys = {**keys, **{name: network for name in networks if name not in keys}}
    keys['train'] = replace(keys['train'], inside=_training(keys['train'].inside, model, opt.get('train')))
    letters = [str(key).removeprefix('network_') for key in (*networks, 'network_g')]
    keys['path'] = replace(keys['path'], inside=_paths(keys['path'].inside, letters))
    is_open = not is_closed(model)
    near = names_in_code(model) if is_open else frozenset()
    return replace(block, keys=keys).but(name, is_open, near)


def _training(block: Any, model: type | None, written: object) -> Block:
    loss = Key(dict | None, 'loss', inside=Typed('loss'))
    keys = {key: replace(loss, says=f'loss {key}') for key in losses_of(model)}
    if not is_closed(model) and isinstance(written, Mapping):
        optimizer = block.keys['optim_g'].optional()
        for key, value in written.items():
            if str(key).startswith('optim_'):
                keys[key] = optimizer
            elif str(key).endswith('_opt') and isinstance(value, Mapping) and 'type' in value:
                keys.setdefault(key, loss)
    keys = {**keys, **block.keys}
    if not (is_closed(model) or (model is not None and is_basicsrs(model))):
        keys['optim_g'] = keys['optim_g'].optional()
    return replace(block, keys=keys)


def _paths(block: Any, letters: list[str]) -> Block:
    written = block_of(blocks.PathsOfNetwork).keys
    keys = {name.replace('_X', f'_{letter}'): key for letter in letters for name, key in written.items()}
    return replace(block, keys={**keys, **block.keys})


def declaring_models() -> list[type]:
    """Registered models that say which options they read, parents first."""
    found = [find('model', name) for name in names_of('model')]
    models = [model for model in found if isinstance(model, type) and is_closed(model)]
    return sorted(models, key=lambda model: len(model.__mro__))
