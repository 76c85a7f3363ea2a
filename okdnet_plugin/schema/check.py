"""The check of an option file: every key against its block, what contradicts itself, and what is not on the disk."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from okdnet_plugin.data.options import shown
from okdnet_plugin.errors import did_you_mean
from okdnet_plugin.schema import files, rules
from okdnet_plugin.schema.keys import Block, Key
from okdnet_plugin.schema.mistakes import Mistake, Places
from okdnet_plugin.schema.registered import NOUNS, find, unknown_name
from okdnet_plugin.schema.tree import KeyPath, Node, Phase, nodes_of, top_block
from okdnet_plugin.schema.values import (
    Says,
    bare,
    described,
    is_number_to_a_reader,
    may_be_left_empty,
    members,
    note_of,
    takes_numbers,
)

_HELPERS = 'x-'  # blocks at the top that hold nothing but YAML's anchors


def check(opt: Mapping, places: Places | None = None, phase: Phase = 'train', look: bool = True) -> list[Mistake]:
    """All mistakes of an option file.

    Args:
        opt: what it says, as it is written: with what it builds on, before the toolbox's parser adds to it.
        places: where its keys are written.
        phase: what it is used for.
        look: look whether files and folders are there, and what saved networks hold.

    Returns:
        The mistakes in the order of their files and lines; without places in the order in which they are written.
    """
    found = list(_of_keys(opt, phase))
    wrong = {mistake.path for mistake in found}
    for mistake in rules.contradictions(opt, phase, wrong):
        if not any(mistake.path[: len(path)] == path for path in wrong):
            found.append(mistake)
    if look and phase != 'report':
        found += [mistake for mistake in files.missing(opt, phase) if mistake.path not in wrong]
    return found if places is None else with_places(found, places)


def with_places(mistakes: Iterable[Mistake], places: Places) -> list[Mistake]:
    """Mistakes with their places, in the order of these."""
    located = [replace(mistake, place=places.of(mistake.path)) for mistake in mistakes]
    return sorted(located, key=lambda mistake: mistake.file_and_line)


def _of_keys(opt: Mapping, phase: Phase) -> Iterator[Mistake]:
    if phase != 'report' and opt.get('model_type') is not None and find('model', opt['model_type']) is None:
        yield Mistake(('model_type',), f': {unknown_name("model", opt["model_type"])}', 'unknown name')
    for node in nodes_of(opt, phase):
        if node.block is None:
            kind = _kind_of(node, opt, phase)
            yield Mistake((*node.path, 'type'), f': {unknown_name(kind, node.value["type"])}', 'unknown name')
            yield from _numbers(node.path, node.value)
            continue
        for name, value in node.value.items():
            if not node.path and str(name).startswith(_HELPERS):
                continue
            yield from _of_key((*node.path, name), value, node, opt)
        yield from _missing(node, phase)


def _kind_of(node: Node, opt: Mapping, phase: Phase) -> Any:
    """Which registry a `type` was looked up in."""
    block: Block | None = top_block(opt, phase)
    inside: Any = None
    for name in node.path:
        key = block.keys.get(name) if block is not None else None
        if key is None:  # a label of several, or a part of a mixture
            continue
        inside = key.inside
        block = inside if isinstance(inside, Block) else None
    return inside.kind if inside is not None and not isinstance(inside, Block) else 'dataset'


# ------------------------------------------------------------------------------------------------------------- one key


def _of_key(path: KeyPath, value: object, node: Node, opt: Mapping) -> Iterator[Mistake]:
    assert node.block is not None
    key = node.block.keys.get(path[-1])
    if key is None:
        yield from _unknown(path, value, node, opt)
        return
    mistakes = list(_wrong(path, value, key.annotation, key))
    yield from mistakes
    if not mistakes and (key.annotation is Any or (key.inside is None and isinstance(value, (Mapping, list)))):
        yield from _numbers(path, value, key.annotation)
    if key.each and isinstance(value, Mapping):
        for label, content in value.items():
            if not isinstance(content, Mapping) and not (content is None and path == ('methods',)):
                yield _refusal((*path, label), content, 'a block of keys and values')


def _wrong(path: KeyPath, value: object, annotation: Any, key: Key) -> Iterator[Mistake]:
    try:
        key.adapter.validate_python(value)
    except ValidationError as error:
        kinds = [one for one in members(annotation) if bare(one) is not type(None)]
        is_one = len(kinds) == 1 and note_of(kinds[0], Says) is None  # else the whole is told
        item = _item_type(kinds[0], value) if is_one else None
        places = [one['loc'] for one in error.errors(include_url=False, include_context=False, include_input=False)]
        if item is not None and all(places):
            for index in dict.fromkeys(place[0] for place in places):
                if (index, '[key]') in places:
                    choices = get_args(get_args(bare(kinds[0]))[0])
                    hint = did_you_mean(index, map(str, choices))
                    yield Mistake(
                        (*path, index), f': there is no such key{hint}; correct it, or take it out', 'unknown key'
                    )
                else:
                    yield _refusal((*path, index), value[index], described(item), item)  # type: ignore[index]
            return
        yield _refusal(path, value, described(annotation), annotation)


def _item_type(annotation: object, value: object) -> Any:
    """What an item of a list, or a value of a mapping, may be; None if it is no such thing."""
    kind = bare(annotation)
    if get_origin(kind) is list and isinstance(value, list):
        return get_args(kind)[0]
    if get_origin(kind) is dict and isinstance(value, Mapping):
        return get_args(kind)[1]
    return None


def _refusal(path: KeyPath, value: object, expected: str, annotation: Any = None) -> Mistake:
    if annotation is not None and is_number_to_a_reader(value) and takes_numbers(annotation):
        return Mistake(path, _number_text(value), 'wrong value')
    if isinstance(value, float) and value.is_integer() and annotation is not None:
        try:
            TypeAdapter(annotation).validate_python(int(value))
        except ValidationError:
            pass
        else:
            return Mistake(path, f'is {shown(value)}; write {int(value)}, without a point', 'wrong value')
    choices = [str(one) for part in members(annotation) for one in _choices(part)]
    hint = did_you_mean(value, choices) if isinstance(value, str) else ''
    return Mistake(path, f'is {shown(value)}{hint}; write {expected}', 'wrong value')


def _choices(annotation: object) -> Iterable[object]:
    kind = bare(annotation)
    return get_args(kind) if get_origin(kind) is Literal else ()


def _number_text(value: Any) -> str:
    return f'is the text {value!r} to YAML; write {float(value)!r}, or a point before the exponent'


def _numbers(path: KeyPath, value: object, annotation: Any = Any) -> Iterator[Mistake]:
    """Numbers that YAML has read as texts, where nothing is known of what is expected."""
    if is_number_to_a_reader(value) and takes_numbers(annotation):
        yield Mistake(path, _number_text(value), 'wrong value')
    item = _item_type(bare(annotation), value) if annotation is not Any else Any
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, content in pairs:
        yield from _numbers((*path, name), content, Any if item is None else item)


# --------------------------------------------------------------------------------------------------------- unknown keys


def _unknown(path: KeyPath, value: object, node: Node, opt: Mapping) -> Iterator[Mistake]:
    assert node.block is not None
    block, written = node.block, str(path[-1])
    if block.is_open:
        cutoff = 0.6 if block.name in NOUNS else 0.8  # next to nothing is known where `type` is missing
        near = _replaced_by(written, [name for name in block.keys if name not in node.value], cutoff)
        if near is None:
            yield from _numbers(path, value)
            return
        yield Mistake(path, f': nothing is known to read it (did you mean {near}?); correct it', 'unknown key')
        return
    hint = did_you_mean(written, block.keys)
    if block.noun == 'argument':
        names = ', '.join(name for name in block.keys if name != 'type')
        yield Mistake(path, f': {block.name} has no such argument{hint}; it has {names}', 'unknown key')
        return
    text = _of_another(path, value, node, opt)
    if text is None:
        reader = 'nothing' if len(path) == 1 or 'datasets' not in path[:1] else block.name
        reads = 'reads it' if reader == 'nothing' else 'does not read it'
        text = f': {reader} {reads}{hint}; correct it, or take it out'
    if text:
        yield Mistake(path, text, 'unknown key')


def _replaced_by(written: str, absent: list[str], cutoff: float) -> str | None:
    """A key that is missing and was likely meant, in a block that may have keys of which nothing is known."""
    for name in difflib.get_close_matches(written.lower(), absent, n=3, cutoff=cutoff):
        stems = written.rstrip('0123456789'), name.rstrip('0123456789')
        if not written.startswith(stems[1]) and not name.startswith(stems[0]):
            return name
    return None


def _of_another(path: KeyPath, value: object, node: Node, opt: Mapping) -> str | None:
    """What is said of a key that another model reads; empty if it does no harm, None if no model reads it."""
    from okdnet_plugin.schema.tree import every_model, is_ours, model_of

    model = model_of(opt)
    level = path[:-1]
    if model is None or level not in ((), ('train',), ('val',), ('logger',)):
        return None
    if level == ('train',) and is_ours(model) and isinstance(value, Mapping):
        losses = list(model.loss_blocks)  # type: ignore[attr-defined]
        hint = did_you_mean(path[-1], losses)
        return f': {model.__name__} knows no such loss{hint}; it reads {", ".join(losses)}'
    if did_you_mean(path[-1], [name for name in node.block.keys if name not in node.value], cutoff=0.8):  # type: ignore[union-attr]
        return None
    readers = []
    for other in every_model():
        block = top_block({**opt, 'model_type': other.__name__}, 'train')
        inner = block.keys[level[0]].inside if level else block
        if isinstance(inner, Block) and path[-1] in inner.keys:
            readers.append(other.__name__)
    if not readers:
        return None
    if not value and 'RestorationModel' in readers:
        return ''  # an option of the engine that is switched off
    best = 'RestorationModel' if 'RestorationModel' in readers else readers[0]
    others = f' ({", ".join(readers)} do)' if best != 'RestorationModel' and len(readers) > 1 else ''
    cure = f'use model_type: {best}' if best == 'RestorationModel' else f'take it out, or use model_type: {best}'
    return f': {model.__name__} does not read it{others}; {cure}'


# --------------------------------------------------------------------------------------------------------- missing keys


def _missing(node: Node, phase: Phase) -> Iterator[Mistake]:
    assert node.block is not None
    for name, key in node.block.keys.items():
        if phase not in key.needed or name in node.given:
            continue
        text = _missing_text(name, key, node)
        if name in node.value:
            is_emptied = node.value[name] is None and key.inside is not None
            if not is_emptied or not may_be_left_empty(key.annotation):
                continue  # it is right, or told as a wrong value
            text = text.replace('is missing; add', 'is empty; write a block:')
        yield Mistake((*node.path, name), text, 'missing key')


def _missing_text(name: str, key: Key, node: Node) -> str:
    if name == 'type':
        noun = next((noun for kind, noun in NOUNS.items() if node.block and node.block.name == kind), 'class')
        return f'is missing; add the name of a registered {noun}'
    if node.block is not None and node.block.noun == 'argument' and name != 'lr':
        return f'is missing; {node.block.name} has no default for it'
    return f'is missing; add {key.says or described(key.annotation)}'
