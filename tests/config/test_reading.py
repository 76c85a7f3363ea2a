"""Reading YAML: what it holds, and what it may not do."""

import datetime
import itertools
from pathlib import Path

import pytest

from okdnet_plugin.config import load, load_with_places, read_value
from okdnet_plugin.errors import InputError

NAMES = 'abcdefghi'
BILLION_LAUGHS = 'a: &a [x, x]\n' + ''.join(
    f'{name}: &{name} [{", ".join([f"*{before}"] * 9)}]\n' for before, name in itertools.pairwise(NAMES)
)
BILLION_KEYS = 'a: &a {x: 1}\n' + ''.join(
    f'{name}: &{name}\n  <<: [{", ".join([f"*{before}"] * 9)}]\n' for before, name in itertools.pairwise(NAMES)
)


def test_values_are_those_of_yaml(write):
    text = 'a: 1\nb: !!float 1e-3\nc: ~\nd: [x, "1", 2.5, true]\ne: 2020-01-02\ng: 1e-4\n3: three\n'
    assert load(write('a.yml', text)) == {
        'a': 1,
        'b': 0.001,
        'c': None,
        'd': ['x', '1', 2.5, True],
        'e': datetime.date(2020, 1, 2),
        'g': '1e-4',
        3: 'three',
    }


def test_merge_keys_work_and_own_keys_win(write):
    text = 'base: &base\n  a: 1\n  b: 1\nown:\n  <<: *base\n  b: 2\nalso:\n  <<: *base\n'
    opt, places = load_with_places(write('a.yml', text))
    assert opt['own'] == {'a': 1, 'b': 2}
    assert opt['also'] == {'a': 1, 'b': 1}
    assert places.of(('own', 'a')) == 'a.yml:2'
    assert places.of(('own', 'b')) == 'a.yml:6'


def test_blocks_that_an_alias_repeats_are_not_one_object(write):
    """BasicSR writes into the block of each data set."""
    opt = load(write('a.yml', 'train: &block {type: A}\nval: *block\n'))
    opt['train']['phase'] = 'train'
    assert opt['val'] == {'type': 'A'}


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', r'^option file a.yml holds no keys; see options/'),
        ('- x\n', r'a.yml holds no keys'),
        ('name: [1\nmodel: 2', r'^option file a.yml:2 is not valid YAML: '),
        ('name:\n\tx: 1', r'^option file a.yml:2 is not valid YAML: .*a tab stands at the beginning of a line'),
        ('a: "D:\\data\\ITS"\n', r'a.yml:1 is not valid YAML: .*within double quotes a backslash'),
        ('a: 1\nb: !!set {0.9, 0.99}\n', r'a.yml:2 has a value with the tag !!set; write a list'),
        ('a: 1\nb: !!omap [a: 0.9]\n', r'a.yml:2 has a value with the tag !!omap; write a list'),
        ('a: *b', r'a.yml:1 is not valid YAML: found undefined alias'),
        ('a: 1\n---\nb: 2\n', r'a.yml:\d is not valid YAML: expected a single document'),
        ('a: 1\nb: \x00\n', r'a\.yml:2 has the control character .* take it out'),
        (b'\xff\xfea', r'a\.yml:1 is not UTF-8; save the file as UTF-8'),
        ('a: 1\nb: 训练\n'.encode('gbk'), r'a\.yml:2 is not UTF-8; save the file as UTF-8'),
        ('a: 1\nb: 2\na: 3\n', r'^option file a.yml:3: a is written twice, in line 1 and in line 3; take one'),
        ('x:\n  - {"a": 1, a: 2}\n', r'a.yml:2: a is written twice, in line 2 and in line 2'),
        ('x: &x {a: 1}\ny:\n  <<: *x\n  <<: *x\n', r'a.yml:4: << is written twice'),
        ('x: 1\n? [a]\n: 1\n', r'a.yml:2 has a key that is no single word'),
        ('x: !!python/object/apply:os.getcwd []\n', r'a\.yml:1 has a value with the tag !!os.getcwd; write a list'),
        ('x:\n  - !!python/name:os.system\n', r'a\.yml:2 is not valid YAML: .*python/name'),
        ('x: !!int abc\n', r'a\.yml:1: abc is no int; correct it, or put it in quotation marks'),
        ('x: !!bool abc\n', r'a\.yml:1: abc is no bool'),
        ('x: !!timestamp abc\n', r'a\.yml:1: abc is no timestamp'),
        ('\nx: 2020-13-45\n', r'a\.yml:2: 2020-13-45 is no timestamp'),
        ('x: ' + '1:' * 300_000 + '1', r'a\.yml:1 has a number of 600001 characters'),
        ('x: ' + '9' * 10_000, r'a\.yml:1 has a number of 10000 characters'),
        ('a: &a [*a]\n', r'a\.yml:\d+ has more than 30 levels'),
        ('a: &a {<<: *a}\n', r'a\.yml:\d+ has more than 30 levels'),
        (BILLION_LAUGHS, r'a\.yml:\d+ has more than 30 levels or 100000 values'),
        (BILLION_KEYS, r'a\.yml:\d+ has more than 30 levels or 100000 values'),
        ('a: ' + '[' * 31 + ']' * 31, r'a\.yml:\d+ has more than 30 levels'),
        ('a: ' + '[' * 500_000, r'a\.yml:\d+ has more than 30 levels'),
        ('- ' * 500_000, r'a\.yml:\d+ has more than 30 levels'),
        ('{a: ' * 200_000, r'a\.yml:\d+ has more than 30 levels'),
        ('? ' * 500_000, r'a\.yml:\d+ has more than 30 levels'),
        ('#' * 2**20 + '\na: 1\n', r'a\.yml has more than 1048576 bytes'),
    ],
    ids=itertools.count(),
)
def test_what_cannot_be_read_is_one_line_with_its_place(write, text, message):
    with pytest.raises(InputError, match=message) as caught:
        load(write('a.yml', text))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('path', 'message'),
    [
        ('okdnet.yaml', r'^option file okdnet.yaml cannot be read: No such file .*\(did you mean okdnet.yml\?\)$'),
        ('.', r'option file \. is a folder, no regular file'),
        ('a\0b', r'cannot be read: .*embedded null'),
        ('/dev/zero', r'is a device, no regular file'),
    ],
)
def test_what_is_no_file_is_named(write, path, message):
    write('okdnet.yml', 'a: 1')
    with pytest.raises(InputError, match=message):
        load(path)


