"""The loss that keeps the brightest and the darkest patches of an image apart."""

from collections.abc import Sequence

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from okdnet_plugin.archs.arch_util import luma
from okdnet_plugin.losses.feature_extractor import FeatureExtractor, Kind


def cut_patches(x: Tensor, size: int) -> Tensor:
    """Patches side by side, row by row; what is left at the right and bottom is left out.

    Args:
        x: shape (N, C, H, W).
        size: side of a patch in px.

    Returns:
        Shape (N, P, C, size, size).
    """
    return x.unfold(2, size, size).unfold(3, size, size).flatten(2, 3).transpose(1, 2)


def brightest_and_darkest(x: Tensor, size: int, count: int) -> Tensor:
    """Places of the patches with the largest and the smallest mean luminance.

    Args:
        x: RGB images, shape (N, 3, H, W).
        size: side of a patch in px.
        count: patches of each kind; fewer where there are not twice as many.

    Returns:
        Indices for `cut_patches`, shape (N, 2, K): the brightest, the brightest first; then the darkest, the darkest
        first. No patch is among both.

    Raises:
        ValueError: an image has fewer than two patches.
    """
    means = cut_patches(luma(x), size).mean((2, 3, 4))
    if means.shape[1] < 2:
        raise ValueError(
            f'IntraContrastiveLoss: images of {x.shape[-2]}x{x.shape[-1]} have {means.shape[1]} patches of '
            f'{size}x{size}, but need two; give a smaller patch_size or larger images'
        )
    count = min(count, means.shape[1] // 2)
    order = means.argsort(dim=1, stable=True)  # one for both, so that no patch is of both kinds
    return torch.stack([order.flip(1)[:, :count], order[:, :count]], 1)


@LOSS_REGISTRY.register()
class IntraContrastiveLoss(nn.Module):
    """Cross-entropy by which a patch finds the clear patch of its place among patches of the other kind.

    The brightest and the darkest patches of the clear image are taken, so that the choice does not follow the
    network. For each of them the query is the dehazed patch, the positive the clear patch of the same place, and
    negatives are the clear patches of the opposite kind and the hazy patch of the same place.

    Source: inspired by the abstract of Xu et al., "A progressive image dehazing framework with inter and intra
    contrastive learning", ICASSP 2023: "the brightest and darkest patches within the same image are considered for
    contrastive learning". No more is published: sizes, features, positives and negatives are ours. The form of the
    cross-entropy and its temperature are PatchNCE's (Park et al., ECCV 2020).

    Args:
        loss_weight: factor of the loss.
        patch_size: side of a patch in px, such that the layer has a pixel left of it.
        num_patches: patches of each kind in an image; fewer where there are not twice as many.
        temperature: by which similarities are divided.
        layer: of the extractor, whose features are averaged over a patch.
        extractor: `vgg19`, `vgg16`, `hed` or `small`.
        extractor_path: file of its weights; see `FeatureExtractor`.
        normalize_input: bring images to ImageNet's mean and deviation first.

    Raises:
        ValueError: an argument is out of its range.
        InputError: the weights of the extractor cannot be had or do not fit.
    """

    def __init__(
        self,
        loss_weight: float = 0.1,
        patch_size: int = 16,
        num_patches: int = 8,
        temperature: float = 0.07,
        layer: str = 'relu3_1',
        extractor: Kind = 'vgg19',
        extractor_path: str | None = None,
        normalize_input: bool = False,
    ):
        super().__init__()
        if num_patches < 1 or temperature <= 0:
            raise ValueError(
                f'IntraContrastiveLoss: num_patches is {num_patches} and temperature {temperature}, but they must be '
                'at least 1 and above 0'
            )
        self.loss_weight = loss_weight
        self.patch_size = patch_size
        self.num_patches = num_patches
        self.temperature = temperature
        self.extractor = FeatureExtractor(type(self).__name__, extractor, [layer], extractor_path, normalize_input)
        halvings = sum(name.startswith('pool') for name in self.extractor.names.values())
        if patch_size < 2**halvings:
            raise ValueError(
                f'IntraContrastiveLoss: patch_size is {patch_size}, but {layer} needs {2**halvings} px or more'
            )

    def forward(self, pred: Tensor, target: Tensor, negatives: Tensor | Sequence[Tensor]) -> Tensor:
        """
        Args:
            pred: dehazed RGB images in [0, 1], shape (N, 3, H, W).
            target: the clear ones, in which the patches are chosen.
            negatives: the hazy ones, or a sequence of these and others, of each of which the patch of the same place is
                a negative. No gradient goes into them, nor into the target.

        Returns:
            A scalar: the mean over the patches.

        Raises:
            ValueError: an image has fewer than two patches.
        """
        negatives = [negatives] if isinstance(negatives, Tensor) else list(negatives)
        with torch.no_grad():
            places = brightest_and_darkest(target, self.patch_size, self.num_patches)
            clear = self._embed(target, places)
            hazy = [self._embed(negative, places) for negative in negatives]
        query = self._embed(pred, places)
        opposite = clear.flip(1)
        alike = [(query * clear).sum(3, keepdim=True), query @ opposite.mT]
        alike += [(query * other).sum(3, keepdim=True) for other in hazy]
        logits = torch.cat(alike, 3).flatten(0, 2) / self.temperature
        # The positive is the first.
        return self.loss_weight * F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))

    def _embed(self, x: Tensor, places: Tensor) -> Tensor:
        """Features of length 1 of the patches at (N, 2, K) places, shape (N, 2, K, C)."""
        images = torch.arange(len(x), device=x.device)[:, None, None]
        patches = cut_patches(x, self.patch_size)[images, places]
        (feature,) = self.extractor(patches.flatten(0, 2))
        return F.normalize(feature.mean((2, 3)), dim=1).unflatten(0, places.shape)
