"""`${key.path}` and `${env:NAME}`: values that stand elsewhere.

A value that is a reference alone becomes what it names, whatever its type, blocks included; inside a text it is
inserted. `$${` is written for a text that holds `${`.
"""

import os
import re
from dataclasses import dataclass, field

from okdnet_plugin import redaction
from okdnet_plugin.config.items import Item, KeyPath, item_of, parse_key_path
from okdnet_plugin.config.overrides import typed_at
from okdnet_plugin.config.yaml_values import DEEPEST, LARGEST
from okdnet_plugin.errors import InputError, did_you_mean

_REFERENCE = re.compile(r'\$\$\{|\$\{([^{}]*)\}|\$\{')
_ENVIRONMENT = re.compile(r'env:([A-Za-z_]\w*)(?::-(.*))?', re.ASCII | re.DOTALL)
_DEEPEST_WALK = 3 * DEEPEST


def resolve(root: Item) -> Item:
    """The tree of a whole option file with all references replaced.

    Raises:
        InputError: a reference names nothing, leads back to itself, or stands for too much.
    """
    return _Resolver(root).resolved(root, ())


@dataclass
class _Resolver:
    root: Item
    done: dict[int, Item] = field(default_factory=dict)  # by the item's id; all of them are alive as long as this is
    open: dict[int, str] = field(default_factory=dict)  # what is being resolved, and its name
    inserted: int = 0  # values and characters that references have brought in

    def resolved(self, item: Item, path: KeyPath) -> Item:
        if id(item) in self.done:
            return self.done[id(item)]
        name = '.'.join(map(str, path))
        if id(item) in self.open:
            names = list(self.open.values())[list(self.open).index(id(item)) :]
            raise InputError(f'{item.place}: a reference leads back to itself ({" -> ".join([*names, name])})')
        if len(self.open) > _DEEPEST_WALK:
            raise InputError(
                f'{item.place}: references lead to one another more than {_DEEPEST_WALK} times; shorten them'
            )
        self.open[id(item)] = name
        value = item.value
        if isinstance(value, dict):
            value = {key: self.resolved(child, (*path, key)) for key, child in value.items()}
        elif isinstance(value, list):
            value = [self.resolved(child, (*path, index)) for index, child in enumerate(value)]
        elif isinstance(value, str) and '${' in value:
            value = self._text(item, value, path)
        del self.open[id(item)]
        result = Item(value, item.place)
        self.done[id(item)] = self.done[id(result)] = result
        return result

    def _text(self, item: Item, text: str, path: KeyPath) -> object:
        alone = _REFERENCE.fullmatch(text)
        if alone and alone[1] is not None:
            target = self._target(item, alone[1], path, is_alone=True)
            self._count(target, item)
            return target.value

        def inserted(match: re.Match) -> str:
            if match[0] == '$${':
                return '${'
            if match[1] is None:
                raise InputError(f'{item.place}: {text!r} has a ${{ without its }}; close it, or write $${{')
            value = self._target(item, match[1], path, is_alone=False).value
            if value is None or isinstance(value, dict | list):
                kind = 'empty' if value is None else 'a block' if isinstance(value, dict) else 'a list'
                raise InputError(f'{item.place}: {match[0]} is {kind}, which no text can hold; name a single value')
            written = str(value).lower() if isinstance(value, bool) else str(value)
            self._count(Item(written, item.place), item)
            return written

        return _REFERENCE.sub(inserted, text)

    def _target(self, item: Item, name: str, path: KeyPath, is_alone: bool) -> Item:
        if name.startswith('env:'):
            text = self._variable(item, name)
            if not is_alone:
                return Item(text, item.place)
            try:
                return item_of(typed_at(self.root, path, text), item.place)
            except InputError as error:
                raise InputError(f'{item.place}: ${{{name}}}: {error}') from error
        keys = parse_key_path(name)
        if keys is None:
            raise InputError(f'{item.place}: ${{{name}}} names no key; write ${{block.key}}, or $${{ for the text ${{')
        target, walked = self.root, ()
        for key in keys:
            if isinstance(target.value, str) and '${' in target.value:
                target = self.resolved(target, walked)
            child = target.child(key)
            if child is None:
                known = [str(known) for known, _ in target.children()]
                raise InputError(
                    f'{item.place}: ${{{name}}}: there is no {key} in {".".join(map(str, walked)) or "this file"}'
                    f'{did_you_mean(key, known)}; correct it, or write $${{ for the text ${{'
                )
            walked, target = (*walked, target.key(key)), child
        return self.resolved(target, walked)

    def _variable(self, item: Item, name: str) -> str:
        match = _ENVIRONMENT.fullmatch(name)
        if not match:
            raise InputError(
                f'{item.place}: ${{{name}}} names no variable; write ${{env:NAME}} or ${{env:NAME:-default}}'
            )
        variable, default = match.groups()
        value = os.environ.get(variable)
        if not value and default is not None:
            return default
        if value is None:
            hint = did_you_mean(variable, os.environ, cutoff=0.8)
            raise InputError(
                f'{item.place}: the variable {variable} of ${{{name}}} is not set{hint}; set it, or write a default: '
                f'${{env:{variable}:-default}}'
            )
        redaction.note(variable, value)
        return value

    def _count(self, target: Item, item: Item) -> None:
        """Refuse references to references that make a small file stand for a huge one."""
        waiting = [target]
        while waiting:
            one = waiting.pop()
            self.inserted += 1 + (len(one.value) if isinstance(one.value, str) else 0)
            if self.inserted > LARGEST:
                raise InputError(f'{item.place}: references stand for more than {LARGEST} characters; shorten them')
            waiting += [child for _, child in one.children()]
