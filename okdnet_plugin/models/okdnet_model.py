"""Training of OKDNet: what a restoration network needs, and the distillation."""

import inspect
from typing import ClassVar

from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor

from okdnet_plugin.errors import InputError
from okdnet_plugin.models.restoration_model import RestorationModel

_STUDENTS = ('model_free', 'model_based', 'shared')


@MODEL_REGISTRY.register()
class OKDNetModel(RestorationModel):
    """Trains the branches of OKDNet together: L = L1 - SSIM + lambda L_diss.

    Source: Lan et al. 2022, Eq. 3. The three terms are the blocks `pixel_opt`, `ssim_opt` and `distill_opt`.

    Raises:
        InputError: the network gives no branches, or the batch holds one picture per GPU.
    """

    loss_blocks: ClassVar = {**RestorationModel.loss_blocks, 'distill_opt': 'l_distill'}

    def init_training_settings(self) -> None:
        network = self.get_bare_model(self.net_g)
        if 'return_branches' not in inspect.signature(network.forward).parameters:
            raise InputError(
                f'option model_type: OKDNetModel trains networks with branches, and {type(network).__name__} has none; '
                'use model_type: RestorationModel'
            )
        super().init_training_settings()

    def compute_losses(self) -> dict[str, Tensor]:
        branches = self.restore(return_branches=True)
        self.output = branches.output
        losses = self.picture_losses(branches.output)
        if 'distill_opt' in self.losses:
            missing = [name for name in _STUDENTS if not hasattr(branches, name)]
            if missing:
                raise InputError(
                    f'option train:distill_opt: {self.opt["network_g"]["type"]} has no branches {", ".join(missing)}; '
                    'leave the block out'
                )
            students = {name: getattr(branches, name) for name in _STUDENTS}
            losses[self.loss_blocks['distill_opt']] = self.losses['distill_opt'](branches.output, students)
        return losses
