"""Blocks of an option file: which keys they have, what each may be, and what is inside it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model
from pydantic.fields import FieldInfo

from okdnet_plugin.config.types import bare, from_hint, is_block, joined, members, note_of

Kind = Literal['network', 'loss', 'metric', 'dataset', 'optimizer', 'scheduler', 'model']
ALWAYS = ('train', 'test', 'report')
NOTHING: Any = object()


class Typed(NamedTuple):
    """A block whose `type` is a registered name, which decides its other keys."""

    kind: Kind
    default: str | None = None
    """The name where the block has no `type`."""


class Parts(NamedTuple):
    """Blocks of data sets, whose keys may stand beside them as well, as defaults for all.

    Args:
        extra: what each block has besides; a class of options.
    """

    extra: type[BaseModel]


class Keys(BaseModel):
    """Base of the blocks that BasicSR and the commands read: a field is a key, its description a line about it."""

    model_config = ConfigDict(protected_namespaces=())


def key(says: str, needed: Iterable[str] = ()) -> Any:
    """A key of such a block.

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
        default: its value where it is left out; NOTHING if there is none, or nobody knows.
        is_guess: the annotation is taken from a default: another value may be right.
    """

    annotation: Any
    says: str = ''
    needed: tuple[str, ...] = ()
    inside: Block | Typed | None = None
    each: bool = False
    default: Any = NOTHING
    is_guess: bool = False

    @functools.cached_property
    def adapter(self) -> TypeAdapter:
        """What validates a value; to make it takes a millisecond."""
        return TypeAdapter(self.annotation)

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
        near: further names that whoever reads it reads, of which no more is known.
    """

    name: str
    keys: Mapping[str, Key] = field(default_factory=dict)
    is_open: bool = False
    noun: Literal['key', 'argument'] = 'key'
    near: frozenset[str] = frozenset()

    def __or__(self, other: Block) -> Block:
        """With the keys of another block, which go first where both have one; blocks inside are joined as well."""
        keys = {**self.keys, **other.keys}
        for name in self.keys.keys() & other.keys.keys():
            mine, others = self.keys[name].inside, other.keys[name].inside
            if isinstance(mine, Block) and isinstance(others, Block):
                keys[name] = replace(self.keys[name], inside=mine | others)
        return replace(self, keys=keys)

    def flat(self, prefix: str = '') -> Iterator[tuple[str, Key]]:
        """The keys, those of fixed blocks inside as `train:total_iter`."""
        for name, key in self.keys.items():
            yield prefix + name, key
            if isinstance(key.inside, Block) and not key.each:
                yield from key.inside.flat(f'{prefix}{name}:')

    def of_reader(self, reader: Block) -> Block:
        """The same keys where the block stands inside another one, whose reader reads it."""
        return replace(self, name=reader.name, is_open=reader.is_open, near=reader.near)


# ------------------------------------------------------------------------------------------------ what a class declares


def declares(target: object) -> bool:
    """Whether a class says itself, not its parents alone, which options it reads."""
    options = vars(target).get('Options') if isinstance(target, type) else None
    return is_block(options)


def declared(target: object) -> type[BaseModel]:
    """The inner `Options` of a class and of those that it is built on, as one class; without keys if there are none."""
    return _joined(tuple(vars(one)['Options'] for one in getattr(target, '__mro__', ()) if declares(one)))


def options_of(target: type, opt: Mapping) -> Any:
    """The options of a class as an object: `options.train.grad_clip`, with the defaults of what is left out.

    Args:
        target: a class with an inner `Options`; those of its parents belong to it.
        opt: the block of the option file, which has been checked; keys of others are passed over.
    """
    return declared(target).model_validate(_without_nothing(opt))


def _without_nothing(value: object) -> object:
    """Without the keys that are empty (`~`), which leaves their defaults."""
    if not isinstance(value, Mapping):
        return value
    return {name: _without_nothing(one) for name, one in value.items() if one is not None}


@functools.cache
def _joined(classes: tuple[type[BaseModel], ...]) -> type[BaseModel]:
    """One class of options from several, in which the first ones win; blocks of the same name are joined."""
    bases = [one for at, one in enumerate(classes) if not any(issubclass(before, one) for before in classes[:at])]
    if len(bases) < 2:
        return bases[0] if bases else BaseModel
    inner: dict[str, list[type[BaseModel]]] = {}
    for base in bases:
        for name, info in base.model_fields.items():
            if is_block(info.annotation):
                inner.setdefault(name, []).append(info.annotation)
    joined: dict[str, Any] = {name: _joined(tuple(kinds)) for name, kinds in inner.items()}
    blocks: dict[str, Any] = {name: (both, Field(default_factory=both)) for name, both in joined.items()}
    return create_model('Options', __base__=tuple(bases), **blocks)


@functools.cache
def block_of(written: type[BaseModel], name: str = '') -> Block:
    """The block that a class of options describes, under the name of who reads it."""
    return Block(name, {info.alias or key: _key_of(info) for key, info in written.model_fields.items()})


def own_block(target: object) -> Block:
    """The keys that a class and its parents declare."""
    return block_of(declared(target), getattr(target, '__name__', ''))


def _key_of(info: FieldInfo) -> Key:
    annotation: Any = info.annotation
    for note in info.metadata:
        annotation = Annotated[annotation, note]
    extra: Any = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    default = NOTHING if info.is_required() or info.default_factory or info.default is None else info.default
    inside, each = _inside(annotation)
    if inside is not None:
        others = [one for one in members(annotation) if not _is_mapping(one)]
        annotation, default = joined([dict, *others]), NOTHING
    needed = tuple(extra.get('needed', ALWAYS if info.is_required() else ()))
    return Key(from_hint(annotation), info.description or '', needed, inside, each, default)


def _is_mapping(annotation: object) -> bool:
    kind = bare(annotation)
    return get_origin(kind) is dict or kind is dict or is_block(kind)


def _inside(annotation: object) -> tuple[Block | Typed | None, bool]:
    """The block that a type holds, and whether it is one of several."""
    typed = note_of(annotation, Typed)
    if typed is not None:
        return typed, False
    for member in members(annotation):
        kind = bare(member)
        if is_block(kind):
            return block_of(kind), False
        if get_origin(kind) is dict:
            inside, _ = _inside(get_args(kind)[1])
            if inside is not None:
                return inside, True
    return None, False
