"""What contradicts itself in the options of `RestorationModel`, though every single key is right."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping

from okdnet_plugin.config.consistency.seen import Given, Rule, contradiction, harmless
from okdnet_plugin.config.messages import Mistake
from okdnet_plugin.config.registered import find, needs_clear_image
from okdnet_plugin.config.walk import losses_of
from okdnet_plugin.errors import did_you_mean

_TRAIN = ('datasets', 'train')


def stages_of_sizes_fit(given: Given) -> Iterator[Mistake]:
    path = ('train', 'progressive_sizes')
    iters, total = given.numbers(*path, 'iters'), given.number('train', 'total_iter')
    for key, of in {'gt_sizes': 'gt_size', 'mini_batch_sizes': 'batch_size_per_gpu'}.items():
        numbers, most = given.numbers(*path, key), given.number(*_TRAIN, of)
        if iters and numbers is not None and len(numbers) != len(iters):
            yield contradiction((*path, key), f': there are {len(numbers)}, but {len(iters)} iters; write one each')
        for place, number in enumerate(numbers or ()):
            if most is not None and number > most:
                text = f'is {number}, more than datasets:train:{of} {most}, of which it is a part; raise that'
                yield contradiction((*path, key, place), text)
    scale = given.number('scale') or 1
    for place, size in enumerate(given.numbers(*path, 'gt_sizes') or ()):
        if size % scale:
            yield contradiction((*path, 'gt_sizes', place), f'is {size}, no multiple of scale {scale}; change it')
    if iters and total is not None and sum(iters[:-1]) >= total:
        text = f'reach the last stage after {sum(iters[:-1])} iterations, but the training ends at total_iter'
        yield harmless((*path, 'iters'), f'{text} {total:.0f}')


def a_batch_holds_what_is_mixed(given: Given) -> Iterator[Mistake]:
    images, parts = given.number(*_TRAIN, 'batch_size_per_gpu'), given.number('train', 'accumulate') or 1
    if given.block('train', 'mixup') and images is not None and images * parts < 2:
        text = 'mixes images of one batch, but batch_size_per_gpu is 1; raise it, or take mixup out'
        yield contradiction(('train', 'mixup'), text)


def what_is_accumulated_is_no_sum(given: Given) -> Iterator[Mistake]:
    for key in losses_of(given.model) if (given.number('train', 'accumulate') or 1) > 1 else ():
        if given.at('train', key, 'reduction') == 'sum':
            text = 'is sum, of which train:accumulate would make a mean; use mean'
            yield contradiction(('train', key, 'reduction'), text)


def the_best_network_is_that_of_a_figure(given: Given) -> Iterator[Mistake]:
    wanted = given.at('logger', 'save_best', kind=str)
    blocks = {name: one for name, one in given.block('val', 'metrics').items() if isinstance(one, Mapping)}
    metrics = {name: one['type'] for name, one in blocks.items() if 'type' in one}
    if wanted is None or any(find('metric', name) is None for name in metrics.values()):
        return
    figures = {
        f'{one.get("name")}/{metric}': _has_clear_images(one) or not needs_clear_image(name)
        for one in given.data_sets('val')
        for metric, name in metrics.items()
    }
    known = [figure for figure, is_measured in figures.items() if is_measured]
    if wanted in known:
        return
    text = f'is {wanted}{did_you_mean(wanted, known)}'
    if wanted in figures:
        data_set, _, metric = wanted.rpartition('/')
        text = f'is {wanted}, but {data_set} has no clear images, which {metric} needs'
    cure = f'write one of {", ".join(known)}' if known else 'it needs a validation data set and val:metrics'
    yield contradiction(('logger', 'save_best'), f'{text}; {cure}')


def compiling_needs_a_compiler(given: Given) -> Iterator[Mistake]:
    compilers = filter(None, (os.environ.get('CXX'), 'g++', 'clang++', 'c++'))
    if given.at('compile') and given.opt.get('num_gpu') == 0 and not any(map(shutil.which, compilers)):
        yield contradiction(('compile',), ': on a CPU torch.compile needs a C++ compiler; install g++, or leave it out')


def _has_clear_images(block: Mapping) -> bool:
    """Whether a data set has them, as far as its keys tell: who reads hazy images alone names their place alone."""
    return block.get('dataroot_lq') is None or block.get('dataroot_gt') is not None


RULES: tuple[Rule, ...] = (
    stages_of_sizes_fit,
    a_batch_holds_what_is_mixed,
    what_is_accumulated_is_no_sum,
    the_best_network_is_that_of_a_figure,
    compiling_needs_a_compiler,
)
