"""Training of any network by frozen teachers, which may be of another task and another scale."""

from typing import Annotated, Any, ClassVar, Literal

import torch
from basicsr.utils.registry import MODEL_REGISTRY
from pydantic import BaseModel, Field
from torch import Tensor, nn

from okdnet_plugin.config.keys import Typed, key
from okdnet_plugin.config.types import File, FromZero, Text
from okdnet_plugin.engine.feature_tap import MEANING, OUTPUT, FeatureTap
from okdnet_plugin.engine.memory import is_out_of_memory
from okdnet_plugin.errors import InputError, did_you_mean, one_line
from okdnet_plugin.models.restoration_model import RestorationModel
from okdnet_plugin.models.restoration_step import RestorationStep
from okdnet_plugin.weights import loading


class Teacher(BaseModel):
    """A frozen network."""

    network_t: Annotated[dict, Typed('network')] = Field(description='the network, of any task and scale')
    pretrain_network_t: File | None = Field(None, description='its weights')
    param_key_t: Text | None = Field(
        None, description='key of the weights in their file; by default params_ema, else params'
    )
    sees: Literal['gt', 'lq'] = Field('gt', description='the image that it is given: gt, the clear one, or lq')
    channels: list[FromZero] | None = Field(
        None, description='channels of that image that it is given, as [0] for red; ~ for all'
    )


class Distillation(BaseModel):
    """A loss between features of the student and of teachers."""

    loss: Annotated[dict, Typed('loss')] = Field(description='loss(student, teacher) of two features')
    student: Text = Field(OUTPUT, description=f'feature of network_g: {MEANING}')
    teacher: Text = Field(OUTPUT, description='the same of each teacher; as many as the student has')
    teachers: list[Text] | None = Field(
        None, description='names of the teachers, whose channels are joined in this order; ~ for all'
    )


class DistillationStep(RestorationStep):
    """The losses of a network that frozen teachers teach, see `DistillationModel`.

    `opt` has the blocks `teachers` and `train: distillation`.
    """

    has_further_losses: ClassVar = True

    def setup_losses(self) -> None:
        blocks: dict[str, Distillation] = self.options.train.distillation or {}
        teachers: dict[str, Teacher] = self.options.teachers or {}
        if not blocks or not teachers:
            missing = 'teachers' if not teachers else 'train:distillation'
            raise InputError(f'option {missing} is empty; name one, or use model_type: RestorationModel')
        for name, block in blocks.items():
            for wanted in block.teachers or ():
                if wanted not in teachers:
                    raise InputError(
                        f'option train:distillation:{name}:teachers: there is no teacher {wanted}'
                        f'{did_you_mean(wanted, teachers)}; there are {", ".join(teachers)}'
                    )
        self._tap = FeatureTap(
            self.network, [block.student for block in blocks.values()], 'train:distillation:…:student'
        )
        self.teachers = {name: self._teacher(name, block) for name, block in teachers.items()}
        self._taps = {
            name: FeatureTap(
                net,
                [block.teacher for block in blocks.values() if name in (block.teachers or teachers)],
                'train:distillation:…:teacher',
            )
            for name, net in self.teachers.items()
        }
        self.distillers = {name: self.make_loss(block.loss).to(self.device) for name, block in blocks.items()}
        super().setup_losses()

    def _teacher(self, name: str, block: Teacher) -> nn.Module:
        try:
            net: Any = loading.load_frozen(block.network_t, block.pretrain_network_t, block.param_key_t)
        except InputError as error:
            raise type(error)(f'option teachers:{name}: {error}') from error
        return net.to(self.device, memory_format=self.memory_format)

    def modules_beside(self) -> list[nn.Module]:
        return [*super().modules_beside(), *self.distillers.values(), *self.teachers.values()]

    def restore(self, **keywords: object) -> Any:
        wanted = {**keywords, **self._tap.keywords}
        with self._tap:
            self._result = super().restore(**wanted)
        return self._result if keywords or not wanted else self._result.output

    def compute_losses(self) -> dict[str, Tensor]:
        losses = super().compute_losses()
        features = {name: self._features_of(name) for name in self.teachers}
        for name, block in self.options.train.distillation.items():
            theirs = [features[teacher][block.teacher] for teacher in block.teachers or self.teachers]
            losses[f'l_{name}'] = self._distance(name, self._tap.take(block.student, self._result), theirs)
        self._tap.forget()
        return losses

    def _features_of(self, name: str) -> dict[str, list[Tensor]]:
        """What a teacher makes of the batch, by the names of its features."""
        block, tap = self.options.teachers[name], self._taps[name]
        image = getattr(self, block.sees)
        if block.channels is not None:
            if max(block.channels, default=-1) >= image.shape[1] or not block.channels:
                raise InputError(
                    f'option teachers:{name}:channels is {block.channels}, but the images have {image.shape[1]}'
                )
            image = image[:, block.channels]
        with torch.no_grad(), self.autocast(), tap:
            result = self.teachers[name](image, **tap.keywords)
        blocks = self.options.train.distillation.values()
        wanted = {block.teacher for block in blocks if name in (block.teachers or self.teachers)}
        found = {feature: tap.take(feature, result) for feature in wanted}
        tap.forget()
        return found

    def _distance(self, name: str, ours: list[Tensor], theirs: list[list[Tensor]]) -> Tensor:
        """The loss of a name: of each feature of the student with those of all its teachers, channel beside channel."""
        where, loss = f'option train:distillation:{name}', self.distillers[name]
        if {len(one) for one in theirs} != {len(ours)}:
            counts = ', '.join(str(len(one)) for one in theirs)
            raise InputError(f'{where}: the student has {len(ours)} features, the teachers {counts}; name as many')
        pairs = [(own, *others) for own, *others in zip(ours, *theirs, strict=True)]
        try:
            parts = [loss(own, torch.cat(others, 1) if len(others) > 1 else others[0]) for own, *others in pairs]
        except (ValueError, RuntimeError, TypeError) as error:
            if is_out_of_memory(error):
                raise
            shapes = ' and '.join(str(tuple(one.shape)) for one in pairs[0])
            raise InputError(
                f'{where}: {type(loss).__name__} does not take features of {shapes}: {one_line(error)}'
            ) from error
        return torch.stack(parts).sum()


@MODEL_REGISTRY.register()
class DistillationModel(DistillationStep, RestorationModel):
    """Trains a network as RestorationModel does, and besides by the features of frozen teachers.

    A teacher sees the clear image and never learns: it is in eval mode, no gradient reaches it, and it is saved
    with no network. Which features are compared, and by which loss, `train: distillation` says, a block each.

    Source: Mitheran et al., "Rich Feature Distillation with Feature Affinity Module for Efficient Image Dehazing",
    arXiv 2207.11250 (2022), whose teacher is a super-resolver of the clear image, and whose features are the images.
    Other features, several teachers with a file each, and any student are ours.

    Raises:
        InputError: a teacher cannot be built or has other weights, a feature is not there, or a loss does not take two.
    """

    class Options(BaseModel):
        class Train(BaseModel):
            distillation: dict[str, Distillation] = key('losses of features, each under a name of its own', ('train',))

        train: Train = Field(default_factory=lambda: DistillationModel.Options.Train.model_validate({}))
        teachers: dict[str, Teacher] = key('frozen networks, each under a name of its own', ('train',))
