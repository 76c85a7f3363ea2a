"""A text of the command line as the value that is expected at its key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import TypeAdapter

from okdnet_plugin.config.items import KeyPath
from okdnet_plugin.config.types import bare, is_valid, members
from okdnet_plugin.config.walk import nodes_of, phase_of
from okdnet_plugin.config.yaml_values import read_value
from okdnet_plugin.errors import InputError

_COMMENT = re.compile(r'(^|\s)#')


def typed(opt: Mapping, key_path: Sequence[Any], text: str) -> object:
    """Read the value of an override.

    A number is one without a point before its exponent, too; a text stays one where a text is expected, whatever YAML
    makes of it; lists and mappings are in YAML's flow style. Keys of which nothing is known take what YAML reads, and
    so do all where nothing fits, which the check of the options says.

    Args:
        opt: the option file so far, with this text.
        key_path: keys, and indices of lists, that lead to the value.
        text: what the command line says.

    Raises:
        InputError: it is no YAML.
    """
    annotation = annotation_of(opt, tuple(key_path))
    if annotation is None:
        return read_value(text)
    adapter = TypeAdapter(annotation)
    takes_text = is_valid(adapter, text)
    try:
        value = read_value(text)
    except InputError:
        if takes_text:
            return text
        raise
    # YAML would end a text at a #, which a shell has let through within quotation marks.
    is_cut = isinstance(value, str | None) and _COMMENT.search(text) and text[:1] not in ('"', "'")
    return text if takes_text and (is_cut or not is_valid(adapter, value)) else value


def annotation_of(opt: Mapping, path: KeyPath) -> Any:
    """The type of what is at a key path; None where nothing is known of it."""
    blocks = {node.path: node.block for node in nodes_of(opt, phase_of(opt))}
    depth = next(depth for depth in reversed(range(len(path))) if path[:depth] in blocks)
    block, rest = blocks[path[:depth]], path[depth + 1 :]
    key = block.keys.get(path[depth]) if block is not None else None
    if key is None or key.is_guess or (rest and (key.inside is not None or key.annotation is Any)):
        return None
    annotation: Any = key.annotation
    for _ in rest:
        inner = [get_args(bare(one)) for one in members(annotation) if get_origin(bare(one)) in (list, dict)]
        if len(inner) != 1:
            return None
        annotation = inner[0][-1]
    return annotation
