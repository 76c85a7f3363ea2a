"""Whether weights and states hold only finite numbers, before they are saved and when they are read."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from okdnet_plugin.engine.torch_versions import largest_values


def are_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all values of all tensors are finite, by one look at their device."""
    floats = [tensor.detach() for tensor in tensors if tensor.is_floating_point() and tensor.numel()]
    return not floats or bool(torch.isfinite(largest_values(floats)).all())


def first_not_finite(content: object) -> str | None:
    """Where in nested dictionaries and lists the first tensor lies that holds a NaN or +inf.

    -inf is none of it: masks of attention are made of it.

    Returns:
        Keys joined by points, as `params.conv.weight`; None if there is no such tensor.
    """
    for place, tensor in _tensors(content, ''):
        if tensor.is_floating_point() and tensor.numel() and not bool((tensor < float('inf')).all()):
            return place
    return None


def _tensors(content: Any, place: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        yield place, content
    elif isinstance(content, Mapping | list | tuple):
        items = content.items() if isinstance(content, Mapping) else enumerate(content)
        for key, value in items:
            yield from _tensors(value, f'{place}.{key}' if place else str(key))
