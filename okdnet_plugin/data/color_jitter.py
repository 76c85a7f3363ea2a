"""Random changes of colour that a hazy image and its clear one undergo alike."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torchvision.transforms import ColorJitter


def color_jitter_of(block: Mapping | None) -> ColorJitter | None:
    """What the option `color_jitter` says."""
    return ColorJitter(**{key: one for key, one in block.items() if one is not None}) if block else None


def jittered(jitter: ColorJitter | None, images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Images with brightness, contrast, saturation and hue changed at random, each by the same function of a colour.

    Brightness, contrast and saturation are linear: I = J t + A (1 - t) holds of the new images with the same t and a
    new A, but for what is clipped. The grey that contrast leaves alone is the mean of all images together.

    Source: torchvision's ColorJitter, factors and order drawn from torch's generator.

    Args:
        jitter: the largest changes; None for none.
        images: (H, W, 3), BGR, uint8; their sizes may differ.

    Returns:
        Images of the same sizes, uint8, rounded once.
    """
    if jitter is None:
        return list(images)
    pixels = np.concatenate([img.reshape(-1, 3) for img in images]).T[::-1, None]
    # In float64 the mean, and so what is rounded, is the same for any number of threads.
    planes = torch.from_numpy(np.ascontiguousarray(pixels)).double().div_(255)
    changed = jitter(planes).mul_(255).round_().to(torch.uint8).numpy()[::-1, 0].T
    ends = np.cumsum([img.shape[0] * img.shape[1] for img in images])[:-1]
    parts = zip(np.split(np.ascontiguousarray(changed), ends), images, strict=True)
    return [part.reshape(img.shape) for part, img in parts]
