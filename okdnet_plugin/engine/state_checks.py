"""What a state dict must be before anything is measured with it."""

from collections.abc import Mapping

import torch
from torch import Tensor

from okdnet_plugin.errors import InputError


def check_finite(state: Mapping[str, Tensor], path: str) -> None:
    """
    Args:
        state: tensors by name.
        path: the file that they are from, for the message.

    Raises:
        InputError: some are not finite.
    """
    broken = [name for name, tensor in state.items() if tensor.is_floating_point() and not torch.isfinite(tensor).all()]
    if broken:
        raise InputError(
            f'weights {path}: {len(broken)} of {len(state)} tensors are not finite (NaN or Inf), {broken[0]} first; '
            'the training has failed: take the weights of an earlier iteration'
        )
