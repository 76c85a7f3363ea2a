"""Contradictions of data sets, validation and logging."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from okdnet_plugin.config.consistency.seen import Given, Rule, contradiction, harmless
from okdnet_plugin.config.messages import Mistake
from okdnet_plugin.config.registered import find, needs_clear_image
from okdnet_plugin.config.walk import losses_of
from okdnet_plugin.errors import did_you_mean


def _sets(given: Given, phase: str) -> dict[str, Mapping]:
    blocks = given.block('datasets')
    return {key: one for key, one in blocks.items() if str(key).split('_')[0] == phase and isinstance(one, Mapping)}


def a_training_has_its_data_sets(given: Given) -> Iterator[Mistake]:
    blocks = given.at('datasets', kind=Mapping)
    if blocks is None:
        return
    if 'train' not in blocks:
        near = did_you_mean('train', map(str, blocks))
        yield Mistake(('datasets', 'train'), f'is missing{near}; add the data set of the training', 'missing key')
    for phase in blocks:
        if str(phase).split('_')[0] not in ('train', 'val') or str(phase).startswith('train_'):
            hint = did_you_mean(phase, ['train', 'val'])
            yield Mistake(
                ('datasets', phase),
                f': a training has the data sets train, val, val_2 …{hint}; rename it',
                'unknown key',
            )


def validation_and_its_data_sets_go_together(given: Given) -> Iterator[Mistake]:
    sets, block = _sets(given, 'val'), given.block('val')
    if given.opt.get('val') is not None and not sets:
        near = did_you_mean('val', [str(key) for key in given.block('datasets') if key != 'train'])
        yield harmless(('val',), f'has no data set to validate on{near}; add datasets:val, or take val out')
    if sets and block and 'metrics' not in block and block.get('save_img') is False:
        yield harmless(
            ('val',), 'has neither metrics nor save_img: true, so that nothing comes of it; add metrics, or metrics: ~'
        )


def saved_images_have_their_suffix(given: Given) -> Iterator[Mistake]:
    block = given.at('val', kind=Mapping)
    reads = given.is_a('SRModel') and not given.is_a('RestorationModel', 'VideoRecurrentModel')
    if block is not None and reads and block.get('save_img') is True and 'suffix' not in block:
        yield Mistake(
            ('val', 'suffix'),
            'is missing; BasicSR asks for it where images are saved: add suffix: ~',
            'missing key',
        )


def a_test_has_data_sets(given: Given) -> Iterator[Mistake]:
    if given.at('datasets', kind=Mapping) == {}:
        yield Mistake(('datasets',), 'is empty; add a data set: test', 'missing key')
    for phase in given.block('datasets'):
        if str(phase).split('_')[0] not in ('train', 'val', 'test'):
            hint = did_you_mean(phase, ['test', 'val'])
            yield Mistake(
                ('datasets', phase), f': a test has the data sets test, test_2 …{hint}; rename it', 'unknown key'
            )


def a_report_measures_something(given: Given) -> Iterator[Mistake]:
    for key in ('methods', 'datasets', 'metrics'):
        if given.at(key, kind=Mapping) == {}:
            yield Mistake((key,), 'is empty; see options/benchmark.yml', 'missing key')


def the_best_network_is_that_of_a_figure(given: Given) -> Iterator[Mistake]:
    wanted = given.at('logger', 'save_best', kind=str)
    if wanted is None or not losses_of(given.model):
        return
    metrics = {name: one['type'] for name, one in given.block('val', 'metrics').items() if _type_of(one) is not None}
    if any(find('metric', name) is None for name in metrics.values()):
        return
    sets = list(_sets(given, 'val').values())
    known = [
        f'{one.get("name")}/{metric}'
        for one in sets
        for metric, name in metrics.items()
        if _has_clear_images(one) or not needs_clear_image(name)
    ]
    if wanted in known:
        return
    data_set, _, metric = wanted.rpartition('/')
    one_of = f'write one of {", ".join(known)}'
    if metric in metrics and data_set in [one.get('name') for one in sets]:
        text = f'is {wanted}, but {data_set} has no clear images, which {metric} needs; '
        yield contradiction(('logger', 'save_best'), text + (one_of if known else 'take it out'))
        return
    text = f'is {wanted}{did_you_mean(wanted, known)}; '
    yield contradiction(
        ('logger', 'save_best'), text + (one_of if known else 'it needs a validation data set and val:metrics')
    )


def _type_of(block: object) -> Any:
    return block.get('type') if isinstance(block, Mapping) else None


def _has_clear_images(block: Mapping) -> bool:
    """Whether a data set has them, as far as its keys tell: who reads hazy images alone names their place alone."""
    return block.get('dataroot_lq') is None or block.get('dataroot_gt') is not None


def weights_and_biases_follow_tensorboard(given: Given) -> Iterator[Mistake]:
    project = given.at('logger', 'wandb', 'project')
    if project is not None and given.at('logger', 'use_tb_logger') is False:
        yield contradiction(
            ('logger', 'wandb', 'project'),
            f'is {project}, but use_tb_logger is false, which it follows; write true there',
        )


TRAINING: tuple[Rule, ...] = (
    a_training_has_its_data_sets,
    validation_and_its_data_sets_go_together,
    the_best_network_is_that_of_a_figure,
    weights_and_biases_follow_tensorboard,
)
TEST: tuple[Rule, ...] = (
    saved_images_have_their_suffix,
    a_test_has_data_sets,
)
REPORT: tuple[Rule, ...] = (a_report_measures_something,)
