"""Validations of several processes, and seeing what the branches of a network make of images."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed
from mmengine.hooks import EMAHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from okdnet_plugin.engine.validation import strip
from okdnet_plugin.mm.restorer import OKDNetRestorer, as_uint8, to_bgr

_STUDENTS = {'model_based': 'model-based', 'model_free': 'model-free', 'shared': 'shared'}


class ShareBuffersHook(Hook):
    """Gives all processes the buffers of the first before a validation, of the network and of its average.

    BatchNorm's statistics are each process's own in training, and those of the first are saved: without this the others
    would validate with statistics that nobody keeps. Buffers that are not where the network computes are left alone:
    the counter of an average is on the CPU, which NCCL does not reach, and equal in all processes.
    """

    priority = 'HIGH'  # before EMAHook puts the average in the network's place

    def before_val_epoch(self, runner: Runner) -> None:
        """Share them."""
        self._share(runner)

    def before_test_epoch(self, runner: Runner) -> None:
        """Share them."""
        self._share(runner)

    @staticmethod
    def _share(runner: Runner) -> None:
        if not runner.distributed:
            return
        devices = {parameter.device for parameter in runner.model.parameters()}
        averages = [hook.ema_model for hook in runner.hooks if isinstance(hook, EMAHook)]
        for module in (runner.model, *averages):
            for buffer in module.buffers():
                if buffer.device in devices:
                    torch.distributed.broadcast(buffer, 0)


class BranchVisualizationHook(Hook):
    """Strips hazy | branches | result | clear of the first images of each validation, through the visualiser.

    Args:
        pictures: how many batches of a validation or test are shown; of each its first image.
    """

    priority = 'LOW'

    def __init__(self, pictures: int = 4):
        if pictures < 1:
            raise ValueError(f'BranchVisualizationHook: pictures is {pictures}, but must be 1 or more')
        self.pictures = pictures

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Show an image of the validation at the iteration of the training."""
        self._show(runner, 'val', batch_idx, data_batch, outputs, runner.iter)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Show an image of the test."""
        self._show(runner, 'test', batch_idx, data_batch, outputs, batch_idx)

    def _show(self, runner: Runner, mode: str, number: int, batch: Any, outputs: Sequence | None, step: int) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if number >= self.pictures or not outputs or not isinstance(model, OKDNetRestorer):
            return
        sample = outputs[0]
        images = {'hazy': sample['input']}
        lq = model.data_preprocessor(batch, False)['lq'][:1]
        with torch.inference_mode():
            branches = model.branches(lq)
        shown = {name: getattr(branches, key)[0] for key, name in _STUDENTS.items()} if branches is not None else {}
        images |= {name: as_uint8(image) for name, image in shown.items()}
        images['result'] = sample['output']['pred_img']
        if 'gt_img' in sample:
            images['clear'] = sample['gt_img']
        image = strip({name: to_bgr(image, 'rgb') for name, image in images.items()})
        runner.visualizer.add_image(f'{mode}_{number}', image[..., ::-1], step)
