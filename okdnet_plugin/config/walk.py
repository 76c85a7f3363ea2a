"""Which block governs which mapping of an option file."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from okdnet_plugin.config import blocks
from okdnet_plugin.config.items import KeyPath
from okdnet_plugin.config.keys import Block, Key, Parts, Typed, block_of, declares, own_block
from okdnet_plugin.config.registered import block_of_type, find, is_basicsrs, names_in_code, names_of, type_key
from okdnet_plugin.config.types import note_of

Phase = Literal['train', 'test', 'report']
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
    for part in _parts(node):
        yield from below(part, opt)
    for name, value in node.value.items():
        key = node.block.keys.get(name)
        if key is None or key.inside is None:
            continue
        inner = [((*node.path, name), value)]
        if key.each and isinstance(value, Mapping):
            inner = [((*node.path, name, label), content) for label, content in value.items()]
        for path, content in inner:
            if not isinstance(content, Mapping):
                continue
            if isinstance(key.inside, Block):
                yield from below(Node(path, content, key.inside.of_reader(node.block)), opt)
            else:
                yield from below(_typed(path, content, key.inside, opt), opt)


def _typed(path: KeyPath, value: Mapping, typed: Typed, opt: Mapping) -> Node:
    """The mapping whose `type` decides its block; with `type` alone where that is missing."""
    if 'type' in value or typed.default is not None:
        block = block_of_type(typed.kind, value.get('type', typed.default))
    else:
        block = Block(str(typed.kind), {'type': type_key(typed.kind)}, is_open=True)
    given = frozenset(['type'] if typed.default is not None else ())
    node = Node(path, value, block, typed.kind, given)
    return _data_set(node, opt) if typed.kind == 'dataset' else node


# ------------------------------------------------------------------------------------------------------------ data sets


def _data_set(node: Node, opt: Mapping) -> Node:
    """What its place in the option file gives a data set."""
    given = set(node.given)
    if opt.get('scale') is not None:
        given.add('scale')
    if 'methods' in opt:
        given.add('name')
    if not (len(node.path) == 2 and str(node.path[1]).split('_')[0] == 'train'):
        given.update(_LOADER)
    return with_parts(replace(node, given=frozenset(given)))


def with_parts(node: Node) -> Node:
    """The mapping of a data set; that of a mixture may have the keys of its parts, as defaults for all of them."""
    if node.block is None or parts_key(node.block) is None:
        return node
    inside = [part.block for part in _parts(node)]
    known = [block for block in inside if block is not None]
    shared = {name: key.optional() for block in known for name, key in block.keys.items()}
    is_open = not known or len(known) < len(inside) or any(block.is_open for block in (node.block, *known))
    near = node.block.near.union(*(block.near for block in known))
    block = replace(node.block, keys={**shared, **node.block.keys}, is_open=is_open, near=near)
    return replace(node, block=block)


def parts_key(block: Block) -> tuple[str, Parts] | None:
    """The key of a block that holds data sets, and what is noted of them; see `Parts`."""
    for name, key in block.keys.items():
        parts = note_of(key.annotation, Parts)
        if parts is not None:
            return name, parts
    return None


def _parts(node: Node) -> Iterator[Node]:
    """The parts of a mixture, each with what the mixture gives it; nothing of any other block."""
    found = parts_key(node.block) if node.block is not None else None
    if found is None:
        return
    key, note = found
    given = frozenset({*node.value, 'name', *node.given} - {'type', key})
    parts = node.value.get(key)
    for label, part in parts.items() if isinstance(parts, Mapping) else ():
        if not isinstance(part, Mapping):
            continue
        inner = _typed((*node.path, key, label), part, Typed('dataset'), {})
        if inner.block is not None:
            own = {name: one for name, one in inner.block.keys.items() if name not in _LOADER}
            inner = replace(inner, block=replace(inner.block, keys={**own, **block_of(note.extra).keys}))
        yield replace(inner, given=inner.given | given)


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
    keys = dict((block_of(blocks.Top) | own_block(model)).keys)
    networks = [key for key in opt if str(key).startswith('network_')]
    keys['train'] = replace(keys['train'], inside=_training(keys['train'].inside, model, opt.get('train')))
    keys['path'] = replace(keys['path'], inside=_paths(keys['path'].inside, [*networks, 'network_g']))
    if not (is_closed(model) or is_basicsrs(model)):  # others may do without
        keys['network_g'] = keys['network_g'].optional()
    if not is_closed(model) or phase == 'test':
        keys |= {name: keys['network_g'].optional() for name in networks if name not in keys}
    name = model.__name__ if model else 'BasicSR'
    near = frozenset() if is_closed(model) else names_in_code(model)
    return Block(name, keys, not is_closed(model), near=near)


def _training(block: Any, model: type | None, written: object) -> Block:
    loss = Key(dict | None, 'loss', inside=Typed('loss'))
    keys = {key: replace(loss, says=f'loss {key}') for key in losses_of(model)}
    if not is_closed(model) and isinstance(written, Mapping):
        for key, value in written.items():
            if str(key).startswith('optim_'):
                keys[key] = block.keys['optim_g'].optional()
            elif str(key).endswith('_opt') and isinstance(value, Mapping) and 'type' in value:
                keys.setdefault(key, loss)
    keys = {**keys, **block.keys}
    if not (is_closed(model) or is_basicsrs(model)):
        keys['optim_g'] = keys['optim_g'].optional()
    return replace(block, keys=keys)


def _paths(block: Any, networks: list[str]) -> Block:
    written = block_of(blocks.PathsOfNetwork).keys
    letters = [str(network).removeprefix('network_') for network in networks]
    keys = {name.replace('_X', f'_{letter}'): key for letter in letters for name, key in written.items()}
    return replace(block, keys={**keys, **block.keys})


def declaring_models() -> list[type]:
    """Registered models that say which options they read, parents first."""
    found = [find('model', name) for name in names_of('model')]
    models = [model for model in found if isinstance(model, type) and is_closed(model)]
    return sorted(models, key=lambda model: len(model.__mro__))
