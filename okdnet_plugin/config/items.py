"""What an option file says, with the place that says it: a tree of values, each with its file and line."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BASE, DELETE = '_base_', '_delete_'
Key = Any  # a key of a mapping: nearly always a text; YAML knows numbers and dates too
KeyPath = tuple[Any, ...]  # keys of mappings, and indices of lists


@dataclass(frozen=True, slots=True)
class Item:
    """One value and where it is written.

    Args:
        value: a dict or a list of items, or a value that is neither. Nobody changes it.
        place: `file:line` of its key, or the words of the command line that say it.
    """

    value: Any
    place: str

    def children(self) -> Iterator[tuple[Key, 'Item']]:
        """Keys or indices, and what is there; nothing in a value that is neither mapping nor list."""
        if isinstance(self.value, dict):
            yield from self.value.items()
        elif isinstance(self.value, list):
            yield from enumerate(self.value)

    def plain(self) -> Any:
        """The value alone, as dicts and lists that share nothing with the tree or with one another."""
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value

    def child(self, key: Key) -> 'Item | None':
        """What is at a key, or at an index of a list; None if nothing is. A number as text finds a number."""
        return next((item for written, item in self.children() if _is_same(written, key)), None)

    def key(self, key: Key) -> Key:
        """The key as the file has it: `0` of a command line is the index 0 of a list, but a text in a new key."""
        return next((written for written, _ in self.children() if _is_same(written, key)), key)


def item_of(value: object, place: str) -> Item:
    """The tree of a value that is written in one place."""
    if isinstance(value, Mapping):
        return Item({key: item_of(child, place) for key, child in value.items()}, place)
    if isinstance(value, list | tuple):
        return Item([item_of(child, place) for child in value], place)
    return Item(value, place)


class Places:
    """Tells in which file and line a key of an option file is written.

    `places.of(('train', 'optim_g', 'lr'))` is `options/okdnet.yml:31`, in the file that said it last.
    """

    def __init__(self, root: Item):
        self._root = root

    def of(self, key_path: Sequence[Key]) -> str:
        """Place of a key, of the nearest block around it if it is not there; of the file if nothing is."""
        item = self._root
        for key in key_path:
            child = item.child(key)
            if child is None:
                break
            item = child
        return item.place


def parse_key_path(text: str) -> tuple[str, ...] | None:
    """Keys of `train.optim_g.lr`, or of `train:optim_g:lr`, which also fits keys with a point; None if one is empty."""
    keys = tuple(key.strip() for key in text.split(':' if ':' in text else '.'))
    return keys if all(keys) else None


def _is_same(written: Key, asked: Key) -> bool:
    return written == asked or (isinstance(asked, str) and str(written) == asked)
