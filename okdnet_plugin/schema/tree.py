"""Which block governs which mapping of an option file."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from okdnet_plugin.schema import blocks, data_sets, toolbox_models
from okdnet_plugin.schema.keys import Block, Key, Keys, Typed, block_of
from okdnet_plugin.schema.registered import block_of_type, find, is_first_party, names_of, type_key

Phase = Literal['train', 'test', 'report']
KeyPath = tuple[Any, ...]


@dataclass(frozen=True)
class Node:
    """A mapping of an option file.

    Args:
        path: keys that lead to it.
        value: the mapping.
        block: what it may say; None where nothing is known of it, as its `type` is not registered.
        given: keys that it need not have, as others give them.
    """

    path: KeyPath
    value: Mapping
    block: Block | None
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
    yield from _below(Node((), opt, top_block(opt, phase)), opt)


def _below(node: Node, opt: Mapping) -> Iterator[Node]:
    yield node
    if node.block is None:
        return
    for part in parts_of(node):
        yield from _below(part, opt)
    for name, value in node.value.items():
        key = node.block.keys.get(name)
        inside = key.inside if key is not None else None
        if inside is None:
            continue
        places = value.items() if key.each and isinstance(value, Mapping) else [(None, value)]  # type: ignore[union-attr]
        for label, content in places:
            path = (*node.path, name) if label is None else (*node.path, name, label)
            if isinstance(content, Mapping):
                yield from _below(_node(path, content, inside, opt), opt)


def _node(path: KeyPath, value: Mapping, inside: Block | Typed, opt: Mapping) -> Node:
    if isinstance(inside, Block):
        return Node(path, value, inside)
    if inside.kind == 'dataset':
        return _data_set(path, value, opt)
    return Node(path, value, block_of_typed(inside, value))


def block_of_typed(inside: Typed, value: Mapping) -> Block | None:
    """The block that its `type` decides; with `type` alone where that is missing."""
    if 'type' not in value:
        return Block(str(inside.kind), {'type': type_key(inside.kind)}, is_open=True)
    return block_of_type(inside.kind, value['type'])


# ------------------------------------------------------------------------------------------------------------ data sets


def _data_set(path: KeyPath, value: Mapping, opt: Mapping) -> Node:
    block = block_of_typed(Typed('dataset'), value)
    given = frozenset(['scale'] if opt.get('scale') is not None else [])
    if block is None:
        return Node(path, value, None)
    is_training = len(path) == 2 and path[0] == 'datasets' and str(path[1]).split('_')[0] == 'train'
    if not is_training:  # whose crops, flips and batches are asked for
        block = replace(block, keys={name: _but_for(key, 'train') for name, key in block.keys.items()})
    if 'methods' in opt:
        given |= {'name'}
    parts = value.get('parts')
    if block.name == 'MixedDataset' and isinstance(parts, Mapping):
        return Node(path, value, _mixture(block, value), given)
    return Node(path, value, block, given)


def _but_for(key: Key, phase: Phase) -> Key:
    """A data set of a training that is not trained on needs what one of a test needs."""
    return replace(key, needed=tuple(one for one in key.needed if one != phase or 'test' in key.needed))


def _mixture(block: Block, value: Mapping) -> Block:
    """Any key of a part may stand beside the parts, as a default for all of them."""
    shared: dict[str, Key] = {}
    is_open = False
    parts = {label: part for label, part in value['parts'].items() if isinstance(part, Mapping)}
    for part in parts.values():
        of_part = block_of_typed(Typed('dataset'), part)
        is_open |= of_part is None or of_part.is_open
        shared |= {name: key.optional() for name, key in (of_part.keys if of_part else {}).items()}
    return Block(block.name, {**shared, **block.keys, 'parts': block.keys['parts']}, is_open)


def parts_of(node: Node) -> Iterator[Node]:
    """The parts of a MixedDataset, each with what the mixture gives it."""
    parts = node.value.get('parts')
    if node.block is None or node.block.name != 'MixedDataset' or not isinstance(parts, Mapping):
        return
    loader = block_of(data_sets.OfTheLoader).keys
    given = frozenset({*node.value, 'name', *node.given} - {'type', 'parts'})
    for label, part in parts.items():
        if not isinstance(part, Mapping):
            continue
        block = block_of_typed(Typed('dataset'), part)
        if block is not None:
            of_part = block_of(data_sets.OfAPart).keys
            block = Block(block.name, {**block.without(loader).keys, **of_part}, block.is_open)
        yield Node((*node.path, 'parts', label), part, block, given)


# ------------------------------------------------------------------------------------------------------------ the model


def model_of(opt: Mapping) -> type | None:
    """The class that `model_type` names, or nearly names; None if there is none."""
    name = opt.get('model_type')
    near = difflib.get_close_matches(name, names_of('model'), n=1, cutoff=0.75) if isinstance(name, str) else []
    model = find('model', name) or find('model', *near or [None])
    return model if isinstance(model, type) else None


def is_ours(model: type | None) -> bool:
    """Whether it is RestorationModel or built on it."""
    from okdnet_plugin.models.restoration_model import RestorationModel

    return model is not None and issubclass(model, RestorationModel)


def _of_model(model: type | None, table: Mapping[str, type[Keys]]) -> Block:
    """What a model reads, and its parents, of one block."""
    block = Block(model.__name__ if model else '', is_open=model is None or not is_first_party(model))
    for ancestor in reversed(model.__mro__ if model else ()):
        if ancestor.__name__ in table and is_first_party(ancestor):
            block |= replace(block_of(table[ancestor.__name__]), name=block.name)
    return replace(block, name=model.__name__ if model else '')


def top_block(opt: Mapping, phase: Phase) -> Block:
    """The top of an option file, which depends on its model."""
    if phase == 'report':
        return block_of(blocks.ReportTop)
    model = model_of(opt)
    block = block_of(blocks.Top) | _of_model(model, toolbox_models.TOP)
    if is_ours(model):
        block |= replace(block_of(blocks.EngineTop), name=block.name)
    networks = [key for key in opt if str(key).startswith('network_')]
    network = block_of(toolbox_models.SRTop).keys['network_g']
    if block.is_open or phase == 'test':
        block |= Block(block.name, {key: block.keys.get(key, network.optional()) for key in networks})
    keys = dict(block.keys)
    for name, inside in {
        'train': _training(model),
        'val': block_of(blocks.Validation) | _of_model(model, toolbox_models.VAL),
        'logger': _logger(model),
        'path': _paths([*networks, *(key for key in keys if key.startswith('network_'))], model),
    }.items():
        keys[name] = replace(keys[name], inside=replace(inside, name=block.name or inside.name))
    return Block(block.name or 'BasicSR', keys, block.is_open)


def _training(model: type | None) -> Block:
    block = block_of(blocks.Training) | _of_model(model, toolbox_models.TRAIN)
    if model is None or not is_ours(model):
        return block
    loss = block_of(toolbox_models.SRTraining).keys['pixel_opt']
    losses = {key: replace(loss, says=f'loss {key}') for key in model.loss_blocks}  # type: ignore[attr-defined]
    block = block.without(key for key in block.keys if key.endswith('_opt')) | block_of(blocks.EngineTraining)
    return Block(model.__name__, {**block.keys, **losses}, block.is_open)


def _logger(model: type | None) -> Block:
    block = block_of(blocks.Logger)
    block = block | block_of(blocks.EngineLogger) if is_ours(model) else block
    return replace(block, is_open=model is None or not is_first_party(model))


def _paths(networks: list[str], model: type | None) -> Block:
    written = block_of(blocks.PathsOfNetwork).keys
    letters = dict.fromkeys(str(key).removeprefix('network_') for key in networks)
    keys = {name.replace('_X', f'_{letter}'): key for letter in letters for name, key in written.items()}
    keys |= {f'pretrain_network_{letter}': written['pretrain_network_X'] for letter in letters}
    block = block_of(blocks.Paths)
    is_open = model is None or not is_first_party(model)
    return Block(block.name, {**keys, **block.keys}, is_open)


def every_model() -> list[type]:
    """The models of the toolbox and ours, for what any of them reads."""
    from okdnet_plugin.schema.registered import _registries

    return [one for one in _registries()['model'].values() if inspect.isclass(one) and is_first_party(one)]
