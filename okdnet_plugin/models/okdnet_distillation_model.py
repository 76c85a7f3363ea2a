"""Training of a network with branches by itself and by frozen teachers."""

from typing import ClassVar

from basicsr.utils.registry import MODEL_REGISTRY

from okdnet_plugin.models.distillation_model import DistillationModel, DistillationStep
from okdnet_plugin.models.okdnet_model import OKDNetModel, OKDNetStep


class OKDNetDistillationStep(DistillationStep, OKDNetStep):
    """The losses of a network with branches or without, and of frozen teachers."""


@MODEL_REGISTRY.register()
class OKDNetDistillationModel(DistillationModel, OKDNetModel):
    """OKDNetModel, whose network learns from frozen teachers besides, as DistillationModel says.

    Source: the losses are those of the two models; that they are added up is ours.

    Raises:
        InputError: as those two.
    """

    loss_blocks: ClassVar = OKDNetModel.loss_blocks  # its own, so that the check knows all that it reads
