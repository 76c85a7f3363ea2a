"""Hand-over between threads that never piles up, and that either side can end."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar('Item')


class ClosedError(Exception):
    """Nobody wants the items any more."""


class Channel(Generic[Item]):
    """A queue from one thread to another.

    Args:
        heavy: tells the items of which few may wait (frames) from those of which many may (packets).
        most_heavy: how many heavy ones.
        most: how many items of both kinds before a light one has to wait.
    """

    def __init__(self, heavy: Callable[[Item], bool], most_heavy: int = 3, most: int = 512):
        self._heavy, self._most_heavy, self._most = heavy, most_heavy, most
        self._items: deque[Item] = deque()
        self._condition = threading.Condition()
        self._heavy_items = 0
        self._ended = self._closed = False
        self._error: BaseException | None = None

    def put(self, item: Item) -> None:
        """Hand over an item, as soon as there is room.

        Raises:
            ClosedError: the other side wants no more; or the error with which it has closed.
        """
        is_heavy = self._heavy(item)
        with self._condition:
            self._condition.wait_for(lambda: self._closed or not self._full(is_heavy))
            self._raise_if_closed()
            self._items.append(item)
            self._heavy_items += is_heavy
            self._condition.notify_all()

    def __iter__(self) -> Iterator[Item]:
        """Items in order, until the other side has ended; an error with which it has closed comes after them."""
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._closed or self._items or self._ended)
                if not self._items or (self._closed and self._error is None):
                    self._raise_if_closed()
                    return
                item = self._items.popleft()
                self._heavy_items -= self._heavy(item)
                self._condition.notify_all()
            yield item

    def end(self) -> None:
        """No item will follow."""
        with self._condition:
            self._ended = True
            self._condition.notify_all()

    def close(self, error: BaseException | None = None) -> None:
        """No item is wanted or will come; with an error, the other side gets it."""
        with self._condition:
            self._closed, self._error = True, self._error or error
            self._condition.notify_all()

    def check(self) -> None:
        """Raise the error with which the other side has closed, if it has."""
        with self._condition:
            self._raise_if_closed()

    def _full(self, is_heavy: bool) -> bool:
        return self._heavy_items >= self._most_heavy if is_heavy else len(self._items) >= self._most

    def _raise_if_closed(self) -> None:
        if self._error is not None:
            raise self._error
        if self._closed:
            raise ClosedError


class Ahead(Generic[Item]):
    """What an iterator gives, made ahead in a thread; its error comes where it happened.

    Args:
        make: called in that thread.
        heavy: as for `Channel`.
    """

    def __init__(self, make: Callable[[], Iterator[Item]], heavy: Callable[[Item], bool]):
        self._channel: Channel[Item] = Channel(heavy)
        self._thread = threading.Thread(target=self._run, args=(make,), daemon=True)

    def __enter__(self) -> Ahead[Item]:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._channel.close()
        self._thread.join()

    def __iter__(self) -> Iterator[Item]:
        return iter(self._channel)

    def _run(self, make: Callable[[], Iterator[Item]]) -> None:
        try:
            for item in make():
                self._channel.put(item)
        except ClosedError:
            return
        except BaseException as error:  # handed over to who takes
            self._channel.close(error)
        else:
            self._channel.end()
