"""Hazy images without clear ones."""

from typing import Any

from basicsr.utils.registry import DATASET_REGISTRY
from pydantic import Field
from torchvision.transforms.functional import normalize

from okdnet_plugin.config.types import Folder
from okdnet_plugin.data import options
from okdnet_plugin.data.dehaze_dataset import DehazeDataset
from okdnet_plugin.data.image_sources import open_source
from okdnet_plugin.data.images import decode, resized, to_tensor
from okdnet_plugin.data.layouts import stem
from okdnet_plugin.data.options import located, require


@DATASET_REGISTRY.register()
class SingleDehazeDataset(DehazeDataset):
    """Hazy images (lq) of which there are no clear ones, as URHI's or a user's own, for validation and test.

    Args:
        opt: a data set's block of an option file, for phase val or test; it is not changed. See `Options`.

    Raises:
        InputError: an option, a folder or an image cannot be used. Reading an image raises it too.
    """

    class Options(options.TensorOptions, DehazeDataset.Options):
        dataroot_lq: Folder = Field(description='folder or LMDB of hazy images')
        resize: options.Size | None = Field(None, description='size to which images are brought')
        recursive: bool | None = Field(False, description='look into the folders of the folder, too')

    def _open(self) -> None:
        opt = self.opt
        options.check_source(opt, ('dataroot_lq',))
        options.check_tensor(opt)
        require(opt['phase'] != 'train', 'training needs clear images; use PairedDehazeDataset or SyntheticHazeDataset')
        self.resize = options.size_of(opt.get('resize'))
        with located('dataroot_lq'):
            self._source = open_source(opt['dataroot_lq'], options.backend_of(opt), bool(opt.get('recursive')))
            self.names = sorted(self._source.names(), key=lambda name: (stem(name), name))

    def __len__(self) -> int:
        return len(self.names)

    def lq_path(self, index: int) -> str:
        """File of an image, or its key in the LMDB."""
        return self._source.path(self.names[index])

    def _sample(self, index: int) -> dict[str, Any]:
        """Read one image.

        Returns:
            lq: float32 RGB tensor (3, H, W), or (1, H, W) for the luma, in [0, 1] before normalisation.
            lq_path: file, or key of the LMDB.
        """
        name, opt = self.names[index], self.opt
        img = decode(self._source.read(name), self._source.label(name), keep_16_bits=True)
        tensor = to_tensor(resized(img, *self.resize) if self.resize else img, opt.get('color'))
        if opt.get('mean') is not None:
            tensor = normalize(tensor, opt['mean'], opt['std'], inplace=True)
        return {'lq': tensor, 'lq_path': self.lq_path(index)}
