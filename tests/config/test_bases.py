"""Option files that build on others."""

import pytest

from okdnet_plugin.config import load, load_with_places
from okdnet_plugin.config.items import item_of
from okdnet_plugin.config.read import merge
from okdnet_plugin.errors import InputError


@pytest.mark.parametrize(
    ('base', 'change', 'merged'),
    [
        ({'a': 1, 'b': 2}, {'b': 3, 'c': 4}, {'a': 1, 'b': 3, 'c': 4}),
        ({'a': {'x': 1, 'y': 2}}, {'a': {'y': 3}}, {'a': {'x': 1, 'y': 3}}),
        ({'a': {'x': 1}}, {'a': {'y': 3, '_delete_': True}}, {'a': {'y': 3}}),
        ({'a': {'x': 1}}, {'a': {'y': 3, '_delete_': False}}, {'a': {'x': 1, 'y': 3}}),
        ({'a': {'x': 1}}, {'a': None}, {'a': None}),
        ({'a': [1, 2]}, {'a': [3]}, {'a': [3]}),
        ({'a': 1}, {'a': {'x': 1, '_delete_': True}}, {'a': {'x': 1}}),
        ({}, {'a': {'b': {'_delete_': True}}}, {'a': {'b': {}}}),
    ],
)
def test_mappings_are_merged_and_all_else_is_replaced(base, change, merged):
    below, above = item_of(base, 'below'), item_of(change, 'above')
    assert merge(below, above).plain() == merged
    assert (below.plain(), above.plain()) == (base, change)


def test_a_file_builds_on_others_in_their_order(write):
    write('deep/first.yml', 'a: 1\nb: {x: 1, y: 1}\n')
    write('deep/second.yml', '_base_: first.yml\nb: {y: 2}\nc: 2\n')
    write('third.yml', 'c: 3\nd: 3\n')
    path = write('own.yml', '_base_: [deep/second.yml, third.yml]\nd: 4\n')
    assert load(path) == {'a': 1, 'b': {'x': 1, 'y': 2}, 'c': 3, 'd': 4}


def test_a_base_may_be_reached_by_two_ways(write):
    write('root.yml', 'a: 1\nb: 1\n')
    write('left.yml', '_base_: root.yml\na: 2\n')
    write('right.yml', '_base_: root.yml\nc: 3\n')
    assert load(write('own.yml', '_base_: [left.yml, right.yml]\n')) == {'a': 1, 'b': 1, 'c': 3}


def test_places_are_those_of_the_file_that_said_it_last(write):
    write('base.yml', 'name: base\n\ntrain:\n  optim_g:\n    lr: 1\n    betas: [0.9,\n      0.999]\n  total_iter: 5\n')
    path = write('own.yml', '# mine\n_base_: base.yml\n\ntrain:\n  optim_g: {lr: 2}\n')
    _, places = load_with_places(path)
    assert places.of(('train', 'optim_g', 'lr')) == 'own.yml:5'
    assert places.of(('train',)) == 'own.yml:4'
    assert places.of(('train', 'total_iter')) == 'base.yml:8'
    assert places.of(('train', 'optim_g', 'betas', 1)) == 'base.yml:7'
    assert places.of(('train', 'optim_g', 'missing', 'key')) == 'own.yml:5'
    assert places.of(('missing',)) == 'own.yml:1'
    assert places.of(()) == 'own.yml:1'


def test_what_a_block_replaces_has_no_place_left(write):
    write('base.yml', 'a:\n  x: 1\n  y: 1\n')
    _, places = load_with_places(write('own.yml', '_base_: base.yml\na:\n  _delete_: true\n  x: 2\n'))
    assert places.of(('a', 'x')) == 'own.yml:4'
    assert places.of(('a', 'y')) == 'own.yml:2'


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        (
            {'a.yml': '_base_: b.yml\n', 'b.yml': 'x: 1\n_base_: a.yml\n'},
            r'^option file b.yml:2: _base_ leads back to itself \(a.yml -> b.yml -> a.yml\); take one',
        ),
        ({'a.yml': '_base_: a.yml\n'}, r'leads back to itself \(a.yml -> a.yml\)'),
        (
            {'a.yml': 'x: 1\n_base_: okdnt.yml\n', 'okdnet.yml': 'x: 1\n'},
            r'^option file a.yml:2: _base_ names okdnt\.yml, which does not exist .did you mean okdnet.yml\?.; correct',
        ),
        ({'a.yml': '_base_: {x: 1}\n'}, r"a.yml:1: _base_ is \{'x': 1\}; write a file, or a list of files"),
        ({'a.yml': '_base_: [1]\n'}, r'a.yml:1: _base_ is \[1\]; write a file, or a list of files'),
        ({'a.yml': '_base_: b.yml\n', 'b.yml': 'x: [\n'}, r'b\.yml:2 is not valid YAML'),
        ({'a.yml': '_base_: b.yml\n', 'b.yml': '- x\n'}, r'b\.yml holds no keys'),
        ({'a.yml': 'x:\n  _delete_: yes please\n'}, r"a.yml:2: _delete_ is 'yes please'; write true"),
    ],
)
def test_what_cannot_be_built_is_one_line_with_its_place(write, files, message):
    for name, text in files.items():
        write(name, text)
    with pytest.raises(InputError, match=message) as caught:
        load('a.yml')
    assert '\n' not in str(caught.value)


def test_a_long_chain_of_files_ends(write):
    for number in range(40):
        write(f'{number}.yml', f'_base_: {number + 1}.yml\n')
    with pytest.raises(InputError, match='more than 30 files build on one another'):
        load('0.yml')


def test_a_key_of_a_base_is_taken_out_by_delete(write):
    write('base.yml', 'train: {pixel_opt: {type: L1Loss}, ssim_opt: {type: SSIMLoss}}\nval: {val_freq: 1}\n')
    assert load(write('own.yml', '_base_: base.yml\ntrain:\n  ssim_opt: _delete_\nval: _delete_\n')) == {
        'train': {'pixel_opt': {'type': 'L1Loss'}}
    }
    with pytest.raises(InputError, match=r'own.yml:3: .* there is no sism_opt to take out .did you mean ssim_opt'):
        load(write('own.yml', '_base_: base.yml\ntrain:\n  sism_opt: _delete_\n'))


def test_an_empty_data_set_is_none(write):
    write('base.yml', 'datasets: {train: {type: A}, val: {type: B}}\n')
    assert load(write('own.yml', '_base_: base.yml\ndatasets: {val: ~}\n')) == {'datasets': {'train': {'type': 'A'}}}


def test_an_empty_metric_or_part_is_none(write):
    mixture = 'train: {type: MixedDataset, parts: {a: {type: A}, b: {type: B}}}'
    write('base.yml', f'datasets: {{{mixture}}}\nval: {{metrics: {{psnr: {{type: p}}, ssim: {{type: s}}}}}}\n')
    changes = '_base_: base.yml\ndatasets: {train: {parts: {b: ~}}}\nval: {suffix: ~, metrics: {psnr: ~}}\n'
    assert load(write('own.yml', changes)) == {
        'datasets': {'train': {'type': 'MixedDataset', 'parts': {'a': {'type': 'A'}}}},
        'val': {'metrics': {'ssim': {'type': 's'}}, 'suffix': None},
    }
