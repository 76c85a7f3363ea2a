"""Contradictions of schedules: what would end too early, too late, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from okdnet_plugin.config.consistency.seen import Given, Rule, contradiction, harmless
from okdnet_plugin.config.messages import Mistake


def milestones_rise_and_lie_within_the_training(given: Given) -> Iterator[Mistake]:
    path = ('train', 'scheduler', 'milestones')
    milestones, total = given.numbers(*path), given.number('train', 'total_iter')
    if milestones is None:
        return
    for number, (before, after) in enumerate(pairwise(milestones), 1):
        if after <= before:
            yield harmless((*path, number), f'is {after}, after {before}; write rising iterations')
    for number, milestone in enumerate(milestones):
        if total is not None and milestone > total:
            yield harmless(
                (*path, number), f'is {milestone}, but the training ends at total_iter {total:.0f}: it has no effect'
            )


def restarts_have_their_weights(given: Given) -> Iterator[Mistake]:
    path = ('train', 'scheduler')
    name = given.at(*path, 'type')
    key = {'CosineAnnealingRestartLR': 'periods', 'MultiStepLR': 'restarts', 'MultiStepRestartLR': 'restarts'}.get(name)
    if key is None:
        return
    default = [0] if key == 'restarts' else None
    values = given.numbers(*path, key) or default
    weights = given.numbers(*path, 'restart_weights') or [1]
    if values is not None and len(values) != len(weights):
        at = 'restart_weights' if 'restart_weights' in given.block(*path) else key
        yield contradiction(
            (*path, at), f': there are {len(values)} {key}, but {len(weights)} restart_weights; write one each'
        )


def periods_last_as_long_as_the_training(given: Given) -> Iterator[Mistake]:
    path = ('train', 'scheduler', 'periods')
    periods, total = given.numbers(*path), given.number('train', 'total_iter')
    if periods and total is not None and sum(periods) < total - 1:
        yield contradiction(
            path, f'end after {sum(periods)} iterations, before total_iter {total:.0f}, where the training would fail; '
            'lengthen them'
        )  # fmt: skip


def one_cycle_lasts_as_long_as_the_training(given: Given) -> Iterator[Mistake]:
    path, total = ('train', 'scheduler'), given.number('train', 'total_iter')
    epochs, of_each = given.number(*path, 'epochs') or 0, given.number(*path, 'steps_per_epoch') or 0
    steps = given.number(*path, 'total_steps') or epochs * of_each
    if given.at(*path, 'type') == 'OneCycleLR' and steps and total is not None and steps < total - 1:
        yield contradiction(
            path, f'ends after {steps:.0f} iterations, before total_iter {total:.0f}, where the training would fail; '
            'raise total_steps'
        )  # fmt: skip


def warm_up_ends_within_the_training(given: Given) -> Iterator[Mistake]:
    warm_up, total = given.number('train', 'warmup_iter'), given.number('train', 'total_iter')
    if warm_up is not None and total is not None and warm_up > total:
        yield harmless(
            ('train', 'warmup_iter'),
            f'is {warm_up}, but the training ends at total_iter {total:.0f}: the rate never reaches its full value',
        )


TRAINING: tuple[Rule, ...] = (
    milestones_rise_and_lie_within_the_training,
    restarts_have_their_weights,
    periods_last_as_long_as_the_training,
    one_cycle_lasts_as_long_as_the_training,
    warm_up_ends_within_the_training,
)
TEST: tuple[Rule, ...] = ()
REPORT: tuple[Rule, ...] = ()
