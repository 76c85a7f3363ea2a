"""Pairs of a hazy and a clear picture, from folders or from LMDBs that the toolbox made."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Real
from os import path as osp

import cv2
import numpy as np
from basicsr.data.transforms import augment, paired_random_crop
from basicsr.utils import bgr2ycbcr, get_root_logger, imfrombytes, img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.functional import normalize

from okdnet_plugin.data.layouts import (
    Layout,
    get_layout,
    layout_from_regex,
    layout_from_template,
    pair_listed,
    pair_names,
    stem,
)
from okdnet_plugin.data.picture_sources import PictureFolder, PictureLmdb, open_source
from okdnet_plugin.errors import InputError, did_you_mean

_REQUIRED = ('phase', 'dataroot_gt', 'dataroot_lq')
_RULES = {'layout': get_layout, 'pairing': layout_from_regex, 'filename_tmpl': layout_from_template}
_OPTIONAL = (
    'name',
    'type',
    'io_backend',
    'meta_info_file',
    'gt_size',
    'resize',
    'use_hflip',
    'use_rot',
    'color',
    'mean',
    'std',
    'scale',
)
# Read from the same block by the toolbox's loader, sampler and prefetcher, or customary there.
_OF_THE_LOADER = (
    'batch_size_per_gpu',
    'num_worker_per_gpu',
    'dataset_enlarge_ratio',
    'prefetch_mode',
    'num_prefetch_queue',
    'pin_memory',
    'persistent_workers',
    'use_shuffle',
)
_OF_THE_BACKEND = {
    'disk': ('type',),
    'lmdb': ('type', 'readonly', 'lock', 'readahead', 'meminit', 'max_readers', 'max_spare_txns', 'map_size'),
}
_FRAME = 10  # px on each side of a framed clear picture
_WHITE_RING = 5  # px: further inside the frame is dithered into the picture
_WHITE = 250


@DATASET_REGISTRY.register()
class PairedDehazeDataset(Dataset):
    """Pairs of a hazy picture (lq) and the clear picture (gt) of the same scene.

    It reads what the toolbox's PairedImageDataset reads, with the same options, values and random numbers. Beyond that,
    several hazy pictures may share a clear one, names follow the rule of a public data set, and extensions may differ.

    Args:
        opt: a data set's block of an option file; it is not changed. Its keys:

            - name, for messages and results; phase: train, val or test.
            - dataroot_lq, dataroot_gt: folders of hazy and of clear pictures, or LMDBs.
            - io_backend: `{type: disk}`, the default, or `{type: lmdb}` with options of the toolbox's LMDB reader.
            - layout, pairing or filename_tmpl: at most one. The name of a public data set in `LAYOUTS`; a regular
              expression of a whole stem whose one group is the scene; a format string that makes the hazy stem from
              the clear one. Default: equal stems. LMDBs with equal keys are paired by key whatever filename_tmpl is.
            - meta_info_file: list of the clear pictures to be used, one `NAME.ext (h,w,c)` a line; not for LMDBs.
            - gt_size: edge in px of the random crop for training.
            - resize: size in px, `n` or `[h, w]`, to which both pictures are brought in any phase, instead of a crop.
              In uint8, by area when neither edge grows, else linearly.
              Source: OKDNet resizes to 256 x 256 for training.
            - use_hflip, use_rot: random flips and turns by 90 degrees for training. Default: false.
            - color: `y` for the luma alone. mean, std: normalisation, by channel.
            - scale: clear size / hazy size. Default: 1.

    Raises:
        InputError: an option, a folder or a picture cannot be used. Reading a picture raises it too.
    """

    def __init__(self, opt: Mapping):
        self.opt = opt  # the toolbox's models read the name from here
        self._where = f'phase {opt.get("phase")}, data set {opt.get("name", "without name")}'
        with _located(self._where):
            _check_keys(opt)
            _check_values(opt)
            self.layout = _layout_of(opt)
            self.scale = _scale_of(opt)
            self.resize = _size_of(opt.get('resize'))
            self._sources = {side: _source_of(opt, f'dataroot_{side}', self.layout) for side in ('lq', 'gt')}
            self.pairs = self._find_pairs()

    def __getitem__(self, index: int) -> dict[str, Tensor | str]:
        """Read one pair.

        Returns:
            lq, gt: float32 RGB tensors (3, H, W), or (1, H, W) for the luma, in [0, 1] before normalisation.
            lq_path, gt_path: files, or keys of the LMDBs.
        """
        opt, lq, gt = self.opt, self._sources['lq'], self._sources['gt']
        lq_name, gt_name = self.pairs[index]

        # HWC, BGR, uint8 in [0, 255]: crops and flips cost a quarter of what they cost in float32
        with _located(self._where):
            img_lq = _decode(lq.read(lq_name), lq.label(lq_name))
            img_gt = _decode(gt.read(gt_name), gt.label(gt_name))
            img_gt = self._aligned(img_gt, img_lq, f'{lq.label(lq_name)} and {gt.label(gt_name)}')
            img_gt, img_lq = self._cropped_or_resized(img_gt, img_lq, gt.label(gt_name))
        if opt['phase'] == 'train':
            img_gt, img_lq = augment([img_gt, img_lq], opt.get('use_hflip'), opt.get('use_rot'))

        # HWC, BGR, float32 in [0, 1]
        img_gt, img_lq = (img.astype(np.float32) / 255.0 for img in (img_gt, img_lq))
        if opt.get('color') == 'y':
            img_gt, img_lq = (bgr2ycbcr(img, y_only=True)[..., None] for img in (img_gt, img_lq))

        # CHW, RGB
        img_gt, img_lq = img2tensor([img_gt, img_lq], bgr2rgb=True, float32=True)
        if opt.get('mean') is not None:
            img_gt, img_lq = (normalize(img, opt['mean'], opt['std'], inplace=True) for img in (img_gt, img_lq))
        return {'lq': img_lq, 'gt': img_gt, 'lq_path': lq.path(lq_name), 'gt_path': gt.path(gt_name)}

    def __len__(self) -> int:
        return len(self.pairs)

    def _find_pairs(self) -> list[tuple[str, str]]:
        lq, gt = self._sources['lq'], self._sources['gt']
        hazy, listed = lq.names(), self.opt.get('meta_info_file')
        if listed and isinstance(gt, PictureFolder):
            return pair_listed(hazy, gt.names_in(listed), self.layout)
        if listed:
            self._warn(f'meta_info_file {listed} is not used: an LMDB has its own meta_info.txt')
        clear = gt.names()
        if osp.realpath(lq.root) == osp.realpath(gt.root):
            # One folder for both, as NH-HAZE comes: the name tells which is which.
            hazy = [name for name in clear if not self.layout.is_clear(name)]
            clear = [name for name in clear if self.layout.is_clear(name)] or clear
        pairs = pair_names(hazy, clear, self._layout_for_keys(hazy, clear))
        unused = len(clear) - len({gt_name for _, gt_name in pairs})
        if unused:
            self._warn(f'{unused} of {len(clear)} clear pictures in {gt.root} have no hazy picture and are not used')
        return pairs

    def _layout_for_keys(self, hazy: list[str], clear: list[str]) -> Layout:
        # The toolbox pairs LMDBs by equal keys and ignores filename_tmpl, and so its option files may have any there.
        same_keys = _backend_of(self.opt)['type'] == 'lmdb' and {stem(n) for n in hazy} == {stem(n) for n in clear}
        return layout_from_template('{}') if same_keys and self.layout.name == 'filename_tmpl' else self.layout

    def _aligned(self, img_gt: np.ndarray, img_lq: np.ndarray, labels: str) -> np.ndarray:
        if self.layout.white_frame:
            img_gt = _cut_white_frame(img_gt, img_lq, labels)
        return _cut_remainder(img_gt, img_lq, self.scale, self.opt['phase'] == 'train', labels)

    def _cropped_or_resized(self, img_gt: np.ndarray, img_lq: np.ndarray, label: str) -> tuple[np.ndarray, np.ndarray]:
        if self.resize:
            return _resized(img_gt, *self.resize), _resized(img_lq, *self.resize)
        if self.opt['phase'] != 'train':
            return img_gt, img_lq
        _check_large_enough(img_gt, self.opt['gt_size'], label)
        return paired_random_crop(img_gt, img_lq, self.opt['gt_size'], self.scale)

    def _warn(self, message: str) -> None:
        get_root_logger().warning(f'{self._where}: {message}')


# ------------------------------------------------------------------------------------------------------------ pictures


def _decode(content: bytes, label: str) -> np.ndarray:
    img = imfrombytes(content) if content else None
    if img is None:
        state = 'cannot be decoded: it is damaged, cut short or no picture' if content else 'is empty (0 bytes)'
        raise InputError(f'{label} {state}; get the file again or take the pair out, then go on with --auto_resume')
    return img


def _cut_white_frame(img_gt: np.ndarray, img_lq: np.ndarray, labels: str) -> np.ndarray:
    """Clear picture without the frame that SOTS-indoor's original files have and their hazy ones lack."""
    if any(img_gt.shape[axis] - img_lq.shape[axis] != 2 * _FRAME for axis in (0, 1)):
        return img_gt
    ring = np.ones(img_gt.shape[:2], bool)
    ring[_WHITE_RING:-_WHITE_RING, _WHITE_RING:-_WHITE_RING] = False
    if img_gt[ring].min() < _WHITE:
        raise InputError(
            f'{labels} do not fit: the clear picture is {2 * _FRAME} px larger, but has no white frame to be cut off; '
            'give the original clear pictures, or ones of the hazy size'
        )
    return img_gt[_FRAME:-_FRAME, _FRAME:-_FRAME]


