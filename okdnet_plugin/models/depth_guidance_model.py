"""Self-supervised training of depth-guided dehazing: clear image, haze, depth of the hazy image, dehazed image."""

import inspect
from typing import Annotated, Any, ClassVar, Literal, cast

import numpy as np
import torch
from basicsr.utils.registry import MODEL_REGISTRY
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from okdnet_plugin.config.keys import Typed
from okdnet_plugin.config.types import File, Text
from okdnet_plugin.data.haze import add_haze, transmission
from okdnet_plugin.data.haze_options import PRESETS, Drawn, HazeRule
from okdnet_plugin.data.options import located
from okdnet_plugin.errors import InputError
from okdnet_plugin.models.restoration_model import RestorationModel
from okdnet_plugin.models.restoration_step import RestorationStep
from okdnet_plugin.weights import loading


class DepthSource(BaseModel):
    """The frozen network that tells the depth of a clear image."""

    network_d: Annotated[dict, Typed('network')] = Field(
        description='a network that gives one channel, as DenseDepth169, or has a depth network inside, as DGDNet'
    )
    pretrain_network_d: File | None = Field(None, description='its weights')
    param_key_d: Text | None = Field(
        None, description='key of the weights in their file; by default params_ema, else params'
    )


class Haze(BaseModel):
    """The haze that is made of a clear image and its depth, where a network tells that; as in SyntheticHazeDataset."""

    preset: Literal[tuple(PRESETS)] | None = Field(  # type: ignore[valid-type]
        None, description='beta and airlight of a public data set'
    )
    beta: Drawn | None = Field(None, description='scattering coefficient per unit of depth')
    airlight: Drawn | None = Field(None, description='airlight, in [0, 1]')
    airlight_per_channel: bool | None = Field(False, description='draw each channel of the airlight by itself')


class DepthGuidanceStep(RestorationStep):
    """The losses of a network that depth guides, see `DepthGuidanceModel`.

    `opt` may have the blocks `clear_depth` and `haze`, and `train: depth_iter` and `freeze_depth`.
    """

    loss_blocks: ClassVar = {
        **RestorationStep.loss_blocks,
        'depth_opt': 'l_depth',
        'mutual_opt': 'l_mutual',
    }
    other_loss_blocks: ClassVar = ('depth_opt', 'mutual_opt')
    of_a_batch: ClassVar = (*RestorationStep.of_a_batch, 'depth')

    clear_depth: nn.Module | None
    depth: Tensor

    def setup_losses(self) -> None:
        train, source = self.opt['train'], self.options.clear_depth
        net = self.network
        if not {'depth', 'return_depth'} <= inspect.signature(net.forward).parameters.keys():
            raise InputError(
                f'option model_type: DepthGuidanceModel trains networks that depth guides, as DGDNet, and '
                f'{type(net).__name__} is none; use model_type: RestorationModel'
            )
        if self.options.train.depth_iter and not train.get('depth_opt'):
            raise InputError('option train:depth_iter needs the loss train:depth_opt; add it, or write 0')
        if (source is None) != (self.options.haze is None):
            missing, given = ('clear_depth', 'haze') if source is None else ('haze', 'clear_depth')
            raise InputError(f'option {given} needs {missing}; add it, or leave both to the data set of the training')
        self.clear_depth = None
        if source is not None:
            with located('option clear_depth'):
                found: Any = loading.load_frozen(source.network_d, source.pretrain_network_d, source.param_key_d)
            self.clear_depth = found.to(self.device, memory_format=self.memory_format)
            with located('option haze'):
                self.haze = HazeRule(self.options.haze.model_dump())
        super().setup_losses()

    def modules_beside(self) -> list[nn.Module]:
        return [*super().modules_beside(), *([] if self.clear_depth is None else [self.clear_depth])]

    def prepare_step(self, current_iter: int) -> None:
        if self.clear_depth is not None:
            self._make_haze()
        elif not hasattr(self, 'depth'):
            raise InputError(
                'nothing tells the depth of the training images; write return_depth: true for a SyntheticHazeDataset, '
                'or name a network by clear_depth'
            )
        if self.options.train.freeze_depth and current_iter > (self.options.train.depth_iter or 0):
            self._freeze_depth()

    def _freeze_depth(self) -> None:
        depth_net: Any = self.network.depth_net
        depth_net.eval()  # a validation has set it to train
        depth_net.requires_grad_(False)

    def _make_haze(self) -> None:
        """Hazy images of the clear ones, by the depth that the frozen network tells; as a data set would make them."""
        with torch.no_grad():
            self.depth = depth_of(cast('nn.Module', self.clear_depth), self.gt).float()
        rng = np.random.default_rng(np.random.randint(2**63 - 1, dtype=np.int64))
        smallest, largest = self.depth.amin((2, 3), keepdim=True), self.depth.amax((2, 3), keepdim=True)
        distances = ((self.depth - smallest) / (largest - smallest).clamp(min=1e-6)).cpu().numpy()
        hazy = []
        for clear, distance in zip(self.gt.cpu().numpy(), distances, strict=True):
            drawn = self.haze.draw(rng, 0)
            airlight = np.array(drawn.airlight, np.float32)
            hazy.append(add_haze(clear.transpose(1, 2, 0), transmission(distance[0], drawn.beta), airlight))
        batch = torch.from_numpy(np.stack(hazy).transpose(0, 3, 1, 2))
        batch = batch.mul(255).round().div(255).clamp(0, 1).contiguous()
        self.lq = batch.to(self.device, memory_format=self.memory_format)

    def compute_losses(self) -> dict[str, Tensor]:
        net, is_alone = self.network, self.current_iter <= (self.options.train.depth_iter or 0)
        if is_alone:
            return {self.loss_blocks['depth_opt']: self.losses['depth_opt'](self._depth_alone(net), self.depth)}
        keywords = {}
        if self.options.train.freeze_depth:
            keywords = {'depth': depth_of(net, self.lq).float()}
        given = self.restore(return_depth=True, **keywords)
        self.output = given.output
        losses = self.image_losses(given.output)
        if 'depth_opt' in self.losses:
            losses[self.loss_blocks['depth_opt']] = self.losses['depth_opt'](given.depth, self.depth)
        if 'mutual_opt' in self.losses:
            judge = net if self.clear_depth is None else self.clear_depth
            found = depth_of(judge, given.output).float()
            losses[self.loss_blocks['mutual_opt']] = self.losses['mutual_opt'](found, self.depth)
        return losses

    def _depth_alone(self, net: nn.Module) -> Tensor:
        """Depth of the hazy images, without the dehazing where nobody waits for its gradient."""
        if isinstance(self.net_g, DistributedDataParallel):  # it waits for a gradient of everything
            given = self.restore(return_depth=True)
            return given.depth + 0 * given.output.mean()
        with self.autocast():
            return depth_of(net, self.lq).float()


