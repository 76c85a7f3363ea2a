"""BatchNorm statistics estimated anew at the end of a training, on images of the size that the network is used at.

A training leaves running averages over small, resized samples, in the precision of autocast. A network that is tested
on larger images normalises them by those.
"""

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy

import torch
from basicsr.data import build_dataset
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from okdnet_plugin.engine.validation import without_kernel_search

_ROUNDS = 6
_SETTLED = 0.01  # change of the statistics, in standard deviations, from which on another round is not worth its time
# Of a training alone; what gives samples their size is among them.
_OF_TRAINING = (
    *('gt_size', 'resize', 'on_error', 'use_hflip', 'use_rot', 'color_jitter'),
    *('dataset_enlarge_ratio', 'return_maps'),
)


def recalibrate(net: nn.Module, images: Callable[[], Iterable[Tensor]]) -> int:
    """Set running means and variances to those of the layers' inputs over images, in float32, in place.

    All images count alike, whatever their size. The statistics of a layer change what the layers after it get, so the
    images are seen again until nothing moves any more. A layer that sees one value of an image keeps its own.

    Source: the aim is that of Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3; unlike there, layers
    normalise by the statistics of all images while they are measured, as they do in use, and not by those of a batch.

    Args:
        net: any network; it is left in the mode in which it was.
        images: gives batches for the network, (N, C, H, W), each time it is called.

    Returns:
        How many layers have new statistics.
    """
    layers = {
        layer: _Moments() for layer in net.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats
    }
    if not layers:
        return 0
    was_training = net.training
    hooks = [layer.register_forward_pre_hook(moments.add) for layer, moments in layers.items()]
    try:
        net.eval()
        for _ in range(_ROUNDS):
            device = next(net.parameters()).device
            with torch.no_grad(), torch.autocast(device.type, enabled=False), without_kernel_search():
                for batch in images():
                    net(batch.float())
            if max(moments.move(layer) for layer, moments in layers.items()) < _SETTLED:
                break
    finally:
        for hook in hooks:
            hook.remove()
        net.train(was_training)
    return sum(moments.is_used for moments in layers.values())


def images_of_training(opt: Mapping, count: int) -> list[Tensor]:
    """Hazy images of the training set at their own size, at equal distances; of parts of a mixture by their weights.

    Args:
        opt: the option file.
        count: how many.

    Returns:
        float32, (1, 3, H, W) each.
    """
    block = opt['datasets']['train']
    parts = block.get('parts') or {'': {}}
    shared = {key: value for key, value in block.items() if key not in ('parts', 'epoch_length', *_OF_TRAINING)}
    blocks = [
        shared | {key: value for key, value in part.items() if key not in _OF_TRAINING} for part in parts.values()
    ]
    datasets = [
        build_dataset(deepcopy({**one, 'phase': 'val', 'scale': opt.get('scale', 1)})) for one in map(_plain, blocks)
    ]
    weights = [one.get('weight') or len(dataset) for one, dataset in zip(blocks, datasets, strict=True)]
    images = []
    for weight, dataset in zip(weights, datasets, strict=True):
        share = max(1, round(count * weight / sum(weights)))
        images += [dataset[i * len(dataset) // share]['lq'][None] for i in range(min(share, len(dataset)))]
    return images


class _Moments:
    """Mean and variance of each channel of what a layer gets, all images alike."""

    def __init__(self) -> None:
        self.is_used = False
        self._begin()

    def _begin(self) -> None:
        self._count, self._sum, self._squares = 0, 0.0, 0.0

    def add(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = (
            inputs[0].detach().double().flatten(2) if inputs[0].ndim > 2 else inputs[0].detach().double()[..., None]
        )
        if values.shape[2] < 2:
            return
        self._count += len(values)
        self._sum = self._sum + values.mean(2).sum(0)
        self._squares = self._squares + values.square().mean(2).sum(0)

    def move(self, layer: _BatchNorm) -> float:
        """Give the layer what has been measured; by how much it moves, at most, in standard deviations."""
        if self._count == 0 or layer.running_mean is None or layer.running_var is None:
            return 0.0
        self.is_used = True
        mean = torch.as_tensor(self._sum / self._count)
        variance = (torch.as_tensor(self._squares / self._count) - mean.square()).clamp(min=0)
        deviation = (variance + layer.eps).sqrt()
        change = (mean - layer.running_mean).abs() / deviation
        change = torch.maximum(change, ((layer.running_var + layer.eps).sqrt() / deviation - 1).abs())
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(variance)
        self._begin()
        return change.max().item()


def _plain(block: Mapping) -> dict:
    """A block without what stands beside the parts of a mixture only."""
    return {key: value for key, value in block.items() if key != 'weight'}
