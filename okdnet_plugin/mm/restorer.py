"""OKDNet as a model of MMEngine: batches, losses, predictions."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn

from okdnet_plugin.archs.okdnet_arch import OKDNetBranches
from okdnet_plugin.errors import InputError

_STUDENTS = ('model_free', 'model_based', 'shared')


class DehazeDataPreprocessor(BaseDataPreprocessor):
    """Batches of images in [0, 1] on the model's device, from samples of our data sets or MMagic's.

    Samples are dictionaries with `lq` and perhaps `gt`, (3, H, W) RGB in [0, 1], as the plugin's data sets give them,
    or `inputs` in [0, 255] with `data_samples`, as MMagic's PackInputs does. Lists are stacked.

    Args:
        channels_last: lay images out with the channels innermost, which is faster.
        non_blocking: as for BaseDataPreprocessor; images in pinned memory (`pin_memory` of a data loader) go to a GPU
            while it computes.
    """

    def __init__(self, channels_last: bool = False, non_blocking: bool = True):
        super().__init__(non_blocking)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format

    def forward(self, data: Mapping, training: bool = False) -> dict:
        """
        Args:
            data: a batch, with lists or stacked tensors.
            training: not used.

        Returns:
            lq and gt, float32 (N, 3, H, W), RGB in [0, 1]; what else the batch holds stays as it is.

        Raises:
            InputError: there are no hazy images, or images of a batch differ in size.
        """
        batch: Any = self.cast_data(_from_mmagic(data) if 'inputs' in data else dict(data))
        if 'lq' not in batch:
            raise InputError(f'the batch has no hazy images (lq or inputs), only {", ".join(batch)}')
        for key in ('lq', 'gt'):
            if key in batch:
                images = batch[key] if isinstance(batch[key], Tensor) else _stacked(batch[key], key)
                batch[key] = images.contiguous(memory_format=self.memory_format)
        return batch


class OKDNetRestorer(BaseModel):
    """OKDNet with its losses, L = L1 - SSIM + lambda L_diss, for MMEngine's Runner.

    Source: Lan et al. 2022, Eq. 3. Each loss may be left out. The losses are those of the BasicSR side, and so is the
    network: weights of `net_g_*.pth` load as they are (`load_from`).

    Args:
        generator: config of the network, as `dict(type='OKDNet')`. Any network that gives no branches is trained
            without distillation.
        pixel_loss, ssim_loss: of the restored image, as `dict(type='BasicSRL1Loss')` and `dict(type='SSIMLoss')`.
        distill_loss: as `dict(type='OnlineDistillationLoss', loss_weight=0.5)`.
        channels_last: lay network and images out with the channels innermost, which is faster.
        strict_load: refuse weights that do not fit the network; MMEngine itself leaves out what does not.
        data_preprocessor, init_cfg: as for BaseModel.

    Raises:
        InputError: no loss is given in training, distillation is asked of a network without branches, or weights do
            not fit.
    """

    def __init__(
        self,
        generator: Mapping,
        pixel_loss: Mapping | None = None,
        ssim_loss: Mapping | None = None,
        distill_loss: Mapping | None = None,
        channels_last: bool = False,
        strict_load: bool = True,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ):
        default = {'type': 'DehazeDataPreprocessor', 'channels_last': channels_last}
        super().__init__(data_preprocessor or default, init_cfg)
        self.generator = MODELS.build(dict(generator))
        self.pixel_loss = _built(pixel_loss)
        self.ssim_loss = _built(ssim_loss)
        self.distill_loss = _built(distill_loss)
        if distill_loss and not _has_branches(self.generator):
            raise InputError(f'distill_loss: {type(self.generator).__name__} has no branches; take it out')
        if channels_last:
            self.generator.to(memory_format=torch.channels_last)
        self.strict_load = strict_load
        self._register_load_state_dict_pre_hook(_accept_weights_of_the_network, with_module=True)

    def forward(self, lq: Tensor, gt: Tensor | None = None, mode: str = 'tensor', **meta: Any) -> Any:
        """
        Args:
            lq, gt: hazy and clear images, RGB in [0, 1], shape (N, 3, H, W).
            mode: `loss`, `predict` or `tensor`.
            meta: what else the batch holds, as `lq_path`.

        Returns:
            `tensor`: the restored images, in [0, 1] in eval mode. `loss`: the losses by name, `loss_pix`,
            `loss_ssim` and `loss_distill`. `predict`: for each image a dictionary in the form of MMagic's samples:
            `output` with `pred_img`, `gt_img` and `input`, uint8 RGB (3, H, W), and `img_path`.
        """
        if mode == 'tensor':
            return self.generator(lq)
        if mode == 'predict':
            return self._samples(self.generator(lq), lq, gt, meta)
        if mode == 'loss':
            return self._losses(lq, gt)
        raise ValueError(f'OKDNetRestorer: mode is {mode!r}, but must be one of loss, predict, tensor')

    def branches(self, lq: Tensor) -> OKDNetBranches | None:
        """What each branch makes of hazy images; None of a network without branches."""
        return self.generator(lq, return_branches=True) if _has_branches(self.generator) else None

    def _losses(self, lq: Tensor, gt: Tensor | None) -> dict[str, Tensor]:
        if gt is None:
            raise InputError('the training data set gives no clear images (gt)')
        branches = None
        if self.distill_loss is not None:
            branches = OKDNetBranches(*(image.float() for image in self.generator(lq, return_branches=True)))
        output = branches.output if branches else self.generator(lq).float()
        losses = {}
        with torch.autocast(lq.device.type, enabled=False):
            if self.pixel_loss is not None:
                losses['loss_pix'] = self.pixel_loss(output, gt)
            if self.ssim_loss is not None:
                losses['loss_ssim'] = self.ssim_loss(output, gt)
            if self.distill_loss is not None and branches:
                students = {name: getattr(branches, name) for name in _STUDENTS}
                losses['loss_distill'] = self.distill_loss(output, students)
        if not losses:
            raise InputError('no loss is given; add pixel_loss, ssim_loss or distill_loss to the model')
        return losses

    @staticmethod
    def _samples(output: Tensor, lq: Tensor, gt: Tensor | None, meta: Mapping) -> list[dict]:
        images = {'pred_img': as_uint8(output), 'input': as_uint8(lq)}
        if gt is not None:
            images['gt_img'] = as_uint8(gt)
        samples = []
        for number in range(len(lq)):
            sample: dict[str, Any] = {key: value[number] for key, value in images.items() if key != 'pred_img'}
            sample['output'] = {'pred_img': images['pred_img'][number]}
            sample |= {'img_channel_order': 'rgb', 'gt_channel_order': 'rgb'}
            paths = meta.get('lq_path')
            if paths is not None:
                sample['img_path'] = paths[number]
            samples.append(sample)
        return samples


def as_uint8(images: Tensor) -> Tensor:
    """Images in [0, 1] as they are saved: rounded to [0, 255]."""
    return images.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8).cpu()


def _built(config: Mapping | None) -> nn.Module | None:
    return MODELS.build(dict(config)) if config else None


def _has_branches(net: nn.Module) -> bool:
    return 'return_branches' in inspect.signature(net.forward).parameters


def _stacked(images: Sequence[Tensor], key: str) -> Tensor:
    sizes = {tuple(image.shape[-2:]) for image in images}
    if len(sizes) > 1:
        raise InputError(
            f'images of a batch ({key}) differ in size: {", ".join(f"{h}x{w}" for h, w in sorted(sizes))}; '
            'set batch_size to 1, or resize or crop them in the data set'
        )
    return torch.stack(list(images))


def _from_mmagic(data: Mapping) -> dict:
    """Samples of MMagic's PackInputs in our form."""
    samples = data.get('data_samples') or []
    samples = list(samples) if not isinstance(samples, list) else samples
    orders = [getattr(sample, 'img_channel_order', 'bgr') or 'bgr' for sample in samples]
    orders = orders or ['bgr'] * len(data['inputs'])
    batch: dict[str, Any] = {'lq': [_unit(img, order) for img, order in zip(data['inputs'], orders, strict=True)]}
    if samples and getattr(samples[0], 'gt_img', None) is not None:
        batch['gt'] = [
            _unit(sample.gt_img, getattr(sample, 'gt_channel_order', None) or order)
            for sample, order in zip(samples, orders, strict=True)
        ]
    if samples:
        batch['lq_path'] = [getattr(sample, 'img_path', '') for sample in samples]
    return batch


