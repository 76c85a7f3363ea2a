"""The report of an examination: lines for people, or JSON that can be shown to strangers."""

import contextlib
import getpass
import os
import re
import shutil
import socket
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from typing import TextIO

from okdnet_plugin.doctor.examination import Group
from okdnet_plugin.doctor.finding import STATUSES, Finding, worst

FORMAT = 1  # of the JSON; raised when a key changes its meaning
_INDENT = 11  # columns before a text


class Lines:
    """Prints each finding as it comes, so that a check that takes the process with it is the one after the last line.

    Args:
        out: where to; wrapped to the width of a terminal, and one line a finding anywhere else.
    """

    def __init__(self, out: TextIO):
        self._out = out
        self._width = shutil.get_terminal_size().columns if out.isatty() else None
        self._group = None

    def show(self, group: Group, finding: Finding) -> None:
        if group != self._group:
            print('' if self._group is None else '\n', group.title, sep='', file=self._out)
            self._group = group
        print(self._wrapped(f'  {finding.status:<9}{finding.text}'), file=self._out)
        if finding.cure and finding.status != 'ok':
            print(self._wrapped(f'{"":{_INDENT}}cure: {finding.cure}'), file=self._out)
        self._out.flush()

    def end(self, findings: Sequence[Finding]) -> None:
        print(f'\n{verdict(findings)}', file=self._out)

    def _wrapped(self, line: str) -> str:
        if self._width is None or len(line) <= self._width:
            return line
        return textwrap.fill(
            line,
            max(40, self._width),
            subsequent_indent=' ' * _INDENT,
            break_long_words=False,
            break_on_hyphens=False,
            drop_whitespace=True,
        )


def verdict(findings: Sequence[Finding]) -> str:
    """One line that says what to do next."""
    count = counts(findings)
    if count['wrong']:
        advice = 'correct what is wrong, from the top: the first may cause the others'
    elif count['warning']:
        advice = 'everything works; look at the warnings'
    else:
        advice = 'everything works'
    return f'{count["ok"]} ok, {count["warning"]} warning, {count["wrong"]} wrong: {advice}'


def counts(findings: Sequence[Finding]) -> dict[str, int]:
    return {status: sum(finding.status == status for finding in findings) for status in STATUSES}


def as_json(findings: Sequence[tuple[Group, Finding]]) -> dict:
    """The report for a bug report, without the names of the user, the machine and the folders.

    Returns:
        format; result: the worst status; counts; checks: group, key, status, text, cure and values of each.
    """
    only = [finding for _, finding in findings]
    return {
        'format': FORMAT,
        'result': worst(only),
        'counts': counts(only),
        'checks': [
            {
                'group': group.name,
                'key': finding.key,
                'status': finding.status,
                'text': without_names(finding.text),
                'cure': without_names(finding.cure) if finding.cure else None,
                'values': _without_names(finding.values),
            }
            for group, finding in findings
        ],
    }


def without_names(text: str) -> str:
    """A text in which folders, user and machine are marked instead of named."""
    for name, mark in sorted(_places().items(), key=lambda item: len(item[0]), reverse=True):
        text = re.sub(rf'{re.escape(name)}(?![\w-])', mark, text)
    for name, mark in _people().items():
        text = re.sub(rf'(?<![\w-]){re.escape(name)}(?![\w-])', mark, text)
    return text


def _without_names(value: object) -> object:
    if isinstance(value, str):
        return without_names(value)
    if isinstance(value, dict):
        return {key: _without_names(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_names(part) for part in value]
    return value


def _places() -> dict[str, str]:
    places = {sys.prefix: '<environment>', os.path.expanduser('~'): '~'}
    with contextlib.suppress(OSError):  # there is none that can be written
        places[tempfile.gettempdir()] = '<temporary>'
    with contextlib.suppress(OSError):  # it has been removed
        places[os.getcwd()] = '.'
    return {path.rstrip('/\\'): mark for path, mark in places.items() if len(path.strip('/\\')) > 1}


def _people() -> dict[str, str]:
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user id without a name, as in a container
        user = ''
    names = {user: '<user>', socket.gethostname(): '<host>'}
    # Names such as `root` tell nothing, and short or common ones are found in other words.
    common = {'root', 'user', 'localhost', 'torch', 'basicsr', 'python', 'ubuntu', 'linux'}
    return {name: mark for name, mark in names.items() if len(name) > 2 and name.lower() not in common}
