"""Models of MMEngine that make the training steps of BasicSR's models: batches, losses, predictions."""

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from mmengine.logging import MessageHub
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn

from okdnet_plugin.archs.okdnet_arch import OKDNetBranches
from okdnet_plugin.config.check import check
from okdnet_plugin.config.keys import options_of
from okdnet_plugin.config.messages import error_of
from okdnet_plugin.engine.torch_versions import autocast_dtype
from okdnet_plugin.errors import InputError, did_you_mean, one_line
from okdnet_plugin.models.depth_guidance_model import DepthGuidanceModel, DepthGuidanceStep, depth_of
from okdnet_plugin.models.okdnet_distillation_model import OKDNetDistillationModel, OKDNetDistillationStep
from okdnet_plugin.models.okdnet_model import OKDNetModel, OKDNetStep, has_branches
from okdnet_plugin.models.progressive_model import ProgressiveModel, ProgressiveStep
from okdnet_plugin.models.restoration_step import RestorationStep

_MAPS = ('depth', 'transmission', 'airlight')  # of the data sets, which losses look at


class DehazeDataPreprocessor(BaseDataPreprocessor):
    """Batches of images in [0, 1] on the model's device, from samples of our data sets or MMagic's.

    Samples are dictionaries with `lq` and perhaps `gt`, (3, H, W) RGB in [0, 1], as the plugin's data sets give them,
    or `inputs` in [0, 255] with `data_samples`, as MMagic's PackInputs does. Lists are stacked.

    Args:
        channels_last: lay images out with the channels innermost, which is faster but on a CPU with AVX2
            alone.
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
            lq and gt, float32 (N, 3, H, W), RGB in [0, 1]; depth and the maps of haze, if the data set gives them;
            what else the batch holds stays as it is.

        Raises:
            InputError: there are no hazy images, or images of a batch differ in size.
        """
        batch: Any = self.cast_data(_from_mmagic(data) if 'inputs' in data else dict(data))
        if 'lq' not in batch:
            raise InputError(f'the batch has no hazy images (lq or inputs), only {", ".join(batch)}')
        for key in ('lq', 'gt', *_MAPS):
            if key in batch and (key not in _MAPS or all(isinstance(x, Tensor) and x.ndim == 3 for x in batch[key])):
                images = batch[key] if isinstance(batch[key], Tensor) else _stacked(batch[key], key)
                batch[key] = images.contiguous(memory_format=self.memory_format)
        return batch


