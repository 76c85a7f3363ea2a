"""Files of weights: what the toolbox, its users and safetensors write, read without running code that they hold."""

import errno
import hashlib
import json
import os
import re
import zipfile
from collections.abc import Mapping
from os import path as osp
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from okdnet_plugin.engine import checkpoints
from okdnet_plugin.engine.state_checks import check_finite
from okdnet_plugin.errors import InputError, did_you_mean

KEYS = ('params_ema', 'params')
"""Under which the toolbox saves weights; the first that is there is taken."""
METADATA = 'metadata'
"""Under which a .pth of this package keeps what is known of its weights, texts by name as in safetensors."""
_ENDINGS = ('.pth', '.pt', '.ckpt', '.safetensors')
_PREFIXES = ('module.', '_orig_mod.')  # of DistributedDataParallel and torch.compile
_LARGEST_HEADER = 100_000_000  # bytes, as in safetensors
# How files begin that people take for weights.
_OTHERS = {
    b'\x89PNG': 'a picture (PNG)',
    b'\xff\xd8\xff': 'a picture (JPEG)',
    b'GIF8': 'a picture (GIF)',
    b'BM': 'a picture (BMP)',
    b'II*\0': 'a picture (TIFF)',
    b'MM\0*': 'a picture (TIFF)',
    b'\0\0\0\x0cjP': 'a picture (JPEG 2000)',
    b'%PDF': 'a PDF document',
    b'\x89HDF': 'an HDF5 file',
    b'\x1f\x8b': 'compressed by gzip; unpack it',
    b'7z\xbc\xaf': 'an archive (7z); unpack it',
    b'Rar!': 'an archive (RAR); unpack it',
    b'version https://git-lfs': 'a pointer of git-lfs, not the file itself; run `git lfs pull`',
    b'<!DOCTYPE': 'a web page; the download has failed',
    b'<!doctype': 'a web page; the download has failed',
    b'<html': 'a web page; the download has failed',
}


class Content(NamedTuple):
    """What a file of weights holds."""

    state: Mapping[str, Tensor]
    """Tensors by name, finite, on the CPU."""
    metadata: Mapping[str, str]
    """What the file tells of them."""
    key: str | None
    """Under which of the file's keys they were; None if it holds them alone."""


