"""A JSON schema of option files (draft 2020-12), by which editors complete, explain and check them."""

from __future__ import annotations

import json
from typing import Any

from okdnet_plugin.schema import blocks, data_sets, toolbox_models
from okdnet_plugin.schema.keys import Block, Key, Kind, Typed, block_of
from okdnet_plugin.schema.registered import NOUNS, block_of_type, find, names_of
from okdnet_plugin.schema.tree import every_model, top_block

_REFERENCE = {'$ref': '#/$defs/reference'}
_SHARED = {
    'reference': {'description': 'a reference, as ${network_g.num_feat}', 'type': 'string', 'pattern': r'\$\{'},
    '_base_': {
        'description': 'file, or list of files, that this one builds on',
        'anyOf': [{'type': 'string'}, {'type': 'array', 'items': {'type': 'string'}}],
    },
    '_delete_': {
        'description': 'true: the block stands alone, whatever the bases have in its place',
        'type': 'boolean',
    },
}
_DELETE = {'_delete_': {'$ref': '#/$defs/_delete_'}}
_BASE = {'_base_': {'$ref': '#/$defs/_base_'}}
_HELPERS = {'^x-': {'description': "a block for YAML's anchors, which nothing reads"}}
_KINDS: tuple[Kind, ...] = ('network', 'loss', 'metric', 'dataset', 'optimizer', 'scheduler')


def json_schema() -> dict[str, Any]:
    """The schema of an option file of a training, a test or a report, with all that is registered.

    It says less than the check: keys may come from a base, so that none has to be there; `${…}` may stand anywhere.
    """
    return {
        '$schema': 'https://json-schema.org/draft/2020-12/schema',
        'title': 'Option file of BasicSR with okdnet_plugin',
        'if': {'required': ['methods']},
        'then': {'$ref': '#/$defs/report'},
        'else': {'$ref': '#/$defs/run'},
        '$defs': _definitions(),
    }


def text_of(schema: dict[str, Any]) -> str:
    """The schema as JSON with a line for each definition, so that a change of one is a change of one line."""
    definitions = schema['$defs']
    head = json.dumps({**schema, '$defs': {}}, indent=1).removesuffix('{}\n}')
    lines = [f'  {json.dumps(name)}: {_in_a_line(one)}' for name, one in definitions.items()]
    return head + '{\n' + ',\n'.join(lines) + '\n }\n}\n'


def _in_a_line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(',', ':'))


def _definitions() -> dict[str, Any]:
    report = _object(block_of(blocks.ReportTop))
    report['properties'] |= _BASE
    report['patternProperties'] = _HELPERS
    definitions: dict[str, Any] = {**_SHARED, 'run': _run(), 'report': report}
    for kind in _KINDS:
        definitions[kind] = _typed(kind)
        for name in names_of(kind):
            block = block_of_type(kind, name)
            if block is not None:
                definitions[f'{kind}.{name}'] = _of_type(kind, name, block)
    return definitions


def _run() -> dict[str, Any]:
    """The keys of all models at once: which model reads which is for the check."""
    top = Block('an option file', is_open=False)
    inner: dict[str, Block] = {}
    for model in every_model():
        block = top_block({'model_type': model.__name__, 'network_g': {}, 'network_d': {}}, 'train')
        top = Block(top.name, {**block.keys, **top.keys})
        for name in ('train', 'val', 'logger', 'path'):
            inside = block.keys[name].inside
            assert isinstance(inside, Block)
            inner[name] = Block(name, {**inside.keys, **(inner[name].keys if name in inner else {})})
    keys = {
        name: Key(key.annotation, key.says, inside=inner.get(name, key.inside), each=key.each)  # type: ignore[arg-type]
        for name, key in top.keys.items()
    }
    schema = _object(Block(top.name, keys))
    schema['properties'] |= _BASE
    schema['properties']['model_type'] |= {'enum': names_of('model')}
    network = _value(block_of(toolbox_models.SRTop).keys['network_g'])
    schema['patternProperties'] = {'^network_': network, **_HELPERS}
    letters = block_of(blocks.PathsOfNetwork).keys
    schema['properties']['path']['anyOf'][0]['patternProperties'] = {
        f'^{name.removesuffix("X")}': _value(key) for name, key in letters.items()
    }
    return schema


def _typed(kind: Kind) -> dict[str, Any]:
    """A block whose keys depend on its type; without a type, which a base may give, nothing is known of them."""
    names = names_of(kind)
    documented = {'description': f'registered name of the {NOUNS[kind]}', 'enum': names}
    cases = [
        {
            'if': {'properties': {'type': {'const': name}}, 'required': ['type']},
            'then': {'$ref': f'#/$defs/{kind}.{name}'},
        }
        for name in names
    ]
    return {'type': 'object', 'properties': {'type': documented}, 'allOf': cases}


def _of_type(kind: Kind, name: str, block: Block) -> dict[str, Any]:
    from okdnet_plugin.schema.docstrings import summary_of

    target = find(kind, name)
    summary = summary_of(target) if target is not None else ''
    if block.name == 'MixedDataset':
        part = {'allOf': [{'$ref': '#/$defs/dataset'}], 'properties': _properties(block_of(data_sets.OfAPart))}
        keys = _object(Block(block.name, block.keys, is_open=True))
        keys['properties']['parts'] = {'type': 'object', 'properties': _DELETE, 'additionalProperties': part}
        return {'description': summary, **keys}
    # A part of a mixture has its weight besides.
    extra = {'weight': _value(block_of(data_sets.OfAPart).keys['weight'])} if kind == 'dataset' else {}
    schema = _object(block)
    schema['properties'] |= extra
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
            inside = {'type': 'object', 'properties': _DELETE, 'additionalProperties': _or_empty(inside)}
        allowed = _or_empty(inside)
    described = {'description': key.says} if key.says else {}
    if not allowed:
        return described
    choices = allowed['anyOf'] if set(allowed) == {'anyOf'} else [allowed]
    return {**described, 'anyOf': [*choices, _REFERENCE]}


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
