"""basicsr list: what it prints for people, for pipes and for programs."""

import json

import pytest

from okdnet_plugin.cli import main as basicsr
from okdnet_plugin.commands.list import main

pytest_plugins = ['made_distribution']


def test_overview_fits_eighty_columns_and_groups_by_kind(capsys):
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines if line and line[0] != ' '] == ['arch', 'data', 'loss', 'metric', 'model']
    place = next(number for number, line in enumerate(lines) if line.split()[:1] == ['OKDNet'])
    assert lines[place].split() == ['OKDNet', 'okdnet']
    assert lines[place + 1].strip() == 'Online knowledge distillation network for single image dehazing'
    assert 'num_feat=32, num_blocks=(2, 3, 4), growth=16' in lines[place + 2]


def test_one_kind_of_one_plugin(capsys):
    assert main(['data', '--plugin', 'okdnet']) == 0
    printed = capsys.readouterr().out
    assert printed.startswith('data (5)\n')
    assert 'keys: ' in printed
    assert 'airlight_per_channel' in printed
    assert 'basicsr' not in printed


def test_page_of_one_name_has_types_defaults_and_the_whole_description(capsys):
    assert main(['arch', 'OKDNet']) == 0
    printed = capsys.readouterr().out
    assert '    num_blocks: Sequence[int] = (2, 3, 4),\n' in printed
    assert 'Source: Lan et al. 2022' in printed
    assert '2,581,227' in printed


def test_json_has_each_argument_with_its_default(capsys):
    assert main(['--json']) == 0
    entries = {(entry['kind'], entry['name']): entry for entry in json.loads(capsys.readouterr().out)}
    okdnet = entries['arch', 'OKDNet']
    assert {'name': 'growth', 'kind': 'positional or keyword', 'type': 'int', 'default': 16} in okdnet['arguments']
    assert okdnet['distribution'] == 'okdnet_plugin'
    needed = entries['arch', 'EDSR']['arguments'][0]
    assert needed['name'] == 'num_in_ch'
    assert 'default' not in needed


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['archs'], "no kind 'archs' (did you mean arch?)"),
        (['arch', 'OKDNets'], "no arch 'OKDNets' (did you mean OKDNet"),
        (['--plugin', 'okdnat'], 'did you mean okdnet'),
    ],
    ids=['kind', 'name', 'plugin'],
)
def test_unknown_word_is_one_line_and_exit_code_2(arguments, message, capsys):
    assert basicsr(['list', *arguments]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count('\n') == 1
    assert not printed.out


def test_broken_plugin_is_named_and_the_others_are_listed(distribution, capsys):
    distribution('broken_plugin', 'import not_there\n', '[basicsr.plugins]\nbroken = broken_plugin:register\n')
    assert main(['arch']) == 1
    printed = capsys.readouterr()
    assert 'OKDNet' in printed.out
    assert printed.err == (
        'basicsr: error: plugin broken (broken_plugin 2.5) cannot be loaded: '
        "ModuleNotFoundError: No module named 'not_there'\n"
    )
