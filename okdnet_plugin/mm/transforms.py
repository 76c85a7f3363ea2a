"""Transforms for pipelines of mmcv: reading a pair of pictures, and packing it for OKDNetRestorer."""

from collections.abc import Mapping
from os import path as osp

import numpy as np
from mmcv.transforms import BaseTransform

from okdnet_plugin.data.picture_sources import PICTURE_EXTENSIONS, open_source
from okdnet_plugin.data.pictures import decode, to_tensor
from okdnet_plugin.errors import InputError


class LoadHazePair(BaseTransform):
    """Read a hazy picture and its clear one, from files or from LMDBs of `basicsr lmdb build`.

    Args:
        dataroot_lq, dataroot_gt: LMDBs in which the pictures are found by their stems; without them `img_path` and
            `gt_path` are files.
        io_backend: `dict(type='lmdb')` with options of the toolbox's LMDB reader.

    Raises:
        InputError: a picture cannot be read; the message names it.
    """

    def __init__(
        self, dataroot_lq: str | None = None, dataroot_gt: str | None = None, io_backend: Mapping | None = None
    ):
        backend = dict(io_backend or {'type': 'lmdb'})
        roots = {'img': dataroot_lq, 'gt': dataroot_gt}
        self.sources = {key: open_source(root, backend, False) for key, root in roots.items() if root is not None}

    def transform(self, results: dict) -> dict:
        """
        Args:
            results: `img_path`, and perhaps `gt_path`: files, or keys or names of the LMDBs' pictures.

        Returns:
            results with `img` and `gt`, uint8 BGR (H, W, 3), and their sizes as `img_shape` and `gt_shape`, (H, W).
        """
        for key in ('img', 'gt'):
            if f'{key}_path' not in results:
                continue
            img = self._read(key, results[f'{key}_path'])
            results[key] = img
            results[f'{key}_channel_order'] = 'bgr'
            results[f'{key}_shape'] = img.shape[:2]
        return results

    def _read(self, key: str, path: str) -> np.ndarray:
        if key not in self.sources:
            try:
                with open(path, 'rb') as file:
                    return decode(file.read(), f'picture {path}')
            except OSError as error:
                raise InputError(f'picture {path} cannot be read: {error.strerror}; correct {key}_path') from error
        source, name = self.sources[key], osp.basename(path)
        if not name.lower().endswith(PICTURE_EXTENSIONS):  # a key, which may hold points itself
            name += '.png'
        return decode(source.read(name), source.label(name))


class PackHazePair(BaseTransform):
    """Make of `img` and `gt` what the plugin's data sets give: `lq` and `gt` for OKDNetRestorer.

    The pictures are uint8 or uint16, BGR, or RGB if `img_channel_order` says so, (H, W, 3).
    """

    def transform(self, results: dict) -> dict:
        """
        Returns:
            lq, gt: float32 RGB (3, H, W) in [0, 1]; lq_path, gt_path.
        """
        packed = {}
        for key, ours in (('img', 'lq'), ('gt', 'gt')):
            if key not in results:
                continue
            img = results[key]
            is_rgb = results.get(f'{key}_channel_order', results.get('channel_order', 'bgr')) == 'rgb'
            packed[ours] = to_tensor(np.ascontiguousarray(img[..., ::-1] if is_rgb else img))
            packed[f'{ours}_path'] = str(results.get(f'{key}_path', ''))
        return packed
