"""The standard output, whatever it is: a pipe whose reader leaves, or a terminal that knows few letters."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def forgiving_output() -> Iterator[None]:
    """Print what a terminal cannot show as its number, and end quietly when `… | head` has read enough."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors='backslashreplace')
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more at its end
