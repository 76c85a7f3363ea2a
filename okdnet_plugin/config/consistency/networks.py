"""Contradictions of batches, losses and optimisers; whether the network takes a batch, the first one shows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping

from okdnet_plugin.config.consistency.seen import Given, Rule, contradiction, harmless
from okdnet_plugin.config.messages import Mistake
from okdnet_plugin.config.walk import losses_of


def crops_fit_the_scale(given: Given) -> Iterator[Mistake]:
    scale = given.number('scale') or given.number('datasets', 'train', 'scale')
    size = given.number('datasets', 'train', 'gt_size')
    if scale and size and size % scale:
        yield contradiction(('datasets', 'train', 'gt_size'), f'is {size}, no multiple of scale {scale}; change it')


def stages_of_sizes_fit(given: Given) -> Iterator[Mistake]:
    path = ('train', 'progressive_sizes')
    iters, sizes, counts = (given.numbers(*path, key) for key in ('iters', 'gt_sizes', 'mini_batch_sizes'))
    for key, one in {'gt_sizes': sizes, 'mini_batch_sizes': counts}.items():
        if iters and one is not None and len(one) != len(iters):
            yield contradiction((*path, key), f': there are {len(one)}, but {len(iters)} iters; write one each')
    largest, images = (given.number('datasets', 'train', key) for key in ('gt_size', 'batch_size_per_gpu'))
    for key, one, most, of in (
        ('gt_sizes', sizes, largest, 'gt_size'),
        ('mini_batch_sizes', counts, images, 'batch_size_per_gpu'),
    ):
        for number, size in enumerate(one or ()):
            if most is not None and size > most:
                text = f'is {size}, more than datasets:train:{of} {most}, of which it is a part; raise that'
                yield contradiction((*path, key, number), text)
    scale, total = given.number('scale') or 1, given.number('train', 'total_iter')
    for number, size in enumerate(sizes or ()):
        if size % scale:
            yield contradiction((*path, 'gt_sizes', number), f'is {size}, no multiple of scale {scale}; change it')
    if iters and total is not None and sum(iters[:-1]) >= total:
        text = (
            f'reach the last stage after {sum(iters[:-1])} iterations, but the training ends at total_iter {total:.0f}'
        )
        yield harmless((*path, 'iters'), text)


def a_batch_holds_what_is_mixed(given: Given) -> Iterator[Mistake]:
    images, parts = given.number('datasets', 'train', 'batch_size_per_gpu'), given.number('train', 'accumulate') or 1
    if given.block('train', 'mixup') and images is not None and images * parts < 2:
        yield contradiction(
            ('train', 'mixup'), 'mixes images of one batch, but batch_size_per_gpu is 1; raise it, or take mixup out'
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
    train, losses = given.at('train', kind=Mapping), losses_of(given.model)
    if train is None or given.model is None:
        return
    known = list(losses) or (['pixel_opt', 'perceptual_opt'] if given.model.__name__ == 'SRModel' else [])
    blocks = [key for key in known if train.get(key)]
    unknown = [path for path in given.wrong if path[:1] == ('train',) and str(path[-1]).endswith('_opt')]
    if known and not blocks and not unknown:
        yield Mistake(('train',), f': no loss is given; add one of {", ".join(known)}', 'missing key')
    if losses and (given.number('train', 'accumulate') or 1) > 1:
        for key in blocks:
            if given.at('train', key, 'reduction') == 'sum':
                yield contradiction(
                    ('train', key, 'reduction'), 'is sum, of which train:accumulate would make a mean; use mean'
                )


def basicsr_knows_the_optimiser(given: Given) -> Iterator[Mistake]:
    from basicsr.models.base_model import BaseModel

    if getattr(given.model, 'get_optimizer', None) is not BaseModel.get_optimizer:
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


def basicsr_knows_the_schedule(given: Given) -> Iterator[Mistake]:
    from basicsr.models.base_model import BaseModel

    name = given.at('train', 'scheduler', 'type', kind=str)
    is_basicsrs = getattr(given.model, 'setup_schedulers', None) is BaseModel.setup_schedulers
    known = ('MultiStepLR', 'MultiStepRestartLR', 'CosineAnnealingRestartLR')
    if is_basicsrs and given.model is not None and name is not None and name not in known:
        yield contradiction(
            ('train', 'scheduler', 'type'),
            f'is {name}, but {given.model.__name__} knows {", ".join(known)} alone; write one of them, or use '
            'model_type: RestorationModel',
        )


def compiling_needs_a_compiler(given: Given) -> Iterator[Mistake]:
    compilers = [os.environ.get('CXX'), 'g++', 'clang++', 'c++']
    wanted = given.at('compile')
    if wanted and given.opt.get('num_gpu') == 0 and not any(map(shutil.which, filter(None, compilers))):
        yield contradiction(('compile',), ': on a CPU torch.compile needs a C++ compiler; install g++, or leave it out')


TRAINING: tuple[Rule, ...] = (
    crops_fit_the_scale,
    stages_of_sizes_fit,
    a_batch_holds_what_is_mixed,
    prefetching_to_a_gpu_needs_pinned_memory,
    workers_that_stay_are_there,
    a_training_has_a_loss,
    basicsr_knows_the_optimiser,
    basicsr_knows_the_schedule,
    compiling_needs_a_compiler,
)
TEST: tuple[Rule, ...] = ()
REPORT: tuple[Rule, ...] = ()
