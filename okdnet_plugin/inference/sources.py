"""Which network a command runs: by weights, by an option file and the run that it describes, or by name."""

import os
import re
from collections.abc import Mapping
from os import path as osp

import okdnet_plugin
from okdnet_plugin import config
from okdnet_plugin.errors import InputError
from okdnet_plugin.inference import recognise
from okdnet_plugin.inference.weights import Weights, load

_SAVED = re.compile(r'net_g_(\d+)\.pth')


def weights_for(path: str | None, opt: str | None, network: str | None, param_key: str | None) -> Weights:
    """Weights of a network, as the options of a command name them.

    Args:
        path: file of weights. Default: what the option file names, else the best or newest of the run that it
            describes, in experiments/<name>/models of the current folder.
        opt: option file.
        network: name of a registered network that has no weights; then nothing else is needed.
        param_key: weights in the file.

    Raises:
        InputError: they cannot be used, or nothing was named.
    """
    if network is not None:
        if path is not None or opt is not None:
            raise InputError(f'--network {network} is for networks without weights; take it or -w and --opt out')
        okdnet_plugin.register()
        if recognise.make({'type': network}).state_dict():
            raise InputError(f'--network {network}: {network} has weights to load; give -w WEIGHTS in its place')
        return Weights({'type': network}, {}, origin='--network')
    if path is None and opt is None:
        raise InputError('no network is named: give -w WEIGHTS, --opt FILE, or --network DCP, which needs no weights')
    return load(path or (opt and _of_run(config.load(opt))) or None, opt, param_key)


def _of_run(options: Mapping) -> str | None:
    """The best, else the newest weights of the run that an option file describes; None if it names others itself."""
    paths = options.get('path')
    if isinstance(paths, Mapping) and paths.get('pretrain_network_g'):
        return None
    models = osp.join('experiments', str(options.get('name')), 'models')
    names = os.listdir(models) if osp.isdir(models) else []
    for name in ('net_g_best.pth', 'net_g_latest.pth'):
        if name in names:
            return osp.join(models, name)
    saved = [(int(match[1]), name) for name in names if (match := _SAVED.fullmatch(name))]
    return osp.join(models, max(saved)[1]) if saved else None
