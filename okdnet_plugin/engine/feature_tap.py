"""Features of a network that runs: what it gives, a field of that, or what modules inside it give."""

import inspect
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from torch import Tensor, nn

from okdnet_plugin.errors import InputError, did_you_mean

OUTPUT = 'output'
MEANING = (
    '`output`, what the network gives; `return_branches.shared`, a field of what it gives by that keyword; or a '
    'pattern of names of modules, as `groups.*`, each of which gives a feature'
)


class FeatureTap:
    """Takes features of a network when it runs within `with tap:`.

    Args:
        net: the network itself, without wrappers.
        names: features, see `MEANING`.
        where: key of the option, for messages.

    Raises:
        InputError: the network has no such keyword or module.
    """

    def __init__(self, net: nn.Module, names: Iterable[str], where: str):
        self.kind = type(net).__name__
        self.where = where
        self.keywords: dict[str, bool] = {}
        """What the network has to be called with."""
        self._modules: dict[str, list[str]] = {}
        self._seen: dict[str, Any] = {}
        self._is_on = False
        for name in dict.fromkeys(names):
            if name == OUTPUT:
                continue
            if name.startswith('return_'):
                self._add_keyword(net, name)
            else:
                self._add_modules(net, name)

    def _add_keyword(self, net: nn.Module, name: str) -> None:
        keyword, _, field = name.partition('.')
        known = [one for one in inspect.signature(net.forward).parameters if one.startswith('return_')]
        if keyword not in known or not field:
            has = f'it has {", ".join(known)}, each with a field behind a point' if known else 'it has none'
            raise InputError(
                f'option {self.where} is {name}, but {self.kind} has no such keyword with a field'
                f'{did_you_mean(keyword, known)}; {has}'
            )
        self.keywords[keyword] = True

    def _add_modules(self, net: nn.Module, pattern: str) -> None:
        modules = {name: module for name, module in net.named_modules() if name}
        found = [name for name in modules if _fits(name, pattern)]
        if not found:
            raise InputError(
                f'option {self.where} is {pattern}, but {self.kind} has no such module'
                f'{did_you_mean(pattern, modules)}; write {OUTPUT}, or a pattern of {", ".join(list(modules)[:8])} …'
            )
        self._modules[pattern] = found
        for name in found:
            modules[name].register_forward_hook(partial(self._note, name))  # a copy of both has a hook of its own

    def __enter__(self) -> 'FeatureTap':
        self._is_on = True
        return self

    def __exit__(self, *_: object) -> None:
        self._is_on = False

    def _note(self, name: str, _: nn.Module, __: Any, given: Any) -> None:
        if self._is_on:
            self._seen[name] = given

    def take(self, name: str, result: Any) -> list[Tensor]:
        """The features of a name from the run that has just been.

        Args:
            name: one of those that were asked for.
            result: what the network has given.

        Returns:
            One feature; several of a pattern, in the order of the modules. float32.

        Raises:
            InputError: what is there is no tensor, or has no such field.
        """
        if name in self._modules:
            features = [self._seen.get(module) for module in self._modules[name]]
        elif name == OUTPUT:
            features = [image_of(result)]
        else:
            field = name.partition('.')[2]
            if not hasattr(result, field):
                known = getattr(result, '_fields', ())
                raise InputError(
                    f'option {self.where} is {name}, but {self.kind} gives no {field}{did_you_mean(field, known)}; it '
                    f'gives {", ".join(known)}'
                )
            features = [getattr(result, field)]
        flat = [one for feature in features for one in (feature if isinstance(feature, tuple | list) else [feature])]
        tensors = [one.float() for one in flat if isinstance(one, Tensor)]
        if not tensors or len(tensors) < len(flat):
            raise InputError(f'option {self.where} is {name}, which of {self.kind} is no tensor; name another feature')
        return tensors

    def forget(self) -> None:
        """Let the features of the last run go."""
        self._seen.clear()


def _fits(name: str, pattern: str) -> bool:
    """Whether a name of a module fits a pattern, whose `*` does not go beyond a point."""
    parts, wanted = name.split('.'), pattern.split('.')
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def image_of(result: Any) -> Tensor:
    """The restored image of what a network gives, with keywords or without."""
    if isinstance(result, Tensor):
        return result
    return result[OUTPUT] if isinstance(result, Mapping) else getattr(result, OUTPUT, result[0])