class OKDNetRestorer(BaseModel):
    """OKDNet by its losses, L = L1 - SSIM + lambda L_diss, or any network by losses of images, for MMEngine's Runner.

    The step of a training is that of BasicSR's models, and so are the losses: what is `train: pixel_opt` in an option
    file is `pixel_loss` here, and what it calls `l_pix` in the log is `loss_pix`. Each may be left out. Weights of
    `net_g_*.pth` load as they are (`load_from`).

    Source: Lan et al. 2022, Eq. 3.

    Args:
        generator: config of the network, as `dict(type='OKDNet')`.
        channels_last: lay network and images out with the channels innermost, which is faster but on a CPU with AVX2
            alone.
        strict_load: refuse weights that do not fit the network; MMEngine itself leaves out what does not.
        data_preprocessor, init_cfg: as for BaseModel.
        blocks: losses, as `pixel_loss=dict(type='BasicSRL1Loss')`: `pixel_loss`, `ssim_loss`, `perceptual_loss`,
            `inter_contrast_loss`, `intra_contrast_loss`; of a network with branches `distill_loss`, `branch_loss`,
            `transmission_loss` and `airlight_loss` as well. Other models have more blocks.

    Raises:
        InputError: a block is none of these or cannot be used, no loss is given in training, a loss asks for what
            the network or the data set does not give, or weights do not fit.
    """

    model_type: ClassVar[type] = OKDNetModel
    """The model of BasicSR whose options these are."""
    step_type: ClassVar[type[RestorationStep]] = OKDNetStep
    """The step of both."""
    train_blocks: ClassVar[tuple[str, ...]] = ()
    """Blocks that an option file has under `train`, beside the losses."""
    top_blocks: ClassVar[tuple[str, ...]] = ()
    """Blocks that it has at the top."""

    def __init__(
        self,
        generator: Mapping,
        *,
        channels_last: bool = False,
        strict_load: bool = True,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
        **blocks: Any,
    ):
        default = {'type': 'DehazeDataPreprocessor', 'channels_last': channels_last}
        super().__init__(data_preprocessor or default, init_cfg)
        self.generator = MODELS.build(dict(generator))
        if channels_last:
            self.generator.to(memory_format=torch.channels_last)
        self.strict_load = strict_load
        self._register_load_state_dict_pre_hook(_accept_weights_of_the_network, with_module=True)
        with self._in_words_of_a_config():
            self._step = self._made(self._option_file(blocks), channels_last)

    def _option_file(self, blocks: Mapping) -> dict:
        """The blocks as an option file has them.

        Raises:
            InputError: there is no such block, or it has a mistake; those of losses MMEngine finds.
        """
        places = {f'{key.removesuffix("_opt")}_loss': ('train', key) for key in self.step_type.loss_blocks}
        own = {name: ('train', name) for name in self.train_blocks} | {name: (name,) for name in self.top_blocks}
        places |= own
        opt: dict[str, Any] = {'train': {}}
        for name, block in blocks.items():
            if name not in places:
                raise InputError(f'there is no {name}{did_you_mean(name, places)}; there are {", ".join(places)}')
            if block is not None:
                if name.endswith('_loss') and not (isinstance(block, Mapping) and 'type' in block):
                    raise InputError(f'{name} is {one_line(str(block), 60)}; write a config with its type')
                *above, key = places[name]
                (opt['train'] if above else opt)[key] = block
        for mistake in check({**opt, 'model_type': self.model_type.__name__}, look=False):
            is_ours = any(mistake.path[: len(place)] == place for name, place in own.items() if name in blocks)
            if is_ours and not mistake.is_warning and 'loss' not in mistake.path[:-1]:
                raise error_of([mistake])
        return opt

    def _made(self, opt: dict, channels_last: bool) -> RestorationStep:
        step = self.step_type()
        step.opt, step.options = opt, options_of(self.model_type, opt)
        step.make_loss = _loss
        step.net_g, step.device, step.amp_dtype, step.current_iter = self.generator, torch.device('cpu'), None, 0
        step.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        step.setup_losses()
        return step

    @contextmanager
    def _in_words_of_a_config(self) -> Iterator[None]:
        """Errors of a step name keys of option files and models of BasicSR; here these have other names."""
        words = {key: f'{key.removesuffix("_opt")}_loss' for key in self.step_type.loss_blocks}
        words |= {'model_type': 'type', 'network_g': 'generator', 'RestorationModel': 'OKDNetRestorer'}
        words[self.model_type.__name__] = type(self).__name__
        try:
            yield
        except InputError as error:
            text = re.sub(r'\btrain:(?=\w)', '', str(error))
            text = re.sub(r'\w+', lambda word: words.get(word[0], word[0]), text)
            raise type(error)(f'{type(self).__name__}: {text}') from error

    def __deepcopy__(self, memo: dict) -> 'OKDNetRestorer':
        """A copy, as the average of EMAHook, shares what never learns."""
        copied = memo[id(self)] = type(self).__new__(type(self))
        taps = vars(self._step).get('_taps', {}).values()  # what teachers, which are shared, write into
        memo.update({id(shared): shared for shared in (*self._step.modules_beside(), *taps)})
        vars(copied).update(copy.deepcopy(vars(self), memo))
        return copied

    def _apply(self, fn: Any, *args: Any, **keywords: Any) -> Any:
        for module in self._step.modules_beside():
            module._apply(fn, *args, **keywords)
        return super()._apply(fn, *args, **keywords)

    def forward(self, lq: Tensor, gt: Tensor | None = None, mode: str = 'tensor', **meta: Any) -> Any:
        """
        Args:
            lq, gt: hazy and clear images, RGB in [0, 1], shape (N, 3, H, W).
            mode: `loss`, `predict` or `tensor`.
            meta: what else the batch holds, as `lq_path` or `depth`.

        Returns:
            `tensor`: the restored images, in [0, 1] in eval mode. `loss`: the losses by name, as `loss_pix`.
            `predict`: for each image a dictionary in the form of MMagic's samples: `output` with `pred_img`, `gt_img`
            and `input`, uint8 RGB (3, H, W), and `img_path`.
        """
        if mode == 'tensor':
            return self.generator(lq)
        if mode == 'predict':
            return self._samples(self.generator(lq), lq, gt, meta)
        if mode == 'loss':
            return self._losses({'lq': lq, 'gt': gt, **meta})
        raise ValueError(f'{type(self).__name__}: mode is {mode!r}, but must be one of loss, predict, tensor')

    def branches(self, lq: Tensor) -> OKDNetBranches | None:
        """What each branch makes of hazy images; None of a network without branches."""
        return self.generator(lq, return_branches=True) if has_branches(self.generator) else None

    def _losses(self, batch: Mapping) -> dict[str, Tensor]:
        if batch['gt'] is None:
            raise InputError(f'{type(self).__name__}: the training data set gives no clear images (gt)')
        step = copy.copy(self._step)  # so that the batch ends with it
        vars(step).update({name: batch[name] for name in step.of_a_batch if name in batch})
        step.device = batch['lq'].device
        step.amp_dtype = autocast_dtype(step.device)
        step.current_iter = MessageHub.get_current_instance().get_info('iter', 0) + 1
        with self._in_words_of_a_config(), torch.autocast(step.device.type, enabled=False):
            step.prepare_step(step.current_iter)
            losses = step.compute_losses()
        if not losses:
            raise InputError(f'{type(self).__name__}: no loss is given; add pixel_loss or another loss to the model')
        return {f'loss_{name.removeprefix("l_")}': loss for name, loss in losses.items()}

    def _samples(self, output: Tensor, lq: Tensor, gt: Tensor | None, meta: Mapping) -> list[dict]:
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


