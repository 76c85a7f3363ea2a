"""Clear images alone: to be enlarged, or for a model that makes the haze itself."""

from typing import Any

import numpy as np
from basicsr.data.transforms import augment
from basicsr.utils.matlab_functions import imresize
from basicsr.utils.registry import DATASET_REGISTRY
from pydantic import Field
from torchvision.transforms.functional import normalize

from okdnet_plugin.config.types import File, Folder
from okdnet_plugin.data import options, sizes
from okdnet_plugin.data.color_jitter import color_jitter_of, jittered
from okdnet_plugin.data.dehaze_dataset import DehazeDataset
from okdnet_plugin.data.image_sources import ImageFolder, open_source
from okdnet_plugin.data.images import decode, resized, to_tensor
from okdnet_plugin.data.layouts import stem
from okdnet_plugin.data.options import located, require


@DATASET_REGISTRY.register()
class ClearImageDataset(DehazeDataset):
    """Clear images (gt), and the same ones made smaller by `scale` (lq): pairs for super-resolution.

    With scale 1 both are one image, for a model that makes the haze of it itself. Images are made smaller as by
    MATLAB's imresize, bicubic with antialiasing, which is BasicSR's; sides are cut to a multiple of the scale first.

    Args:
        opt: a data set's block of an option file; it is not changed. See `Options`.

    Raises:
        InputError: an option, a folder or an image cannot be used. Reading an image raises it too.
    """

    class Options(options.TensorOptions, options.TrainingOptions, DehazeDataset.Options):
        dataroot_gt: Folder = Field(description='folder or LMDB of clear images')
        meta_info_file: File | None = Field(None, description='list of the images to be used; not for LMDBs')

    def _open(self) -> None:
        opt = self.opt
        options.check_source(opt, ('dataroot_gt', 'meta_info_file'))
        sizes.check_training(opt)
        options.check_tensor(opt)
        self.scale = options.scale_of(opt)
        self.resize = sizes.resize_of(opt.get('resize'))
        self.color_jitter = color_jitter_of(opt.get('color_jitter'))
        with located('dataroot_gt'):
            self._clear = open_source(opt['dataroot_gt'], options.backend_of(opt))
        listed = opt.get('meta_info_file')
        require(
            listed is None or isinstance(self._clear, ImageFolder),
            f'meta_info_file {listed} is for folders, but an LMDB has its own meta_info.txt; remove it',
        )
        is_listed = listed and isinstance(self._clear, ImageFolder)
        self.names = self._clear.names_in(listed) if is_listed else sorted(self._clear.names(), key=stem)  # type: ignore[union-attr]

    def __len__(self) -> int:
        return len(self.names)

    def _sample(self, index: int) -> dict[str, Any]:
        """Read one image.

        Returns:
            gt: float32 RGB tensor (3, H, W), or (1, H, W) for the luma, in [0, 1] before normalisation.
            lq: the same, (C, H / scale, W / scale).
            gt_path, lq_path: file, or key of the LMDB.
        """
        opt, name = self.opt, self.names[index]
        label = self._clear.label(name)
        img = decode(self._clear.read(name), label)
        window, target = sizes.of_a_sample(opt, self.resize, img, label)
        img = img[window] if target is None else resized(img[window], *target)
        height, width = (edge - edge % self.scale for edge in img.shape[:2])
        require(min(height, width) > 0, f'{label} is smaller than scale {self.scale}; take it out')
        img = np.ascontiguousarray(img[:height, :width])
        if opt['phase'] == 'train':
            (img,) = jittered(self.color_jitter, [img])
            img = augment(img, bool(opt.get('use_hflip')), bool(opt.get('use_rot')))

        small = img
        if self.scale > 1:
            small = imresize(img.astype(np.float32) / 255, 1 / self.scale)
            small = np.clip(np.rint(small * 255), 0, 255).astype(np.uint8)  # as a file of it would hold it
        tensors = {'lq': to_tensor(small, opt.get('color')), 'gt': to_tensor(img, opt.get('color'))}
        if opt.get('mean') is not None:
            tensors = {side: normalize(one, opt['mean'], opt['std'], inplace=True) for side, one in tensors.items()}
        path = self._clear.path(name)
        return {**tensors, 'lq_path': path, 'gt_path': path}
