"""A small form of tests/harness/faults.py: killed, damaged, unable to write, stopped, and gone on to the same end."""

import errno
import random
import signal
import sys

import pytest

from conftest import load_script

pytestmark = pytest.mark.skipif(not sys.platform.startswith('linux'), reason='trainings are forked and killed')


long = pytest.mark.long


@pytest.fixture(scope='module')
def script():
    return load_script('tests/harness/faults.py')


@pytest.fixture(scope='module')
def bench(script, tmp_path_factory):
    with script.Bench(tmp_path_factory.mktemp('fault'), total=6) as bench:
        case = script.undisturbed(bench)
        assert not case.problems, script.describe(case)
        yield bench


def test_killed_training_goes_on_to_the_same_end(script, bench):
    case = script.killed(bench, 'killed', random.Random(0), [script.strike_after_a_write], most=1)
    assert case.kills == 1
    assert not case.problems, script.describe(case)


def test_training_killed_in_a_write_has_whole_files(script, bench):
    for attempt in range(3):  # a busy machine may miss the moment
        case = script.killed(bench, f'in_a_write_{attempt}', random.Random(attempt), [script.strike_in_a_write], most=1)
        assert not case.problems, script.describe(case)
        if case.kills_in_a_write:
            return
    pytest.fail('no kill met a write')


@long
def test_training_killed_after_its_last_state_has_its_latest_network(script, bench):
    case = script.killed(bench, 'at_the_end', random.Random(0), [script.strike_after_the_last_state], most=1)
    assert not case.problems, script.describe(case)


def test_truncated_state_is_passed_over(script, bench):
    case = script.damaged(bench, 'truncated')
    assert not case.problems, script.describe(case)


@pytest.mark.parametrize(
    'kind', ['nan_average', *(pytest.param(kind, marks=long) for kind in ('pipe', 'other_shapes'))]
)
def test_state_that_cannot_be_gone_on_from_is_passed_over(script, bench, kind):
    case = script.damaged(bench, kind)
    assert not case.problems, script.describe(case)


@long
def test_second_training_of_a_name_is_refused_and_the_first_ends_as_ever(script, bench):
    case = script.two_runs(bench, 'two', ['--auto_resume'], 'training')
    assert not case.problems, script.describe(case)


@long
def test_training_whose_worker_is_killed_has_saved_its_last_iteration(script, bench):
    case = script.worker_killed(bench, 'worker', random.Random(0))
    assert not case.problems, script.describe(case)


def test_write_that_fails_ends_the_training_in_one_line(script, bench):
    size = max(path.stat().st_size for path in bench.interrupted('sizes').files())
    case = script.unwritable(bench, script.FileLimit(size // 2))
    assert not case.problems, script.describe(case)


@long
def test_quota_that_is_told_at_the_flush_ends_the_training_in_one_line(script, bench):
    case = script.unwritable(bench, script.NoFlush(errno.EDQUOT))
    assert not case.problems, script.describe(case)


@pytest.mark.parametrize('moment', ['write', pytest.param('begin', marks=long)])
def test_sigterm_saves_the_last_iteration(script, bench, moment):
    case = script.stopped(bench, f'sigterm_{moment}', signal.SIGTERM, moment)
    assert not case.problems, script.describe(case)
