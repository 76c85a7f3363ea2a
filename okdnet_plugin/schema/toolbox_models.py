"""What the toolbox's models read beyond what every model reads, by class; a class reads what its parents read.

Source: BasicSR 1.4.2, models/*.py.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Len

from okdnet_plugin.schema.blocks import Loss, Network, Optimizer
from okdnet_plugin.schema.keys import Keys, key
from okdnet_plugin.schema.values import Count, FromZero, IterationsFromZero, NotNegative, Range, Share, Switch

_TRAIN = ('train',)
_Probabilities = Annotated[list[Share], Len(3, 3)]


class SRTraining(Keys):
    """`train` of SRModel."""

    ema_decay: Share = key('decay of the averaged weights; 0 for none')
    optim_g: Optimizer = key('optimiser of the network', _TRAIN)
    pixel_opt: Loss = key('loss of single pixels')
    perceptual_opt: Loss = key('loss of the features of VGG')


class SRTop(Keys):
    """The top of an option file of SRModel."""

    network_g: Network = key('the network that restores', ('train', 'test'))


class GanTop(Keys):
    """Models with a discriminator."""

    network_d: Network = key('the discriminator', _TRAIN)


class GanTraining(Keys):
    """`train` of SRGANModel."""

    optim_d: Optimizer = key('optimiser of the discriminator', _TRAIN)
    gan_opt: Loss = key('adversarial loss', _TRAIN)
    ldl_opt: Loss = key('loss of artifacts (LDL)')
    net_d_iters: Count = key('updates of the discriminator for each of the network')
    net_d_init_iters: IterationsFromZero = key('iterations in which only the discriminator is trained')


class HiFaceGanTraining(Keys):
    """`train` of HiFaceGANModel."""

    optim_d: Optimizer = key('optimiser of the discriminator', _TRAIN)
    gan_opt: Loss = key('adversarial loss')
    feature_matching_opt: Loss = key('loss of the features of the discriminator', _TRAIN)
    net_d_iters: Count = key('updates of the discriminator for each of the network')
    net_d_init_iters: IterationsFromZero = key('iterations in which only the discriminator is trained')


class EdvrTraining(Keys):
    """`train` of EDVRModel."""

    tsa_iter: IterationsFromZero | None = key('iterations in which only the TSA module is trained')
    dcn_lr_mul: NotNegative = key('learning rate of deformable convolutions / that of the others')


class VideoTop(Keys):
    """The top of an option file of VideoBaseModel."""

    save_img: Switch | None = key('customary; val:save_img counts')


class RecurrentTraining(Keys):
    """`train` of VideoRecurrentModel."""

    fix_flow: IterationsFromZero | None = key('iterations in which the flow network stays as it is')
    flow_lr_mul: NotNegative = key('learning rate of the flow network / that of the others')


class RecurrentValidation(Keys):
    """`val` of VideoRecurrentModel."""

    flip_seq: Switch | None = key('test a sequence and its mirror image in time')
    center_frame_only: Switch | None = key('measure the middle frame alone, as for Vimeo90K')


class RecurrentGanTraining(Keys):
    """`train` of VideoRecurrentGANModel."""

    lr_flow: NotNegative | None = key('learning rate of the flow network')
    fix_flow: IterationsFromZero | None = key('iterations in which the flow network stays as it is', _TRAIN)
    optim_d: Optimizer = key('optimiser of the discriminator', _TRAIN)
    gan_opt: Loss = key('adversarial loss', _TRAIN)
    net_d_iters: Count = key('updates of the discriminator for each of the network')
    net_d_init_iters: IterationsFromZero = key('iterations in which only the discriminator is trained')


class StyleGan2Training(Keys):
    """`train` of StyleGAN2Model."""

    optim_g: Optimizer = key('optimiser of the generator', _TRAIN)
    optim_d: Optimizer = key('optimiser of the discriminator', _TRAIN)
    gan_opt: Loss = key('adversarial loss', _TRAIN)
    r1_reg_weight: NotNegative = key('weight of the R1 regularisation of the discriminator', _TRAIN)
    path_reg_weight: NotNegative = key('weight of the path length regularisation of the generator', _TRAIN)
    path_batch_shrink: Count = key('what the batch is divided by for that regularisation', _TRAIN)
    net_g_reg_every: FromZero = key('iterations from one regularisation of the generator to the next', _TRAIN)
    net_d_reg_every: FromZero = key('iterations from one regularisation of the discriminator to the next', _TRAIN)
    mixing_prob: Share = key('share of samples that mix two styles', _TRAIN)
    net_d_iters: Count = key('updates of the discriminator for each of the generator')
    net_d_init_iters: IterationsFromZero = key('iterations in which only the discriminator is trained')


class StyleGan2Validation(Keys):
    """`val` of StyleGAN2Model."""

    num_val_samples: Count = key('samples that a validation draws')


class RealEsrNetTop(Keys):
    """The top of an option file of RealESRNetModel: how low-quality pictures are made."""

    high_order_degradation: Switch | None = key('make the low-quality pictures; false with a paired data set')
    gt_usm: Switch | None = key('sharpen the clear pictures')
    resize_prob: _Probabilities | None = key('first degradation: probabilities of up, down, keep')
    resize_range: Range | None = key('first degradation: factors of the size')
    gaussian_noise_prob: Share | None = key('first degradation: probability of Gaussian noise')
    noise_range: Range | None = key('first degradation: sigma of Gaussian noise')
    poisson_scale_range: Range | None = key('first degradation: scale of Poisson noise')
    gray_noise_prob: Share | None = key('first degradation: probability of grey noise')
    jpeg_range: Range | None = key('first degradation: JPEG quality')
    second_blur_prob: Share | None = key('second degradation: probability of blur')
    resize_prob2: _Probabilities | None = key('second degradation: probabilities of up, down, keep')
    resize_range2: Range | None = key('second degradation: factors of the size')
    gaussian_noise_prob2: Share | None = key('second degradation: probability of Gaussian noise')
    noise_range2: Range | None = key('second degradation: sigma of Gaussian noise')
    poisson_scale_range2: Range | None = key('second degradation: scale of Poisson noise')
    gray_noise_prob2: Share | None = key('second degradation: probability of grey noise')
    jpeg_range2: Range | None = key('second degradation: JPEG quality')
    gt_size: Count | None = key('edge in px of the crops that are trained on')
    queue_size: Count | None = key('pictures of the pool from which batches are drawn; a multiple of the batch')


class RealEsrGanTop(RealEsrNetTop):
    """The top of an option file of RealESRGANModel."""

    l1_gt_usm: Switch | None = key('sharpen the clear pictures for the pixel loss', _TRAIN)
    percep_gt_usm: Switch | None = key('sharpen the clear pictures for the perceptual loss', _TRAIN)
    gan_gt_usm: Switch | None = key('sharpen the clear pictures for the adversarial loss', _TRAIN)


TOP: dict[str, type[Keys]] = {
    'SRModel': SRTop,
    'SRGANModel': GanTop,
    'HiFaceGANModel': GanTop,
    'VideoBaseModel': VideoTop,
    'VideoRecurrentGANModel': GanTop,
    'RealESRNetModel': RealEsrNetTop,
    'RealESRGANModel': RealEsrGanTop,
}
TRAIN: dict[str, type[Keys]] = {
    'SRModel': SRTraining,
    'SRGANModel': GanTraining,
    'HiFaceGANModel': HiFaceGanTraining,
    'EDVRModel': EdvrTraining,
    'VideoRecurrentModel': RecurrentTraining,
    'VideoRecurrentGANModel': RecurrentGanTraining,
    'StyleGAN2Model': StyleGan2Training,
}
VAL: dict[str, type[Keys]] = {'VideoRecurrentModel': RecurrentValidation, 'StyleGAN2Model': StyleGan2Validation}


class _StyleGan2Top(SRTop, GanTop):
    pass


TOP['StyleGAN2Model'] = _StyleGan2Top
