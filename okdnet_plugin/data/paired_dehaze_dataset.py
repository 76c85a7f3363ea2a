"""Pairs of a hazy and a clear image, from folders or from LMDBs."""

from collections.abc import Iterator, Mapping
from os import path as osp
from typing import Any, Literal

import numpy as np
from basicsr.data.transforms import augment, paired_random_crop
from basicsr.utils.registry import DATASET_REGISTRY
from pydantic import Field
from torchvision.transforms.functional import normalize

from okdnet_plugin.config.types import File, Folder
from okdnet_plugin.data import options, sizes
from okdnet_plugin.data.color_jitter import color_jitter_of, jittered
from okdnet_plugin.data.dehaze_dataset import DehazeDataset
from okdnet_plugin.data.image_sources import (
    ImageFolder,
    ImageLmdb,
    names_of_both_sides,
    open_source,
    read_pairs,
)
from okdnet_plugin.data.images import check_large_enough, cut_remainder, cut_white_frame, decode, resized, to_tensor
from okdnet_plugin.data.layouts import (
    LAYOUTS,
    RULES,
    Layout,
    layout_from_template,
    layout_of,
    pair_listed,
    pair_names,
    stem,
)
from okdnet_plugin.data.options import located, require
from okdnet_plugin.errors import InputError


