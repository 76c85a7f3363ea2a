"""Training of OKDNet: what a restoration network needs, and the distillation."""

import inspect
from typing import Any, ClassVar

import torch
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from okdnet_plugin.errors import InputError
from okdnet_plugin.models.restoration_model import RestorationModel
from okdnet_plugin.models.restoration_step import RestorationStep

_STUDENTS = ('model_free', 'model_based', 'shared')
_MAPS = ('transmission', 'airlight')  # of branches and of data sets


class OKDNetStep(RestorationStep):
    """The losses of a network with branches, see `OKDNetModel`; of one without them those of `RestorationStep`."""

    loss_blocks: ClassVar = {
        **RestorationStep.loss_blocks,
        'distill_opt': 'l_distill',
        'branch_opt': 'l_branch',
        'transmission_opt': 'l_trans',
        'airlight_opt': 'l_air',
    }
    other_loss_blocks: ClassVar = ('distill_opt', 'branch_opt', 'transmission_opt', 'airlight_opt')
    of_a_batch: ClassVar = (*RestorationStep.of_a_batch, *_MAPS)

    def setup_losses(self) -> None:
        super().setup_losses()
        asked = [key for key in self.other_loss_blocks if key in self.losses]
        if asked and not has_branches(self.network):
            raise InputError(f'option train:{asked[0]}: {type(self.network).__name__} has no branches; take it out')

    def compute_losses(self) -> dict[str, Tensor]:
        if not has_branches(self.network):
            return super().compute_losses()
        if self._compares_airlight_alone():
            airlight = self.restore(only_airlight=True)
            return {self.loss_blocks['airlight_opt']: self.losses['airlight_opt'](airlight, self._map('airlight'))}
        branches = self.restore(return_branches=True)
        self.output = branches.output
        losses = self.image_losses(branches.output)
        students = self._students(branches)
        if 'distill_opt' in self.losses:
            losses[self.loss_blocks['distill_opt']] = self.losses['distill_opt'](branches.output, students)
        if 'branch_opt' in self.losses:
            parts = [self.losses['branch_opt'](student, self.gt) for student in students.values()]
            losses[self.loss_blocks['branch_opt']] = torch.stack(parts).sum()
        for name in _MAPS:
            key = f'{name}_opt'
            if key in self.losses:
                # DCPDN is trained by the transmission of each channel.
                estimated = getattr(branches, f'{name}_rgb', getattr(branches, name))
                losses[self.loss_blocks[key]] = self.losses[key](estimated, self._map(name))
        return losses | self.losses_of_branches(branches)

    def _compares_airlight_alone(self) -> bool:
        is_alone = set(self.losses) == {'airlight_opt'} and not self.has_further_losses
        return is_alone and _accepts(self.network, 'only_airlight')

    def losses_of_branches(self, branches: Any) -> dict[str, Tensor]:
        """Further losses of what the network says of the batch, by their names in the log; none here."""
        return {}

    def _students(self, branches: Any) -> dict[str, Tensor]:
        if not {'distill_opt', 'branch_opt'} & set(self.losses):
            return {}
        missing = [name for name in _STUDENTS if not hasattr(branches, name)]
        if missing:
            block = 'distill_opt' if 'distill_opt' in self.losses else 'branch_opt'
            raise InputError(
                f'option train:{block}: {type(self.network).__name__} has no branches {", ".join(missing)}; leave '
                'the block out'
            )
        return {name: getattr(branches, name) for name in _STUDENTS}

    def _map(self, name: str) -> Tensor:
        if not hasattr(self, name):
            raise InputError(
                f'option train:{name}_opt needs the {name} of each sample, and the training set gives none; write '
                f'return_maps: true for a SyntheticHazeDataset, or take {name}_opt out'
            )
        return getattr(self, name)


@MODEL_REGISTRY.register()
class OKDNetModel(OKDNetStep, RestorationModel):
    """Trains the branches of OKDNet together: L = L1 - SSIM + lambda L_diss.

    Source: Lan et al. 2022, Eq. 3. The three terms are the blocks `pixel_opt`, `ssim_opt` and `distill_opt`.

    Three blocks more are not in the paper's equation: `branch_opt`, a loss between each student and the clear image,
    summed (the abstract's "via supervision training"), and `transmission_opt` and `airlight_opt`, between what the
    model-based branch estimates and what the data set made the haze of (`return_maps: true`). With `airlight_opt` alone
    nothing but the airlight is computed, which is many times as fast; `freeze` the rest then.

    Raises:
        InputError: the network gives no branches, the batch holds one image per GPU while BatchNorm is trained, or the
            data set gives nothing for a loss to compare with.
    """

    loss_blocks: ClassVar = OKDNetStep.loss_blocks  # its own, so that the check knows all that it reads

    def setup_losses(self) -> None:
        network = self.network
        if not has_branches(network):
            raise InputError(
                f'option model_type: OKDNetModel trains networks with branches, and {type(network).__name__} has none; '
                'use model_type: RestorationModel'
            )
        super().setup_losses()

    def feed_data(self, data: dict) -> None:
        super().feed_data(data)
        for name in _MAPS:
            vars(self).pop(name, None)  # of the batch before this one
            if name in data and f'{name}_opt' in getattr(self, 'losses', ()):
                setattr(self, name, self._on_device(data[name]))


def has_branches(net: nn.Module) -> bool:
    """Whether a network tells what its branches make of an image."""
    return _accepts(net, 'return_branches')


def _accepts(net: nn.Module, argument: str) -> bool:
    return argument in inspect.signature(net.forward).parameters
