"""What a step of training minimises, whichever framework makes it."""

import inspect
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel


class RestorationStep:
    """A restored batch and its losses, one option block a loss.

    BasicSR's models inherit it (`RestorationModel`), MMEngine's hold one (`OKDNetRestorer`). These bring what is
    declared here, and call `setup_losses` once, and `prepare_step` and `compute_losses` in each iteration.
    """

    # Block of the option file under `train` -> name of its value in the log. Each of them is a loss between the
    # restored image and the clear one, but for those that compute_losses() computes otherwise.
    loss_blocks: ClassVar = {
        'pixel_opt': 'l_pix',
        'ssim_opt': 'l_ssim',
        'perceptual_opt': 'l_percep',
        'inter_contrast_opt': 'l_inter',
        'intra_contrast_opt': 'l_intra',
    }
    other_loss_blocks: ClassVar[tuple[str, ...]] = ()
    # Tensors of a batch that losses look at, as far as they are there.
    of_a_batch: ClassVar[tuple[str, ...]] = ('lq', 'gt')
    # Whether losses beside those of the blocks look at what the network makes of a batch.
    has_further_losses: ClassVar = False

    opt: dict[str, Any]
    options: Any
    """What the class of the model declares as `Options`, from `opt`."""
    make_loss: Callable[..., Any]
    """Builds a loss of its block."""
    net_g: nn.Module
    device: torch.device
    memory_format: torch.memory_format
    amp_dtype: torch.dtype | None
    """Of autocast; None for float32."""
    current_iter: int
    """Number of the iteration, from 1."""
    lq: Tensor
    gt: Tensor

    @property
    def network(self) -> nn.Module:
        """The network itself, without the wrapper of several processes."""
        net = self.net_g
        return net.module if isinstance(net, DataParallel | DistributedDataParallel) else net

    def setup_losses(self) -> None:
        """Build the losses that the option file gives, and whatever else they need."""
        train_opt = self.opt['train']
        self.losses = {
            key: self.make_loss(train_opt[key]).to(self.device) for key in self.loss_blocks if train_opt.get(key)
        }
        self._contrasting = {
            key for key, loss in self.losses.items() if 'negatives' in inspect.signature(loss.forward).parameters
        }

    def modules_beside(self) -> list[nn.Module]:
        """Losses and frozen networks: they are neither trained nor saved, and are where the network computes."""
        return list(self.losses.values())

    def prepare_step(self, current_iter: int) -> None:
        """Make network and batch ready for an iteration; nothing here.

        Args:
            current_iter: number of the iteration, from 1.
        """

    @property
    def negatives(self) -> list[Tensor]:
        """Images that a restored one is to be unlike, each (N, 3, H, W): the hazy ones."""
        return [self.lq]

    def compute_losses(self) -> dict[str, Tensor]:
        """Restore the batch and compare it with the clear images.

        Returns:
            The parts of the loss by their names in the log, each a scalar; their sum is minimised.
        """
        self.output = self.restore()
        return self.image_losses(self.output)

    def restore(self, **keywords: object) -> Any:
        """What the network makes of the batch, under autocast; its tensors, also those of a NamedTuple, as float32."""
        with self.autocast():
            result = self.net_g(self.lq, **keywords)
        return _in_float32(result)

    def autocast(self) -> torch.autocast:
        """The precision in which networks compute; losses are float32."""
        return torch.autocast(self.device.type, self.amp_dtype, enabled=self.amp_dtype is not None)

    def image_losses(self, image: Tensor) -> dict[str, Tensor]:
        """The losses between a restored image and the clear one, shapes (N, 3, H, W): of every declared block.

        A loss may be of parts, as PerceptualLoss: the first has the block's name in the log, others have their own.
        One that takes `negatives` gets `self.negatives`, by default the hazy images.
        """
        losses = OrderedDict()
        for key in (key for key in self.losses if key not in self.other_loss_blocks):
            more = {'negatives': self.negatives} if key in self._contrasting else {}
            name, value = self.loss_blocks[key], self.losses[key](image, self.gt, **more)
            values = value if isinstance(value, tuple | list) else (value,)
            second = 'l_style' if key == 'perceptual_opt' else f'{name}_2'
            names = [name, second, *(f'{name}_{number}' for number in range(3, len(values) + 1))]
            parts = zip(names, values, strict=False)
            losses.update((part, loss) for part, loss in parts if loss is not None)
        return losses


def _in_float32(result: Any) -> Any:
    """A tensor, or a NamedTuple, tuple or list of such and of the same, with its class."""
    if isinstance(result, Tensor):
        return result.float()
    parts = [_in_float32(one) for one in result]
    return type(result)(*parts) if hasattr(result, '_fields') else type(result)(parts)
