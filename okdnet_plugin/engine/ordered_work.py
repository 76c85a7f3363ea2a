"""Work for threads beside the caller, whose results come back in the order in which it was given."""

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Generic, NamedTuple, TypeVar

T = TypeVar('T')


class _Job(NamedTuple):
    future: Future
    key: Hashable
    weight: int


class OrderedWork(Generic[T]):
    """Jobs that run in threads beside the caller; to be left as a context, which waits for none of them.

    Args:
        threads: how many run at once; with 0 each runs at once in the caller.
        limit: sum of the weights of the jobs whose results have not been taken. A heavier one runs when all before it
            are done.
    """

    def __init__(self, threads: int, limit: int):
        self._pool = ThreadPoolExecutor(threads, 'beside') if threads else None
        self._limit = limit
        self._jobs: deque[_Job] = deque()

    def add(self, work: Callable[[], T], key: Hashable = None, weight: int = 0) -> None:
        """Give a job.

        Args:
            work: what is to be done; its error is raised where its result is taken.
            key: jobs of one key run one after the other; None for a job that may run beside any.
            weight: its share of `limit`.
        """
        if key is not None:
            wait([job.future for job in self._jobs if job.key == key])
        if self._pool is not None:
            future = self._pool.submit(work)
        else:
            future = Future()
            try:
                future.set_result(work())
            except Exception as error:
                future.set_exception(error)
        self._jobs.append(_Job(future, key, weight))

    def room_for(self, weight: int) -> Iterator[Future]:
        """Futures in their order: those that are done, and as many more as have to be before such a job is added."""
        while self._jobs and (self._jobs[0].future.done() or self._is_above(weight)):
            wait([self._jobs[0].future])
            yield self._jobs.popleft().future

    def rest(self) -> Iterator[Future]:
        """All futures in their order, each when it is done."""
        while self._jobs:
            wait([self._jobs[0].future])
            yield self._jobs.popleft().future

    def _is_above(self, weight: int) -> bool:
        return weight + sum(job.weight for job in self._jobs) > self._limit

    def __enter__(self) -> 'OrderedWork[T]':
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
