"""Option files that build on others."""

import itertools

import pytest
import yaml

from conftest import basicsr, write_options
from okdnet_plugin.errors import InputError
from okdnet_plugin.option_file import OptionLoader, load, merge

NAMES = 'abcdefghi'
BILLION_LAUGHS = 'a: &a [x, x]\n' + ''.join(
    f'{name}: &{name} [{", ".join([f"*{before}"] * 9)}]\n' for before, name in itertools.pairwise(NAMES)
)


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding='utf-8')
        return str(path)

    return write


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
    before = repr((base, change))
    assert merge(base, change) == merged
    assert repr((base, change)) == before


def test_a_file_builds_on_others_in_their_order(write):
    write('deep/first.yml', 'a: 1\nb: {x: 1, y: 1}\n')
    write('deep/second.yml', '_base_: first.yml\nb: {y: 2}\nc: 2\n')
    write('third.yml', 'c: 3\nd: 3\n')
    path = write('own.yml', '_base_: [deep/second.yml, third.yml]\nd: 4\n')
    assert load(path) == {'a': 1, 'b': {'x': 1, 'y': 2}, 'c': 3, 'd': 4}
    with open(path, encoding='utf-8') as file:
        assert yaml.load(file, Loader=OptionLoader) == load(path)


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        ({'a.yml': '_base_: b.yml\n', 'b.yml': '_base_: a.yml\n'}, r'leads back to itself \(a.yml -> b.yml -> a.yml\)'),
        ({'a.yml': '_base_: a.yml\n'}, r'leads back to itself \(a.yml -> a.yml\)'),
        (
            {'a.yml': '_base_: okdnt.yml\n', 'okdnet.yml': 'x: 1\n'},
            r'okdnt\.yml, which does not exist .did you mean okdn',
        ),
        ({'a.yml': '_base_: {x: 1}\n'}, r"_base_ is \{'x': 1\}; write a file, or a list of files"),
        ({'a.yml': '_base_: b.yml\n', 'b.yml': 'x: [\n'}, r'b\.yml is not valid YAML'),
        ({'a.yml': '_base_: b.yml\n', 'b.yml': '- x\n'}, r'b\.yml holds no keys'),
        ({'a.yml': 'x: !!python/object/apply:os.getcwd []\n'}, r'a\.yml is not valid YAML: .*python/object'),
        ({'a.yml': 'a: ' + '[' * 50 + ']' * 50}, r'a\.yml has more than 30 levels'),
        ({'a.yml': 'a: &a [*a]\n'}, r'a\.yml has more than 30 levels'),
        ({'a.yml': BILLION_LAUGHS}, r'a\.yml has more than 30 levels or 100000 values'),
        ({'a.yml': '#' * 2**20 + '\na: 1\n'}, r'a\.yml has more than 1048576 bytes'),
        ({'a.yml': 'a: \x00\n'}, r'a\.yml is not valid YAML'),
    ],
)
def test_what_cannot_be_read_is_one_line(write, files, message):
    for name, text in files.items():
        write(name, text)
    with pytest.raises(InputError, match=message) as caught:
        load(write('a.yml', files['a.yml']))
    assert '\n' not in str(caught.value)


def test_a_run_keeps_a_copy_that_says_all(tmp_path, train_options):
    network = train_options.pop('network_g')
    train_options['train']['total_iter'] = 1
    write_options(tmp_path / 'base.yml', train_options)
    (tmp_path / 'own.yml').write_text(yaml.safe_dump({'_base_': 'base.yml', 'network_g': network, 'name': 'built'}))
    result = basicsr('train', '-opt', 'own.yml', cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    kept = yaml.safe_load((tmp_path / 'experiments/built/own.yml').read_text())
    assert kept == train_options | {'network_g': network, 'name': 'built'}
