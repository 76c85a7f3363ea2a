"""The plugin's data sets in the form of MMagic's samples."""

import importlib
from collections.abc import Mapping
from typing import Any

from mmengine.registry import DATASETS
from torch.utils.data import Dataset


class PackedDehazeDataset(Dataset):
    """A data set of the plugin, or of BasicSR, whose samples any model of MMagic takes.

    Args:
        dataset: config of the data set, as `dict(type='PairedDehazeDataset', opt=dict(…))`.

    Raises:
        ImportError: MMagic is not installed; its DataSample is what the samples consist of.
    """

    def __init__(self, dataset: Mapping):
        self.dataset = DATASETS.build(dict(dataset))
        self._make_sample = importlib.import_module('mmagic.structures').DataSample

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """
        Returns:
            inputs: the hazy image, float32 RGB (3, H, W) in [0, 255]; data_samples: DataSample with `gt_img`.
        """
        found = self.dataset[index]
        sample = self._make_sample()
        if 'gt' in found:
            sample.set_data({'gt_img': found['gt'] * 255})
        meta = {'img_path': found.get('lq_path', ''), 'gt_path': found.get('gt_path', '')}
        sample.set_metainfo({**meta, 'img_channel_order': 'rgb', 'gt_channel_order': 'rgb'})
        return {'inputs': found['lq'] * 255, 'data_samples': sample}
