"""Weights of a checkpoint of MMEngine in the form of BasicSR."""

import io
import os
from collections.abc import Mapping

import torch
from torch import Tensor

from okdnet_plugin.engine import checkpoints
from okdnet_plugin.errors import InputError
from okdnet_plugin.mm.compat import load_from_local

_PREFIX = 'generator.'


def convert(source: str, target: str) -> dict[str, int]:
    """Write the network of a checkpoint as BasicSR saves networks, for `path:pretrain_network_g`.

    With EMAHook the checkpoint's `state_dict` holds the averaged weights and `ema_state_dict` the raw ones; they become
    `params_ema` and `params`.

    Args:
        source: a checkpoint of a restorer of this package or of an editing model of MMagic.
        target: a file that is not there yet.

    Returns:
        How many tensors stand under each key.

    Raises:
        InputError: the source holds no such network, or the target is there.
    """
    if os.path.exists(target):
        raise InputError(f'{target} is there already; give another name, or remove it')
    checkpoint = load_from_local(source, 'cpu')
    current = _network(checkpoint.get('state_dict'), source)
    nets = {'params': current}
    if 'ema_state_dict' in checkpoint:
        raw = {key.removeprefix('module.'): value for key, value in checkpoint['ema_state_dict'].items()}
        nets = {'params': _network(raw, source), 'params_ema': current}
    content = io.BytesIO()
    torch.save(nets, content)
    os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
    checkpoints.write(content.getvalue(), target)
    return {key: len(net) for key, net in nets.items()}


def _network(state: object, source: str) -> dict[str, Tensor]:
    if not isinstance(state, Mapping):
        raise InputError(f'{source} is no checkpoint of MMEngine: it has no state_dict')
    found = {key.removeprefix(_PREFIX): value for key, value in state.items() if key.startswith(_PREFIX)}
    if not found:
        raise InputError(f'{source} holds no network under {_PREFIX}; it is of another model')
    return found