@MODEL_REGISTRY.register()
class DepthGuidanceModel(DepthGuidanceStep, RestorationModel):
    """Trains DGDNet: haze is made of clear images by their depth, then depth and clear image are found again.

    The depth of the clear image is either given by the data set (`return_depth: true` of SyntheticHazeDataset, which
    makes the haze as well), or by a frozen network (`clear_depth`), by which the model makes the `haze` itself. The
    two networks of DGDNet teach one another: the loss of the image reaches the depth network through the guide, and
    `mutual_opt`, of the depth of the dehazed image, reaches the dehazing network through a depth network.

    Source: Liang et al., "Image dehazing via self-supervised depth guidance", Pattern Recognition 158, 111051 (2025):
    hazy image and depth are made one after the other from a clear image, the depth of the hazy image with the help of
    the clear one's, which guides the dehazing. The training was not released: losses, stages and `mutual_opt` are
    ours. Haze by min-max normalised depth and its ranges are those of SLAdehazing (Liang et al., IJCAI 2022).

    Raises:
        InputError: the network takes or gives no depth, its weights do not fit, or nothing tells the depth.
    """

    class Options(BaseModel):
        class Train(BaseModel):
            depth_iter: Annotated[int, Field(ge=0, le=10**9)] | None = Field(
                0, description='iterations at the beginning in which the depth network alone learns, by depth_opt'
            )
            freeze_depth: bool | None = Field(
                False, description='let the depth network learn no more after those iterations'
            )

        train: Train = Field(default_factory=lambda: DepthGuidanceModel.Options.Train.model_validate({}))
        clear_depth: DepthSource | None = Field(
            None, description='frozen network that tells the depth of clear images; ~ for that of the data set'
        )
        haze: Haze | None = Field(None, description='haze that is made by the depth of clear_depth')

    # ------------------------------------------------------------------------------------------------- an iteration

    def feed_data(self, data: dict) -> None:
        super().feed_data(data)
        for name in ('depth', 'estimate'):  # of the batch before this one
            vars(self).pop(name, None)
        if 'depth' in data:
            self.depth = self._on_device(data['depth'])

    def _freeze_depth(self) -> None:
        has_learnt = any(one.requires_grad for one in cast('Any', self.network.depth_net).parameters())
        super()._freeze_depth()
        if has_learnt and isinstance(self.net_g, DistributedDataParallel):
            # It waits for the gradients that it was built with.
            self.net_g = self.model_to_device(self.network)

    def _refuse_unused_losses(self) -> None:
        if self.current_iter > (self.options.train.depth_iter or 0):
            super()._refuse_unused_losses()

    # ------------------------------------------------------------------------------------------------- validation

    def test(self) -> None:
        super().test()
        if hasattr(self, 'depth'):
            net = self.net_g_ema if hasattr(self, 'net_g_ema') else self.network
            was_training = net.training
            net.eval()
            with torch.no_grad():
                self.estimate = depth_of(net, self.lq)
            net.train(was_training)

    def get_current_visuals(self) -> dict[str, Tensor]:
        """The images, and where the data set has the true depth, `depth` and `depth_gt`, (N, 1, H, W), for metrics.

        Of images that were restored in tiles there is no `depth`.
        """
        found = super().get_current_visuals()
        if hasattr(self, 'depth'):
            found['depth_gt'] = self.depth.cpu()
        if hasattr(self, 'estimate'):
            found['depth'] = self.estimate.detach().cpu()
        return found


def depth_of(net: nn.Module, images: Tensor) -> Tensor:
    """Depth of images by a network of depth, or by the one inside a network.

    Args:
        net: gives one channel; or has `depth_net`; or gives depth by `return_depth`.
        images: RGB in [0, 1], shape (N, 3, H, W).

    Returns:
        Shape (N, 1, H, W).

    Raises:
        InputError: the network gives something else.
    """
    inner = getattr(net, 'depth_net', None)
    if inner is not None:
        found = inner(images)
    elif 'return_depth' in inspect.signature(net.forward).parameters:
        found = net(images, return_depth=True).depth
    else:
        found = net(images)
    wanted = len(images), 1, *images.shape[-2:]
    if not isinstance(found, Tensor) or found.shape != wanted:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise InputError(f'{type(net).__name__} gives {shape} of images, but depth is {wanted}; use DenseDepth169')
    return found
