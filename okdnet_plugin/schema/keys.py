"""Blocks of an option file: which keys they have, what each may be, and what is inside it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.fields import FieldInfo

from okdnet_plugin.schema.values import bare, joined, members, note_of

Kind = Literal['network', 'loss', 'metric', 'dataset', 'optimizer', 'scheduler', 'model']
_ADAPTERS: dict[int, tuple[Any, TypeAdapter]] = {}
ALWAYS = ('train', 'test', 'report')


class Typed(NamedTuple):
    """A block whose `type` is a registered name, which decides its other keys."""

    kind: Kind


class Keys(BaseModel):
    """Base of the blocks that are written down: a field is a key, its description the line that explains it."""

    model_config = ConfigDict(extra='forbid', protected_namespaces=())

    reader: ClassVar[str | None] = None  # who reads the block, for messages


def key(says: str, needed: Iterable[str] = ()) -> Any:
    """A key of a block.

    Args:
        says: what it means, in a line.
        needed: phases in which it has to be there: of train, test and report.
    """
    return Field(None, description=says, json_schema_extra={'needed': list(needed)})


@dataclass(frozen=True)
class Key:
    """What one key of a block may be.

    Args:
        annotation: a type that pydantic validates.
        says: what it means, in a line.
        needed: phases in which it has to be there.
        inside: the block that it holds: fixed, or decided by its `type`.
        each: the block is one of several, under names of the user's.
    """

    annotation: Any
    says: str = ''
    needed: tuple[str, ...] = ()
    inside: Block | Typed | None = None
    each: bool = False

    @property
    def adapter(self) -> TypeAdapter:
        """What validates a value; made once for each annotation, which takes a millisecond."""
        known = _ADAPTERS.get(id(self.annotation))
        if known is None:  # the annotation is kept, so that no other one gets its id
            known = _ADAPTERS[id(self.annotation)] = (self.annotation, TypeAdapter(self.annotation))
        return known[1]

    def optional(self) -> Key:
        return replace(self, needed=())


@dataclass(frozen=True)
class Block:
    """The keys of one mapping.

    Args:
        name: who reads it, for messages.
        keys: what it reads.
        is_open: whoever reads it may read other keys as well.
        noun: what messages call a key.
    """

    name: str
    keys: Mapping[str, Key] = field(default_factory=dict)
    is_open: bool = False
    noun: Literal['key', 'argument'] = 'key'

    def __or__(self, other: Block) -> Block:
        """With the keys of another block, which go first where both have one."""
        return Block(other.name, {**self.keys, **other.keys}, self.is_open or other.is_open, other.noun)

    def without(self, names: Iterable[str]) -> Block:
        left_out = set(names)
        return replace(self, keys={name: one for name, one in self.keys.items() if name not in left_out})


@functools.cache
def block_of(written: type[Keys]) -> Block:
    """The block that a class describes."""
    keys = {info.alias or name: _key_of(info) for name, info in written.model_fields.items()}
    return Block(written.reader or written.__name__, keys)


def _key_of(info: FieldInfo) -> Key:
    from typing import Annotated

    annotation: Any = info.annotation
    for note in info.metadata:
        annotation = Annotated[annotation, note]
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    needed = tuple(str(phase) for phase in extra.get('needed', ()))  # type: ignore[union-attr]
    inside, each = _inside(annotation)
    if inside is not None:
        empty = any(bare(one) is type(None) for one in members(annotation))
        others = [one for one in members(annotation) if not _is_mapping(one) and bare(one) is not type(None)]
        annotation = joined([dict, *others, *([None] if empty else [])])
    return Key(annotation, info.description or '', needed, inside, each)


def _is_mapping(annotation: object) -> bool:
    kind = bare(annotation)
    return get_origin(kind) is dict or kind is dict or (isinstance(kind, type) and issubclass(kind, BaseModel))


def _inside(annotation: object) -> tuple[Block | Typed | None, bool]:
    typed = note_of(annotation, Typed)
    if typed is not None:
        return typed, False
    for member in members(annotation):
        kind = bare(member)
        if isinstance(kind, type) and issubclass(kind, Keys):
            return block_of(kind), False
        if get_origin(kind) is dict:
            inside, _ = _inside(get_args(kind)[1])
            if inside is not None:
                return inside, True
    return None, False
