"""Contradictions of batches and losses; whether the network takes a batch, the first one shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from okdnet_plugin.config.consistency.seen import Given, contradiction, harmless
from okdnet_plugin.config.messages import Mistake
from okdnet_plugin.config.walk import losses_of

_TRAIN = ('datasets', 'train')


def crops_fit_the_scale(given: Given) -> Iterator[Mistake]:
    scale = given.number('scale') or given.number(*_TRAIN, 'scale')
    size = given.number(*_TRAIN, 'gt_size')
    if scale and size and size % scale:
        yield contradiction((*_TRAIN, 'gt_size'), f'is {size}, no multiple of scale {scale}; change it')


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


def a_training_has_a_loss(given: Given) -> Iterator[Mistake]:
    train, losses = given.at('train', kind=Mapping), losses_of(given.model)
    if train is None or given.model is None:
        return
    known = list(losses) or (['pixel_opt', 'perceptual_opt'] if given.model.__name__ == 'SRModel' else [])
    blocks = [key for key in known if train.get(key)]
    unknown = [path for path in given.wrong if path[:1] == ('train',) and str(path[-1]).endswith('_opt')]
    if known and not blocks and not unknown:
        yield Mistake(('train',), f': no loss is given; add one of {", ".join(known)}', 'missing key')
    is_accumulated = (given.number('train', 'accumulate') or 1) > 1
    for key in blocks if losses and is_accumulated else ():
        if given.at('train', key, 'reduction') == 'sum':
            text = 'is sum, of which train:accumulate would make a mean; use mean'
            yield contradiction(('train', key, 'reduction'), text)
