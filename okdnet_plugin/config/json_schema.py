"""A JSON schema of option files (draft 2020-12), by which editors complete, explain and check them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from okdnet_plugin.config import blocks
from okdnet_plugin.config.docstrings import summary_of
from okdnet_plugin.config.keys import Block, Key, Kind, Typed, block_of, declares, own_block
from okdnet_plugin.config.registered import NOUNS, block_of_type, find, is_basicsrs, names_of
from okdnet_plugin.config.walk import declaring_models, losses_of, parts_key, top_block

_REFERENCE = {'$ref': '#/$defs/reference'}
_SHARED = {
    'reference': {
        'description': 'a reference, as ${network_g.num_feat}; or _delete_, which takes out what the bases have',
        'type': 'string',
        'pattern': r'\$\{|^_delete_$',
    },
    '_base_': {
        'description': 'file, or list of files, that this one builds on',
        'anyOf': [{'type': 'string'}, {'type': 'array', 'items': {'type': 'string'}}],
    },
    '_delete_': {'description': 'true: the block stands alone, whatever the bases have', 'type': 'boolean'},
}
_DELETE = {'_delete_': {'$ref': '#/$defs/_delete_'}}
_BASE = {'_base_': {'$ref': '#/$defs/_base_'}}
_HELPERS = {'^x-': {'description': "a block for YAML's anchors, which nothing reads"}}
_KINDS: tuple[Kind, ...] = ('network', 'loss', 'metric', 'dataset', 'scheduler')


def json_schema() -> dict[str, Any]:
    """The schema of an option file of a training, a test or a report, with all that is registered.

    It says less than the check: keys may come from a base, so that none has to be there; `${…}` may stand anywhere;
    of BasicSR's own classes it knows the names.
    """
    report = _object(block_of(blocks.ReportTop, 'a report'))
    report['properties'] |= _BASE
    report['patternProperties'] = _HELPERS
    loader = Block('', {**block_of(blocks.DataSet).keys, **block_of(blocks.Loader).keys})
    definitions: dict[str, Any] = {**_SHARED, 'run': _run(), 'report': report}
    definitions['every_dataset'] = {'properties': _properties(loader)}
    definitions['optimizer'] = _optimizers()
    for kind in _KINDS:
        detailed = [name for name in names_of(kind) if not is_basicsrs(find(kind, name)) or kind == 'scheduler']
        definitions[kind] = _typed(kind, detailed)
        for name in detailed:
            definitions[f'{kind}.{name}'] = _of_type(kind, name)
    return {
        '$schema': 'https://json-schema.org/draft/2020-12/schema',
        'title': 'Option file of BasicSR with okdnet_plugin',
        'if': {'required': ['methods']},
        'then': {'$ref': '#/$defs/report'},
        'else': {'$ref': '#/$defs/run'},
        '$defs': _shared(definitions),
    }


def text_of(schema: dict[str, Any]) -> str:
    """The schema as JSON with a line for each definition, so that a change of one is a change of one line."""
    definitions = schema['$defs']
    head = json.dumps({**schema, '$defs': {}}, indent=1).removesuffix('{}\n}')
    lines = [f'  {json.dumps(name)}: {_in_a_line(one)}' for name, one in definitions.items()]
    return head + '{\n' + ',\n'.join(lines) + '\n }\n}\n'


def _in_a_line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(',', ':'))


def _run() -> dict[str, Any]:
    """The keys of every model that declares some, and of BasicSR's own any; which reads which is for the check."""
    block = top_block({'model_type': 'SRModel', 'network_g': {}}, 'train')
    losses: dict[str, Key] = {}
    for model in declaring_models():
        if declares(model):
            block |= own_block(model)
        losses |= {name: Key(dict | None, f'loss {name}', inside=Typed('loss')) for name in losses_of(model)}
    block |= Block('', {'train': Key(dict, inside=Block('', losses))})
    schema = _open(_object(block))
    schema['properties'] |= _BASE
    schema['properties']['model_type'] |= {'enum': names_of('model')}
    network = _value(block.keys['network_g'])
    schema['patternProperties'] = {'^network_': network, **_HELPERS}
    inner = {name: _block_in(schema, name) for name in ('train', 'val', 'logger', 'path')}
    letters = block_of(blocks.PathsOfNetwork).keys
    inner['path']['patternProperties'] = {f'^{name.removesuffix("X")}': _value(key) for name, key in letters.items()}
    closed = _names_alone(schema)
    closed['properties'] |= {name: _names_alone(one) for name, one in inner.items()}
    inner['train']['patternProperties'] = {
        '^optim_': _value(block_of(blocks.Training).keys['optim_g']),
        '_opt$': _value(Key(dict | None, inside=Typed('loss'))),
    }
    # BasicSR's own models read more keys, which are not written down.
    open_models = [name for name in names_of('model') if name not in [one.__name__ for one in declaring_models()]]
    schema['if'] = {'properties': {'model_type': {'enum': open_models}}, 'required': ['model_type']}
    return {**schema, 'else': closed}


def _block_in(schema: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in schema['properties'][name]['anyOf'] if 'properties' in one)


