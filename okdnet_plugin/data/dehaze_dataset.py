"""What the data sets share: messages that say where, and what happens to an image that cannot be read."""

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from os import path as osp
from typing import Any, Literal

import torch
from basicsr.utils import get_root_logger
from pydantic import BaseModel, Field
from torch.utils.data import Dataset

from okdnet_plugin.config.keys import options_of
from okdnet_plugin.config.messages import where
from okdnet_plugin.data.image_sources import ImageFolder
from okdnet_plugin.data.options import IoBackend, backend_of, check_block, located
from okdnet_plugin.errors import InputError, StoreError

_TRIES = 10


class DehazeDataset(Dataset, ABC):
    """A data set that its block of an option file describes.

    What it reads is the inner class `Options` of each class, together with those of its parents; `self.options` holds
    the values, with defaults for what is left out.

    With `on_error: skip` an image of a training that cannot be used is left out, said once, and another one, drawn at
    random, takes its place. `skipped` says which: one flag an image, shared with the workers of a loader. A store of
    images that cannot be read ends the training nevertheless.

    Args:
        opt: the block; it is not changed.

    Raises:
        InputError: the block, or what it names, cannot be used. Reading an image raises it too. The message begins
            with phase and data set.
    """

    class Options(BaseModel):
        io_backend: IoBackend | None = Field(None, description='where images lie: {type: disk} or {type: lmdb}')
        on_error: Literal['raise', 'skip'] | None = Field('raise', description='what an image that cannot be read does')

    def __init__(self, opt: Mapping):
        self.opt = opt  # BasicSR's models read the name from here
        self.where = where(opt)
        with located(self.where):
            check_block(type(self), opt)
            self.options: Any = options_of(type(self), opt)
            self._open()
        skipped = torch.zeros(self._count() if self._skips else 0, dtype=torch.bool)
        self.skipped = skipped.share_memory_() if self._skips else skipped

    @classmethod
    def complaints(cls, block: Mapping) -> Iterator[tuple[str, str]]:
        """What is wrong in a block beyond the values of single keys, as the check of an option file tells it.

        Args:
            block: its keys have values of their types.

        Yields:
            Keys, and what is said of them.
        """
        for key in ('dataroot_lq', 'dataroot_gt'):
            root = block.get(key)
            if root is not None and osp.isdir(osp.expanduser(root)) and backend_of(block)['type'] == 'disk':
                try:
                    ImageFolder(osp.expanduser(root), cls._is_recursive(block)).refuse_if_empty()
                except InputError as error:
                    yield key, f': {error}'

    @classmethod
    def _is_recursive(cls, block: Mapping) -> bool:
        return bool(block.get('recursive'))

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def _open(self) -> None:
        """Check the options and find the images."""

    @abstractmethod
    def _sample(self, index: int) -> dict[str, Any]:
        """Read one sample, of the image of that number."""

    def _count(self) -> int:
        """Images, if they are others than samples."""
        return len(self)

    def _image(self, index: int) -> int:
        """Number of the image that a sample is to be made of."""
        return index

    def __getitem__(self, index: int) -> dict[str, Any]:
        with located(self.where):
            if not self._skips:
                return self._sample(self._image(index))
            last = None
            for _ in range(_TRIES):
                number = self._image(index)
                try:
                    return self._sample(number)
                except StoreError:  # no other image can be read either
                    raise
                except InputError as error:
                    last = error
                    self._leave_out(number, error)
                index = random.randrange(len(self))
            raise InputError(f'{_TRIES} images in a row cannot be used; the last one: {last}')

    def _leave_out(self, number: int, error: InputError) -> None:
        if not self.skipped[number]:
            self.skipped[number] = True
            self._warn(f'left out ({int(self.skipped.sum())} of {len(self.skipped)} so far): {error}')

    @property
    def _skips(self) -> bool:
        return self.opt.get('on_error') == 'skip'

    def _warn(self, message: str) -> None:
        get_root_logger().warning(f'{self.where}: {message}')
