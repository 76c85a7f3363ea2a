"""Contradictions of data sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from okdnet_plugin.config.consistency.seen import Given, harmless
from okdnet_plugin.config.messages import Mistake
from okdnet_plugin.errors import did_you_mean


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
    if given.opt.get('val') is not None and not given.data_sets('val'):
        near = did_you_mean('val', [str(key) for key in given.block('datasets') if key != 'train'])
        yield harmless(('val',), f'has no data set to validate on{near}; add datasets:val, or take val out')


def validation_makes_something(given: Given) -> Iterator[Mistake]:
    block = given.block('val')
    if given.data_sets('val') and block and 'metrics' not in block and block.get('save_img') is False:
        text = 'has neither metrics nor save_img: true, so that nothing comes of it; add metrics, or metrics: ~'
        yield harmless(('val',), text)


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
