"""What signatures do not say: the choices and ranges of arguments, as their classes and functions have them.

A class refuses a wrong value itself, but only when it is made, after the folders of a run. Names are those of a `type`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Len
from basicsr.archs.vgg_arch import NAMES
from pydantic import AfterValidator, Field

from okdnet_plugin.schema.values import (
    Count,
    File,
    FromZero,
    IterationCount,
    IterationsFromZero,
    NotNegative,
    Number,
    Positive,
    Says,
    joined,
)

_Reduction = Literal['mean', 'sum']  # `none`, which some losses take, has no gradient
_Order = Literal['HWC', 'CHW']
_GanType = Literal['vanilla', 'lsgan', 'wgan', 'wgan_softplus', 'hinge']
# Layers of the largest VGG, which has those of all others; those with BatchNorm have a layer more for each convolution.
_Layers = Literal[(*NAMES['vgg19'], *(name.replace('conv', 'bn') for name in NAMES['vgg19'] if 'conv' in name))]  # type: ignore[valid-type]
_VggType = Literal['vgg11', 'vgg13', 'vgg16', 'vgg19', 'vgg11_bn', 'vgg13_bn', 'vgg16_bn', 'vgg19_bn']
_BelowOne = Annotated[Number, Field(ge=0, lt=1)]
_ToOne = Annotated[Number, Field(gt=0, le=1)]
_Between = Annotated[Number, Field(gt=0, lt=1)]


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError('it is even')
    return value


def _even(value: int) -> int:
    if value % 2:
        raise ValueError('it is odd')
    return value


_Even = Annotated[Count, AfterValidator(_even), Says('an even whole number from 2')]
_Odd = Annotated[Count, AfterValidator(_odd), Says('an odd whole number from 1')]
_WEIGHTED = {'loss_weight': Number, 'reduction': _Reduction}
_GAN = {'gan_type': _GanType, 'loss_weight': Number}
_OF_TYPE: dict[str, dict[str, Any]] = {
    # networks
    'OKDNet': {
        'num_feat': Count,
        'num_blocks': Annotated[list[Count], Len(3, 3)],
        'growth': Count,
        'down': Literal['conv', 'grid'],
        'up': Literal['deconv4', 'deconv3', 'grid'],
        'fuse_kernel': Literal[1, 3],
        'aggregation': Literal['fab', 'fau'],
        'gate': Literal['none', 'softmax', 'sigmoid'],
        't_min': _Between,
    },
    'DCP': {
        'patch_size': _Odd,
        'omega': _ToOne,
        't_min': _ToOne,
        'top': _ToOne,
        'radius': Count,
        'eps': Positive,
        'airlight': Literal['brightest', 'mean'],
    },
    'GridDehazeNet': {'num_rows': Annotated[Count, Field(ge=2, le=5)], 'num_columns': _Even},
    'VGGStyleDiscriminator': {'input_size': Literal[128, 256]},
    'DUF': {'num_layer': Literal[16, 28, 52]},
    'ECBSR': {'act_type': Literal['prelu', 'relu', 'rrelu', 'softplus', 'linear']},
    'SRVGGNetCompact': {'act_type': Literal['relu', 'prelu', 'leakyrelu']},
    # losses
    'L1Loss': _WEIGHTED,
    'MSELoss': _WEIGHTED,
    'CharbonnierLoss': _WEIGHTED,
    'WeightedTVLoss': _WEIGHTED,
    'SSIMLoss': {**_WEIGHTED, 'window_size': _Odd, 'sigma': Positive},
    'OnlineDistillationLoss': _WEIGHTED,
    'PerceptualLoss': {
        'layer_weights': dict[_Layers, Number],
        'vgg_type': _VggType,
        'criterion': Literal['l1', 'l2', 'fro'],
    },
    'GANLoss': _GAN,
    'MultiScaleGANLoss': _GAN,
}
# By the name of the argument, whatever the type.
_OF_NAME: dict[str, dict[str, Any]] = {
    'network': dict.fromkeys(('spynet_path', 'edvr_path', 'dict_path', 'load_path'), joined([File, None])),
    'metric': {'crop_border': FromZero, 'input_order': _Order},
    'optimizer': {
        'lr': NotNegative,
        'betas': Annotated[list[_BelowOne], Len(2, 3)],
        'eps': joined([NotNegative, None]),
        'weight_decay': NotNegative,
        'momentum': NotNegative,
    },
    'scheduler': {
        'milestones': list[IterationsFromZero],
        'gamma': NotNegative,
        'restarts': list[IterationsFromZero],
        'restart_weights': list[NotNegative],
        'periods': list[IterationCount],
        'eta_min': NotNegative,
    },
}


def limits_of(name: str, kind: str = '') -> dict[str, Any]:
    """Types of arguments beyond what their signature says, by argument.

    Args:
        name: the `type` of the block.
        kind: network, loss, metric, optimizer or scheduler.
    """
    return {**_OF_NAME.get(kind, {}), **_OF_TYPE.get(name.removesuffix('_basicsr'), {})}
