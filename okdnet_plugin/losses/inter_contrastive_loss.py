"""The loss that draws an image to the clear one and away from hazy ones."""

from collections.abc import Mapping, Sequence

import torch
from basicsr.losses.basic_loss import l1_loss
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from okdnet_plugin.losses.feature_extractor import FeatureExtractor, Kind

# Source: AECR-Net.
_LAYER_WEIGHTS = {'relu1_1': 1 / 32, 'relu2_1': 1 / 16, 'relu3_1': 1 / 8, 'relu4_1': 1 / 4, 'relu5_1': 1.0}


@LOSS_REGISTRY.register()
class InterContrastiveLoss(nn.Module):
    """Distance from the clear image over distance from the negatives, in features of a frozen network.

    Source: inspired by the abstract of Xu et al., "A progressive image dehazing framework with inter and intra
    contrastive learning", ICASSP 2023, which says that negatives are employed and no more. The form is the
    contrastive regularisation of AECR-Net (Wu et al., CVPR 2021): layers, their weights, and no normalisation of the
    input. More than one negative, each with its weight, is C2PNet's (Zheng et al., CVPR 2023). That what the
    pre-restore module made is a negative, and the weight of 0.1, are ours.

    Args:
        loss_weight: factor of the loss.
        layer_weights: factor of each layer by name; by default AECR-Net's.
        negative_weights: weight of each negative, brought to a sum of 1; by default all are alike.
        extractor: `vgg19`, `vgg16`, `hed` or `small`.
        extractor_path: file of its weights; see `FeatureExtractor`.
        normalize_input: bring images to ImageNet's mean and deviation first.
        eps: added to the denominator; AECR-Net's is 1e-7. A network that begins as the identity gives the hazy image,
            whose loss is the inverse of it: raise it, or clip the gradient.

    Raises:
        ValueError: an argument is none of its choices.
        InputError: the weights of the extractor cannot be had or do not fit.
    """

    def __init__(
        self,
        loss_weight: float = 0.1,
        layer_weights: Mapping[str, float] | None = None,
        negative_weights: Sequence[float] | None = None,
        extractor: Kind = 'vgg19',
        extractor_path: str | None = None,
        normalize_input: bool = False,
        eps: float = 1e-7,
    ):
        super().__init__()
        if eps <= 0:
            raise ValueError(f'InterContrastiveLoss: eps is {eps}, but must be above 0')
        if negative_weights is not None and (min(negative_weights, default=0) < 0 or not sum(negative_weights) > 0):
            raise ValueError(
                f'InterContrastiveLoss: negative_weights is {negative_weights}, but must be numbers from 0, not all 0'
            )
        self.loss_weight = loss_weight
        self.layer_weights = dict(_LAYER_WEIGHTS if layer_weights is None else layer_weights)
        self.negative_weights = negative_weights
        self.eps = eps
        name = type(self).__name__
        self.extractor = FeatureExtractor(name, extractor, self.layer_weights, extractor_path, normalize_input)

    def forward(self, pred: Tensor, target: Tensor, negatives: Tensor | Sequence[Tensor]) -> Tensor:
        """
        Args:
            pred: dehazed RGB images in [0, 1], shape (N, 3, H, W).
            target: the clear ones.
            negatives: the hazy ones, or a sequence of these and others, such as those of a pre-restore module. No
                gradient goes into them, nor into the target.

        Returns:
            A scalar.

        Raises:
            ValueError: there are more or fewer negatives than negative_weights, or none.
        """
        negatives = [negatives] if isinstance(negatives, Tensor) else list(negatives)
        weights = self.negative_weights or [1.0] * len(negatives)
        if not negatives or len(weights) != len(negatives):
            raise ValueError(
                f'InterContrastiveLoss: there are {len(negatives)} negatives, but {len(weights)} negative_weights'
            )
        with torch.no_grad():
            positive = self.extractor(target)
            others = [self.extractor(negative) for negative in negatives]
        loss = pred.new_zeros((), dtype=torch.float32)
        layers = zip(self.layer_weights.values(), self.extractor(pred), positive, *others, strict=True)
        for layer_weight, ours, clear, *hazy in layers:
            near = l1_loss(ours, clear)
            shares = [weight / sum(weights) * l1_loss(ours, other) for weight, other in zip(weights, hazy, strict=True)]
            loss = loss + layer_weight * near / (torch.stack(shares).sum() + self.eps)
        return self.loss_weight * loss