def test_a_file_of_another_encoding_is_read(write):
    assert load(write('a.yml', 'name: Größe\n'.encode('utf-16'))) == {'name': 'Größe'}


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('5e-4', 5e-4),
        ('-1E3', -1000.0),
        ('[1e-4, "1e-4", .5e1]', [1e-4, '1e-4', 5.0]),
        ('0.99', 0.99),
        ('-1', -1),
        ('007', 7),
        ('~', None),
        ('', None),
        ('None', None),
        ('[None, "None"]', [None, 'None']),
        ('True', True),
        ('1:30', '1:30'),
        ('{type: L1Loss, loss_weight: 1e-2}', {'type': 'L1Loss', 'loss_weight': 0.01}),
        ('__import__("os").getcwd()', '__import__("os").getcwd()'),
    ],
)
def test_a_value_of_a_command_line_is_what_it_looks_like(text, value):
    read = read_value(text)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    'text',
    ['[1', '{a: 1, a: 2}', '!!python/object/apply:os.getcwd []', '[' * 100_000, '&a [*a]', '\ud800', 'a: b: c'],
)
def test_a_value_that_is_no_yaml_is_one_line(text):
    with pytest.raises(InputError, match=r'^it( is not valid YAML| has|: a is written twice)') as caught:
        read_value(text, 'it')
    assert '\n' not in str(caught.value)


def test_reading_makes_no_object_of_any_class(write, tmp_path):
    for tag in ('apply:os.mkdir', 'new:os.mkdir'):
        with pytest.raises(InputError):
            load(write('a.yml', f'x: !!python/object/{tag} [made]\n'))
    assert not Path('made').exists()


def test_folder_in_place_of_a_file_is_not_said_to_be_meant(tmp_path):
    (tmp_path / 'options').mkdir()
    with pytest.raises(InputError) as caught:
        load(str(tmp_path / 'options'))
    assert str(caught.value) == f'option file {tmp_path}/options is a folder, no regular file; give a file'
