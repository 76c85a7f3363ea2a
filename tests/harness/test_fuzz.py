"""Damaged files are read or refused in one line, and what the fuzz run looks for it finds."""

import sys

import pytest

from conftest import REPOSITORY, run_code

pytestmark = pytest.mark.skipif(sys.platform == 'win32', reason='cases are forked')
SCRIPT = REPOSITORY / 'tests/harness/fuzz.py'


def test_damaged_files_of_every_kind_are_read_or_refused(tmp_path):
    code = f'import runpy; runpy.run_path({str(SCRIPT)!r}, run_name="__main__")'
    result = run_code(code, '--count', '60', '--seed', '7', cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.partition(':')[0] for line in lines] == ['options', 'states', 'weights', 'images']
    assert all('60 inputs (seed 7)' in line and ' 0 crashes' in line for line in lines)


def test_crashes_deaths_and_long_messages_are_found(tmp_path):
    code = f"""
import os, sys
sys.path.insert(0, {str(SCRIPT.parent)!r})
import fuzz
from okdnet_plugin.errors import InputError
calls = []
def case(rng):
    calls.append(0)
    if len(calls) == 2: raise ValueError('a bug')
    if len(calls) == 3: raise InputError('two\\nlines')
    if len(calls) == 4: os.abort()
    if len(calls) == 5: raise InputError('one line')
fuzz.KINDS['bad'] = lambda folder: case
print('found', len(fuzz.fuzz('bad', 0, 5, 0)))
"""
    result = run_code(code, cwd=tmp_path)
    assert 'found 3' in result.stdout, result.stderr
    for words in ('1 FAILED: ValueError: a bug', '2 FAILED: a message of several lines', '3 FAILED: the process died'):
        assert words in result.stderr
