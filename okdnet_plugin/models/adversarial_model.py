"""Training against a discriminator, as EPDN's and DA's authors do."""

import inspect
from typing import Annotated, Any, ClassVar

import torch
from basicsr.archs import build_network
from basicsr.utils.registry import MODEL_REGISTRY
from pydantic import BaseModel, Field
from torch import Tensor
from torch.nn import functional as F

from okdnet_plugin.config.keys import Typed
from okdnet_plugin.engine import finite
from okdnet_plugin.engine.torch_versions import total_norm
from okdnet_plugin.errors import BadUpdatesError
from okdnet_plugin.models.restoration_model import RestorationModel

_ASKED_FOR = ('return_translated', 'return_scales')  # what a network gives beside its result, if it can


@MODEL_REGISTRY.register()
class AdversarialModel(RestorationModel):
    """Trains a network and, in turns, a discriminator that sees a restored or the clear image beside the hazy one.

    The discriminator judges what EPDN's generator makes before it is enhanced (`translated`), and the result of other
    networks. `gan_opt` is BasicSR's GANLoss, or MultiScaleGANLoss for a discriminator that gives lists;
    `feature_match_opt` compares what each layer of such a discriminator sees in the two images; `scales_opt` compares
    the smaller images of DA (`smaller`) with the clear one brought to their size.

    Source: EPDN (Qu et al., CVPR 2019), after pix2pixHD (Wang et al., CVPR 2018); DA (Shao et al., CVPR 2020). The
    discriminator learns in float32, and an update of it that is not finite is left out.

    Raises:
        BadUpdatesError: a discriminator that is to be saved holds values that are not finite.
    """

    class Options(BaseModel):
        class Train(BaseModel):
            optim_d: Annotated[dict, Typed('optimizer')] | None = Field(
                None, description='optimiser of the discriminator', json_schema_extra={'needed': ['train']}
            )

        network_d: Annotated[dict, Typed('network')] | None = Field(
            None,
            description='discriminator of hazy image and restored or clear one, 6 channels',
            json_schema_extra={'needed': ['train']},
        )
        train: Train = Field(default_factory=lambda: AdversarialModel.Options.Train.model_validate({}))

    loss_blocks: ClassVar = {
        **RestorationModel.loss_blocks,
        'gan_opt': 'l_gan',
        'feature_match_opt': 'l_feat',
        'scales_opt': 'l_scales',
    }
    other_loss_blocks: ClassVar = ('gan_opt', 'feature_match_opt', 'scales_opt')
    optimized: ClassVar = {**RestorationModel.optimized, 'network_d': 'optim_d'}

    def init_training_settings(self) -> None:
        self.net_d = self.model_to_device(build_network(self.opt['network_d']))
        self.print_network(self.net_d)
        paths = self.opt['path']
        if paths.get('pretrain_network_d') is not None:
            strict, key = paths.get('strict_load_d', True), paths.get('param_key_d', 'params')
            self.load_network(self.net_d, paths['pretrain_network_d'], strict, key)
        self.net_d.train()
        asked = inspect.signature(self.get_bare_model(self.net_g).forward).parameters
        self.asked_for: dict[str, Any] = {name: True for name in _ASKED_FOR if name in asked}
        super().init_training_settings()

    def setup_optimizers(self) -> None:
        super().setup_optimizers()
        options = dict(self.opt['train']['optim_d'])
        self.optimizer_d = self.get_optimizer(options.pop('type'), self.net_d.parameters(), **options)
        self.optimizers.append(self.optimizer_d)

    def _make_a_step(self, current_iter: int) -> None:
        self.judged: list[tuple[Tensor, Tensor, Tensor]] = []  # of each part of the batch
        super()._make_a_step(current_iter)
        self._losses |= self._train_discriminator() if self.judged else {}

    def compute_losses(self) -> dict[str, Tensor]:
        branches = self.restore(**self.asked_for)
        self.output = branches if isinstance(branches, Tensor) else branches.output
        losses = self.image_losses(self.output)
        if 'scales_opt' in self.losses:
            parts = [
                self.losses['scales_opt'](image, F.interpolate(self.gt, image.shape[-2:], mode='area'))
                for image in getattr(branches, 'smaller', [self.output])
            ]
            losses[self.loss_blocks['scales_opt']] = torch.stack(parts).sum()
        if 'gan_opt' in self.losses:
            judged = getattr(branches, 'translated', self.output)
            self.net_d.requires_grad_(False)
            said = self.net_d(torch.cat([self.lq, judged], 1))
            losses[self.loss_blocks['gan_opt']] = self.losses['gan_opt'](said, True, is_disc=False)
            if 'feature_match_opt' in self.losses:
                with torch.no_grad():
                    of_clear = self.net_d(torch.cat([self.lq, self.gt], 1))
                parts = [
                    self.losses['feature_match_opt'](one, other)
                    for scale, scale_of_clear in zip(_lists(said), _lists(of_clear), strict=True)
                    for one, other in zip(scale[:-1], scale_of_clear[:-1], strict=True)
                ]
                losses[self.loss_blocks['feature_match_opt']] = torch.stack(parts).mean()
            self.judged.append((self.lq, judged.detach(), self.gt))
        return losses

    def _train_discriminator(self) -> dict[str, Tensor]:
        """One update of the discriminator, over all parts of the batch.

        Returns:
            Its losses for the log.
        """
        self.net_d.requires_grad_(True)
        self.optimizer_d.zero_grad()
        of_clear, of_judged = (torch.zeros((), device=self.device) for _ in range(2))
        for lq, judged, gt in self.judged:
            losses = [
                self.losses['gan_opt'](self.net_d(torch.cat([lq, image], 1)), is_clear, is_disc=True) / len(self.judged)
                for image, is_clear in ((gt, True), (judged, False))
            ]
            (0.5 * (losses[0] + losses[1])).backward()
            of_clear, of_judged = of_clear + losses[0].detach(), of_judged + losses[1].detach()
        gradients = [parameter.grad for parameter in self.net_d.parameters() if parameter.grad is not None]
        if torch.isfinite(total_norm(gradients)):
            self.optimizer_d.step()
        return {'l_d_real': of_clear, 'l_d_fake': of_judged}

    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Save the discriminator and, after it, the state, which stands for all networks of an iteration."""
        self.save_network(self.net_d, 'net_d', current_iter)
        super().save_training_state(epoch, current_iter)

    def _refuse_what_is_not_finite(self) -> None:
        super()._refuse_what_is_not_finite()
        if not finite.are_finite(self.net_d.parameters()):
            raise BadUpdatesError(
                f'the discriminator of iteration {self.current_iter} holds values that are not finite, so nothing is '
                'saved; go on from the newest state with --auto_resume, and a lower rate of train:optim_d'
            )


def _lists(said: Any) -> list[list[Tensor]]:
    """What a discriminator says, as a list of its layers for each of its scales."""
    scales = said if isinstance(said, list) else [said]
    return [scale if isinstance(scale, list) else [scale] for scale in scales]