def _open(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    return {name: _open(one) for name, one in schema.items() if (name, one) != ('additionalProperties', False)} | (
        {'anyOf': [_open(one) for one in schema['anyOf']]} if 'anyOf' in schema else {}
    )


def _names_alone(schema: dict[str, Any]) -> dict[str, Any]:
    """No keys but these, whose values are for others to look at."""
    names = dict.fromkeys(schema['properties'], True)
    patterns = dict.fromkeys(schema.get('patternProperties', ()), True)
    return {'properties': names, 'patternProperties': patterns, 'additionalProperties': False}


def _optimizers() -> dict[str, Any]:
    """The arguments of all optimisers at once: which one takes which is for the check."""
    keys: dict[str, Key] = {}
    for name in names_of('optimizer'):
        block = block_of_type('optimizer', name)
        keys = {**(block.keys if block else {}), **keys}
    schema = _object(Block('', keys))
    schema['properties']['type'] = {'enum': names_of('optimizer')}
    return schema


def _shared(definitions: dict[str, Any]) -> dict[str, Any]:
    """The same, with keys that several classes have in common as definitions of their own."""
    seen: dict[str, int] = {}
    for properties in _all_properties(definitions):
        for name, one in properties.items():
            text = f'{name} {_in_a_line(one)}'
            seen[text] = seen.get(text, 0) + 1
    hoisted: dict[str, Any] = {}
    for properties in list(_all_properties(definitions)):
        for name, one in properties.items():
            text = _in_a_line(one)
            if seen.get(f'{name} {text}', 0) > 1 and len(text) > 60 and hoisted.setdefault(f'key.{name}', one) == one:
                properties[name] = {'$ref': f'#/$defs/key.{name}'}
    return {**definitions, **hoisted}


def _all_properties(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if isinstance(schema.get('properties'), dict):
            yield schema['properties']
        for one in schema.values():
            yield from _all_properties(one)
    elif isinstance(schema, list):
        for one in schema:
            yield from _all_properties(one)


def _typed(kind: Kind, detailed: list[str]) -> dict[str, Any]:
    """A block whose keys depend on its type; without a type, which a base may give, nothing is known of them."""
    named = {'description': f'registered name of the {NOUNS[kind]}', 'enum': names_of(kind)}
    cases = [
        {
            'if': {'properties': {'type': {'const': name}}, 'required': ['type']},
            'then': {'$ref': f'#/$defs/{kind}.{name}'},
        }
        for name in detailed
    ]
    every = [{'$ref': '#/$defs/every_dataset'}] if kind == 'dataset' else []
    return {'type': 'object', 'properties': {'type': named}, 'allOf': [*every, *cases]}


def _of_type(kind: Kind, name: str) -> dict[str, Any]:
    target = find(kind, name)
    block = block_of_type(kind, name)
    assert target is not None
    assert block is not None
    if kind == 'dataset':
        own = own_block(target)
        schema: dict[str, Any] = {'properties': _properties(own)}
        parts = parts_key(own)
        if parts is not None:
            part = {'allOf': [{'$ref': '#/$defs/dataset'}], 'properties': _properties(block_of(parts[1].extra))}
            schema['properties'][parts[0]] = {'type': 'object', 'properties': _DELETE, 'additionalProperties': part}
        elif declares(target):
            # A part of a mixture has its weight besides.
            names = [*block_of(blocks.DataSet).keys, *block_of(blocks.Loader).keys, 'type', 'weight', *_DELETE]
            schema['properties'] |= {name: True for name in names if name not in schema['properties']}
            schema['additionalProperties'] = False
    else:
        schema = _object(block)
        schema['properties']['type'] = True
    summary = summary_of(target) if kind != 'scheduler' else ''
    return {'description': summary, **schema} if summary else schema


def _object(block: Block) -> dict[str, Any]:
    closed = {} if block.is_open else {'additionalProperties': False}
    return {'type': 'object', 'properties': {**_properties(block), **_DELETE}, **closed}


def _properties(block: Block) -> dict[str, Any]:
    return {name: _value(key) for name, key in block.keys.items()}


def _value(key: Key) -> dict[str, Any]:
    """One key: what its type allows, a reference, and its description."""
    if key.inside is None:
        allowed = _plain(key.adapter.json_schema())
    else:
        inside: Any = {'$ref': f'#/$defs/{key.inside.kind}'} if isinstance(key.inside, Typed) else _object(key.inside)
        if key.each:
            some = {'anyOf': [inside, {'type': 'null'}, _REFERENCE]}
            inside = {'type': 'object', 'properties': _DELETE, 'additionalProperties': some}
        allowed = _or_empty(inside)
    described = {'description': key.says} if key.says else {}
    if not allowed:
        return described
    choices = allowed['anyOf'] if set(allowed) == {'anyOf'} else [allowed]
    takes_text = any(one.get('type') == 'string' and len(one) == 1 for one in choices)
    return {**described, 'anyOf': choices if takes_text else [*choices, _REFERENCE]}


def _or_empty(schema: dict[str, Any]) -> dict[str, Any]:
    return {'anyOf': [schema, {'type': 'null'}]}


def _plain(schema: Any) -> Any:
    """Without the titles that pydantic makes of names, and with references among the items of lists and mappings."""
    if isinstance(schema, list):
        return [_plain(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {name: _plain(value) for name, value in schema.items() if name != 'title'}
    for name in ('items', 'additionalProperties'):
        if isinstance(plain.get(name), dict) and plain[name]:
            plain[name] = {'anyOf': [plain[name], _REFERENCE]}
    return plain
