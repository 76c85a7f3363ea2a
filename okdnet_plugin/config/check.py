"""The check of an option file: every key against its block, what contradicts itself, and what is not on the disk."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast, get_args

from pydantic import TypeAdapter, ValidationError

from okdnet_plugin.config import consistency
from okdnet_plugin.config.command_line import is_first_process
from okdnet_plugin.config.consistency import on_disk
from okdnet_plugin.config.keys import Block, Key
from okdnet_plugin.config.messages import Mistake, Places, error_of, shown, with_places
from okdnet_plugin.config.registered import NOUNS, block_of_data_set, find, unknown_name
from okdnet_plugin.config.types import (
    bare,
    choices_of,
    described,
    is_number_to_a_reader,
    is_told_as_a_whole,
    item_type,
    may_be_left_empty,
    members,
    takes_numbers,
)
from okdnet_plugin.config.walk import (
    KeyPath,
    Node,
    Phase,
    below,
    data_set_node,
    declaring_models,
    losses_of,
    model_of,
    nodes_of,
    top_block,
)
from okdnet_plugin.errors import did_you_mean

# What BasicSR's parser and pipelines add to the options.
_OF_THE_PARSER = ('dist', 'rank', 'world_size', 'auto_resume', 'is_train', 'root_path')
_PATHS_OF_THE_PARSER = ('experiments_root', 'models', 'training_states', 'log', 'visualization', 'results_root')
_HELPERS = 'x-'  # blocks at the top that hold nothing but YAML's anchors


def check(opt: Mapping, places: Places | None = None, phase: Phase = 'train', look: bool = True) -> list[Mistake]:
    """All mistakes of an option file, and what is told as a warning.

    Args:
        opt: what it says, as it is written: with what it builds on, before BasicSR's parser adds to it.
        places: where its keys are written.
        phase: what it is used for.
        look: look whether files and folders are there, and what saved networks hold.

    Returns:
        The mistakes in the order of their files and lines; without places in the order in which they are written.
    """
    found = list(_of_keys(opt, phase))
    wrong = {mistake.path for mistake in found if not mistake.is_warning}
    for mistake in consistency.contradictions(opt, phase, wrong):
        if not any(mistake.path[: len(path)] == path for path in wrong):
            found.append(mistake)
    if look:
        found += _of_data_sets(opt, phase, wrong)
    if look and phase != 'report':
        found += [mistake for mistake in on_disk.missing(opt, phase) if mistake.path not in wrong]
    return with_places(found, places)


def refuse(opt: Mapping, places: Places | None = None, phase: Phase = 'train', look: bool = True) -> None:
    """Raise one error that names all mistakes of an option file, if it has any, and print its warnings; see `check`.

    Raises:
        InputError: it has; UnknownNameError if a name that is not registered is among them.
    """
    raise_or_warn(check(opt, places, phase, look))


def raise_or_warn(mistakes: list[Mistake]) -> None:
    """Raise what is wrong as one error; otherwise print what is a warning, a line each."""
    errors = [mistake for mistake in mistakes if not mistake.is_warning]
    if errors:
        raise error_of(errors)
    for mistake in mistakes if is_first_process() else ():
        sys.stderr.write(f'basicsr: {mistake}\n')


def refuse_of_model(opt: Mapping) -> None:
    """As `refuse`, for what a model reads alone: who builds one by hand may do without the rest of an option file.

    Args:
        opt: the options that a model is made of.

    Raises:
        InputError: they have mistakes.
    """
    mistakes = check(as_written(opt), phase='train' if opt['is_train'] else 'test', look=False)
    raise_or_warn([mistake for mistake in mistakes if not mistake.is_warning and _is_read_by_models(mistake)])


def _is_read_by_models(mistake: Mistake) -> bool:
    level = mistake.path[0]
    if mistake.kind == 'missing key':
        return level == 'train' and mistake.path[-1] != 'total_iter'
    return level != 'datasets' and mistake.path != ('val',)


def as_written(opt: Mapping) -> dict:
    """Options without what BasicSR's parser has added to them."""
    written = {key: value for key, value in opt.items() if key not in _OF_THE_PARSER}
    path = opt.get('path')
    if isinstance(path, Mapping):
        written['path'] = {key: value for key, value in path.items() if key not in _PATHS_OF_THE_PARSER}
    return written