class DistillationRestorer(OKDNetRestorer):
    """Trains any network by its own losses and by frozen teachers, as DistillationModel or OKDNetDistillationModel.

    Source: Mitheran et al., arXiv 2207.11250 (2022); see `DistillationModel`.

    Args:
        teachers: frozen networks by names, each a dict of `network_t`, `pretrain_network_t`, `sees`, `channels` and
            `param_key_t` as in an option file. They are in eval mode, and neither trained nor saved.
        distillation: losses by names, each a dict of `loss`, `student`, `teacher` and `teachers` as there.
        generator, further arguments: as for OKDNetRestorer.

    Raises:
        InputError: as there; or as DistillationModel says.
    """

    model_type: ClassVar[type] = OKDNetDistillationModel
    step_type: ClassVar[type[RestorationStep]] = OKDNetDistillationStep
    train_blocks: ClassVar = ('distillation',)
    top_blocks: ClassVar = ('teachers',)


class DepthGuidanceRestorer(OKDNetRestorer):
    """Trains a dehazing and a depth network, which teach one another, as DepthGuidanceModel does.

    The depth of the clear image is `depth` of the batch, (N, 1, H, W), from a data set with `return_depth=True`; or a
    frozen network tells it (`clear_depth`), and the model makes the `haze`. Predictions hold `depth`, float32 (H, W),
    and `depth_gt`, if the data set has it.

    Source: Liang et al., Pattern Recognition 158, 111051 (2025); see `DepthGuidanceModel`.

    Args:
        depth_loss, mutual_loss, depth_iter, freeze_depth, clear_depth, haze: as in an option file. Several processes
            need `find_unused_parameters = True` in the config for depth_iter and freeze_depth.
        generator, further arguments: as for OKDNetRestorer.

    Raises:
        InputError: as there; or as DepthGuidanceModel says.
    """

    model_type: ClassVar[type] = DepthGuidanceModel
    step_type: ClassVar[type[RestorationStep]] = DepthGuidanceStep
    train_blocks: ClassVar = ('depth_iter', 'freeze_depth')
    top_blocks: ClassVar = ('clear_depth', 'haze')

    def _samples(self, output: Tensor, lq: Tensor, gt: Tensor | None, meta: Mapping) -> list[dict]:
        samples = super()._samples(output, lq, gt, meta)
        if 'depth' in meta:
            maps = {'depth': depth_of(self.generator, lq), 'depth_gt': meta['depth']}
            for number, sample in enumerate(samples):
                sample |= {name: depth[number, 0].float().cpu().numpy() for name, depth in maps.items()}
        return samples


class ProgressiveRestorer(OKDNetRestorer):
    """Trains ProgressiveDehazer in stages, as ProgressiveModel does: losses with negatives get the hazy images and J0.

    Source: inspired by the abstract of Xu et al., ICASSP 2023; see `ProgressiveModel`.

    Args:
        pre_restore_loss, rehaze_loss, pre_restore_iter: as in an option file. Several processes need
            `find_unused_parameters = True` in the config for pre_restore_iter.
        generator, further arguments: as for OKDNetRestorer.

    Raises:
        InputError: as there; or as ProgressiveModel says.
    """

    model_type: ClassVar[type] = ProgressiveModel
    step_type: ClassVar[type[RestorationStep]] = ProgressiveStep
    train_blocks: ClassVar = ('pre_restore_iter',)


def as_uint8(images: Tensor) -> Tensor:
    """Images in [0, 1] as they are saved: rounded to [0, 255]."""
    return images.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8).cpu()


def _loss(block: Mapping) -> nn.Module:
    """
    Raises:
        InputError: MMEngine knows no such loss, it refuses its arguments, or what it needs is not there.
    """
    try:
        return MODELS.build(dict(block))
    except (KeyError, TypeError, ValueError, OSError, RuntimeError) as error:  # OSError: weights that cannot be fetched
        raise InputError(f'loss {block.get("type")} cannot be built: {one_line(error)}') from error


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
