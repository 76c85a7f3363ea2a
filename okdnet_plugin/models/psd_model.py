"""Fine-tuning on hazy photographs by priors, as PSD's authors do."""

import copy
from typing import Any, ClassVar

import torch
from basicsr.utils.registry import MODEL_REGISTRY
from pydantic import BaseModel, Field
from torch import Tensor

from okdnet_plugin.config.types import File
from okdnet_plugin.errors import InputError
from okdnet_plugin.models.okdnet_model import OKDNetModel


@MODEL_REGISTRY.register()
class PSDModel(OKDNetModel):
    """Trains a network with transmission and airlight by priors of the hazy image, which need no clear one.

    Source: PSD (Chen et al., CVPR 2021): `dark_channel_opt`, `bright_channel_opt` and `clahe_opt` look at the hazy
    image and at what the network estimates; `forgetting_opt` and `sky_opt` keep features and sky near those of the
    network before the fine-tuning, whose weights `train: before` names. Losses of OKDNetModel, which look at clear
    images and true maps, can stand beside them; alone they are the supervised training before.

    Raises:
        InputError: the network gives no transmission, or a loss needs the network before and there is none.
    """

    class Options(BaseModel):
        class Train(BaseModel):
            before: File | None = Field(
                None, description='weights of the network before the fine-tuning, which forgetting_opt and sky_opt need'
            )

        train: Train = Field(default_factory=lambda: PSDModel.Options.Train.model_validate({}))

    loss_blocks: ClassVar = {
        **OKDNetModel.loss_blocks,
        'dark_channel_opt': 'l_dark',
        'bright_channel_opt': 'l_bright',
        'clahe_opt': 'l_clahe',
        'forgetting_opt': 'l_forget',
        'sky_opt': 'l_sky',
    }
    other_loss_blocks: ClassVar = (
        *OKDNetModel.other_loss_blocks,
        'dark_channel_opt',
        'bright_channel_opt',
        'clahe_opt',
        'forgetting_opt',
        'sky_opt',
    )

    def init_training_settings(self) -> None:
        super().init_training_settings()
        needing = [key for key in ('forgetting_opt', 'sky_opt') if key in self.losses]
        before = self.opt['train'].get('before')
        self.net_before = None
        if needing and before is None:
            raise InputError(
                f'option train:{needing[0]} needs the network before the fine-tuning; write its weights as '
                f'train:before, or take {needing[0]} out'
            )
        if needing:
            self.net_before = copy.deepcopy(self.get_bare_model(self.net_g)).eval().requires_grad_(False)
            self.load_network(self.net_before, before, True, self.opt['path'].get('param_key_g', 'params'))

    def losses_of_branches(self, branches: Any) -> dict[str, Tensor]:
        looks = {
            'dark_channel_opt': (branches.transmission, self.lq),
            'bright_channel_opt': (branches.transmission, self.lq),
            'clahe_opt': (branches.transmission, branches.airlight, self.lq),
        }
        if self.net_before is not None:
            with torch.no_grad():
                before = self.net_before(self.lq, return_branches=True)
            looks['forgetting_opt'] = (branches.feature, before.feature)
            looks['sky_opt'] = (branches.output, before.output, self.lq)
        own = {key: self.losses[key](*given) for key, given in looks.items() if key in self.losses}
        return {self.loss_blocks[key]: loss for key, loss in own.items()}
