"""Contradictions of data sets, and of what is measured on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from okdnet_plugin.config.consistency.seen import Given, contradiction, harmless
from okdnet_plugin.config.messages import Mistake
from okdnet_plugin.config.registered import find, needs_clear_image
from okdnet_plugin.config.walk import losses_of
from okdnet_plugin.errors import did_you_mean


def _sets(given: Given, phase: str) -> dict[str, Mapping]:
    blocks = given.block('datasets')
    return {key: one for key, one in blocks.items() if str(key).split('_')[0] == phase and isinstance(one, Mapping)}


def a_training_has_its_data_sets(given: Given) -> Iterator[Mistake]:
    blocks = given.at('datasets', kind=Mapping)
    if blocks is not None and 'train' not in blocks:
        near = did_you_mean('train', map(str, blocks))
        yield Mistake(('datasets', 'train'), f'is missing{near}; add the data set of the training', 'missing key')
    for label in blocks or ():
        if str(label).split('_')[0] not in ('train', 'val') or str(label).startswith('train_'):
            text = (
                f': a training has the data sets train, val, val_2 …{did_you_mean(label, ["train", "val"])}; rename it'
            )
            yield Mistake(('datasets', label), text, 'unknown key')


def validation_has_a_data_set(given: Given) -> Iterator[Mistake]:
    if given.opt.get('val') is not None and not _sets(given, 'val'):
        near = did_you_mean('val', [str(key) for key in given.block('datasets') if key != 'train'])
        yield harmless(('val',), f'has no data set to validate on{near}; add datasets:val, or take val out')


def a_test_has_data_sets(given: Given) -> Iterator[Mistake]:
    if given.at('datasets', kind=Mapping) == {}:
        yield Mistake(('datasets',), 'is empty; add a data set: test', 'missing key')
    for label in given.block('datasets'):
        if str(label).split('_')[0] not in ('train', 'val', 'test'):
            text = f': a test has the data sets test, test_2 …{did_you_mean(label, ["test", "val"])}; rename it'
            yield Mistake(('datasets', label), text, 'unknown key')


def a_report_measures_something(given: Given) -> Iterator[Mistake]:
    for key in ('methods', 'datasets', 'metrics'):
        if given.at(key, kind=Mapping) == {}:
            yield Mistake((key,), 'is empty; see options/benchmark.yml', 'missing key')


def the_best_network_is_that_of_a_figure(given: Given) -> Iterator[Mistake]:
    wanted = given.at('logger', 'save_best', kind=str)
    if wanted is None or not losses_of(given.model):
        return
    blocks = {name: one for name, one in given.block('val', 'metrics').items() if isinstance(one, Mapping)}
    metrics = {name: one['type'] for name, one in blocks.items() if 'type' in one}
    if any(find('metric', name) is None for name in metrics.values()):
        return
    figures = {
        f'{one.get("name")}/{metric}': _has_clear_images(one) or not needs_clear_image(name)
        for one in _sets(given, 'val').values()
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


def _has_clear_images(block: Mapping) -> bool:
    """Whether a data set has them, as far as its keys tell: who reads hazy images alone names their place alone."""
    return block.get('dataroot_lq') is None or block.get('dataroot_gt') is not None
