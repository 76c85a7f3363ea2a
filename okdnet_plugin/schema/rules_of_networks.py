"""Contradictions of networks, batches, losses and optimisers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping

from okdnet_plugin.errors import did_you_mean
from okdnet_plugin.schema.given import Given, Rule, contradiction
from okdnet_plugin.schema.mistakes import Mistake
from okdnet_plugin.schema.registered import find
from okdnet_plugin.schema.tree import is_ours

# Networks of the toolbox whose argument is the factor that they enlarge by, and its default.
_ENLARGES = {
    'MSRResNet': ('upscale', 4),
    'EDSR': ('upscale', 4),
    'RCAN': ('upscale', 4),
    'SRVGGNetCompact': ('upscale', 4),
    'RRDBNet': ('scale', 4),
    'ECBSR': ('scale', None),
}
_SMALLEST_CROP = 16  # px; no network of the plugin takes less, see archs.arch_util
_STUDENTS = ('model_free', 'model_based', 'shared')  # of OKDNetModel


def crops_fit_the_scale(given: Given) -> Iterator[Mistake]:
    scale = given.number('scale') or given.number('datasets', 'train', 'scale')
    size = given.number('datasets', 'train', 'gt_size')
    if scale and size and size % scale:
        yield contradiction(('datasets', 'train', 'gt_size'), f'is {size}, no multiple of scale {scale}; change it')
    window = given.number('network_g', 'window_size')
    if given.at('network_g', 'type') != 'SwinIR' or not (window and scale and size) or size % scale:
        return
    if size // scale % window:
        yield contradiction(
            ('datasets', 'train', 'gt_size'),
            f'is {size}, which makes pictures of {size // scale} px, no multiple of window_size {window}; change it',
        )


def crops_are_large_enough(given: Given) -> Iterator[Mistake]:
    path = ('datasets', 'train', 'gt_size')
    name, size = given.at('network_g', 'type', kind=str), given.number(*path)
    network = find('network', name)
    if network is None or network.__module__.split('.')[0] != 'okdnet_plugin' or size is None:
        return
    if size < _SMALLEST_CROP:
        yield contradiction(path, f'is {size}, but {name} needs {_SMALLEST_CROP} px or more; raise it')


def crops_fit_the_discriminator(given: Given) -> Iterator[Mistake]:
    path = ('network_d', 'input_size')
    if given.at('network_d', 'type') != 'VGGStyleDiscriminator' or path in given.wrong:
        return
    size = given.number('datasets', 'train', 'gt_size')
    wanted = given.block('network_d').get('input_size', 128)
    if size and size != wanted:
        yield contradiction(
            path, f'is {wanted}, but crops (datasets:train:gt_size) have {size} px; write the same for both'
        )


def networks_enlarge_by_the_scale(given: Given) -> Iterator[Mistake]:
    name = given.at('network_g', 'type', kind=str) or ''
    argument, default = _ENLARGES.get(name, (None, None))
    if name == 'SwinIR' and given.at('network_g', 'upsampler'):
        argument, default = 'upscale', 2
    if argument is None or ('network_g', argument) in given.wrong:
        return
    scale, factor = given.number('scale'), given.block('network_g').get(argument, default)
    if scale and factor and factor != scale:
        yield contradiction(('network_g', argument), f'is {factor}, but scale is {scale}; write the same for both')


def a_batch_of_okdnet_has_two_pictures(given: Given) -> Iterator[Mistake]:
    path = ('datasets', 'train', 'batch_size_per_gpu')
    is_okdnet = given.is_a('OKDNetModel') or given.at('network_g', 'type') == 'OKDNet'
    if is_okdnet and given.number(*path) == 1:
        yield contradiction(
            path,
            'is 1, but OKDNet needs 2 or more: the bottleneck of its airlight network is one pixel, and BatchNorm has '
            'no statistics of a single value',
        )


def prefetching_to_a_gpu_needs_pinned_memory(given: Given) -> Iterator[Mistake]:
    path = ('datasets', 'train')
    if given.at(*path, 'prefetch_mode') == 'cuda' and given.at(*path, 'pin_memory') is not True:
        yield contradiction((*path, 'prefetch_mode'), 'is cuda, which needs pin_memory: true; add it')


def workers_that_stay_are_there(given: Given) -> Iterator[Mistake]:
    path = ('datasets', 'train')
    if given.at(*path, 'persistent_workers') is True and given.number(*path, 'num_worker_per_gpu') == 0:
        yield contradiction((*path, 'persistent_workers'), 'is true, but num_worker_per_gpu is 0; write false')


def a_training_has_a_loss(given: Given) -> Iterator[Mistake]:
    train, model = given.at('train', kind=Mapping), given.model
    if train is None or model is None:
        return
    if is_ours(model):
        known = list(model.loss_blocks)  # type: ignore[attr-defined]
        blocks = [key for key in known if train.get(key)]
        unknown = [path for path in given.wrong if path[:1] == ('train',) and str(path[-1]).endswith('_opt')]
        if not blocks and not unknown:
            yield Mistake(('train',), f': no loss is given; add one of {", ".join(known)}', 'missing key')
        if (given.number('train', 'accumulate') or 1) > 1:
            for key in blocks:
                if given.at('train', key, 'reduction') == 'sum':
                    yield contradiction(
                        ('train', key, 'reduction'), 'is sum, of which train:accumulate would make a mean; use mean'
                    )
        return
    needs_one = model.__name__ in ('SRModel', 'SwinIRModel', 'EDVRModel', 'VideoBaseModel', 'VideoRecurrentModel')
    if needs_one and not train.get('pixel_opt') and not train.get('perceptual_opt'):
        yield Mistake(('train',), ': no loss is given; add pixel_opt or perceptual_opt', 'missing key')


def students_are_there(given: Given) -> Iterator[Mistake]:
    path = ('train', 'distill_opt', 'student_weights')
    names = _STUDENTS
    weights = given.at(*path)
    if not given.is_a('OKDNetModel') or weights is None:
        return
    for name in weights if isinstance(weights, Mapping) else ():
        if name not in names:
            hint = did_you_mean(name, names)
            text = f': OKDNet has no such student{hint}; it has {", ".join(names)}'
            yield Mistake((*path, name), text, 'unknown key')
    if isinstance(weights, list) and len(weights) != len(names):
        yield contradiction(path, f'has {len(weights)} values, but there are {len(names)} students: {", ".join(names)}')


def the_toolbox_knows_the_optimiser(given: Given) -> Iterator[Mistake]:
    from basicsr.models.base_model import BaseModel

    method = getattr(given.model, 'get_optimizer', None)
    if method is not BaseModel.get_optimizer:
        return
    known = [name for name in BaseModel.get_optimizer.__code__.co_consts if isinstance(name, str) and name.isalpha()]
    for key in ('optim_g', 'optim_d'):
        name = given.at('train', key, 'type', kind=str)
        if name is not None and name not in known:
            yield contradiction(
                ('train', key, 'type'),
                f'is {name}, but {given.model.__name__} knows {", ".join(known)} alone; write that, or use '  # type: ignore[union-attr]
                'model_type: RestorationModel',
            )


def compiling_needs_a_compiler(given: Given) -> Iterator[Mistake]:
    compilers = [os.environ.get('CXX'), 'g++', 'clang++', 'c++']
    wanted = given.at('compile')
    if wanted and given.opt.get('num_gpu') == 0 and not any(map(shutil.which, filter(None, compilers))):
        yield contradiction(('compile',), ': on a CPU torch.compile needs a C++ compiler; install g++, or leave it out')


def pairs_of_the_degradation_fit(given: Given) -> Iterator[Mistake]:
    queue, batch = given.number('queue_size') or 180, given.number('datasets', 'train', 'batch_size_per_gpu')
    degrades = given.opt.get('high_order_degradation', True) is not False
    if not given.is_a('RealESRGANModel', 'RealESRNetModel') or not degrades:
        return
    if batch and queue % batch:
        yield contradiction(
            ('queue_size',), f'is {queue}, no multiple of batch_size_per_gpu {batch}; change one of them'
        )
    names = ('resize_prob', 'resize_range', 'gaussian_noise_prob', 'noise_range', 'poisson_scale_range')
    names += ('gray_noise_prob', 'jpeg_range')
    both = (*names, *(f'{name}2' for name in names), 'second_blur_prob', 'gt_size')
    for name in both:
        if given.opt.get(name) is None:
            yield Mistake((name,), 'is missing; the degradation needs it: add it', 'missing key')


TRAINING: tuple[Rule, ...] = (
    students_are_there,
    crops_fit_the_scale,
    crops_are_large_enough,
    crops_fit_the_discriminator,
    networks_enlarge_by_the_scale,
    a_batch_of_okdnet_has_two_pictures,
    prefetching_to_a_gpu_needs_pinned_memory,
    workers_that_stay_are_there,
    a_training_has_a_loss,
    the_toolbox_knows_the_optimiser,
    compiling_needs_a_compiler,
    pairs_of_the_degradation_fit,
)
TEST: tuple[Rule, ...] = (networks_enlarge_by_the_scale,)
REPORT: tuple[Rule, ...] = ()
