"""Contradictions of a training: what would end too early, too late, or not at all; crops, losses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from okdnet_plugin.config.consistency.seen import Given, contradiction, harmless
from okdnet_plugin.config.messages import Mistake
from okdnet_plugin.config.walk import losses_of

_PATH = ('train', 'scheduler')


def milestones_rise_and_lie_within_the_training(given: Given) -> Iterator[Mistake]:
    path = (*_PATH, 'milestones')
    milestones, total = given.numbers(*path) or [], given.number('train', 'total_iter')
    for number, (before, after) in enumerate(pairwise(milestones), 1):
        if after <= before:
            yield harmless((*path, number), f'is {after}, after {before}; write rising iterations')
    for number, milestone in enumerate(milestones):
        if total is not None and milestone > total:
            text = f'is {milestone}, but the training ends at total_iter {total:.0f}: it has no effect'
            yield harmless((*path, number), text)


def a_schedule_lasts_as_long_as_the_training(given: Given) -> Iterator[Mistake]:
    total = given.number('train', 'total_iter')
    path, steps = (*_PATH, 'periods'), sum(given.numbers(*_PATH, 'periods') or ())
    if given.at(*_PATH, 'type') == 'OneCycleLR':
        of_epochs = (given.number(*_PATH, 'epochs') or 0) * (given.number(*_PATH, 'steps_per_epoch') or 0)
        path, steps = _PATH, given.number(*_PATH, 'total_steps') or of_epochs
    if steps and total is not None and steps < total - 1:
        text = f': the schedule ends after {steps:.0f} iterations, before total_iter {total:.0f}, where the training'
        yield contradiction(path, f'{text} would fail; lengthen it')


def warm_up_ends_within_the_training(given: Given) -> Iterator[Mistake]:
    warm_up, total = given.number('train', 'warmup_iter'), given.number('train', 'total_iter')
    if warm_up is not None and total is not None and warm_up > total:
        text = f'is {warm_up}, but the training ends at total_iter {total:.0f}: the rate never reaches its full value'
        yield harmless(('train', 'warmup_iter'), text)


def crops_fit_the_scale(given: Given) -> Iterator[Mistake]:
    path = ('datasets', 'train')
    scale, size = given.number('scale') or given.number(*path, 'scale'), given.number(*path, 'gt_size')
    if scale and size and size % scale:
        yield contradiction((*path, 'gt_size'), f'is {size}, no multiple of scale {scale}; change it')


def a_training_has_a_loss(given: Given) -> Iterator[Mistake]:
    train, losses = given.at('train', kind=Mapping), losses_of(given.model)
    unknown = [path for path in given.wrong if path[:1] == ('train',) and str(path[-1]).endswith('_opt')]
    if train is not None and losses and not unknown and not any(train.get(key) for key in losses):
        yield Mistake(('train',), f': no loss is given; add one of {", ".join(losses)}', 'missing key')
