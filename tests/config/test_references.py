"""Values that stand elsewhere in the file, or in a variable."""

import pytest

from okdnet_plugin.config import load, load_with_places
from okdnet_plugin.errors import InputError


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('x: ${a.number}', 16),
        ('x: ${a:number}', 16),
        ('x: ${a.list.1}', 0.5),
        ('x: ${a.block}', {'y': True, 'z': [16]}),
        ('x: width_${a.number}_${a.block.y}_${a.list.0}', 'width_16_true_one'),
        ('x: ${next}\nnext: ${a.number}', 16),
        ('x: ${a.block.z.0}', 16),
        ('x: ${b.z.0}\nb: ${a.block}', 16),
        ('x: ${1.z}\n1: {z: 3}', 3),
        ('x: $${a.number}', '${a.number}'),
        ('x: $${${a.number}}', '${16}'),
        ('x: ${b}\nb: $${a.number}', '${a.number}'),
        ('x: ${b.c}\nb: {c: "$${a.number}"}', '${a.number}'),
        ('x: costs 5$ {or} $5', 'costs 5$ {or} $5'),
        ('x: {y: 1, z: "${x.y}"}', {'y': 1, 'z': 1}),
        ('x: ["${a.number}", {y: "${a.none}"}]', [16, {'y': None}]),
    ],
)
def test_a_reference_is_what_it_names(write, text, value):
    base = 'a: {number: 16, none: ~, list: [one, 0.5], block: {y: true, z: ["${a.number}"]}}\n'
    x = load(write('a.yml', base + text))['x']
    assert (x, type(x)) == (value, type(value))


def test_references_see_the_merged_file_and_the_overrides(write):
    write('base.yml', 'name: ${network_g.type}_${width}\nnetwork_g: {type: OKDNet, num_feat: "${width}"}\nwidth: 8\n')
    path = write('own.yml', '_base_: base.yml\nwidth: 16\n')
    assert load(path)['name'] == 'OKDNet_16'
    assert load(path, ['width=32', 'network_g.type=FFANet']) == {
        'name': 'FFANet_32',
        'network_g': {'type': 'FFANet', 'num_feat': 32},
        'width': 32,
    }


def test_copies_of_a_block_are_not_one_object(write):
    opt = load(write('a.yml', 'train: {type: A}\nval: ${train}\n'))
    opt['train']['phase'] = 'train'
    assert opt['val'] == {'type': 'A'}


def test_a_block_that_is_brought_in_has_the_places_of_its_keys(write):
    _, places = load_with_places(write('a.yml', 'one:\n  key: 1\ntwo: ${one}\n'))
    assert places.of(('two',)) == 'a.yml:3'
    assert places.of(('two', 'key')) == 'a.yml:2'


def test_variables_are_typed_alone_and_text_within_text(write, monkeypatch):
    monkeypatch.setenv('ROOT', '/data/7')
    monkeypatch.setenv('BATCH', '4')
    monkeypatch.setenv('EMPTY', '')
    monkeypatch.delenv('MISSING', raising=False)
    text = (
        'root: ${env:ROOT}/hazy\nbatch: ${env:BATCH}\nname: run_${env:BATCH}\n'
        'lr: ${env:MISSING:-5e-4}\nalso: ${env:EMPTY:-a:-b}\nempty: <${env:EMPTY}>\nnone: ${env:MISSING:-}\n'
    )
    assert load(write('a.yml', text)) == {
        'root': '/data/7/hazy',
        'batch': 4,
        'name': 'run_4',
        'lr': 5e-4,
        'also': 'a:-b',
        'empty': '<>',
        'none': None,
    }


def test_what_a_variable_holds_is_no_reference(write, monkeypatch):
    monkeypatch.setenv('CLEVER', '${secret}')
    assert load(write('a.yml', 'secret: 1\nx: ${env:CLEVER}\ny: <${env:CLEVER}>\n'))['y'] == '<${secret}>'


def refers(number, times):
    return f'k{number}: "{f"${{k{number - 1}}}" * times}"\n'


def refers_in_a_block(number):
    reference = f'"${{k{number - 1}}}"'
    return f'k{number}: {{{", ".join(f"a{key}: {reference}" for key in range(10))}}}\n'


BILLION = 'k0: xxxxxxxx\n' + ''.join(refers(number, 10) for number in range(1, 10))
BILLION_BLOCKS = 'k0: {x: 1}\n' + ''.join(refers_in_a_block(number) for number in range(1, 10))
BILLION_NOTHINGS = 'k0: ${env:NONE:-}x\n' + ''.join(refers(number, 2) for number in range(1, 25))
CHAIN = ''.join(f'k{n}: ${{k{n + 1}}}\n' for n in range(5000))


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (
            'a: 1\nb:\n  c: ${trian.lr}\ntrain: {lr: 1}',
            r'^a.yml:3: \$\{trian.lr\}: there is no trian in this file .did',
        ),
        ('b: ${train.l}\ntrain: {lr: 1}', r'a.yml:1: .*there is no l in train \(did you mean lr\?\); correct it'),
        ('b: ${a.2}\na: [1, 2]', r'a.yml:1: .*there is no 2 in a; correct it'),
        ('b: ${a.x}\na: text', r'a.yml:1: .*there is no x in a; correct it'),
        ('a: ${b}\nb: <${c}>\nc: ${a}', r'^a.yml:1: a reference leads back to itself \(a -> b -> c -> a\)'),
        ('a: ${a}', r'leads back to itself \(a -> a\)'),
        ('a: {x: "${a}"}', r'leads back to itself \(a -> a.x -> a\)'),
        ('a: x${b', r"^a.yml:1: 'x\$\{b' has a \$\{ without its \}; close it, or write \$\$\{"),
        (
            'a: 1\nb: [${a}]',
            r'^option file a.yml:2 is not valid YAML: .*; within \{ \} and \[ \] a reference needs quotation marks$',
        ),
        ('a: ${}', r'^a.yml:1: \$\{\} names no key'),
        ('a: ${b..c}', r'names no key; write \$\{block.key\}'),
        ('a: <${b}>\nb: [1]', r'^a.yml:1: \$\{b\} is a list, which no text can hold'),
        ('a: <${b}>\nb: {x: 1}', r'is a block, which no text can hold'),
        ('a: <${b}>\nb: ~', r'is empty, which no text can hold'),
        ('a: ${env:MISING}', r'^a.yml:1: the variable MISING of .* is not set \(did you mean MISSING\?\); set it, or'),
        ('a: ${env:MI SING}', r'a.yml:1: .* names no variable; write \$\{env:NAME\} or'),
        ('a: ${env:BROKEN}', r'^a.yml:1: \$\{env:BROKEN\}: the value is not valid YAML'),
        (BILLION, r'^a.yml:\d: references stand for more than 1048576 characters'),
        (BILLION_BLOCKS, r'^a.yml:\d: references stand for more than 1048576 characters'),
        (BILLION_NOTHINGS, r'references stand for more than'),
        (CHAIN, r'^a.yml:\d+: references lead to one another more than 90 times'),
    ],
    ids=range(21),
)
def test_what_a_reference_cannot_name_is_one_line_with_its_place(write, monkeypatch, text, message):
    monkeypatch.setenv('MISSING', '')
    monkeypatch.setenv('BROKEN', '[1')
    with pytest.raises(InputError, match=message) as caught:
        load(write('a.yml', text))
    assert '\n' not in str(caught.value)


def test_what_is_named_often_is_resolved_once(write):
    text = "k0: ''\n" + ''.join(refers(number, 2) for number in range(1, 25))
    assert load(write('a.yml', text))['k24'] == ''
