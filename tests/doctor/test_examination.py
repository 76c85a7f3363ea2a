"""An examination: no check takes the others with it, whatever it does."""

import threading

import pytest

from okdnet_plugin.doctor import examination, versions
from okdnet_plugin.doctor.examination import Group, examine
from okdnet_plugin.doctor.finding import ok


@pytest.fixture
def group_of(monkeypatch):
    """A group whose check is a function of the test."""

    def make(name, check, needs=()):
        group = Group(name, name, '', needs)
        checks[name] = check
        return group

    checks = {}
    monkeypatch.setattr(Group, 'load', lambda group: checks[group.name])
    return make


def _fine():
    yield ok('fine', 'all is well')


def _raises():
    yield ok('first', 'half of it')
    raise RuntimeError('of the\ncheck')


def _leaves():
    raise SystemExit(3)
    yield


def test_failing_check_is_a_line_and_the_rest_goes_on(group_of):
    groups = [group_of('a', _raises), group_of('b', _leaves), group_of('c', _fine)]
    found = [(group.name, finding.key, finding.status) for group, finding in examine(groups, 10)]
    assert found == [
        ('a', 'first', 'ok'),
        ('a', 'a.failed', 'wrong'),
        ('b', 'b.failed', 'wrong'),
        ('c', 'fine', 'ok'),
    ]


def test_check_that_hangs_is_left_behind(group_of):
    end = threading.Event()

    def hangs():
        yield ok('first', 'half of it')
        end.wait(30)

    found = [finding for _, finding in examine([group_of('a', hangs), group_of('b', _fine)], 0.2)]
    end.set()
    assert [finding.key for finding in found] == ['first', 'a.hangs', 'fine']
    assert 'no answer' in found[1].text


def test_check_without_its_package_is_not_tried(group_of, monkeypatch):
    monkeypatch.setattr(examination, 'imports', lambda: {'torch': ('2', None), 'not_there_at_all': ('', 'broken')})
    group = group_of('a', _fine, needs=('torch', 'not_there_at_all'))
    ((_, finding),) = examine([group])
    assert (finding.key, finding.status) == ('a.not_tried', 'warning')
    assert 'because not_there_at_all cannot be imported' in finding.text


def test_every_group_names_a_check_that_is_there():
    for group in examination.GROUPS:
        assert callable(group.load())
        assert set(group.needs) <= set(versions.NEEDED)