def mistakes_of_data_set(target: type, block: Mapping) -> list[Mistake]:
    """What is wrong in the block of a data set, by the options that its class declares; without warnings.

    Args:
        target: its class.
        block: as BasicSR hands it over; `type` and what the loader reads may be missing.
    """
    # Here a path may be a Path, and the name of a part of a mixture that of both.
    given = {name: one for name, one in block.items() if one is not None and name != 'name'}
    written = {name: os.fspath(one) if isinstance(one, os.PathLike) else one for name, one in given.items()}
    top = data_set_node((), written, block_of_data_set(target.__name__, target), frozenset(['type', 'scale']))
    mistakes = []
    for node in below(top, {}):
        for name, value in node.value.items():
            if node.block is not None:
                mistakes += _of_key((*node.path, name), value, node, {})
        mistakes += _missing(node, 'report') if node.block is not None else ()
    name = block.get('name')
    if not isinstance(name, str) or not name:
        text = 'is missing; add it: results and messages go by it'
        mistakes.append(
            Mistake(('name',), text if name is None else f'is {shown(name)}; write a string', 'missing key')
        )
    return [mistake for mistake in mistakes if not mistake.is_warning]


def _of_keys(opt: Mapping, phase: Phase) -> Iterator[Mistake]:
    if phase != 'report' and opt.get('model_type') is not None and find('model', opt['model_type']) is None:
        yield Mistake(('model_type',), f': {unknown_name("model", opt["model_type"])}', 'unknown name')
    for node in nodes_of(opt, phase):
        if node.block is None:
            yield Mistake((*node.path, 'type'), f': {unknown_name(node.kind, node.value["type"])}', 'unknown name')
            yield from _numbers(node.path, node.value)
            continue
        for name, value in node.value.items():
            if not node.path and str(name).startswith(_HELPERS):
                continue
            yield from _of_key((*node.path, name), value, node, opt)
        yield from _missing(node, phase)


def _of_data_sets(opt: Mapping, phase: Phase, wrong: set[KeyPath]) -> Iterator[Mistake]:
    """What the classes of data sets say of their blocks beyond single keys, by a class method `complaints(block)`."""
    for node in nodes_of(opt, phase):
        complaints = getattr(find('dataset', node.value.get('type')), 'complaints', None)
        if node.kind != 'dataset' or complaints is None:
            continue
        right = {name: one for name, one in node.value.items() if (*node.path, name) not in wrong}
        for name, text in complaints(right):
            yield Mistake((*node.path, name), text, 'wrong value')


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
        return
    except ValidationError as error:
        places = [one['loc'] for one in error.errors(include_url=False, include_context=False, include_input=False)]
    kinds = [one for one in members(annotation) if item_type(one, value) is not None]
    is_one = len(kinds) == 1 and not is_told_as_a_whole(annotation)  # else the whole is told
    if is_one:
        try:
            TypeAdapter(cast('Any', kinds[0])).validate_python(value)
        except ValidationError as error:
            places = [one['loc'] for one in error.errors(include_url=False, include_context=False, include_input=False)]
    item = item_type(kinds[0], value) if is_one else None
    if item is None or not all(places):
        yield _refusal(path, value, described(annotation), annotation, key.is_guess)
        return
    for index in dict.fromkeys(place[0] for place in places):
        if (index, '[key]') in places:
            hint = did_you_mean(index, map(str, get_args(get_args(bare(kinds[0]))[0])))
            yield Mistake((*path, index), f': there is no such key{hint}; correct it, or take it out', 'unknown key')
        elif isinstance(value[index], Mapping):  # type: ignore[index]
            yield from _wrong((*path, index), value[index], item, replace(key, annotation=item))  # type: ignore[index]
        else:
            yield _refusal((*path, index), value[index], described(item), item, key.is_guess)  # type: ignore[index]


