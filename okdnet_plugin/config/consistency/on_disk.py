"""What an option file names on the disk: whether it is there, and holds what is asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from os import path as osp
from typing import Any

import torch

from okdnet_plugin import shipped_weights
from okdnet_plugin.config.messages import Mistake
from okdnet_plugin.config.types import Place, note_of
from okdnet_plugin.config.walk import Phase, nodes_of
from okdnet_plugin.errors import InputError, did_you_mean
from okdnet_plugin.files import check_regular_file

_STATE = re.compile(r'(\d+)\.state')
_USUAL_KEYS = ('params', 'params_ema')


def missing(opt: Mapping, phase: Phase) -> Iterator[Mistake]:
    """Folders and files that are not there, and weights that saved networks do not hold."""
    absent = set()
    for node in nodes_of(opt, phase):
        for name, value in node.value.items():
            key = node.block.keys.get(name) if node.block is not None else None
            place = note_of(key.annotation, Place) if key is not None and key.inside is None else None
            if place is None or not isinstance(value, str | os.PathLike):
                continue
            is_shipped = name.startswith('pretrain_network') and value in shipped_weights.names()
            text = None if is_shipped else _absent(osp.expanduser(os.fspath(value)), place.kind)
            if text is not None:
                absent.add((*node.path, name))
                yield Mistake((*node.path, name), text, 'missing file')
    yield from _weights_of_a_key(opt, absent)
    if phase == 'train':
        yield from _average_of_a_state(opt, absent)


def _absent(path: str, kind: str) -> str | None:
    if osp.isdir(path) if kind == 'folder' else osp.isfile(path):
        return None
    if kind == 'folder':
        if osp.exists(path):
            what = 'a file' if osp.isfile(path) else 'no folder'
            return f': {path} is {what}; write the folder or LMDB'
        return f': the folder {path} does not exist{_near(path)}; correct the path'
    if osp.isdir(path):
        return f': {path} is a folder; write a file'
    if osp.exists(path):
        try:
            check_regular_file(path)
        except InputError as error:
            return f': {error}'
    return f': there is no file {path}{_near(path)}; correct the path, or leave it empty (~)'


def _near(path: str) -> str:
    """The names beside the first part of a path that is not there."""
    head, tail = osp.split(path.rstrip(os.sep))
    while head and not osp.isdir(head):
        head, tail = osp.split(head)
    try:
        names = os.listdir(head or os.curdir)
    except OSError:
        return ''
    # A link that leads nowhere is there under the name that is written.
    return did_you_mean(tail, [name for name in names if name != tail])


def _weights_of_a_key(opt: Mapping, absent: set) -> Iterator[Mistake]:
    """BasicSR takes `params` silently where the key that is asked for is missing."""
    paths = opt.get('path')
    paths = paths if isinstance(paths, Mapping) else {}
    for name, file in paths.items():
        letter = str(name).removeprefix('pretrain_network_')
        key = paths.get(f'param_key_{letter}')
        if letter == name or ('path', name) in absent or not isinstance(file, str) or not isinstance(key, str):
            continue
        known = keys_of(osp.expanduser(file))
        if known is None or key in known:
            continue
        usual = [one for one in known if one in _USUAL_KEYS]
        cure = f'write {" or ".join(usual)}' if usual else 'write ~ if it holds the weights alone'
        text = f"is {key}{did_you_mean(key, usual)}, but {file} has no '{key}'; {cure}"
        is_taken_for_it = key == 'params_ema' and 'params' in usual
        if is_taken_for_it:
            text = f'is params_ema, but {file} has none: its params are taken'
        yield Mistake(('path', f'param_key_{letter}'), text, 'contradiction', is_taken_for_it)


def _average_of_a_state(opt: Mapping, absent: set) -> Iterator[Mistake]:
    """A run that goes on with an average needs the one that it had: BasicSR begins another one, and says little."""
    paths, train = opt.get('path'), opt.get('train')
    state = paths.get('resume_state') if isinstance(paths, Mapping) else None
    decay: Any = train.get('ema_decay') if isinstance(train, Mapping) else None
    if ('path', 'resume_state') in absent or not isinstance(state, str) or not isinstance(decay, int | float):
        return
    assert isinstance(paths, Mapping)
    match = _STATE.fullmatch(osp.basename(state))
    if not decay or match is None or 'network_g' in (paths.get('ignore_resume_networks') or ()):
        return
    run = osp.dirname(osp.dirname(osp.abspath(osp.expanduser(state))))
    network = osp.join(run, 'models', f'net_g_{match[1]}.pth')
    keys = keys_of(network)
    if keys is not None and 'params_ema' not in keys:
        yield Mistake(
            ('train', 'ema_decay'),
            f'is {decay}, but {network}, from which the run goes on, was saved without an average; write 0, or begin a '
            'new run from these weights by path:pretrain_network_g',
            'contradiction',
        )


def keys_of(path: str) -> list[str] | None:
    """Keys of a saved network; None if it cannot be read, which who loads it says."""
    try:
        check_regular_file(path)
        content = torch.load(path, map_location='cpu', weights_only=True)
    except Exception:  # a damaged file may make any
        return None
    return [str(key) for key in content] if isinstance(content, Mapping) else None
