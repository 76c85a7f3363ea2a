"""Hazy images that are made on the fly, of clear images and their depth."""

from collections.abc import Sequence
from os import path as osp
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import torch
from basicsr.data.transforms import augment
from basicsr.utils.registry import DATASET_REGISTRY
from pydantic import Field
from torchvision.transforms.functional import normalize

from okdnet_plugin.config.messages import shown
from okdnet_plugin.config.types import File, Folder, NotNegative, Says
from okdnet_plugin.data import options, sizes
from okdnet_plugin.data.color_jitter import color_jitter_of, jittered
from okdnet_plugin.data.dehaze_dataset import DehazeDataset
from okdnet_plugin.data.depth import DEPTH_EXTENSIONS, KINDS, NORMS, DepthRule, decode_depth, distances, painted_depth
from okdnet_plugin.data.haze import (
    Window,
    add_haze,
    equivalent_distance,
    patches,
    sine_of_elevation,
    transmission,
)
from okdnet_plugin.data.haze_options import FIELDS, PRESETS, Drawn, Haze, HazeRule
from okdnet_plugin.data.image_sources import IMAGE_EXTENSIONS, ImageFolder, ImageLmdb, open_source
from okdnet_plugin.data.images import cut_white_frame, decode, resized, to_tensor
from okdnet_plugin.data.layouts import stem
from okdnet_plugin.data.options import located, require
from okdnet_plugin.errors import InputError

_OF_DEPTH = ('depth_kind', 'depth_norm', 'depth_scale', 'depth_smooth')


