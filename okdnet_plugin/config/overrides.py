"""`--set train.optim_g.lr=5e-4`: values that the command line puts in place of an option file's."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from okdnet_plugin.config.items import BASE, DELETE, Item, Key, KeyPath, item_of, parse_key_path
from okdnet_plugin.errors import InputError, did_you_mean


class Override(NamedTuple):
    """One `KEY=VALUE`, and the option of the command line that said it."""

    text: str
    option: str = '--set'


def apply(root: Item, overrides: Sequence[Override | str]) -> Item:
    """An option file with overrides, one after the other; texts are those of `--set`.

    `KEY=~` empties a key, `KEY=_delete_` takes it out. Blocks that are not there are made; whether anything reads them
    is for the check of the options to say.

    Args:
        root: what the file says; it is not changed.
        overrides: `KEY=VALUE`, keys parted by points, or by colons as in BasicSR; numbers are indices in a list.

    Raises:
        InputError: an override is no KEY=VALUE, or its key cannot be in this file.
    """
    for override in overrides:
        text, option = override if isinstance(override, Override) else (override, '--set')
        written, equals, value = text.partition('=')
        keys, place, value = parse_key_path(written), f'{option} {written.strip()}', value.strip()
        if not equals or keys is None:
            raise InputError(f'{option} {text}: write KEY=VALUE, for example {option} train.ema_decay=0.99')
        if BASE in keys or DELETE in keys:
            raise InputError(f'{place}: a file says what it builds on; write KEY={DELETE} to take a key out')
        path = _path(root, keys, place)
        if value == DELETE:
            _refuse_absent(root, path, place)
            root = _changed(root, path, None, place)
        else:
            root = _changed(root, path, Item(value, place), place)  # its type depends on what is there
            root = _changed(root, path, item_of(_value(root, path, value, place), place), place)
    return root


def _value(root: Item, path: KeyPath, text: str, place: str) -> object:
    if '${' in text:
        return text  # a reference gets its type from what it names
    try:
        return typed_at(root, path, text)
    except InputError as error:
        raise InputError(f'{place}: {error}') from error


def typed_at(root: Item, path: KeyPath, text: str) -> object:
    """A text as the type that is expected at its place in an option file."""
    from okdnet_plugin.config import typed  # which knows all that is registered, and so imports BasicSR

    return typed.typed(root.plain(), path, text)


def _path(root: Item, keys: Sequence[str], place: str) -> KeyPath:
    """Keys as the file has them: a number may be an index, or a key that YAML has read as a number."""
    path: list[Key] = []
    item: Item | None = root
    for key in keys:
        before = '.'.join(map(str, path))
        if item is not None and isinstance(item.value, list) and item.child(key) is None:
            raise InputError(f'{place}: {before} is a list of {len(item.value)}; write an index from 0 on in it')
        if item is not None and item.value is not None and not isinstance(item.value, dict | list):
            raise InputError(f'{place}: {before} is {item.value!r}, not a block, so it has no {key}; name its block')
        path.append(item.key(key) if item is not None else key)
        item = item.child(key) if item is not None else None
    return tuple(path)


def _refuse_absent(item: Item, path: KeyPath, place: str) -> None:
    for key in path:
        child = item.child(key)
        if child is None:
            hint = did_you_mean(key, [str(known) for known, _ in item.children()])
            raise InputError(f'{place}={DELETE}: there is no {key} to take out{hint}; correct the key')
        item = child


def _changed(item: Item | None, path: KeyPath, new: Item | None, place: str) -> Any:
    """A block or a list with something else at a path; with nothing there if that is None. Blocks are made."""
    if not path:
        return new
    children = dict(item.children()) if item is not None else {}
    children[path[0]] = _changed(children.get(path[0]), path[1:], new, place)
    kept = {key: child for key, child in children.items() if child is not None}
    if item is None or item.value is None:
        return Item(kept, place)
    return Item(list(kept.values()) if isinstance(item.value, list) else kept, item.place)
