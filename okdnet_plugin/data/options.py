"""What the data sets have in common when they look at their options: keys, values, and where a mistake stands."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from os import path as osp
from typing import Any

import yaml

from okdnet_plugin.errors import InputError, did_you_mean

PHASES = ('train', 'val', 'test')
_LONGEST = 200  # characters of a value in a message
# Read from the same block by the toolbox's loader, sampler and prefetcher, or customary there.
OF_THE_LOADER = (
    'batch_size_per_gpu',
    'num_worker_per_gpu',
    'dataset_enlarge_ratio',
    'prefetch_mode',
    'num_prefetch_queue',
    'pin_memory',
    'persistent_workers',
    'use_shuffle',
)
OF_ANY = ('name', 'type', 'phase', 'scale', 'io_backend', 'on_error')
OF_A_TENSOR = ('color', 'mean', 'std')
OF_A_TRAINING = ('gt_size', 'resize', 'use_hflip', 'use_rot')
_OF_THE_BACKEND = {
    'disk': ('type',),
    'lmdb': ('type', 'readonly', 'lock', 'readahead', 'meminit', 'max_readers', 'max_spare_txns', 'map_size'),
}


@contextmanager
def located(where: str) -> Iterator[None]:
    """Put the place before the message of an InputError, whose class stays."""
    try:
        yield
    except InputError as error:
        raise type(error)(f'{where}: {error}') from None


def require(holds: bool, message: str) -> None:
    """Raise an InputError unless something holds."""
    if not holds:
        raise InputError(message)


def shown(value: object) -> str:
    """A value as messages show it: a text in quotation marks, so that '64' is no number; all else as YAML has it."""
    if isinstance(value, str):
        return repr(value)
    try:
        text = yaml.safe_dump(_plain(value), default_flow_style=True, sort_keys=False, allow_unicode=True)
    except yaml.YAMLError:
        text = repr(value)
    text = ' '.join(text.removesuffix('...\n').split())
    return text if len(text) <= _LONGEST else f'{text[:_LONGEST]} …'


def check_keys(opt: Mapping, required: Sequence[str], optional: Sequence[str]) -> None:
    """Refuse unknown keys, and see that none is missing; every data set needs a name."""
    known = (*required, *optional, *OF_ANY, *OF_THE_LOADER)
    for key in opt:
        if key not in known:
            raise InputError(f"unknown option '{key}'{did_you_mean(key, known)}; correct or remove it")
    check_name(opt)
    for key in required:
        if opt.get(key) is None:
            raise InputError(f"option '{key}' is missing; add it")


def check_name(opt: Mapping) -> None:
    """Check the name, which results, figures and messages go by."""
    name = opt.get('name')
    require(name is not None, "option 'name' is missing; add it: results and messages go by it")
    require(isinstance(name, str) and name != '', f'name is {shown(name)}; write a text, numbers in quotation marks')


def check_switch(opt: Mapping, key: str) -> None:
    """Check an option that is true or false."""
    require(opt.get(key) is None or isinstance(opt[key], bool), f'{key} is {shown(opt.get(key))}; write true or false')


def check_source(opt: Mapping, keys: Iterable[str]) -> None:
    """Check the paths under `keys`, the phase, the backend, the scale and on_error."""
    for key in keys:
        check_path(opt, key)
    phase, backend, scale = opt['phase'], backend_of(opt), scale_of(opt)
    require(phase in PHASES, f'phase is {shown(phase)}; write train, val or test')
    kind = str(backend.get('type')) if isinstance(backend, Mapping) else ''
    require(
        kind in _OF_THE_BACKEND,
        f'io_backend is {shown(backend)}; write {{type: disk}} or {{type: lmdb}}',
    )
    for key in keys:
        require(
            kind != 'disk' or not key.startswith('dataroot') or opt.get(key) is None or not _is_lmdb(opt[key]),
            f'{key} {opt.get(key)} is an LMDB, but io_backend says files; write io_backend: {{type: lmdb}}',
        )
    for key in backend:
        known = _OF_THE_BACKEND[kind]
        require(key in known, f"unknown option '{key}' of io_backend {kind}{did_you_mean(key, known)}; remove it")
    require(is_count(scale), f'scale is {shown(scale)}; write a whole number from 1')
    on_error = opt.get('on_error')
    require(on_error in (None, 'raise', 'skip'), f'on_error is {shown(on_error)}; write raise or skip')
    require(
        on_error != 'skip' or phase == 'train',
        f'on_error: skip is for training, where another picture takes the place; take it out of phase {phase}',
    )


def check_path(opt: Mapping, key: str) -> None:
    """Check an option that is one path."""
    value = opt.get(key)
    require(
        value is None or isinstance(value, str | os.PathLike),
        f'{key} is {shown(value)}; write one path, a number in quotation marks',
    )


def check_tensor(opt: Mapping) -> None:
    """Check what becomes of the values of a picture: color, mean and std."""
    mean, std = opt.get('mean'), opt.get('std')
    require(opt.get('color') in (None, 'rgb', 'y'), f'color is {shown(opt.get("color"))}; write y, or leave it out')
    require((mean is None) == (std is None), 'mean and std go together; give both or neither')
    for key, values in {'mean': mean, 'std': std}.items():
        require(
            values is None or _is_per_channel(values, 1 if opt.get('color') == 'y' else 3),
            f'{key} is {shown(values)}; write a number, or a list with one for each channel',
        )
    zero = std is not None and 0 in (std if isinstance(std, list | tuple) else [std])
    require(not zero, f'std is {shown(std)}; a zero cannot be divided by')


def backend_of(opt: Mapping) -> Mapping:
    """The option `io_backend`; files by default."""
    return opt.get('io_backend') or {'type': 'disk'}


def scale_of(opt: Mapping) -> int:
    """The option `scale`; 1 by default."""
    return 1 if opt.get('scale') is None else opt['scale']


def size_of(resize: Any) -> tuple[int, int] | None:
    """Height and width of the option `resize`."""
    if resize is None:
        return None
    size = tuple(resize) if isinstance(resize, list | tuple) else (resize, resize)
    if len(size) != 2 or not all(is_count(edge) for edge in size):
        raise InputError(f'resize is {shown(resize)}; write a number of px, or [height, width]')
    return size[0], size[1]


def is_count(value: object) -> bool:
    """Whether it is a whole number from 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_number(value: object) -> bool:
    """Whether it is a number; true and false are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_lmdb(path: str | os.PathLike) -> bool:
    return os.fspath(path).rstrip(os.sep).endswith('.lmdb') or osp.isfile(osp.join(path, 'data.mdb'))


def _plain(value: object) -> object:
    """The value with the classes that YAML knows."""
    if isinstance(value, Mapping):
        return {key: _plain(content) for key, content in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(content) for content in value]
    return value


def _is_per_channel(values: object, channels: int) -> bool:
    values = values if isinstance(values, list | tuple) else [values]
    return len(values) in (1, channels) and all(is_number(value) for value in values)
