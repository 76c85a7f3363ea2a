"""The check of an option file: every key against its block, what contradicts itself, and what is not on the disk."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from okdnet_plugin.config import consistency
from okdnet_plugin.config.consistency import on_disk
from okdnet_plugin.config.items import KeyPath
from okdnet_plugin.config.keys import Block
from okdnet_plugin.config.messages import Mistake, Places, error_of, is_first_process, shown, with_places
from okdnet_plugin.config.registered import NOUNS, block_of_data_set, find, unknown_name
from okdnet_plugin.config.types import (
    bare,
    choices_of,
    described,
    is_number_to_a_reader,
    is_told_as_a_whole,
    is_valid,
    item_type,
    may_be_left_empty,
    members,
    takes_numbers,
)
from okdnet_plugin.config.walk import (
    Node,
    Phase,
    below,
    declaring_models,
    losses_of,
    model_of,
    nodes_of,
    top_block,
    with_parts,
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
    errors = [one for one in mistakes if not one.is_warning and one.path[0] != 'datasets']
    missing = [one for one in errors if one.kind == 'missing key']
    dispensable = [one for one in missing if one.path[0] != 'train' or one.path[-1] == 'total_iter']
    raise_or_warn([one for one in errors if one not in dispensable])


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
    written = {key: os.fspath(one) if isinstance(one, os.PathLike) else one for key, one in block.items()}
    written = {key: one for key, one in written.items() if one is not None}
    if isinstance(written.get('name'), str):
        written['name'] = written['name'].rpartition('/')[2]
    block_of_it = block_of_data_set(target.__name__, target)
    top = with_parts(Node((), written, block_of_it, 'dataset', frozenset(['type', 'scale'])))
    found = (mistake for node in below(top, {}) for mistake in _of_node(node, 'test', {}))
    return [mistake for mistake in found if not mistake.is_warning]


def _of_keys(opt: Mapping, phase: Phase) -> Iterator[Mistake]:
    if phase != 'report' and opt.get('model_type') is not None and find('model', opt['model_type']) is None:
        yield Mistake(('model_type',), f': {unknown_name("model", opt["model_type"])}', 'unknown name')
    for node in nodes_of(opt, phase):
        yield from _of_node(node, phase, opt)


def _of_node(node: Node, phase: Phase, opt: Mapping) -> Iterator[Mistake]:
    if node.block is None:
        yield Mistake((*node.path, 'type'), f': {unknown_name(node.kind, node.value["type"])}', 'unknown name')
        yield from _numbers(node.path, node.value)
        return
    for name, value in node.value.items():
        if node.path or not str(name).startswith(_HELPERS):
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
    elif not is_valid(key.adapter, value):
        yield from _wrong(path, value, key.annotation, key.is_guess)
    elif key.each and isinstance(value, Mapping):
        for label, content in value.items():
            if not isinstance(content, Mapping) and not (content is None and path == ('methods',)):
                yield _refusal((*path, label), content, dict)
    elif key.annotation is Any or (key.inside is None and isinstance(value, Mapping | list)):
        yield from _numbers(path, value, key.annotation)


def _wrong(path: KeyPath, value: Any, annotation: Any, is_guess: bool) -> Iterator[Mistake]:
    """What is wrong in a value that is refused: its items, if it is a list or a mapping of which they alone are."""
    kinds = [one for one in members(annotation) if item_type(one, value) is not None]
    places: list[tuple] = [()]
    if len(kinds) == 1 and not is_told_as_a_whole(annotation):  # else the whole is told
        places = _places(kinds[0], value)
    if not places or not all(places):
        yield _refusal(path, value, annotation, is_guess)
        return
    item = item_type(kinds[0], value)
    for index in dict.fromkeys(place[0] for place in places):
        if (index, '[key]') in places:
            near = did_you_mean(index, map(str, get_args(get_args(bare(kinds[0]))[0])))
            yield Mistake((*path, index), f': there is no such key{near}; correct it, or take it out', 'unknown key')
        else:
            yield from _wrong((*path, index), value[index], item, is_guess)


def _places(annotation: Any, value: object) -> list[tuple]:
    """Where pydantic finds something wrong."""
    try:
        TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        return [one['loc'] for one in error.errors(include_url=False, include_context=False, include_input=False)]
    return []


def _refusal(path: KeyPath, value: object, annotation: Any, is_guess: bool = False) -> Mistake:
    if is_number_to_a_reader(value) and takes_numbers(annotation):
        return Mistake(path, _number_text(value), 'wrong value')
    cure = f'write {described(annotation)}'
    if isinstance(value, float) and value.is_integer() and is_valid(TypeAdapter(annotation), int(value)):
        cure = f'write {int(value)}, without a point'
    near = did_you_mean(value, choices_of(annotation)) if isinstance(value, str) else ''
    return Mistake(path, f'is {shown(value)}{near}; {cure}', 'wrong value', is_guess)


def _number_text(value: Any) -> str:
    return f'is the text {value!r} to YAML; write {float(value)!r}, or a point before the exponent'


def _numbers(path: KeyPath, value: object, annotation: Any = Any) -> Iterator[Mistake]:
    """Numbers that YAML has read as texts, where nothing is known of what is expected."""
    if is_number_to_a_reader(value) and takes_numbers(annotation):
        yield Mistake(path, _number_text(value), 'wrong value')
    item = item_type(annotation, value)
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, content in pairs:
        yield from _numbers((*path, name), content, Any if item is None else item)


# --------------------------------------------------------------------------------------------------------- unknown keys


def _unknown(path: KeyPath, value: object, node: Node, opt: Mapping) -> Iterator[Mistake]:
    assert node.block is not None
    block, written = node.block, str(path[-1])
    if block.is_open:
        text = _of_a_declaring_model(path, value, block, opt)
        if text is None and written not in block.near:
            near = _replaced_by(written, node)
            text = near and f': nothing is known to read it (did you mean {near}?); correct it, if so'
        if text:
            yield Mistake(path, text, 'unknown key', is_warning=True)
        else:
            yield from _numbers(path, value)
        return
    text = f': {block.name} does not read it{did_you_mean(written, block.keys)}; correct it, or take it out'
    losses = losses_of(model_of(opt)) if path[:-1] == ('train',) and isinstance(value, Mapping) else {}
    if losses:
        near = did_you_mean(written, losses)
        text = f': {block.name} knows no such loss{near}; it reads {", ".join(losses)}'
    elif block.noun == 'argument':
        names = [name for name in block.keys if name != 'type']
        text = f': {block.name} has no such argument{did_you_mean(written, block.keys)}; it has {", ".join(names)}'
    elif node.kind is None and path[0] != 'datasets':
        text = text.replace(f'{block.name} does not read it', 'nothing reads it')
    yield Mistake(path, text, 'unknown key')


def _replaced_by(written: str, node: Node) -> str | None:
    """A key that is missing and was likely meant, in a block that may have keys of which nothing is known."""
    assert node.block is not None
    absent = sorted({*node.block.keys, *node.block.near} - {*map(str, node.value)})
    cutoff = 0.6 if node.block.name in NOUNS else 0.8  # next to nothing is known where `type` is missing
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
        cure = f'add {key.says or described(key.annotation)}'
        if name not in node.value:
            if node.block.noun == 'argument' and name not in ('type', 'lr'):
                cure = f'{node.block.name} has no default for it'
            yield Mistake((*node.path, name), f'is missing; {cure}', 'missing key')
        elif node.value[name] is None and key.inside is not None and may_be_left_empty(key.annotation):
            yield Mistake((*node.path, name), f'is empty; {cure.replace("add", "write a block:", 1)}', 'missing key')