def _cut_remainder(img_gt: np.ndarray, img_lq: np.ndarray, scale: int, exact: bool, labels: str) -> np.ndarray:
    """Clear picture of `scale` times the hazy size; unless `exact`, a remainder smaller than `scale` is cut off."""
    (h_lq, w_lq), (h_gt, w_gt) = img_lq.shape[:2], img_gt.shape[:2]
    largest = 0 if exact else scale - 1
    if not (0 <= h_gt - h_lq * scale <= largest and 0 <= w_gt - w_lq * scale <= largest):
        raise InputError(
            f'{labels} do not fit: the hazy picture is {h_lq}x{w_lq}, the clear one {h_gt}x{w_gt} (height x width), '
            f'but scale is {scale}; make the sizes fit, take the pair out, or correct scale'
        )
    return img_gt[: h_lq * scale, : w_lq * scale]


def _resized(img: np.ndarray, height: int, width: int) -> np.ndarray:
    if img.shape[:2] == (height, width):
        return img
    shrinks = height <= img.shape[0] and width <= img.shape[1]
    return cv2.resize(img, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _check_large_enough(img_gt: np.ndarray, gt_size: int, label: str) -> None:
    if min(img_gt.shape[:2]) < gt_size:
        height, width = img_gt.shape[:2]
        raise InputError(
            f'{label} is {height}x{width} (height x width), smaller than gt_size {gt_size}; lower gt_size, use resize, '
            'or take the pair out'
        )


# ------------------------------------------------------------------------------------------------------------- options


def _check_keys(opt: Mapping) -> None:
    known = (*_REQUIRED, *_RULES, *_OPTIONAL, *_OF_THE_LOADER)
    for key in opt:
        if key not in known:
            raise InputError(f"unknown option '{key}'{did_you_mean(key, known)}; correct or remove it")
    for key in _REQUIRED:
        if opt.get(key) is None:
            raise InputError(f"option '{key}' is missing; add it")


def _check_values(opt: Mapping) -> None:
    def require(holds: bool, message: str) -> None:
        if not holds:
            raise InputError(message)

    phase, backend, scale = opt['phase'], _backend_of(opt), _scale_of(opt)
    gt_size, resize = opt.get('gt_size'), _size_of(opt.get('resize'))
    mean, std = opt.get('mean'), opt.get('std')

    for key in ('dataroot_lq', 'dataroot_gt'):
        require(isinstance(opt[key], str | os.PathLike), f'{key} is {opt[key]}; write one path')
    require(phase in ('train', 'val', 'test'), f"phase is '{phase}'; write train, val or test")
    kind = backend.get('type') if isinstance(backend, Mapping) else None
    require(kind in _OF_THE_BACKEND, f'io_backend is {backend}; write {{type: disk}} or {{type: lmdb}}')
    for key in backend:
        known = _OF_THE_BACKEND[kind]
        require(key in known, f"unknown option '{key}' of io_backend {kind}{did_you_mean(key, known)}; remove it")
    require(_is_count(scale), f'scale is {scale}; write a whole number from 1')
    require(gt_size is None or resize is None, 'gt_size crops and resize resizes; give one of them')
    require(
        phase != 'train' or gt_size is not None or resize is not None,
        "option 'gt_size' (random crop) or 'resize' is missing; training needs one of them",
    )
    require(gt_size is None or _is_count(gt_size), f'gt_size is {gt_size}; write a whole number of px from 1')
    require(gt_size is None or gt_size % scale == 0, f'gt_size {gt_size} is no multiple of scale {scale}; change it')
    require(resize is None or scale == 1, f'resize makes both pictures one size, but scale is {scale}; use gt_size')
    require(
        resize is None or resize[0] == resize[1] or not opt.get('use_rot'),
        f'use_rot turns {resize} on its side, so that a batch has two sizes; use a square resize or use_rot: false',
    )
    require(opt.get('color') in (None, 'rgb', 'y'), f"color is '{opt.get('color')}'; write y, or leave it out")
    require((mean is None) == (std is None), 'mean and std go together; give both or neither')
    for key, values in {'mean': mean, 'std': std}.items():
        require(
            values is None or _is_per_channel(values, 1 if opt.get('color') == 'y' else 3),
            f'{key} is {values}; write a number, or a list with one for each channel',
        )
    require(std is None or np.all(std), f'std is {std}; a zero cannot be divided by')


def _is_per_channel(values: object, channels: int) -> bool:
    values = values if isinstance(values, list | tuple) else [values]
    return len(values) in (1, channels) and all(isinstance(value, Real) for value in values)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _scale_of(opt: Mapping) -> int:
    return 1 if opt.get('scale') is None else opt['scale']


def _size_of(resize: object) -> tuple[int, int] | None:
    """Height and width of the option `resize`."""
    if resize is None:
        return None
    size = tuple(resize) if isinstance(resize, list | tuple) else (resize, resize)
    if len(size) != 2 or not all(_is_count(edge) for edge in size):
        raise InputError(f'resize is {resize}; write a number of px, or [height, width]')
    return size


def _source_of(opt: Mapping, key: str, layout: Layout) -> PictureFolder | PictureLmdb:
    with _located(key):
        return open_source(opt[key], _backend_of(opt), layout.recursive)


def _backend_of(opt: Mapping) -> Mapping:
    return opt.get('io_backend') or {'type': 'disk'}


def _layout_of(opt: Mapping) -> Layout:
    given = [key for key in _RULES if opt.get(key) is not None]
    if len(given) > 1:
        raise InputError(f'{" and ".join(given)} are given; each says how pictures are paired: keep one of them')
    return _RULES[given[0]](opt[given[0]]) if given else layout_from_template('{}')


@contextmanager
def _located(where: str) -> Iterator[None]:
    """Put the place before the message of an InputError."""
    try:
        yield
    except InputError as error:
        raise InputError(f'{where}: {error}') from None
