"""The types of options: pydantic types that read YAML as it is meant, and how a message names them.

A class may use them in its `Options` or signature, or plain hints: `int` is a whole number without a point, `float` a
finite number, `bool` true or false, and `Field(ge=1)` or `Annotated[int, Ge(1)]` a range.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeGuard, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Len, Lt, MultipleOf
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, Strict, TypeAdapter, ValidationError

_EXPONENT = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+')
_NONE = type(None)
_LONGEST_NAME = 100  # characters; a file system takes 255 bytes, of which results add the name of their image


class Says(NamedTuple):
    """What a message calls a type, where the type itself says too little."""

    text: str


class Place(NamedTuple):
    """A text that names a place on the disk: a folder or a file."""

    kind: Literal['folder', 'file']


def _without_point(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _one_component(value: str) -> str:
    if value in ('.', '..') or any(sign in value for sign in '/\\\0'):
        raise ValueError('it leads to another folder')
    return value


Whole = Annotated[int, Strict()]
Count = Annotated[Whole, Field(ge=1, le=10**9)]
FromZero = Annotated[Whole, Field(ge=0, le=10**9)]
Pixels = Annotated[Whole, Field(ge=1, le=2**16)]
# `!!float 5e3`, as BasicSR's option files have it, is a whole number where iterations are counted: they are
# compared alone. Sizes, batches and workers with a point fail in a slice or a range.
Iterations = Annotated[int, Strict(), BeforeValidator(_without_point)]
IterationCount = Annotated[Iterations, Field(ge=1, le=10**9)]
IterationsFromZero = Annotated[Iterations, Field(ge=0, le=10**9)]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
NotNegative = Annotated[Number, Field(ge=0)]
Positive = Annotated[Number, Field(gt=0)]
Switch = Annotated[bool, Strict()]
SMALLEST_TILE = 128
"""Side in px of the smallest tile of an image: below it the overlaps cost more than the image."""
Tile = Annotated[
    Literal['auto'] | Annotated[Whole, Field(ge=SMALLEST_TILE, le=2**16)] | Literal[0],
    Says(f'auto, 0, or a whole number from {SMALLEST_TILE} to 65536'),
]
Text = Annotated[str, Strict()]
Name = Annotated[Text, Field(min_length=1), Says('a string (quote numbers)')]
# What becomes a folder, or a part of a file's name: `../x` or `/x` would lead out of the folder of the run.
Label = Annotated[
    Text,
    Field(min_length=1, max_length=_LONGEST_NAME),
    AfterValidator(_one_component),
    Says(
        f'a string (quote numbers) of at most {_LONGEST_NAME} characters; it names a folder or file: no / or \\, '
        'not . or ..'
    ),
]
Folder = Annotated[Text, Place('folder'), Says('one path (quote numbers)')]
File = Annotated[Text, Place('file'), Says('one path (quote numbers)')]
Range = Annotated[list[Number], Len(2, 2), Says('a list [low, high]')]


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError('it is even')
    return value


Odd = Annotated[int, Ge(1), Le(1001), AfterValidator(_odd), Says('an odd whole number from 1 to 1001')]
Even = Annotated[int, Ge(2), Le(1000), MultipleOf(2), Says('an even whole number from 2 to 1000')]


def from_hint(hint: object) -> Any:
    """The type of an option whose argument or field has this hint; `Any` where nothing is known.

    Tensors and other objects that no option file can hold are dropped from a union.
    """
    if get_origin(hint) is Annotated:
        inner, *notes = get_args(hint)
        annotation = from_hint(inner)
        for note in notes:
            annotation = Annotated[annotation, note]
        return annotation
    simple = {int: Whole, float: Number, bool: Switch, str: Text, _NONE: None, None: None}
    if isinstance(hint, (type, _NONE)) and hint in simple:
        return simple[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return hint
    if origin in (Union, types.UnionType):
        parts = [from_hint(part) for part in arguments]
        known = [part for part in parts if part is not Any]
        return joined(known) if any(part is not None for part in known) else Any
    kind = origin or hint
    if not isinstance(kind, type):
        return Any
    if issubclass(kind, Mapping):
        if len(arguments) != 2:
            return dict
        names = arguments[0] if get_origin(arguments[0]) is Literal else Any
        return dict[names, from_hint(arguments[1])]  # type: ignore[misc, valid-type]
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        return Annotated[list[joined([from_hint(one) for one in arguments])], Len(len(arguments), len(arguments))]  # type: ignore[misc]
    if issubclass(kind, (list, tuple)) or kind.__name__ in ('Sequence', 'Iterable', 'Collection'):
        return list[from_hint(arguments[0])] if arguments else list  # type: ignore[misc]
    return Text if hasattr(kind, '__fspath__') else Any


def joined(annotations: Iterable[object]) -> Any:
    """The union of some types."""
    distinct = list({repr(one): one for one in annotations}.values())
    if any(one is Any for one in distinct) or not distinct:
        return Any
    return Union[tuple(distinct)] if len(distinct) > 1 else distinct[0]  # noqa: UP007 - made, not written


# ----------------------------------------------------------------------------------------------------- looking at types


def members(annotation: object) -> Iterable[object]:
    """The alternatives of a union, or the annotation itself; metadata of the whole is dropped."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        if get_origin(inner) in (Union, types.UnionType):
            return members(inner)
        return [annotation] if metadata else members(inner)
    if get_origin(annotation) in (Union, types.UnionType):
        return [one for part in get_args(annotation) for one in members(part)]
    return [annotation]