def _unit(image: Tensor, order: str) -> Tensor:
    image = image.float() / 255
    return image.flip(0) if order.lower() == 'bgr' else image


def _accept_weights_of_the_network(model: OKDNetRestorer, state_dict: dict, prefix: str, *_: Any) -> None:
    """Let the model read weights that were saved of its network alone, and refuse those that do not fit it.

    MMEngine itself only logs what does not fit, and tests or trains on with random weights.
    """
    own = model.generator.state_dict()
    for key in [key for key in state_dict if key.startswith(prefix) and key[len(prefix) :] in own]:
        state_dict[f'{prefix}generator.{key[len(prefix) :]}'] = state_dict.pop(key)
    if not model.strict_load:
        return
    found = {key: state_dict.get(f'{prefix}generator.{key}') for key in own}
    misfits = [
        f'{key} {"is missing" if value is None else f"is {tuple(value.shape)} instead of {tuple(own[key].shape)}"}'
        for key, value in found.items()
        if value is None or value.shape != own[key].shape
    ]
    if misfits:
        more = f' (and {len(misfits) - 1} more)' if len(misfits) > 1 else ''
        raise InputError(
            f'the weights are not of this {type(model.generator).__name__}: {misfits[0]}{more}; give the right file or '
            'the arguments of its network, or strict_load=False to the model'
        )


def to_bgr(image: Tensor | np.ndarray, order: str) -> np.ndarray:
    """An image of a sample as the metrics take it.

    Args:
        image: (3, H, W) in [0, 255], tensor or array, of any type.
        order: `rgb` or `bgr`.

    Returns:
        uint8 BGR (H, W, 3).
    """
    values = image.detach().cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
    if values.dtype != np.uint8:
        values = np.clip(values, 0, 255).round().astype(np.uint8)
    values = values.transpose(1, 2, 0)
    return np.ascontiguousarray(values[..., ::-1] if order.lower() == 'rgb' else values)
