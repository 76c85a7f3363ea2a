"""Jobs beside the caller: results in their order, errors where results are taken, no more at once than allowed."""

import contextlib
import threading
from functools import partial

import pytest

from okdnet_plugin.engine.ordered_work import OrderedWork

PATIENCE = 20  # seconds, for what comes at once unless it never comes


def results(futures):
    return [future.result() for future in futures]


def test_results_come_in_the_order_of_the_jobs_although_a_later_one_ends_first():
    second_is_done = threading.Event()
    with OrderedWork(2, limit=2) as work:
        work.add(lambda: second_is_done.wait(PATIENCE) and 'first')
        work.add(lambda: second_is_done.set() or 'second')
        assert results(work.rest()) == ['first', 'second']


@pytest.mark.parametrize('threads', [0, 2])
def test_an_error_is_raised_where_its_result_is_taken_and_the_others_are_done(threads):
    with OrderedWork(threads, limit=3) as work:
        for number in (1, 0, 2):
            work.add(partial(lambda number: 2 // number, number))
        first, second, third = work.rest()
        assert (first.result(), third.result()) == (2, 1)
        with pytest.raises(ZeroDivisionError):
            second.result()


def test_jobs_of_one_key_run_one_after_the_other():
    running, most = [], []

    def job(number):
        running.append(number)
        most.append(len(running))
        threading.Event().wait(0.01)
        running.pop()
        return number

    with OrderedWork(4, limit=10) as work:
        for number in range(5):
            work.add(partial(job, number), key='same.png')
        assert results(work.rest()) == list(range(5))
    assert max(most) == 1


@pytest.mark.parametrize('threads', [0, 1, 3])
def test_jobs_that_wait_weigh_no_more_than_the_limit_but_for_one_that_is_heavier_alone(threads):
    taken = []
    with OrderedWork(threads, limit=10) as work:
        for number, weight in enumerate((4, 4, 4, 25, 9, 1, 1)):
            taken += results(work.room_for(weight))
            work.add(partial(int, number), weight=weight)
            weights = [job.weight for job in work._jobs]
            assert sum(weights) <= 10 or len(weights) == 1
        taken += results(work.rest())
    assert taken == list(range(7))


def test_without_threads_the_caller_works():
    with OrderedWork(0, limit=1) as work:
        work.add(threading.get_ident)
        assert results(work.rest()) == [threading.get_ident()]


def test_an_error_of_the_caller_leaves_no_thread_behind():
    before = threading.active_count()
    with contextlib.suppress(KeyError), OrderedWork(2, limit=2) as work:
        work.add(int)
        assert threading.active_count() > before
        raise KeyError
    assert threading.active_count() == before
