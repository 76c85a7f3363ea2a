"""What an option file names on the disk: whether it is there, and whether saved networks hold what is asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from os import path as osp
from typing import Any

from okdnet_plugin.errors import InputError, did_you_mean
from okdnet_plugin.schema.mistakes import Mistake
from okdnet_plugin.schema.tree import Phase, nodes_of
from okdnet_plugin.schema.values import Place, note_of
from okdnet_plugin.weights import shipped

_STATE = re.compile(r'(\d+)\.state')


def missing(opt: Mapping, phase: Phase) -> Iterator[Mistake]:
    """Folders and files that are not there, and weights that saved networks do not hold."""
    absent = set()
    for node in nodes_of(opt, phase):
        for name, value in node.value.items():
            key = node.block.keys.get(name) if node.block is not None else None
            place = note_of(key.annotation, Place) if key is not None and key.inside is None else None
            if place is None or not isinstance(value, str | os.PathLike):
                continue
            is_shipped = name.startswith('pretrain_network') and value in shipped.names()
            text = None if is_shipped else _absent(osp.expanduser(os.fspath(value)), place.kind)
            if text is not None:
                absent.add((*node.path, name))
                yield Mistake((*node.path, name), text, 'missing file')
    if ('path', 'resume_state') not in absent and phase == 'train':
        yield from _average_of_a_state(opt)


def _absent(path: str, kind: str) -> str | None:
    is_there = osp.isdir(path) if kind == 'folder' else osp.isfile(path)
    if is_there:
        return None
    if kind == 'folder':
        if osp.isfile(path):
            return f': {path} is a file; write the folder or LMDB'
        return f': the folder {path} does not exist{_near(path)}; correct the path'
    if osp.isdir(path):
        return f': {path} is a folder; write a file'
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
    return did_you_mean(tail, names)


def _average_of_a_state(opt: Mapping) -> Iterator[Mistake]:
    """A run that goes on with an average needs the one that it had: the toolbox begins another one, and says little."""
    paths, train = opt.get('path'), opt.get('train')
    state = paths.get('resume_state') if isinstance(paths, Mapping) else None
    decay: Any = train.get('ema_decay') if isinstance(train, Mapping) else None
    if not isinstance(state, str) or not isinstance(decay, int | float) or not decay:
        return
    assert isinstance(paths, Mapping)
    match = _STATE.fullmatch(osp.basename(state))
    if match is None or 'network_g' in (paths.get('ignore_resume_networks') or ()):
        return
    run = osp.dirname(osp.dirname(osp.abspath(osp.expanduser(state))))
    network = osp.join(run, 'models', f'net_g_{match[1]}.pth')
    keys = _keys_of(network)
    if keys is not None and 'params_ema' not in keys:
        yield Mistake(
            ('train', 'ema_decay'),
            f'is {decay}, but {network}, from which the run goes on, was saved without an average; write 0, or begin a '
            'new run from these weights by path:pretrain_network_g',
            'contradiction',
        )


def _keys_of(path: str) -> list[str] | None:
    """Keys of a saved network; None if it cannot be read, which others say."""
    from okdnet_plugin.engine import checkpoints

    try:
        content = checkpoints.load(path)
    except InputError:
        return None
    return [str(key) for key in content] if isinstance(content, Mapping) else None
