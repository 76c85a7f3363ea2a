"""PI and every other metric of the optional package `pyiqa`, whose licence is non-commercial."""

import functools
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from basicsr.utils.registry import METRIC_REGISTRY

from okdnet_plugin.errors import InputError, did_you_mean
from okdnet_plugin.metrics.metric_util import (
    as_image,
    check_options,
    check_same_size,
    optional_package,
    three_channels,
)

_CURE = 'install pyiqa; its licence is non-commercial'


@functools.cache
def _scorer(name: str, mode: str, device: str) -> Callable[..., torch.Tensor]:
    """A metric of the package; it may fetch its weights the first time.

    Raises:
        InputError: the package is not installed, or has no metric of that name that compares (FR) or not (NR).
    """
    pyiqa = optional_package('PI' if name == 'pi' else f'pyiqa metric {name}', 'pyiqa', _CURE)
    known = pyiqa.list_models(mode)
    if name not in known:
        other = {'NR': 'FR', 'FR': 'NR'}[mode]
        if name in pyiqa.list_models(other):
            needs = 'compares with the clear image' if other == 'FR' else 'has no reference'
            raise InputError(f'pyiqa metric {name} {needs}; write type: calculate_pyiqa_{other.lower()}')
        raise InputError(f'pyiqa has no metric {name}{did_you_mean(name, known)}; pyiqa.list_models() names them')
    return pyiqa.create_metric(name, device=torch.device(device))


def _score(name: str, device: str, result: np.ndarray, clear: np.ndarray | None = None) -> float:
    scorer = _scorer(name, 'NR' if clear is None else 'FR', device)
    tensors = [_tensor(image) for image in (result, clear) if image is not None]
    with torch.no_grad():
        return float(scorer(*tensors))


def _tensor(image: np.ndarray) -> torch.Tensor:
    rgb = three_channels(image)[..., ::-1].transpose(2, 0, 1).astype(np.float32) / 255
    return torch.from_numpy(rgb)[None]


@METRIC_REGISTRY.register()
def calculate_pi(
    img: np.ndarray,
    crop_border: int = 0,
    input_order: Literal['HWC', 'CHW', 'HW'] = 'HWC',
    device: str = 'cpu',
    **images: np.ndarray,
) -> float:
    """Perceptual index, ((10 - Ma) + NIQE) / 2; less is better.

    Source: Blau et al., "The 2018 PIRM challenge on perceptual image super-resolution" (2018), as the package `pyiqa`
    computes it: on Y of YCbCr, without 4 pixels at each edge. There is no other score in place of Ma's.

    Args:
        img: the result, uint8 BGR, shape as `input_order` says, or (H, W).
        crop_border: further pixels to leave out at each edge.
        input_order: `HWC`, `CHW` or `HW`.
        device: where pyiqa computes, `cpu` or `cuda`.
        images: the clear and the hazy image, which it does not look at.

    Returns:
        A value of about 1 to 15. The mean over a data set is that of the challenge.

    Raises:
        InputError: pyiqa is not installed, or an option or the image is not as said above.
    """
    check_options(calculate_pi, images)
    return _score('pi', device, as_image('PI', 'img', img, crop_border, input_order))


@METRIC_REGISTRY.register()
def calculate_pyiqa_nr(
    img: np.ndarray,
    metric: str,
    crop_border: int = 0,
    input_order: Literal['HWC', 'CHW', 'HW'] = 'HWC',
    device: str = 'cpu',
    **images: np.ndarray,
) -> float:
    """A metric of the package `pyiqa` that has no reference, such as `musiq` or `nrqm`.

    Args:
        img: the result, uint8 BGR, shape as `input_order` says, or (H, W).
        metric: its name in pyiqa; `pyiqa.list_models('NR')` lists them.
        crop_border: pixels to leave out at each edge.
        input_order: `HWC`, `CHW` or `HW`.
        device: where pyiqa computes, `cpu` or `cuda`.
        images: the clear and the hazy image, which it does not look at.

    Raises:
        InputError: pyiqa is not installed or has no such metric, or an option or the image is not as said above.
    """
    check_options(calculate_pyiqa_nr, images)
    return _score(metric, device, as_image(f'pyiqa {metric}', 'img', img, crop_border, input_order))


@METRIC_REGISTRY.register()
def calculate_pyiqa_fr(
    img: np.ndarray,
    img2: np.ndarray,
    metric: str,
    crop_border: int = 0,
    input_order: Literal['HWC', 'CHW', 'HW'] = 'HWC',
    device: str = 'cpu',
) -> float:
    """A metric of the package `pyiqa` that compares with the clear image, such as `lpips` or `dists`.

    Args:
        img: the result, uint8 BGR, shape as `input_order` says, or (H, W).
        img2: the clear image, equal in shape.
        metric: its name in pyiqa; `pyiqa.list_models('FR')` lists them.
        crop_border: pixels to leave out at each edge.
        input_order: `HWC`, `CHW` or `HW`.
        device: where pyiqa computes, `cpu` or `cuda`.

    Raises:
        InputError: pyiqa is not installed or has no such metric, or an option or an image is not as said above.
    """
    result = as_image(f'pyiqa {metric}', 'img', img, crop_border, input_order)
    clear = as_image(f'pyiqa {metric}', 'img2', img2, crop_border, input_order)
    check_same_size(f'pyiqa {metric}', result, 'img2', clear)
    return _score(metric, device, result, clear)