def read(path: str, key: str | None = None) -> Content:
    """Read a file of weights.

    Args:
        path: a .pth of the toolbox or of a published network, or a .safetensors.
        key: which of several sets of weights is taken; by default the first of `KEYS`, else the only one.

    Raises:
        InputError: there is no such file, it holds no weights or none of that key, or some are not finite.
    """
    _check_is_file(path)
    if _is_safetensors(path):
        state, metadata = _read_safetensors(path)
        if key is not None:
            raise InputError(f'{path} is a safetensors file, which has no keys as {key}; leave the key out')
        found = None
    else:
        content = _read_pickle(path)
        state, found = _choose(content, key, path)
        metadata = _texts(content.get(METADATA))
    state = _without_prefixes(state)
    check_finite(state, path)
    _check_digest(state, metadata, path)
    return Content(state, metadata, found)


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values of tensors, whatever file they are in."""
    total = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        total.update(f'{name} {tensor.dtype} {list(tensor.shape)}\n'.encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def key_of(content: object) -> str | None:
    """The key of the weights to be taken from what a .pth of the toolbox holds; None if it holds them alone."""
    return next((key for key in KEYS if isinstance(content, Mapping) and key in content), None)


def _check_is_file(path: str) -> None:
    if osp.isdir(path):
        names = sorted(name for name in os.listdir(path) if name.endswith(_ENDINGS))
        within = f'; write one of its files, as {osp.join(path, names[-1])}' if names else ''
        raise InputError(f'weights {path}: it is a folder, no file{within}')
    if not osp.exists(path):
        folder = osp.dirname(path) or os.curdir
        names = [name for name in os.listdir(folder) if name.endswith(_ENDINGS)] if osp.isdir(folder) else []
        hint = did_you_mean(osp.basename(path), names) if osp.isdir(folder) else f' (there is no folder {folder})'
        raise InputError(f'weights {path}: there is no such file{hint}')
    if not osp.isfile(path):
        raise InputError(f'weights {path}: it is no regular file')
    if osp.getsize(path) == 0:
        raise InputError(f'weights {path}: the file is empty; copy or download it again')


def _begin_of(path: str, count: int) -> bytes:
    try:
        with open(path, 'rb') as file:
            return file.read(count)
    except OSError as error:
        raise InputError(f'weights {path} cannot be read: {error.strerror}') from error


def _is_safetensors(path: str) -> bool:
    """By its first bytes, the length of a JSON object and that object; its name says less."""
    begin = _begin_of(path, 9)
    has_header = begin[8:] == b'{' and int.from_bytes(begin[:8], 'little') <= _LARGEST_HEADER
    return has_header or (path.endswith('.safetensors') and not zipfile.is_zipfile(path))


def _read_safetensors(path: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, 'pt') as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f'weights {path}: {_what_else(path) or f"it is damaged or cut short ({_one_line(error)})"}'
        ) from error


def _read_pickle(path: str) -> Mapping:
    try:
        content = checkpoints.load(path)
    except InputError as error:
        other = _what_else(path)
        if other is None and getattr(error.__cause__, 'errno', None) == errno.EINVAL:  # an offset beyond its end
            other = 'it is damaged or cut short; copy or download it again'
        if other is None:
            raise
        raise InputError(f'weights {path}: {other}') from error
    if not isinstance(content, Mapping):
        raise InputError(f'weights {path}: it holds no tensors by name, but {_kind(content)}')
    if 'optimizers' in content and 'schedulers' in content:
        raise InputError(
            f'weights {path}: it is the state of a training, without a network{_network_of(path, content)}'
        )
    return content


def _what_else(path: str) -> str | None:
    """What a file is that is no file of weights, as far as its content tells."""
    begin = _begin_of(path, 512)
    other = next((name for start, name in _OTHERS.items() if begin.startswith(start)), None)
    if begin.startswith(b'RIFF') and begin[8:12] == b'WEBP':
        other = 'a picture (WebP)'
    if other is None and zipfile.is_zipfile(path):
        try:
            names = [name.rpartition('/')[2] for name in zipfile.ZipFile(path).namelist()]
        except (zipfile.BadZipFile, OSError, NotImplementedError):
            return None
        if 'constants.pkl' in names:
            other = 'an exported network (TorchScript); give the .pth that it was made from'
        elif 'archive_format' in names or 'serialized_exported_program.json' in names:
            other = 'an exported network (torch.export); give the .pth that it was made from'
        elif 'data.pkl' not in names:
            other = 'an archive (zip); unpack it'
    if other is None and path.endswith('.onnx'):
        other = 'an exported network (ONNX); give the .pth that it was made from'
    if other is None and len(begin) >= 16 and not re.search(rb'[^\t\n\r\x20-\x7e]', begin):
        other = 'a text'
    return other and f'it holds no weights, it is {other}'


def _network_of(path: str, content: Mapping) -> str:
    """Where the network of a training state lies."""
    run = osp.dirname(osp.dirname(osp.abspath(path)))
    beside = osp.join(run, 'models', f'net_g_{content.get("iter")}.pth')
    return f'; its weights are {beside}' if osp.isfile(beside) else '; give the net_g_*.pth beside it, in models/'


def _choose(content: Mapping, key: str | None, path: str) -> tuple[Mapping, str | None]:
    sets = [name for name, value in content.items() if _is_state(value)]
    if key is not None:
        if key not in content:
            there = f'it has {", ".join(map(str, sets))}' if sets else 'it holds the weights alone; leave the key out'
            raise InputError(f"weights {path}: there is no '{key}'{did_you_mean(key, map(str, sets))}, {there}")
        if key not in sets:
            raise InputError(f"weights {path}: '{key}' holds no tensors by name, but {_kind(content[key])}")
        return content[key], key
    usual = key_of(content)
    if usual is not None and usual in sets:
        return content[usual], usual
    bare = {name: value for name, value in content.items() if name != METADATA}
    if _is_state(bare):
        return bare, None
    if len(sets) == 1:
        return content[sets[0]], sets[0]
    if sets:
        raise InputError(f'weights {path}: it holds several: {", ".join(map(str, sets))}; say which by its key')
    holds = ', '.join(f'{name} ({_kind(value)})' for name, value in list(content.items())[:4])
    raise InputError(f'weights {path}: it holds no weights, but {holds or "nothing"}')


def _is_state(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items())
    )


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f'one tensor of {"x".join(map(str, value.shape)) or "no size"}'
    return 'nothing' if value is None or value == {} else f'a {type(value).__name__}'


def _texts(value: object) -> dict[str, str]:
    entries = value.items() if isinstance(value, Mapping) else ()
    return {name: text for name, text in entries if isinstance(name, str) and isinstance(text, str)}


def _without_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    while True:
        prefix = next((prefix for prefix in _PREFIXES if all(name.startswith(prefix) for name in state)), None)
        if prefix is None:
            return dict(state)
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def _check_digest(state: Mapping[str, Tensor], metadata: Mapping[str, str], path: str) -> None:
    told = metadata.get('sha256')
    if told is not None and told != digest(state):
        raise InputError(
            f'weights {path}: they do not have the checksum that their metadata tells (sha256); the file is damaged, '
            'or another program has changed it: take the original'
        )


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split())[:200] or type(error).__name__


def network_of(metadata: Mapping[str, str], path: str) -> dict | None:
    """The block `network_g` that metadata tell, under `network`; None if they tell none.

    Raises:
        InputError: it is no JSON object with a `type`.
    """
    text = metadata.get('network')
    if text is None:
        return None
    try:
        network = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"weights {path}: 'network' in their metadata is no JSON; give --opt FILE") from error
    if not isinstance(network, dict) or not isinstance(network.get('type'), str):
        raise InputError(f"weights {path}: 'network' in their metadata names no type of network; give --opt FILE")
    return network
