"""The holes of BasicSR: open in what was released, closed with the plugin."""

import json
import sys

import pytest

from conftest import REPOSITORY, run, run_code

SCRIPT = REPOSITORY / 'tests/harness/security.py'


@pytest.fixture(scope='module')
def sides(tmp_path_factory):
    outcomes = {}
    for side in ('--released', '--plugin'):
        seconds = 20 if side == '--plugin' else 2  # an attack that has no end takes them all
        result = run(sys.executable, SCRIPT, side, '--seconds', seconds, cwd=tmp_path_factory.mktemp('attacks'))
        assert result.returncode == 0, result.stderr
        outcomes[side] = json.loads(result.stdout.splitlines()[-1])
    return outcomes


def test_every_hole_is_closed_with_the_plugin(sides):
    assert [words for is_closed, words in sides['--plugin'] if not is_closed] == []
    assert len(sides['--plugin']) == 11


def test_every_attack_succeeds_on_basicsr_as_released(sides):
    """Otherwise the test above shows nothing."""
    closed = [words for is_closed, words in sides['--released'] if is_closed]
    if sys.version_info >= (3, 14):  # which ends a recursion itself before it reaches the end of the stack
        closed = [words for words in closed if not words.startswith('RecursionError: Stack overflow')]
    assert closed == []


def test_what_is_refused_is_refused_by_a_message_of_the_plugin(sides):
    said = [words for _, words in sides['--plugin']]
    assert [words for words in said if not words.startswith(('refused: ', 'taken as a text'))] == []
    assert sum('can run code' in words for words in said) == 4  # weights and states, not something else about them


def test_damaged_option_files_do_nothing_but_be_refused(tmp_path):
    code = f'import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import okdnet_plugin, security as check; '
    result = run_code(code + 'sys.exit(check.fuzz(200, seed=1))', cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert '200 damaged option files (seed 1)' in result.stdout
    assert ' 0 crashes, hangs or forbidden doings' in result.stdout


def test_what_the_fuzz_run_looks_for_it_finds(tmp_path):
    """A reader that runs code, one that hangs and one that dies are all noticed."""
    code = f"""
import os, sys, time
sys.path.insert(0, {str(SCRIPT.parent)!r})
import security as check
from okdnet_plugin import config
check.SECONDS = 1
right = config.load_with_places
bad = {{3: lambda: exec('1'), 5: lambda: 1 / 0, 7: lambda: os.abort()}}
calls = []
def reads(path):
    calls.append(path)
    bad.get(len(calls) - {{}}, int)()
    return right(path)
"""
    shipped = len(list((REPOSITORY / 'options').rglob('*.yml')))
    code = code.replace('{}', str(shipped)) + 'config.load_with_places = reads\nprint("found", check.fuzz(10, 0))\n'
    result = run_code(code, cwd=tmp_path)
    assert 'found 3' in result.stdout, result.stderr
    assert 'exec' in result.stderr
    assert 'ZeroDivisionError' in result.stderr
    assert 'status 6' in result.stderr