def _refusal(path: KeyPath, value: object, expected: str, annotation: Any = None, is_guess: bool = False) -> Mistake:
    if annotation is not None and is_number_to_a_reader(value) and takes_numbers(annotation):
        return Mistake(path, _number_text(value), 'wrong value')
    if isinstance(value, float) and value.is_integer() and annotation is not None:
        try:
            TypeAdapter(annotation).validate_python(int(value))
        except ValidationError:
            pass
        else:
            return Mistake(path, f'is {shown(value)}; write {int(value)}, without a point', 'wrong value', is_guess)
    hint = did_you_mean(value, choices_of(annotation)) if isinstance(value, str) else ''
    return Mistake(path, f'is {shown(value)}{hint}; write {expected}', 'wrong value', is_guess)


def _number_text(value: Any) -> str:
    return f'is the text {value!r} to YAML; write {float(value)!r}, or a point before the exponent'


def _numbers(path: KeyPath, value: object, annotation: Any = Any) -> Iterator[Mistake]:
    """Numbers that YAML has read as texts, where nothing is known of what is expected."""
    if is_number_to_a_reader(value) and takes_numbers(annotation):
        yield Mistake(path, _number_text(value), 'wrong value')
    item = item_type(bare(annotation), value) if annotation is not Any else Any
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, content in pairs:
        yield from _numbers((*path, name), content, Any if item is None else item)


# --------------------------------------------------------------------------------------------------------- unknown keys


def _unknown(path: KeyPath, value: object, node: Node, opt: Mapping) -> Iterator[Mistake]:
    assert node.block is not None
    block, written = node.block, str(path[-1])
    if block.is_open:
        is_strict = False
        text = _of_a_declaring_model(path, value, block, opt)
        if text is None and written not in block.near:
            known = {*block.keys, *block.near}
            cutoff = 0.6 if block.name in NOUNS else 0.8  # next to nothing is known where `type` is missing
            absent = sorted(name for name in known if name not in node.value)
            of_strict = difflib.get_close_matches(written, block.strict, n=1, cutoff=0.75)
            near = of_strict[0] if of_strict else _replaced_by(written, absent, cutoff)
            text = near and f': nothing is known to read it (did you mean {near}?); correct it, if so'
            is_strict = near in block.strict
        if text:
            yield Mistake(path, text, 'unknown key', is_warning=not is_strict)
        else:
            yield from _numbers(path, value)
        return
    hint = did_you_mean(written, block.keys)
    if block.noun == 'argument':
        names = ', '.join(name for name in block.keys if name != 'type')
        yield Mistake(path, f': {block.name} has no such argument{hint}; it has {names}', 'unknown key')
        return
    losses = losses_of(model_of(opt)) if path[:-1] == ('train',) and isinstance(value, Mapping) else {}
    if losses:
        hint = did_you_mean(written, losses)
        yield Mistake(path, f': {block.name} knows no such loss{hint}; it reads {", ".join(losses)}', 'unknown key')
        return
    reader = (
        'nothing reads it' if 'datasets' not in path[:1] and node.kind is None else f'{block.name} does not read it'
    )
    yield Mistake(path, f': {reader}{hint}; correct it, or take it out', 'unknown key')


def _replaced_by(written: str, absent: list[str], cutoff: float) -> str | None:
    """A key that is missing and was likely meant, in a block that may have keys of which nothing is known."""
    for name in difflib.get_close_matches(written.lower(), absent, n=3, cutoff=cutoff):
        stems = written.rstrip('0123456789'), name.rstrip('0123456789')
        if not written.startswith(stems[1]) and not name.startswith(stems[0]):
            return name
    return None


def _of_a_declaring_model(path: KeyPath, value: object, block: Block, opt: Mapping) -> str | None:
    """What is said of a key that another model declares, if this one does not seem to read it."""
    model, level = model_of(opt), path[:-1]
    if model is None or level not in ((), ('train',), ('logger',)) or path[-1] in block.near or not value:
        return None
    for other in declaring_models():
        of_other = top_block({**opt, 'model_type': other.__name__}, 'train')
        inner = of_other.keys[level[0]].inside if level else of_other
        if isinstance(inner, Block) and path[-1] in inner.keys and not issubclass(model, other):
            return f': {model.__name__} does not read it; take it out, or use model_type: {other.__name__}'
    return None


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
        return f'is missing; add the name of a registered {NOUNS.get(node.kind, "class")}'
    if node.block is not None and node.block.noun == 'argument' and name != 'lr':
        return f'is missing; {node.block.name} has no default for it'
    return f'is missing; add {key.says or described(key.annotation)}'