def metadata_of(annotation: object) -> list[object]:
    """What is noted with an annotation, the innermost first, with constraints taken apart."""
    if get_origin(annotation) is not Annotated:
        return []
    inner, *notes = get_args(annotation)
    flat = [part for note in notes for part in (getattr(note, 'metadata', None) or [note])]
    return [*metadata_of(inner), *flat]


def note_of(annotation: object, kind: type) -> Any:
    """The last note of a kind in an annotation or one of its alternatives; None if there is none."""
    for member in (annotation, *members(annotation)):
        notes = [note for note in metadata_of(member) if isinstance(note, kind)]
        if notes:
            return notes[-1]
    return None


def bare(annotation: object) -> object:
    """An annotation without its notes."""
    return bare(get_args(annotation)[0]) if get_origin(annotation) is Annotated else annotation


def is_block(annotation: object) -> TypeGuard[type[BaseModel]]:
    """Whether an annotation is a class of options; to Python 3.10 `list[int]` is a class too."""
    return isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, BaseModel)


def is_valid(adapter: TypeAdapter, value: object) -> bool:
    """Whether a type allows a value."""
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


def may_be_left_empty(annotation: object) -> bool:
    """Whether `~` is among the values."""
    return any(
        bare(one) in (_NONE, None, Any) or (get_origin(bare(one)) is Literal and None in get_args(bare(one)))
        for one in members(annotation)
    )


def takes_numbers(annotation: object) -> bool:
    """Whether a number could be meant."""
    return any(bare(one) in (int, float, Any) for one in members(annotation))


def is_number_to_a_reader(value: object) -> bool:
    """Whether it is a text to YAML, which wants a point before the exponent, and a number to who wrote it."""
    return isinstance(value, str) and _EXPONENT.fullmatch(value) is not None


def item_type(annotation: object, value: object) -> Any:
    """What an item of a list, or a value of a mapping, may be; None if it is no such thing."""
    kind = bare(annotation)
    if get_origin(kind) is list and isinstance(value, list):
        return get_args(kind)[0]
    if get_origin(kind) is dict and isinstance(value, Mapping):
        return get_args(kind)[1]
    return None


def choices_of(annotation: object) -> list[str]:
    """The words among which a value is chosen."""
    kinds = [bare(part) for part in members(annotation)]
    return [str(one) for kind in kinds if get_origin(kind) is Literal for one in get_args(kind)]


def described(annotation: object) -> str:
    """The values of a type in words, as they follow `write`."""
    kind, notes = bare(annotation), metadata_of(annotation)
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    told = [note for note in notes if isinstance(note, Says)]
    if told:
        return told[-1].text
    if origin in (Union, types.UnionType):
        return ' or '.join(dict.fromkeys(described(one) for one in arguments if one is not _NONE)) or '~'
    if origin in (int, float):
        return ('a whole number' if origin is int else 'a number') + _limits(notes)
    if origin is Literal:
        words = [as_yaml(value) for value in arguments if value is not None]
        return f'one of {", ".join(words)}' if len(words) > 1 else words[0]
    if origin is list:
        lengths = [note for note in notes if isinstance(note, Len)]
        count = f' of {lengths[0].min_length}' if lengths and lengths[0].min_length == lengths[0].max_length else ''
        return f'a list{count}' + (f', each {described(arguments[0])}' if arguments and arguments[0] is not Any else '')
    names = {bool: 'true or false', str: 'a string (quote numbers)', dict: 'a block of keys and values', _NONE: '~'}
    return names.get(origin, 'a value')


def is_told_as_a_whole(annotation: object) -> bool:
    """Whether a message names all that a value may be in words of its own."""
    parts = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else [annotation]
    return any(isinstance(note, Says) for one in parts for note in metadata_of(one))


def _limits(notes: Iterable[object]) -> str:
    low = high = ''
    for note in notes:
        if isinstance(note, Ge):
            low = f' from {note.ge}'
        elif isinstance(note, Gt):
            low = f' above {note.gt}'
        elif isinstance(note, Le):
            high = f' to {note.le}'
        elif isinstance(note, Lt):
            high = f' below {note.lt}'
    return low + (' and' if low.startswith(' above') and high else '') + high


def as_yaml(value: object) -> str:
    """A value of a choice as an option file has it."""
    return {'None': '~', 'True': 'true', 'False': 'false'}.get(str(value), str(value))
