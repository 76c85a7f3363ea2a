"""Training of a network that restores in stages: losses of each stage, and a time for the first alone."""

import inspect
from typing import Annotated, ClassVar

import torch
from basicsr.utils.registry import MODEL_REGISTRY
from pydantic import BaseModel, Field
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from okdnet_plugin.errors import InputError
from okdnet_plugin.models.restoration_model import RestorationModel
from okdnet_plugin.models.restoration_step import RestorationStep


class ProgressiveStep(RestorationStep):
    """The losses of a network that restores in stages, see `ProgressiveModel`.

    `opt` may have `train: pre_restore_iter`.
    """

    loss_blocks: ClassVar = {
        **RestorationStep.loss_blocks,
        'pre_restore_opt': 'l_pre',
        'rehaze_opt': 'l_rehaze',
    }
    other_loss_blocks: ClassVar = ('pre_restore_opt', 'rehaze_opt')

    def setup_losses(self) -> None:
        net, train = self.network, self.opt['train']
        if 'return_stages' not in inspect.signature(net.forward).parameters:
            raise InputError(
                f'option model_type: ProgressiveModel trains networks with stages, and {type(net).__name__} has none; '
                'use ProgressiveDehazer, whose restorer it may be, or model_type: RestorationModel'
            )
        pre = getattr(net, 'pre_restore', None)
        learns = pre is None or any(one.requires_grad for one in pre.parameters())
        if self.options.train.pre_restore_iter and not (train.get('pre_restore_opt') and learns):
            cure = 'add it' if learns else f'{type(pre).__name__} has nothing to learn'
            raise InputError(f'option train:pre_restore_iter needs the loss train:pre_restore_opt: {cure}, or write 0')
        self.pre_restored: Tensor | None = None
        super().setup_losses()

    @property
    def negatives(self) -> list[Tensor]:
        return [self.lq] if self.pre_restored is None else [self.lq, self.pre_restored.detach()]

    def compute_losses(self) -> dict[str, Tensor]:
        stages = self.restore(return_stages=True)
        self.output, self.pre_restored = stages.output, stages.pre_restored
        losses = {}
        if self._is_first_stage:
            if isinstance(self.net_g, DistributedDataParallel):  # it waits for a gradient of everything
                losses['l_none'] = 0 * stages.output.mean()
        else:
            losses |= self.image_losses(stages.output)
            if 'rehaze_opt' in self.losses:
                losses[self.loss_blocks['rehaze_opt']] = self._rehazed(stages.rehazed)
        if 'pre_restore_opt' in self.losses:
            losses[self.loss_blocks['pre_restore_opt']] = self.losses['pre_restore_opt'](stages.pre_restored, self.gt)
        return losses

    @property
    def _is_first_stage(self) -> bool:
        return self.current_iter <= (self.options.train.pre_restore_iter or 0)

    def _rehazed(self, rehazed: tuple[Tensor, ...]) -> Tensor:
        if not rehazed:
            raise InputError(
                'option train:rehaze_opt: the network does not alternate, so nothing is put into haze again; write '
                'network_g:alternate_steps: 2 or more, or take the block out'
            )
        return torch.stack([self.losses['rehaze_opt'](one, self.lq) for one in rehazed]).mean()


@MODEL_REGISTRY.register()
class ProgressiveModel(ProgressiveStep, RestorationModel):
    """Trains ProgressiveDehazer: the pre-restore module by its own loss, the restorer by those of RestorationModel.

    `pre_restore_opt` is a loss between J0, what the pre-restore module makes, and the clear image. `rehaze_opt` is one
    between the hazy image and what it is explained by, of a network with `alternate_steps` from 2 on. Losses with
    negatives, as `inter_contrast_opt`, get the hazy images and J0.

    Source: inspired by the abstract of Xu et al., "A progressive image dehazing framework with inter and intra
    contrastive learning", ICASSP 2023; which losses there are, and that the pre-restore module may learn alone at the
    beginning, are ours.

    Raises:
        InputError: the network has no stages, or none that a loss needs.
    """

    class Options(BaseModel):
        class Train(BaseModel):
            pre_restore_iter: Annotated[int, Field(ge=0, le=10**9)] | None = Field(
                0, description='iterations at the beginning in which the pre-restore module alone learns'
            )

        train: Train = Field(default_factory=lambda: ProgressiveModel.Options.Train.model_validate({}))

    def _refuse_unused_losses(self) -> None:
        if not self._is_first_stage:
            super()._refuse_unused_losses()
