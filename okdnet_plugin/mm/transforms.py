"""Transforms for pipelines of mmcv: a pair of images is read, cropped and turned together, and packed."""

from os import path as osp

import numpy as np
from basicsr.data.transforms import augment, paired_random_crop
from mmcv.transforms import BaseTransform

from okdnet_plugin.data.image_sources import IMAGE_EXTENSIONS, open_source
from okdnet_plugin.data.images import check_large_enough, decode, to_tensor
from okdnet_plugin.errors import InputError
from okdnet_plugin.files import open_regular_file


class LoadHazePair(BaseTransform):
    """Read a hazy image and its clear one, from files or from LMDBs of `basicsr lmdb build`.

    Transforms of mmcv see `img` alone: what crops, turns or resizes goes through AugmentHazePair, or images are no
    pairs any more.

    Args:
        dataroot_lq, dataroot_gt: LMDBs in which the images are found by their stems; without them `img_path` and
            `gt_path` are files.

    Raises:
        InputError: an image cannot be read; the message names it.
    """

    def __init__(self, dataroot_lq: str | None = None, dataroot_gt: str | None = None):
        roots = {'img': dataroot_lq, 'gt': dataroot_gt}
        self.sources = {key: open_source(root, {'type': 'lmdb'}, False) for key, root in roots.items() if root}

    def transform(self, results: dict) -> dict:
        """
        Args:
            results: `img_path`, and perhaps `gt_path`: files, or keys or names of the LMDBs' images.

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
                with open_regular_file(path, f'image {path}') as file:
                    return decode(file.read(), f'image {path}')
            except OSError as error:
                raise InputError(f'image {path} cannot be read: {error.strerror}; correct {key}_path') from error
        source, name = self.sources[key], osp.basename(path)
        if not name.lower().endswith(IMAGE_EXTENSIONS):  # a key, which may hold points itself
            name += '.png'
        return decode(source.read(name), source.label(name))


class AugmentHazePair(BaseTransform):
    """The same random crop, flip and turn for `img` and `gt`, as BasicSR makes them.

    Args:
        gt_size: edge of the crop in px; None for the whole images.
        use_hflip, use_rot: random flips, and turns by 90 degrees.

    Raises:
        InputError: the images differ in size, or are smaller than the crop.
    """

    def __init__(self, gt_size: int | None = None, use_hflip: bool = False, use_rot: bool = False):
        self.gt_size, self.use_hflip, self.use_rot = gt_size, use_hflip, use_rot

    def transform(self, results: dict) -> dict:
        """
        Returns:
            results with other `img` and `gt`, and their sizes.
        """
        _check_pair(results)
        img, gt = results['img'], results['gt']
        if self.gt_size is not None:
            check_large_enough(gt, self.gt_size, f'image {results.get("gt_path", "gt")}')
            gt, img = paired_random_crop(gt, img, self.gt_size, 1)
        gt, img = augment([gt, img], self.use_hflip, self.use_rot)
        return {**results, 'img': img, 'gt': gt, 'img_shape': img.shape[:2], 'gt_shape': gt.shape[:2]}


class PackHazePair(BaseTransform):
    """Make of `img` and `gt` what the plugin's data sets give: `lq` and `gt` for OKDNetRestorer.

    The images are uint8 or uint16, BGR, or RGB if `img_channel_order` says so, (H, W, 3).

    Raises:
        InputError: they have other values, or differ in size.
    """

    def transform(self, results: dict) -> dict:
        """
        Returns:
            lq, gt: float32 RGB (3, H, W) in [0, 1]; lq_path, gt_path.
        """
        if 'gt' in results:
            _check_pair(results)
        packed = {}
        for key, ours in (('img', 'lq'), ('gt', 'gt')):
            if key not in results:
                continue
            img = results[key]
            if img.dtype not in (np.uint8, np.uint16):
                raise InputError(
                    f'PackHazePair: {key} is {img.dtype}; take out what makes floats of it, as Normalize: the network '
                    'takes [0, 1]'
                )
            is_rgb = results.get(f'{key}_channel_order', results.get('channel_order', 'bgr')) == 'rgb'
            packed[ours] = to_tensor(np.ascontiguousarray(img[..., ::-1] if is_rgb else img))
            packed[f'{ours}_path'] = str(results.get(f'{key}_path', ''))
        return packed


def _check_pair(results: dict) -> None:
    sizes = [results[key].shape[:2] for key in ('img', 'gt')]
    if sizes[0] != sizes[1]:
        raise InputError(
            f'image {results.get("img_path", "img")} is {sizes[0][0]}x{sizes[0][1]}, but its clear one '
            f'{sizes[1][0]}x{sizes[1][1]} (height x width); crop and resize by transforms that take both'
        )
