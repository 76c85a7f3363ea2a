"""What is seen of a training while it runs: a line of JSON for each report, and a progress bar on a terminal."""

import contextlib
import json
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from os import path as osp
from typing import Any

from tqdm import tqdm

from okdnet_plugin import files
from okdnet_plugin.engine import checkpoints
from okdnet_plugin.progress import fitting
from okdnet_plugin.redaction import redacted

NAME = 'metrics.jsonl'


class Journal:
    """The file `metrics.jsonl` of a run, and its progress bar; silent until it is opened.

    Each line is one JSON object with `iter`. Reports of the training have `epoch`, `lr`, `time` and `data_time`
    (seconds an iteration, and of these spent waiting for data) and the losses by name; those of a validation have
    `dataset` and the metrics by name. Values that are not finite are strings (`"inf"`, `"nan"`): JSON has no such
    numbers.
    """

    def __init__(self):
        self.path: str | None = None
        self._bar: tqdm | None = None

    def open(
        self, folder: str, start_iter: int, total_iter: int, logger: logging.Logger, is_validated: bool = True
    ) -> None:
        """Begin, or go on after `start_iter`; later lines, of what is made again, are taken out.

        Args:
            folder: where the file goes.
            start_iter: iterations that the run has behind it.
            total_iter: of the whole run.
            logger: of BasicSR, whose lines go above the bar.
            is_validated: `start_iter` has been validated, and is not to be again.
        """
        self.path = osp.join(folder, NAME)
        if osp.lexists(self.path):
            files.check_regular_file(self.path)
        if start_iter and osp.exists(self.path):
            checkpoints.write(''.join(_lines_until(self.path, start_iter, is_validated)).encode(), self.path)
        elif osp.exists(self.path):
            os.remove(self.path)
        if sys.stderr.isatty():
            self._bar = tqdm(total=total_iter, initial=start_iter, unit='it', **fitting(), smoothing=0.1)
            for handler in logger.handlers:
                if type(handler) is logging.StreamHandler:
                    handler.setStream(_AboveTheBar())

    def report(self, entry: Mapping) -> None:
        """Add a line."""
        if self.path is not None:
            line = json.dumps(redacted({key: plain(value) for key, value in entry.items()}), allow_nan=False) + '\n'
            try:
                with open(self.path, 'a', encoding='utf-8') as file:
                    file.write(line)
            except OSError as error:
                raise checkpoints.save_error(self.path, error) from error

    @contextlib.contextmanager
    def only_to_file(self, logger: logging.Logger):
        """Keep what the bar shows anyway from the terminal."""
        with contextlib.nullcontext() if self._bar is None else only_to_file(logger):
            yield

    def advance(self) -> None:
        """One iteration more."""
        self._change_bar(lambda bar: bar.update())

    def show(self, iteration: int, losses: Mapping[str, float]) -> None:
        """Losses beside the bar; models that do not tell of each iteration get on by this."""
        shown = {key: f'{value:.4g}' for key, value in losses.items()}
        self._change_bar(lambda bar: (bar.set_postfix(shown, refresh=False), bar.update(iteration - bar.n)))

    def close(self) -> None:
        """Leave the bar where it stands."""
        self._change_bar(lambda bar: bar.close())
        self._bar = None

    def _change_bar(self, change: Callable[[tqdm], object]) -> None:
        if self._bar is not None:
            try:
                change(self._bar)
            except OSError:  # the terminal is gone, and the training goes on to save
                self._bar = None


@contextlib.contextmanager
def only_to_file(logger: logging.Logger) -> Iterator[None]:
    """Keep from the terminal what is logged meanwhile."""
    handlers = [handler for handler in logger.handlers if type(handler) is logging.StreamHandler]
    for handler in handlers:
        handler.addFilter(_nothing)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(_nothing)


class _AboveTheBar:
    """A stream that prints above the progress bars."""

    def write(self, text: str) -> None:
        if text.strip('\n'):
            tqdm.write(text.rstrip('\n'), file=sys.stderr)

    def flush(self) -> None:
        sys.stderr.flush()


def _nothing(_: logging.LogRecord) -> bool:
    return False


def _lines_until(path: str, iteration: int, is_validated: bool) -> list[str]:
    kept = []
    with files.open_text(path, errors='replace') as file:
        for line in file:
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a killed process may leave half a line
                entry = json.loads(line)
                is_made_again = entry['iter'] == iteration and 'dataset' in entry and not is_validated
                if line.endswith('\n') and entry['iter'] <= iteration and not is_made_again:
                    kept.append(line)
    return kept


def plain(value: Any) -> Any:
    """A value as JSON has it; numbers that are not finite, which it has not, are strings."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, 'tolist'):  # of numpy or torch
        return plain(value.tolist())
    if isinstance(value, str | int | None):
        return value
    number = float(value)
    return number if math.isfinite(number) else str(number)
