"""What the data sets have in common when they look at their options: common keys, and where a mistake stands."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import path as osp
from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import BaseModel, Field

from okdnet_plugin.config.check import mistakes_of_data_set
from okdnet_plugin.config.messages import shown
from okdnet_plugin.config.types import Pixels, Says
from okdnet_plugin.errors import InputError

PHASES = ('train', 'val', 'test')
Size = Annotated[Pixels | Annotated[list[Pixels], Len(2, 2)], Says('a number of px, or [height, width]')]
_PerChannel = Annotated[float | list[float], Says('a number, or a list with one for each channel')]


class IoBackend(BaseModel):
    """`io_backend`."""

    type: Literal['disk', 'lmdb'] = Field(description='where images lie: disk, or lmdb')
    readonly: bool = Field(True, description='LMDB: open it for reading alone')
    lock: bool = Field(False, description='LMDB: lock it')
    readahead: bool = Field(False, description='LMDB: let the system read ahead')
    meminit: bool = Field(False, description='LMDB: clear memory before it is used')
    max_readers: int = Field(126, ge=1, le=10**6, description='LMDB: processes and threads that read')
    max_spare_txns: int = Field(1, ge=1, le=10**6, description='LMDB: transactions that are kept for later')
    map_size: int = Field(0, ge=0, description='LMDB: largest size in bytes')


class ColorJitter(BaseModel):
    """`color_jitter`: the largest changes of a colour, each of them drawn for each sample."""

    brightness: float = Field(
        0.0, ge=0, le=1, description='largest change of the brightness, by factors from 1 - it to 1 + it'
    )
    contrast: float = Field(0.0, ge=0, le=1, description='largest change of the contrast, by such factors')
    saturation: float = Field(0.0, ge=0, le=1, description='largest change of the saturation, by such factors')
    hue: float = Field(
        0.0, ge=0, le=0.5, description='largest change of the hue, by turns of the colour circle from -it to it'
    )


class TensorOptions(BaseModel):
    """What becomes of the values of an image."""

    color: Literal['rgb', 'y'] | None = Field(None, description='y for the luma alone')
    mean: _PerChannel | None = Field(None, description='normalisation: what is subtracted')
    std: _PerChannel | None = Field(None, description='normalisation: what is divided by')


class TrainingOptions(BaseModel):
    """How images get a size, are turned and coloured."""

    gt_size: Pixels | None = Field(None, description='edge in px of the random crop')
    resize: (
        Annotated[
            Size | dict[Literal['shorter'], Size], Says('a number of px, [height, width], or {shorter: [low, high]}')
        ]
        | None
    ) = Field(None, description='size to which images are brought, before the crop if there is one')
    use_hflip: bool | None = Field(False, description='flip images at random')
    use_rot: bool | None = Field(False, description='turn images by 90 degrees at random')
    color_jitter: ColorJitter | None = Field(
        None, description='change colours at random, of both images alike; of synthetic haze before it is made'
    )


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


def check_block(target: type, block: Mapping) -> None:
    """Hold a block against the options that its data set declares.

    Raises:
        InputError: the first mistake of the block, with how many more there are.
    """
    mistakes = mistakes_of_data_set(target, block)
    if mistakes:
        more = f' (and {len(mistakes) - 1} more)' if len(mistakes) > 1 else ''
        raise InputError(f'{mistakes[0].message}{more}')


def check_source(opt: Mapping, keys: Iterable[str]) -> None:
    """Check the phase, whether `keys` name what the backend reads, and on_error."""
    phase, backend = opt.get('phase'), backend_of(opt)
    require(phase in PHASES, f'phase is {shown(phase)}; write train, val or test')
    for key in keys:
        require(
            backend['type'] != 'disk' or opt.get(key) is None or not _is_lmdb(opt[key]),
            f'{key} {opt.get(key)} is an LMDB, but io_backend says files; write io_backend: {{type: lmdb}}',
        )
    require(
        opt.get('on_error') != 'skip' or phase == 'train',
        f'on_error: skip is for training, where another image takes the place; take it out of phase {phase}',
    )


def check_tensor(opt: Mapping) -> None:
    """Check that mean and std fit together and to the channels."""
    mean, std = opt.get('mean'), opt.get('std')
    require((mean is None) == (std is None), 'mean and std go together; give both or neither')
    channels = 1 if opt.get('color') == 'y' else 3
    for key, values in {'mean': mean, 'std': std}.items():
        require(
            not isinstance(values, list | tuple) or len(values) in (1, channels),
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


def _is_lmdb(path: str | os.PathLike) -> bool:
    return os.fspath(path).rstrip(os.sep).endswith('.lmdb') or osp.isfile(osp.join(path, 'data.mdb'))
