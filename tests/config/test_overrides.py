"""Values of the command line in place of those of an option file."""

import pytest

from okdnet_plugin.config import Override, load, load_with_places
from okdnet_plugin.errors import InputError

FILE = """\
title: run
ema: ~
train:
  optim_g: {type: Adam, lr: 0.001, betas: [0.9, 0.999]}
datasets:
  real photographs: {weight: 1}
  parts: [{weight: 1}, {weight: 2}]
layers: {1: 0.5}
"""


@pytest.mark.parametrize(
    ('override', 'path', 'value'),
    [
        ('train.optim_g.lr=5e-4', 'train optim_g lr', 5e-4),
        ('train:optim_g:lr=1', 'train optim_g lr', 1),
        (' train . optim_g . lr = 1 ', 'train optim_g lr', 1),
        ('train.optim_g.betas=[0.5, 9e-1]', 'train optim_g betas', [0.5, 0.9]),
        ('train.optim_g.betas.1=0.99', 'train optim_g betas', [0.9, 0.99]),
        ('datasets.parts.0.weight=3', 'datasets parts', [{'weight': 3}, {'weight': 2}]),
        ('train.optim_g={type: SGD}', 'train optim_g', {'type': 'SGD'}),
        ('train.grad_clip=0.1', 'train grad_clip', 0.1),
        ('train.ssim_opt.type=SSIMLoss', 'train ssim_opt', {'type': 'SSIMLoss'}),
        ('ema.deep.key=1', 'ema', {'deep': {'key': 1}}),
        ('title=a=b', 'title', 'a=b'),
        ('title=~', 'title', None),
        ('title=', 'title', None),
        ('title=${train.optim_g.type}_1', 'title', 'Adam_1'),
        ('title=__import__("os").mkdir("made")', 'title', '__import__("os").mkdir("made")'),
        ('datasets.parts=_delete_', 'datasets', {'real photographs': {'weight': 1}}),
        ('datasets.parts.0=_delete_', 'datasets parts', [{'weight': 2}]),
        ('datasets.parts.1.weight=_delete_', 'datasets parts', [{'weight': 1}, {}]),
    ],
)
def test_an_override_puts_its_value_where_its_key_is(write, override, path, value):
    before = load(write('a.yml', FILE))
    opt, places = load_with_places('a.yml', [override])
    found = opt
    *blocks, key = path.split()
    for block in blocks:
        found = found[block]
    assert (found[key], type(found[key])) == (value, type(value))
    for name in before.keys() - {path.split()[0]}:
        assert opt[name] == before[name]
    if '_delete_' not in override and '{' not in override:
        keys = override.partition('=')[0].replace(' ', '')
        assert places.of(tuple(keys.replace(':', '.').split('.'))) == f'--set {override.partition("=")[0].strip()}'


def test_keys_of_any_type_and_with_blanks_are_reached(write):
    write('a.yml', FILE)
    opt = load('a.yml', ['layers.1=2', 'datasets:real photographs:weight=4'])
    assert opt['layers'] == {1: 2}
    assert opt['datasets']['real photographs'] == {'weight': 4}


def test_the_last_override_counts_and_knows_those_before(write):
    write('a.yml', FILE)
    assert load('a.yml', ['title=b', 'title=c'])['title'] == 'c'
    assert load('a.yml', ['new={x: 1}', 'new.y=2'])['new'] == {'x': 1, 'y': 2}


def test_the_option_that_said_it_is_its_place(write):
    _, places = load_with_places(write('a.yml', FILE), [Override('title=x', '--force_yml')])
    assert places.of(('title',)) == '--force_yml title'


@pytest.mark.parametrize(
    ('override', 'message'),
    [
        ('train.lr', r'^--set train.lr: write KEY=VALUE, for example --set train.ema_decay=0.99$'),
        ('=1', r'^--set =1: write KEY=VALUE'),
        ('a..b=1', r'^--set a..b=1: write KEY=VALUE'),
        ('title.x=1', r"^--set title.x: title is 'run', not a block, so it has no x"),
        ('datasets.parts.2.weight=1', r'^--set datasets.parts.2.weight: datasets.parts is a list of 2; write an index'),
        ('datasets.parts.one=1', r'is a list of 2; write an index'),
        ('train.opitm_g=_delete_', r'^--set train.opitm_g=_delete_: there is no opitm_g to take out .did you mean opt'),
        ('nothing.here=_delete_', r'there is no nothing to take out'),
        ('_base_=other.yml', r'^--set _base_: a file says what it builds on'),
        ('train._delete_=true', r'write KEY=_delete_ to take a key out'),
        ('title=[1', r'^--set title: the value is not valid YAML'),
        ('title=!!python/object/apply:os.getcwd []', r'^--set title: the value has a value with the tag'),
        ('title=' + '[' * 100_000, r'^--set title: the value has more than 30 levels'),
        ('title=&a [*a]', r'^--set title: the value has more than 30 levels'),
    ],
    ids=range(14),
)
def test_what_cannot_be_set_is_one_line_that_names_the_override(write, override, message):
    with pytest.raises(InputError, match=message) as caught:
        load(write('a.yml', FILE), [override])
    assert '\n' not in str(caught.value)


def test_a_value_of_the_wrong_type_names_the_override(write, monkeypatch):
    from okdnet_plugin.config import typed

    def refuses(opt, key_path, text):
        raise InputError(f'{opt["title"]} {key_path} {text} does not fit')

    monkeypatch.setattr(typed, 'typed', refuses)
    with pytest.raises(InputError, match=r"^--set train.x: run \('train', 'x'\) abc does not fit$"):
        load(write('a.yml', FILE), ['train.x=abc'])
