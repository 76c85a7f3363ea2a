"""Training of any restoration network of scale 1 by any of the registered losses."""

from collections import OrderedDict
from typing import ClassVar

import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.registry import METRIC_REGISTRY, MODEL_REGISTRY
from torch import Tensor, nn

from okdnet_plugin.errors import InputError, did_you_mean


@MODEL_REGISTRY.register()
class RestorationModel(SRModel):
    """The toolbox's SRModel with one option block a loss, each of which can be left out.

    A mistake that SRModel would report hours later, or never, is reported before the first step: a block of a loss that
    nothing reads, and a metric that is not registered.

    Args:
        opt: the option file, as for SRModel. The blocks of `train` in `loss_blocks` are losses of the restored picture.
            `channels_last: true` lays networks and pictures out with the channels innermost, which is faster.

    Raises:
        InputError: an option block is misspelt or missing.
        UnknownNameError: a metric of `val` is not registered.
    """

    # Block of the option file under `train` -> name of its value in the log.
    loss_blocks: ClassVar = {'pixel_opt': 'l_pix', 'ssim_opt': 'l_ssim', 'perceptual_opt': 'l_percep'}

    def __init__(self, opt: dict):
        self.memory_format = torch.channels_last if opt.get('channels_last') else torch.contiguous_format
        self.check_options(opt)
        super().__init__(opt)

    @classmethod
    def check_options(cls, opt: dict) -> None:
        """Find a loss that nothing would read, and a metric that is not registered.

        Raises:
            InputError: so it is.
        """
        for metric in ((opt.get('val') or {}).get('metrics') or {}).values():
            METRIC_REGISTRY.get(metric['type'])
        if not opt['is_train']:
            return
        blocks = [key for key, value in opt['train'].items() if isinstance(value, dict) and cls._is_loss(key)]
        for key in blocks:
            if key not in cls.loss_blocks:
                raise InputError(
                    f'option train:{key}: {cls.__name__} knows no such loss{did_you_mean(key, cls.loss_blocks)}; '
                    f'it reads {", ".join(cls.loss_blocks)}'
                )
        if not blocks:
            raise InputError(f'option train: no loss is given; add one of {", ".join(cls.loss_blocks)}')

    @staticmethod
    def _is_loss(key: str) -> bool:
        return key != 'scheduler' and not key.startswith('optim')

    def model_to_device(self, net: nn.Module) -> nn.Module:
        return super().model_to_device(net.to(memory_format=self.memory_format))

    def feed_data(self, data: dict) -> None:
        super().feed_data(data)
        self.lq = self.lq.contiguous(memory_format=self.memory_format)

    def init_training_settings(self) -> None:
        self.net_g.train()
        self.setup_ema()
        self.setup_losses()
        self.setup_optimizers()
        self.setup_schedulers()

    def setup_ema(self) -> None:
        """Make the averaged copy of the network, from the resumed or pretrained file where there is one."""
        self.ema_decay = self.opt['train'].get('ema_decay', 0)
        if self.ema_decay == 0:
            return
        get_root_logger().info(f'Use Exponential Moving Average with decay: {self.ema_decay}')
        self.net_g_ema = build_network(self.opt['network_g']).to(self.device, memory_format=self.memory_format)
        path = self.opt['path'].get('pretrain_network_g')
        if path is None:
            self.model_ema(0)
        else:
            self.load_network(self.net_g_ema, path, self.opt['path'].get('strict_load_g', True), 'params_ema')
        self.net_g_ema.eval()

    def setup_losses(self) -> None:
        """Build the losses that the option file gives."""
        train_opt = self.opt['train']
        self.losses = {
            key: build_loss(train_opt[key]).to(self.device) for key in self.loss_blocks if train_opt.get(key)
        }

    def optimize_parameters(self, current_iter: int) -> None:
        self.optimizer_g.zero_grad()
        losses = self.compute_losses()
        sum(losses.values()).backward()
        self.optimizer_g.step()

        self.log_dict = self.reduce_loss_dict(losses)
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    def compute_losses(self) -> dict[str, Tensor]:
        """Restore the batch and compare it with the clear pictures.

        Returns:
            The parts of the loss by their names in the log, each a scalar; their sum is minimised.
        """
        self.output = self.net_g(self.lq)
        return self.picture_losses(self.output)

    def picture_losses(self, picture: Tensor) -> dict[str, Tensor]:
        """The losses between a restored picture and the clear one, shapes (N, 3, H, W)."""
        losses = OrderedDict()
        for key in ('pixel_opt', 'ssim_opt'):
            if key in self.losses:
                losses[self.loss_blocks[key]] = self.losses[key](picture, self.gt)
        if 'perceptual_opt' in self.losses:
            parts = zip(('l_percep', 'l_style'), self.losses['perceptual_opt'](picture, self.gt), strict=True)
            losses.update((name, value) for name, value in parts if value is not None)
        return losses
