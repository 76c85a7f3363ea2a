"""An option file as the rules see it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from okdnet_plugin.config.items import KeyPath
from okdnet_plugin.config.messages import Mistake
from okdnet_plugin.config.walk import model_of


class Given:
    """An option file through eyes that see only what is right: what is missing or wrong is None.

    Args:
        opt: the option file.
        wrong: keys with mistakes of their own.
    """

    def __init__(self, opt: Mapping, wrong: Collection[KeyPath]):
        self.opt, self.wrong, self.model = opt, wrong, model_of(opt)

    def at(self, *path: Any, kind: type | tuple[type, ...] = object) -> Any:
        value: Any = self.opt
        for number, name in enumerate(path, 1):
            if not isinstance(value, Mapping) or name not in value or path[:number] in self.wrong:
                return None
            value = value[name]
        is_switch = isinstance(value, bool) and kind is not object and kind is not bool  # to Python it is a number
        return value if isinstance(value, kind) and not is_switch else None

    def number(self, *path: Any) -> float | None:
        return self.at(*path, kind=(int, float))

    def numbers(self, *path: Any) -> list | None:
        """A list whose items are right as well."""
        value = self.at(*path, kind=list)
        broken = any(len(other) > len(path) and other[: len(path)] == path for other in self.wrong)
        return None if broken else value

    def block(self, *path: Any) -> Mapping:
        return self.at(*path, kind=Mapping) or {}

    def data_sets(self, phase: str) -> list[Mapping]:
        """The blocks of `val`, `val_2` …"""
        blocks = self.block('datasets').items()
        return [one for label, one in blocks if str(label).split('_')[0] == phase and isinstance(one, Mapping)]


Rule = Callable[[Given], Iterator[Mistake]]


def contradiction(path: KeyPath, text: str) -> Mistake:
    """What would lose work, time or truth."""
    return Mistake(path, text, 'contradiction')


def harmless(path: KeyPath, text: str) -> Mistake:
    """What costs nothing, but was hardly meant."""
    return Mistake(path, text, 'contradiction', is_warning=True)
