"""The report: lines as they come, and JSON without the names of people, machines and folders."""

import getpass
import io
import json
import os
import socket
import sys
import tempfile

import pytest

from okdnet_plugin.doctor import show
from okdnet_plugin.doctor.examination import Group
from okdnet_plugin.doctor.finding import ok, one_line, warning, wrong

FIRST, SECOND = Group('first', 'the first', ''), Group('second', 'the second', '')


def test_each_finding_is_a_line_below_the_title_of_its_group():
    out = io.StringIO()
    lines = show.Lines(out)
    findings = [ok('a', 'fine'), warning('b', 'slow', 'do this'), wrong('c', 'x' * 200, 'do that')]
    for group, finding in zip((FIRST, FIRST, SECOND), findings, strict=True):
        lines.show(group, finding)
    lines.end(findings)
    assert out.getvalue().splitlines() == [
        'the first',
        '  ok       fine',
        '  warning  slow',
        '           cure: do this',
        '',
        'the second',
        f'  wrong    {"x" * 200}',
        '           cure: do that',
        '',
        '1 ok, 1 warning, 1 wrong: correct what is wrong, from the top: the first may cause the others',
    ]


def test_lines_fit_a_terminal(monkeypatch):
    monkeypatch.setenv('COLUMNS', '60')
    out = io.StringIO()
    out.isatty = lambda: True
    show.Lines(out).show(FIRST, wrong('a', 'some words ' * 20, 'more words ' * 20))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 60
    assert len(lines) > 8


@pytest.mark.parametrize(
    ('findings', 'result'),
    [([ok('a', '')], 'ok'), ([warning('a', ''), ok('b', '')], 'warning'), ([wrong('a', ''), ok('b', '')], 'wrong')],
)
def test_result_is_the_worst_status(findings, result):
    assert show.as_json([(FIRST, finding) for finding in findings])['result'] == result


def test_json_names_no_user_no_machine_and_no_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(getpass, 'getuser', lambda: 'lovelace')
    monkeypatch.setattr(socket, 'gethostname', lambda: 'analytical-engine')
    monkeypatch.setenv('HOME', '/people/lovelace')
    monkeypatch.chdir(tmp_path)
    text = f'{tmp_path}/experiments, /people/lovelace/data, {sys.prefix}/lib, /scratch/lovelace at analytical-engine'
    finding = wrong('a', text, f'look at {tmp_path}', path=['/people/lovelace/x'], note={'host': 'analytical-engine'})
    report = show.as_json([(FIRST, finding)])
    printed = json.dumps(report)
    for name in ('lovelace', 'analytical', str(tmp_path), sys.prefix):
        assert name not in printed
    (check,) = report['checks']
    assert check['text'] == './experiments, ~/data, <environment>/lib, /scratch/<user> at <host>'
    assert (check['cure'], check['values']['path']) == ('look at .', ['~/x'])
    assert (check['group'], check['key'], check['status']) == ('first', 'a', 'wrong')


def test_name_that_is_part_of_another_word_stays(monkeypatch):
    monkeypatch.setattr(getpass, 'getuser', lambda: 'ada')
    assert show.without_names('Adam, adamw, /x/ada/y') == 'Adam, adamw, /x/<user>/y'


def test_removed_folder_and_nameless_user_do_not_stop_the_report(monkeypatch, tmp_path):
    gone = tmp_path / 'gone'
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    def nameless():
        raise KeyError('uid not found')

    def no_folder():
        raise FileNotFoundError('no usable temporary directory')

    monkeypatch.setattr(getpass, 'getuser', nameless)
    monkeypatch.setattr(tempfile, 'gettempdir', no_folder)
    assert show.without_names('a text') == 'a text'
    os.chdir(tmp_path)


def test_error_is_one_line_of_bounded_length():
    assert one_line(ValueError('a\n  b')) == 'ValueError: a b'
    assert one_line(KeyboardInterrupt()) == 'KeyboardInterrupt'
    assert len(one_line(ValueError('x' * 1000))) == 300