@DATASET_REGISTRY.register()
class PairedDehazeDataset(DehazeDataset):
    """Pairs of a hazy image (lq) and the clear image (gt) of the same scene.

    It reads what BasicSR's PairedImageDataset reads, with the same options, values and random numbers. Beyond that,
    several hazy images may share a clear one, names follow the rule of a public data set, and extensions may differ.

    Args:
        opt: a data set's block of an option file; it is not changed. See `Options`; at most one of layout, pairing and
            filename_tmpl is given, by default stems are equal. LMDBs with equal keys are paired by key whatever
            filename_tmpl is. resize is in uint8, by area when neither edge grows, else linearly: `n` or `[h, w]`, or
            `{shorter: [low, high]}`, a range from which the shorter side is drawn; with gt_size, a training crops the
            resized images. Source: OKDNet resizes to 256 x 256 for training.

    Raises:
        InputError: an option, a folder or an image cannot be used. Reading an image raises it too.
    """

    class Options(options.TensorOptions, options.TrainingOptions, DehazeDataset.Options):
        dataroot_lq: Folder = Field(description='folder or LMDB of hazy images')
        dataroot_gt: Folder = Field(description='folder or LMDB of clear images')
        layout: Literal[tuple(LAYOUTS)] | None = Field(  # type: ignore[valid-type]
            None, description='the public data set whose names the files have'
        )
        pairing: str | None = Field(None, description='regular expression of a stem, whose one group is the scene')
        filename_tmpl: str | None = Field(
            None, description='format string that makes the hazy stem from the clear one, as {}_hazy'
        )
        recursive: bool | None = Field(
            False, description='look into the folders of the folders; a pair lies at the same place below both'
        )
        filter_lq: str | None = Field(None, description='hazy files by a pattern of the shell, as *_hazy.*')
        filter_gt: str | None = Field(None, description='clear files by a pattern of the shell, as *_GT.*')
        pairs: File | None = Field(
            None, description='CSV of the pairs, `hazy,clear` a line, paths below the two folders'
        )
        meta_info_file: File | None = Field(
            None, description='list of the clear images to be used, one `NAME.ext (h,w,c)` a line; not for LMDBs'
        )

    @classmethod
    def complaints(cls, block: Mapping) -> Iterator[tuple[str, str]]:
        try:
            layout_of(block)
        except InputError as error:
            key = next(key for key in RULES if block.get(key) is not None)
            yield key, f': {str(error).removeprefix(f"{key}: ")}'
        if block.get('pairs') is None and block.get('filter_lq') is None and block.get('filter_gt') is None:
            yield from super().complaints(block)

    @classmethod
    def _is_recursive(cls, block: Mapping) -> bool:
        return super()._is_recursive(block) or (block.get('layout') in LAYOUTS and LAYOUTS[block['layout']].recursive)

    def _open(self) -> None:
        opt = self.opt
        options.check_source(opt, ('dataroot_lq', 'dataroot_gt'))
        sizes.check_training(opt)
        options.check_tensor(opt)
        of_folders = [key for key in ('recursive', 'filter_lq', 'filter_gt', 'pairs') if opt.get(key)]
        require(
            not of_folders or options.backend_of(opt)['type'] == 'disk',
            f'{"".join(of_folders[:1])} is for folders; an LMDB pairs by its keys: take it out',
        )
        others = [key for key in (*RULES, 'meta_info_file', 'recursive', 'filter_lq', 'filter_gt') if opt.get(key)]
        require(
            not opt.get('pairs') or not others,
            f'pairs says all pairs, and {"".join(others[:1])} how to find them; keep one of them',
        )
        self.layout = layout_of(opt)
        self.scale = options.scale_of(opt)
        self.resize = sizes.resize_of(opt.get('resize'))
        self.color_jitter = color_jitter_of(opt.get('color_jitter'))
        self._sources = {side: self._source(f'dataroot_{side}') for side in ('lq', 'gt')}
        self.pairs = self._find_pairs()

    def __len__(self) -> int:
        return len(self.pairs)

    def lq_path(self, index: int) -> str:
        """File of a hazy image, or its key in the LMDB."""
        return self._sources['lq'].path(self.pairs[index][0])

    def _sample(self, index: int) -> dict[str, Any]:
        """Read one pair.

        Returns:
            lq, gt: float32 RGB tensors (3, H, W), or (1, H, W) for the luma, in [0, 1] before normalisation.
            lq_path, gt_path: files, or keys of the LMDBs.
        """
        opt, lq, gt = self.opt, self._sources['lq'], self._sources['gt']
        lq_name, gt_name = self.pairs[index]

        # HWC, BGR, uint8 in [0, 255]: crops and flips cost a quarter of what they cost in float32
        img_lq = decode(lq.read(lq_name), lq.label(lq_name))
        img_gt = decode(gt.read(gt_name), gt.label(gt_name))
        img_gt = self._aligned(img_gt, img_lq, f'{lq.label(lq_name)} and {gt.label(gt_name)}')
        img_gt, img_lq = self._cropped_or_resized(img_gt, img_lq, gt.label(gt_name))
        if opt['phase'] == 'train':
            img_gt, img_lq = jittered(self.color_jitter, [img_gt, img_lq])
            img_gt, img_lq = augment([img_gt, img_lq], bool(opt.get('use_hflip')), bool(opt.get('use_rot')))

        # CHW, RGB, float32 in [0, 1]
        tensors = {'lq': to_tensor(img_lq, opt.get('color')), 'gt': to_tensor(img_gt, opt.get('color'))}
        if opt.get('mean') is not None:
            tensors = {side: normalize(img, opt['mean'], opt['std'], inplace=True) for side, img in tensors.items()}
        return {**tensors, 'lq_path': self.lq_path(index), 'gt_path': gt.path(gt_name)}

    def _source(self, key: str) -> ImageFolder | ImageLmdb:
        with located(key):
            pattern, is_recursive = self.opt.get(key.replace('dataroot', 'filter')), self._is_recursive(self.opt)
            return open_source(self.opt[key], options.backend_of(self.opt), is_recursive, pattern=pattern)

    def _find_pairs(self) -> list[tuple[str, str]]:
        lq, gt = self._sources['lq'], self._sources['gt']
        if self.opt.get('pairs'):
            pairs = read_pairs(self.opt['pairs'], lq.root, gt.root, is_once=self.opt['phase'] != 'train')
            if isinstance(lq, ImageFolder):
                lq.name_results([name for name, _ in pairs])
            return pairs
        listed = self.opt.get('meta_info_file')
        if listed and isinstance(gt, ImageFolder):
            named = gt.names_in(listed)
            if not self.opt.get('recursive'):
                return pair_listed(lq.names(), named, self.layout)
            there, here = _by_place(lq.names(), lq.root), _by_place(named, gt.root)
            return [
                pair for place, some in here.items() for pair in pair_listed(there.get(place, []), some, self.layout)
            ]
        if listed:
            self._warn(f'meta_info_file {listed} is not used: an LMDB has its own meta_info.txt')
        are_apart = bool(self.opt.get('filter_lq') or self.opt.get('filter_gt'))
        hazy, clear = names_of_both_sides(lq, gt, self.layout, are_apart)
        if self.opt.get('recursive'):
            by_place = [_by_place(names, side.root) for names, side in ((hazy, lq), (clear, gt))]
            pairs = [
                pair
                for place, names in sorted(by_place[0].items())
                for pair in pair_names(names, by_place[1].get(place, []), self.layout)
            ]
        else:
            pairs = pair_names(hazy, clear, self._layout_for_keys(hazy, clear))
        unused = len(clear) - len({gt_name for _, gt_name in pairs})
        if unused:
            self._warn(f'{unused} of {len(clear)} clear images in {gt.root} have no hazy image and are not used')
        return pairs

    def _layout_for_keys(self, hazy: list[str], clear: list[str]) -> Layout:
        # BasicSR pairs LMDBs by equal keys and ignores filename_tmpl, and so its option files may have any there.
        same_keys = options.backend_of(self.opt)['type'] == 'lmdb' and {stem(n) for n in hazy} == {
            stem(n) for n in clear
        }
        return layout_from_template('{}') if same_keys and self.layout.name == 'filename_tmpl' else self.layout

    def _aligned(self, img_gt: np.ndarray, img_lq: np.ndarray, labels: str) -> np.ndarray:
        if self.layout.white_frame:
            img_gt = cut_white_frame(img_gt, img_lq.shape, labels)
        return cut_remainder(img_gt, img_lq.shape, self.scale, self.opt['phase'] == 'train', labels)

    def _cropped_or_resized(self, img_gt: np.ndarray, img_lq: np.ndarray, label: str) -> tuple[np.ndarray, np.ndarray]:
        size, edge = img_gt.shape[:2], self.opt.get('gt_size')
        if self.resize:
            if edge is None or self.opt['phase'] != 'train':
                sample = sizes.whole(self.resize, *size)
            else:
                sample = sizes.draw_resized_crop(self.resize, edge, *size)
            assert sample.size is not None, 'it is resized'
            return resized(img_gt[sample.window], *sample.size), resized(img_lq[sample.window], *sample.size)
        if self.opt['phase'] != 'train':
            return img_gt, img_lq
        check_large_enough(img_gt, self.opt['gt_size'], label)
        return paired_random_crop(img_gt, img_lq, self.opt['gt_size'], self.scale)


def _by_place(names: list[str], root: str) -> dict[str, list[str]]:
    """Names by their folder below a root."""
    places: dict[str, list[str]] = {}
    for name in names:
        places.setdefault(osp.relpath(osp.dirname(name), root), []).append(name)
    return places
