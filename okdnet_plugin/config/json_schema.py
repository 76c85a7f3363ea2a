"""A JSON schema of option files (draft 2020-12), by which editors complete, explain and check them."""

from __future__ import annotations

import json
from typing import Any

from okdnet_plugin.config import blocks
from okdnet_plugin.config.docstrings import summary_of
from okdnet_plugin.config.keys import Block, Key, Kind, Typed, block_of, own_block
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
_TORCHS: tuple[Kind, ...] = ('optimizer', 'scheduler')
_KINDS: tuple[Kind, ...] = ('network', 'loss', 'metric', 'dataset', *_TORCHS)


def json_schema() -> dict[str, Any]:
    """The schema of an option file of a training, a test or a report, with all that is registered.

    It says less than the check: keys may come from a base, so that none has to be there; `${…}` may stand anywhere;
    of BasicSR's own classes it knows the names.
    """
    report = _object(block_of(blocks.ReportTop))
    report['properties'] |= _BASE
    report['patternProperties'] = _HELPERS
    definitions: dict[str, Any] = {**_SHARED, 'run': _run(), 'report': report}
    for kind in _KINDS:
        detailed = [name for name in names_of(kind) if kind in _TORCHS or not is_basicsrs(find(kind, name))]
        definitions[kind] = _typed(kind, detailed)
        definitions |= {f'{kind}.{name}': _of_type(kind, name) for name in detailed}
    return {
        '$schema': 'https://json-schema.org/draft/2020-12/schema',
        'title': 'Option file of BasicSR with okdnet_plugin',
        'if': {'required': ['methods']},
        'then': {'$ref': '#/$defs/report'},
        'else': {'$ref': '#/$defs/run'},
        '$defs': definitions,
    }


def text_of(schema: dict[str, Any]) -> str:
    """The schema as JSON with a line for each definition, so that a change of one is a change of one line."""
    head = json.dumps({**schema, '$defs': {}}, indent=1).removesuffix('{}\n}')
    lines = [
        f'  {json.dumps(name)}: {json.dumps(one, ensure_ascii=False, separators=(",", ":"))}'
        for name, one in schema['$defs'].items()
    ]
    return head + '{\n' + ',\n'.join(lines) + '\n }\n}\n'


def _run() -> dict[str, Any]:
    """The keys of every model that declares some, and of BasicSR's own any; which reads which is for the check."""
    block = top_block({'model_type': 'SRModel', 'network_g': {}}, 'train')
    losses: dict[str, Key] = {}
    for model in declaring_models():
        block |= own_block(model)
        losses |= {name: Key(dict | None, f'loss {name}', inside=Typed('loss')) for name in losses_of(model)}
    block |= Block('', {'train': Key(dict, inside=Block('', losses))})
    schema = _object(block, is_open=True)
    schema['properties'] |= _BASE
    schema['properties']['model_type'] |= {'enum': names_of('model')}
    schema['patternProperties'] = {'^network_': _value(block.keys['network_g']), **_HELPERS}
    inner = {name: schema['properties'][name]['anyOf'][0] for name in ('train', 'val', 'logger', 'path')}
    letters = block_of(blocks.PathsOfNetwork).keys
    inner['path']['patternProperties'] = {f'^{name.removesuffix("X")}': _value(key) for name, key in letters.items()}
    closed = _names_alone(schema)
    closed['properties'] |= {name: _names_alone(one) for name, one in inner.items()}
    inner['train']['patternProperties'] = {
        '^optim_': _value(block.keys['train'].inside.keys['optim_g']),  # type: ignore[union-attr]
        '_opt$': _value(Key(dict | None, inside=Typed('loss'))),
    }
    # BasicSR's own models read more keys, which are not written down.
    declaring = {model.__name__ for model in declaring_models()}
    open_models = [name for name in names_of('model') if name not in declaring]
    schema['if'] = {'properties': {'model_type': {'enum': open_models}}, 'required': ['model_type']}
    return {**schema, 'else': closed}


def _names_alone(schema: dict[str, Any]) -> dict[str, Any]:
    """No keys but these, whose values are for others to look at."""
    names = dict.fromkeys(schema['properties'], True)
    patterns = dict.fromkeys(schema.get('patternProperties', ()), True)
    return {'properties': names, 'patternProperties': patterns, 'additionalProperties': False}


def _typed(kind: Kind, detailed: list[str]) -> dict[str, Any]:
    """A block whose keys depend on its type; without a type, which a base may give, little is known of them."""
    named = {'description': f'registered name of the {NOUNS[kind]}', 'enum': names_of(kind)}
    of_all = Block('', block_of(blocks.DataSet).keys) | block_of(blocks.Loader) if kind == 'dataset' else Block('')
    cases = [
        {
            'if': {'properties': {'type': {'const': name}}, 'required': ['type']},
            'then': {'$ref': f'#/$defs/{kind}.{name}'},
        }
        for name in detailed
    ]
    return {'type': 'object', 'properties': {**_properties(of_all), 'type': named}, 'allOf': cases}


def _of_type(kind: Kind, name: str) -> dict[str, Any]:
    target, block = find(kind, name), block_of_type(kind, name)
    assert target is not None
    assert block is not None
    parts = parts_key(block)
    schema = _object(block, block.is_open or parts is not None)
    schema['properties']['type'] = True
    if parts is not None:
        part = {'allOf': [{'$ref': '#/$defs/dataset'}], 'properties': _properties(block_of(parts[1].extra))}
        schema['properties'][parts[0]] = {'type': 'object', 'properties': _DELETE, 'additionalProperties': part}
    elif kind == 'dataset':
        schema['properties']['weight'] = True  # of a part of a mixture
    summary = summary_of(target) if kind not in _TORCHS else ''
    return {'description': summary, **schema} if summary else schema


def _object(block: Block, is_open: bool = False) -> dict[str, Any]:
    closed = {} if is_open else {'additionalProperties': False}
    return {'type': 'object', 'properties': {**_properties(block, is_open), **_DELETE}, **closed}


def _properties(block: Block, is_open: bool = False) -> dict[str, Any]:
    return {name: _value(key, is_open) for name, key in block.keys.items()}


def _value(key: Key, is_open: bool = False) -> dict[str, Any]:
    """One key: what its type allows, a reference, and its description."""
    described = {'description': key.says} if key.says else {}
    if key.inside is None:
        allowed = _plain(key.adapter.json_schema())
        choices = allowed['anyOf'] if set(allowed) == {'anyOf'} else [allowed] if allowed else []
    else:
        block = key.inside
        inside = _object(block, is_open) if isinstance(block, Block) else {'$ref': f'#/$defs/{block.kind}'}
        if key.each:
            some = {'anyOf': [inside, {'type': 'null'}, _REFERENCE]}
            inside = {'type': 'object', 'properties': _DELETE, 'additionalProperties': some}
        choices = [inside, {'type': 'null'}]
    if not choices:
        return described
    takes_text = any(one.get('type') == 'string' and len(one) == 1 for one in choices)
    return {**described, 'anyOf': choices if takes_text else [*choices, _REFERENCE]}


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
