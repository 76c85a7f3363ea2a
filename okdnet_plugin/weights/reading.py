"""Files of weights: what BasicSR, its users and safetensors write, read without running code that they hold."""

import errno
import hashlib
import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from os import path as osp
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from okdnet_plugin import files, shipped_weights
from okdnet_plugin.engine import checkpoints
from okdnet_plugin.errors import InputError, did_you_mean, one_line

KEYS = ('params_ema', 'params')
"""Under which BasicSR saves weights; the first that is there is taken."""
METADATA = 'metadata'
"""Under which a .pth of this package keeps what is known of its weights, texts by name as in safetensors."""
_ENDINGS = ('.pth', '.pt', '.ckpt', '.safetensors')
# Where other trainers put the weights of a network, the likeliest first; what is below such a key is looked at, too.
_USUAL = ('state_dict', 'model_state_dict', 'model', 'generator', 'net_g', 'network', 'net', 'weights')
_WRAPPERS = ('module.', '_orig_mod.')  # of DistributedDataParallel and torch.compile
_OWNERS = ('net.', 'generator.', 'net_g.', 'model.', 'network.')  # attributes of models that hold the network
_LARGEST_HEADER = 100_000_000  # bytes, as in safetensors
# How files begin that people take for weights.
_DTYPES = {torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool, torch.uint8}
_DTYPES |= {torch.int8, torch.int16, torch.int32, torch.int64}
_MOST_CLAIMED = 4  # times the size of a file that its tensors may have; tied weights are in it once
_SMALL = 2**20  # bytes that they may have, whatever the size of the file
_OTHERS = {
    b'\x89PNG': 'an image (PNG)',
    b'\xff\xd8\xff': 'an image (JPEG)',
    b'GIF8': 'an image (GIF)',
    b'BM': 'an image (BMP)',
    b'II*\0': 'an image (TIFF)',
    b'MM\0*': 'an image (TIFF)',
    b'\0\0\0\x0cjP': 'an image (JPEG 2000)',
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


def read(path: str, key: str | None = None, first: Sequence[str] = KEYS) -> Content:
    """Read a file of weights.

    Args:
        path: a .pth of BasicSR, of another trainer (whatever the weights are nested in) or as published, a
            .safetensors, or a name of `shipped_weights`.
        key: which of several sets of weights is taken. Default: the first of `first`, else the likeliest.
        first: keys that are looked for before all others.

    Raises:
        InputError: there is no such file, it holds no weights or none of that key, or some are not finite.
    """
    path = shipped_weights.resolve(path)
    _check_is_file(path)
    if _is_safetensors(path):
        state, metadata = _read_safetensors(path)
        if key is not None:
            raise InputError(f'{path} is a safetensors file, which has no keys as {key}; leave the key out')
        found = None
    else:
        content = _read_pickle(path)
        state, found = _choose(content, key, first, path)
        metadata = _texts(content.get(METADATA))
    state = _without_wrappers(state)
    _check_kinds(state, path)
    _check_finite(state, path)
    _check_digest(state, metadata, path)
    return Content(state, metadata, found)


def variants(state: Mapping[str, Tensor]) -> Iterator[Mapping[str, Tensor]]:
    """Tensors by the names that they may have in the network itself, the likeliest first.

    A trainer's model holds the network as an attribute, whose name is then in front of the tensors' names, beside those
    of losses and discriminators: `net.head.weight`, `generator.head.weight`. Only the network tells whether `net.` is
    its own.
    """
    yield state
    for owner in _OWNERS:
        inner = {name.removeprefix(owner): tensor for name, tensor in state.items() if name.startswith(owner)}
        if inner:
            yield from variants(_without_wrappers(inner))


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values of tensors, whatever file they are in."""
    total = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        total.update(f'{name} {tensor.dtype} {list(tensor.shape)}\n'.encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _check_is_file(path: str) -> None:
    if osp.isdir(path):
        names = sorted(name for name in os.listdir(path) if name.endswith(_ENDINGS))
        within = f'; write one of its files, as {osp.join(path, names[-1])}' if names else ''
        raise InputError(f'weights {path}: it is a folder, no file{within}')
    if not osp.exists(path):
        folder = osp.dirname(path) or os.curdir
        names = [name for name in os.listdir(folder) if name.endswith(_ENDINGS)] if osp.isdir(folder) else []
        names += [] if osp.dirname(path) else shipped_weights.names()
        hint = did_you_mean(osp.basename(path), names) if osp.isdir(folder) else f' (there is no folder {folder})'
        raise InputError(f'weights {path}: there is no such file{hint}')
    files.check_regular_file(path, f'weights {path}:')
    if osp.getsize(path) == 0:
        raise InputError(f'weights {path}: the file is empty; copy or download it again')


def _begin_of(path: str, count: int) -> bytes:
    try:
        with files.open_regular_file(path) as file:
            return file.read(count)
    except OSError as error:
        raise InputError(f'weights {path} cannot be read: {error.strerror}') from error


def _is_safetensors(path: str) -> bool:
    """By its first bytes, the length of a JSON object and that object; its name says less."""
    begin = _begin_of(path, 9)
    has_header = begin[8:] == b'{' and int.from_bytes(begin[:8], 'little') <= _LARGEST_HEADER
    return has_header or (path.endswith('.safetensors') and not checkpoints.is_archive(path))


def _read_safetensors(path: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, 'pt') as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f'weights {path}: {_what_else(path) or f"it is damaged or cut short ({one_line(error, 200)})"}'
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
        other = 'an image (WebP)'
    if other is None and checkpoints.is_archive(path):
        try:
            names = [name.rpartition('/')[2] for name in zipfile.ZipFile(path).namelist()]
        except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):  # ValueError: names that are no UTF-8
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


def _choose(content: Mapping, key: str | None, first: Sequence[str], path: str) -> tuple[Mapping, str | None]:
    sets = dict(_sets(content))
    if key is not None:
        if key in sets:
            return sets[key], key
        if key in content:
            raise InputError(f"weights {path}: '{key}' holds no tensors by name, but {_kind(content[key])}")
        there = f'it has {", ".join(sets)}' if sets else 'it holds the weights alone; leave the key out'
        raise InputError(f"weights {path}: there is no '{key}'{did_you_mean(key, sets)}, {there}")
    for usual in first:
        if usual in sets:
            return sets[usual], usual
    bare = {name: value for name, value in content.items() if name != METADATA}
    if _is_state(bare):
        return bare, None
    likely = [name for usual in _USUAL for name in sets if usual in name.split('.')]
    if len(sets) == 1 or likely:
        taken = likely[0] if likely else next(iter(sets))
        return sets[taken], taken
    if sets:
        raise InputError(f'weights {path}: it holds several: {", ".join(sets)}; say which by its key')
    holds = ', '.join(f'{name} ({_kind(value)})' for name, value in list(content.items())[:4])
    raise InputError(f'weights {path}: it holds no weights, but {holds or "nothing"}')


def _sets(content: Mapping, above: str = '') -> Iterator[tuple[str, Mapping]]:
    """All sets of tensors by name, with their keys: `params`, or `model.state_dict` of what is nested."""
    for name, value in content.items():
        if _is_state(value):
            yield f'{above}{name}', value
        elif isinstance(value, Mapping) and name in (*KEYS, *_USUAL) and above.count('.') < len(_USUAL):
            yield from _sets(value, f'{above}{name}.')


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


def _without_wrappers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    while state:
        prefix = next((prefix for prefix in _WRAPPERS if all(name.startswith(prefix) for name in state)), None)
        if prefix is None:
            break
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return dict(state)


def _check_kinds(state: Mapping[str, Tensor], path: str) -> None:
    """See that tensors are numbers in memory, and no more of them than the file can hold, before anything is computed.

    A tensor that is expanded takes nothing in a file and any size in a network.
    """
    if not state:
        raise InputError(f'weights {path}: it holds no tensors')
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta or tensor.is_nested:
            what = 'no values (meta)' if tensor.is_meta else f'the layout {tensor.layout}'.replace('torch.', '')
            raise InputError(f'weights {path}: {name} has {what}; save it as a dense tensor')
        if tensor.dtype not in _DTYPES:
            kind = str(tensor.dtype).removeprefix('torch.')
            raise InputError(f'weights {path}: {name} has values of the type {kind}; save it as float32')
    claimed, size = sum(tensor.numel() * tensor.element_size() for tensor in state.values()), osp.getsize(path)
    if claimed > max(_SMALL, _MOST_CLAIMED * size):
        raise InputError(
            f'weights {path}: its tensors claim {claimed / 1e6:.0f} MB, but the file has {size / 1e6:.1f} MB; it is '
            'refused'
        )


def _check_finite(state: Mapping[str, Tensor], path: str) -> None:
    broken = [name for name, tensor in state.items() if tensor.is_floating_point() and not torch.isfinite(tensor).all()]
    if broken:
        raise InputError(
            f'weights {path}: {len(broken)} of {len(state)} tensors are not finite (NaN or Inf), {broken[0]} first; '
            'the training has failed: take the weights of an earlier iteration'
        )


def _check_digest(state: Mapping[str, Tensor], metadata: Mapping[str, str], path: str) -> None:
    told = metadata.get('sha256')
    if told is not None and told != digest(state):
        raise InputError(
            f'weights {path}: they do not have the checksum that their metadata tells (sha256); the file is damaged, '
            'or another program has changed it: take the original'
        )


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