@DATASET_REGISTRY.register()
class SyntheticHazeDataset(DehazeDataset):
    """Pairs of a clear image (gt) and a hazy one (lq) that is made of it by I = J t + A (1 - t), t = exp(-beta d).

    In a training the haze of an image is drawn by the generator of numpy, which the engine seeds for every sample; in
    validation and test it depends on `seed` and the image's place alone. A hazy image has the values that it would
    have as a file of 8 bits.

    Source: the model is OKDNet's Eq. (1). RESIDE's figures: Li et al., "Benchmarking Single-Image Dehazing and Beyond",
    TIP 2019.

    Args:
        opt: a data set's block of an option file; it is not changed. Name, phase, io_backend, gt_size, resize,
            use_hflip, use_rot, color_jitter, color, mean, std and on_error are PairedDehazeDataset's; scale is 1. Its
            own keys:

            - dataroot_gt: folder or LMDB of clear images. meta_info_file: list of those to be used; not for LMDBs.
            - dataroot_depth: folder or LMDB of their depth, of equal stems: PNG, TIFF, NPY or NPZ. Without it depth is
              made up by `painted_depth`, in [0.2, 1].
            - depth_scale: d = value / depth_scale. Whole numbers, as in PNG, need it, unless depth_norm says otherwise;
              floating-point values are divided by 1 by default.
            - depth_kind: depth, the default, or `inverse`: d = 1 / value, of values from a thousandth of the largest.
            - depth_norm: none, the default; max: d / max d; minmax: (d - min d) / (max d - min d); both by image, and
              whatever depth_scale is.
            - depth_smooth: radius in px of a filter that smooths the steps of whole numbers and keeps edges; 3 is right
              for depth of 8 bits. Default: 0, none.
            - beta, airlight: a number, a range `[low, high]` to draw from uniformly, or `{choices: [...]}`.
              airlight_per_channel: draw each channel by itself. Default: false.
            - grid: each clear image comes with every combination of the choices, as in RESIDE's lists: all beta for
              the first airlight, then for the next. `lq_path` ends in the number of the combination, from 1, as
              `1400_3`. Default: false.
            - preset: what beta, airlight and grid are by default. reside_its: beta in [0.6, 1.8], airlight in
              [0.7, 1]. reside_ots: airlight 0.8, 0.85, 0.9, 0.95 or 1; beta 0.04, 0.06, 0.08, 0.1, 0.12, 0.16 or 0.2,
              per unit of the scale of the estimator that RESIDE took depth from: depth has to be in that scale.
              sots_indoor: airlight 1, beta 0.6, 0.7 ... 1.5, grid; a white frame of clear images is cut off.
            - field: homogeneous, the default; height: haze that thins out with height, by falloff per unit of depth
              (no default), seen by a level camera of the vertical field of view fov in degrees (default 60); patchy:
              beta times a smooth random field of mean 1, as uneven as patchiness in [0, 1] says (default 0.5); or
              weights such as `{homogeneous: 0.6, patchy: 0.4}` to draw one for each image.
            - noise: standard deviation of Gaussian noise on the scale of [0, 1]. jpeg: quality from 1 to 100.
              Default: none. These, falloff and patchiness may be drawn like beta.
            - seed: of the haze in validation and test. Default: 0.
            - return_maps: give transmission and airlight too; return_depth: give the depth. Default: false.

    Raises:
        InputError: an option, a folder, an image or its depth cannot be used. Reading an image raises it too.
    """

    class Options(options.TensorOptions, options.TrainingOptions, DehazeDataset.Options):
        dataroot_gt: Folder = Field(description='folder or LMDB of clear images')
        meta_info_file: File | None = Field(None, description='list of the clear images to be used; not for LMDBs')
        dataroot_depth: Folder | None = Field(
            None, description='folder or LMDB of their depth, of equal stems; without it depth is made up'
        )
        depth_kind: Literal[KINDS] | None = Field('depth', description='what the values of depth files are')  # type: ignore[valid-type]
        depth_norm: Literal[NORMS] | None = Field('none', description='how depth is normalised by image')  # type: ignore[valid-type]
        depth_scale: Annotated[float, Field(gt=0)] | None = Field(None, description='depth = value / depth_scale')
        depth_smooth: Annotated[int, Field(ge=0, le=1000)] | None = Field(
            0, description='radius in px of the filter that smooths the steps of whole numbers; 3 for depth of 8 bits'
        )
        preset: Literal[tuple(PRESETS)] | None = Field(  # type: ignore[valid-type]
            None, description='beta, airlight and grid of a public data set'
        )
        beta: Drawn | None = Field(None, description='scattering coefficient per unit of depth')
        airlight: Drawn | None = Field(None, description='airlight, in [0, 1]')
        airlight_per_channel: bool | None = Field(False, description='draw each channel of the airlight by itself')
        grid: bool | None = Field(None, description='every clear image with all combinations of the choices')
        field: (
            Annotated[
                Literal[tuple(FIELDS)] | dict[Literal[tuple(FIELDS)], NotNegative],  # type: ignore[valid-type]
                Says(f'one of {", ".join(FIELDS)}, or weights: {{homogeneous: 0.7, patchy: 0.3}}'),
            ]
            | None
        ) = Field('homogeneous', description='how the haze is spread')
        fov: Annotated[float, Field(gt=0, lt=180)] | None = Field(
            None, description='vertical field of view in degrees, of field height; 60 by default'
        )
        falloff: Drawn | None = Field(None, description='how fast the haze thins out with height, of field height')
        patchiness: Drawn | None = Field(
            None, description='how uneven the haze is, in [0, 1], of field patchy; 0.5 by default'
        )
        noise: Drawn | None = Field(None, description='standard deviation of Gaussian noise, on the scale of [0, 1]')
        jpeg: Drawn | None = Field(None, description='JPEG quality from 1 to 100')
        seed: Annotated[int, Field(ge=0, le=2**63)] | None = Field(
            None, description='seed of the haze in validation and test; 0 by default'
        )
        return_maps: bool | None = Field(False, description='give transmission and airlight too')
        return_depth: bool | None = Field(False, description='give the depth too, as a training of depth needs it')

    def _open(self) -> None:
        opt = self.opt
        options.check_source(opt, ('dataroot_gt', 'dataroot_depth', 'meta_info_file'))
        sizes.check_training(opt)
        options.check_tensor(opt)
        self._check_own()
        self.resize = sizes.resize_of(opt.get('resize'))
        self.color_jitter = color_jitter_of(opt.get('color_jitter'))
        self.haze = HazeRule(opt)
        self.depth_rule = self._depth_rule()
        self._clear = self._source('dataroot_gt', IMAGE_EXTENSIONS)
        self._depth = self._source('dataroot_depth', DEPTH_EXTENSIONS) if opt.get('dataroot_depth') else None
        self.images = self._find_images()
        if self._depth is None:
            self._warn(
                f'no dataroot_depth: the depth of {len(self.images)} clear images in {self._clear.root} is made up '
                '(far at the top, near at the bottom, warm colours in front of cool ones)'
            )

    def __len__(self) -> int:
        return len(self.images) * max(1, len(self.haze.grid))

    def lq_path(self, index: int) -> str:
        """Path of a hazy image: the clear image's, with the place in a grid."""
        place, variant = divmod(index, max(1, len(self.haze.grid)))
        root, extension = osp.splitext(self.images[place][0])
        number = f'_{variant + 1}' if self.haze.grid else ''
        return self._clear.path(f'{root}{number}{extension}')

    def _sample(self, index: int) -> dict[str, Any]:
        """Make one pair.

        Returns:
            lq, gt: float32 RGB tensors (3, H, W), or (1, H, W) for the luma, in [0, 1] before normalisation.
            lq_path, gt_path: the clear image's file, or key of the LMDB; lq_path with the place in a grid.
            transmission, airlight: with `return_maps`, float32: t of each pixel of lq, (1, H, W), in (0, 1], and RGB,
            (3, 1, 1), in [0, 1].
            depth: with `return_depth`, float32: d of each pixel of lq, (1, H, W), as the rule for depth files says.
        """
        opt = self.opt
        place, variant = divmod(index, max(1, len(self.haze.grid)))
        gt_name, depth_name = self.images[place]
        rng = self._generator(index)

        # HWC, BGR, uint8 in [0, 255], and HW, float32: the whole image, to be decoded and scaled
        img_gt, depth = self._read(gt_name, depth_name)
        # what is needed of it; haze is made there only
        window, target = sizes.of_a_sample(opt, self.resize, img_gt, self._clear.label(gt_name))
        haze = self.haze.draw(rng, variant)
        t = self._transmission(depth[window], haze, rng, depth.shape, window)
        planes = [depth[window]] if opt.get('return_depth') else []
        img_gt = img_gt[window]
        if opt['phase'] == 'train':
            (img_gt,) = jittered(self.color_jitter, [img_gt])  # before the haze, whose model and maps stay true
        img_lq = _hazy(img_gt, t, haze, rng)
        if target is not None:
            img_gt, img_lq, t, *planes = (resized(img, *target) for img in (img_gt, img_lq, t, *planes))
        t = np.minimum(t, 1)[..., None]  # a resized one may be above by its last digit
        planes = [plane[..., None] for plane in planes]
        if opt['phase'] == 'train':
            turned = augment([img_gt, img_lq, t, *planes], bool(opt.get('use_hflip')), bool(opt.get('use_rot')))
            img_gt, img_lq, t, *planes = turned

        # CHW, RGB, float32 in [0, 1]
        tensors = {'lq': to_tensor(img_lq, opt.get('color')), 'gt': to_tensor(img_gt, opt.get('color'))}
        if opt.get('mean') is not None:
            tensors = {side: normalize(img, opt['mean'], opt['std'], inplace=True) for side, img in tensors.items()}
        sample = {**tensors, 'lq_path': self.lq_path(index), 'gt_path': self._clear.path(gt_name)}
        if opt.get('return_maps'):
            sample['transmission'] = torch.from_numpy(np.ascontiguousarray(t.transpose(2, 0, 1)))
            sample['airlight'] = torch.tensor(haze.airlight).reshape(3, 1, 1)
        for plane in planes:
            sample['depth'] = torch.from_numpy(np.ascontiguousarray(plane.transpose(2, 0, 1)))
        return sample

    def _check_own(self) -> None:
        opt, scale = self.opt, options.scale_of(self.opt)
        require(scale == 1, f'scale is {shown(scale)}, but hazy images are made of the clear size; write 1')
        require(
            opt.get('seed') is None or opt['phase'] != 'train',
            'seed is for the haze of val and test; in training manual_seed of the option file rules: remove it here',
        )

    def _depth_rule(self) -> DepthRule:
        opt = self.opt
        for key in _OF_DEPTH:
            require(
                opt.get(key) is None or opt.get('dataroot_depth') is not None,
                f'{key} says how depth files are read, but there is no dataroot_depth; add it or remove {key}',
            )
        read = self.options
        return DepthRule(read.depth_kind, read.depth_norm, read.depth_scale, read.depth_smooth)

    def _source(self, key: str, extensions: tuple[str, ...]) -> ImageFolder | ImageLmdb:
        with located(key):
            return open_source(self.opt[key], options.backend_of(self.opt), extensions=extensions)

    def _find_images(self) -> list[tuple[str, str | None]]:
        """Clear images, in the order of the list or of their stems, and their depth."""
        listed = self.opt.get('meta_info_file')
        require(
            listed is None or isinstance(self._clear, ImageFolder),
            f'meta_info_file {listed} is for folders, but an LMDB has its own meta_info.txt; remove it',
        )
        if listed and isinstance(self._clear, ImageFolder):
            clear = _by_stem(self._clear.names_in(listed))
        else:
            clear = _by_stem(sorted(self._clear.names(), key=stem))
        if self._depth is None:
            return [(name, None) for name in clear.values()]
        depth = _by_stem([name for name in sorted(self._depth.names()) if stem(name) in clear])
        lonely = [name for key, name in clear.items() if key not in depth]
        if lonely:
            raise InputError(
                f'{lonely[0]} has no depth of equal stem in {self._depth.root} ({len(lonely)} of {len(clear)} such); '
                'add the depth, or take these images out'
            )
        unscaled = self.depth_rule.scale is None and self.depth_rule.norm == 'none'
        whole_numbers = [name for name in depth.values() if name.lower().endswith('.png')] if unscaled else []
        if whole_numbers:
            raise InputError(
                f"option 'depth_scale' is missing, and {whole_numbers[0]} holds whole numbers; add it "
                '(depth = value / depth_scale), or depth_norm: max'
            )
        return [(name, depth[key]) for key, name in clear.items()]

    def _generator(self, index: int) -> np.random.Generator:
        if self.opt['phase'] == 'train':
            return np.random.default_rng(np.random.randint(2**63 - 1, dtype=np.int64))
        return np.random.default_rng((self.opt.get('seed') or 0, index))

    def _read(self, gt_name: str, depth_name: str | None) -> tuple[np.ndarray, np.ndarray]:
        """Clear image, uint8 BGR (H, W, 3), and depth, float32 (H, W)."""
        gt_label = self._clear.label(gt_name)
        img_gt = decode(self._clear.read(gt_name), gt_label)
        if self._depth is None or depth_name is None:
            return img_gt, painted_depth(img_gt).astype(np.float32)
        label = self._depth.label(depth_name)
        values = decode_depth(self._depth.read(depth_name), label)
        if self.opt.get('preset') == 'sots_indoor':
            img_gt = cut_white_frame(img_gt, values.shape, f'{gt_label} and {label}')
        if values.shape != img_gt.shape[:2]:
            (h_gt, w_gt), (h_depth, w_depth) = img_gt.shape[:2], values.shape
            raise InputError(
                f'{label} is {h_depth}x{w_depth}, but {gt_label} is {h_gt}x{w_gt} (height x width); depth has the size '
                'of its image: make it again, or take the image out'
            )
        return img_gt, distances(values, self.depth_rule, label)

    def _transmission(
        self, depth: np.ndarray, haze: Haze, rng: np.random.Generator, size: tuple[int, int], window: Window
    ) -> np.ndarray:
        """Transmission of a window, whose depth it is, in an image of a size."""
        if haze.field == 'height' and haze.falloff is not None:
            depth = equivalent_distance(depth, sine_of_elevation(size[0], self.haze.fov)[window[0]], haze.falloff)
        if haze.field == 'patchy' and haze.patchiness is not None:
            return transmission(depth, haze.beta * patches(*size, haze.patchiness, rng, window))
        return transmission(depth, haze.beta)


def _by_stem(names: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in names:
        if found.setdefault(stem(name), name) != name:
            raise InputError(f'{found[stem(name)]} and {name} have the same stem; remove or rename one of them')
    return found


def _hazy(img_gt: np.ndarray, t: np.ndarray, haze: Haze, rng: np.random.Generator) -> np.ndarray:
    """Hazy image, uint8, as a file of it would hold it."""
    airlight = 255 * np.array(haze.airlight[::-1], np.float32)  # BGR
    img_lq = add_haze(img_gt, t, airlight)
    if haze.noise:
        img_lq += 255 * haze.noise * rng.standard_normal(img_lq.shape, np.float32)
    img_lq = np.clip(np.rint(img_lq), 0, 255).astype(np.uint8)
    if haze.jpeg is None:
        return img_lq
    content = cv2.imencode('.jpg', img_lq, [cv2.IMWRITE_JPEG_QUALITY, haze.jpeg])[1]
    compressed = cv2.imdecode(content, cv2.IMREAD_COLOR)
    assert compressed is not None
    return compressed
