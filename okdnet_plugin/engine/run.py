"""Run state that BasicSR's loop does not pass to the model: it travels with the options of the run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch.utils.data import DataLoader

from okdnet_plugin.engine.journal import Journal
from okdnet_plugin.locks import Lock


@dataclass(eq=False)
class Run:
    """One training or test, filled in by the patches of the loop's functions in the order in which they are called."""

    state: dict | None = None
    """The training state that the run goes on from."""
    seed: int | None = None
    """What decides the order of the images and their augmentation; equal in all processes."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What a state keeps of the option file; see `engine.resuming`."""
    val_loaders: Sequence[DataLoader] = ()
    tb_logger: object = None
    journal: Journal = field(default_factory=Journal)
    is_begun: bool = False
    """The loop has made its loaders; false for a model that is built by hand."""
    is_checked: bool = False
    """The options have been held against what reads them, and the data sets are made."""
    is_held: bool = False
    """Its folder is locked."""
    lock: Lock | None = None
    """In the first process."""
    rescue: Callable[[], str] | None = None
    """Saves what the model is, if it stands between two updates, and says so in a clause."""
    data_sets: dict[str, Made] = field(default_factory=dict)
    """By the key of their block, until the loop asks for them."""

    @classmethod
    def of(cls, opt: Mapping) -> Run:
        """The run that options belong to; a new one for options that somebody has made by hand."""
        run = getattr(opt, 'run', None)
        return run if isinstance(run, cls) else cls()

    def __deepcopy__(self, memo: dict) -> Run:
        """BasicSR copies the options for the model, and means the same run."""
        return self


@dataclass(frozen=True)
class Made:
    """A data set that has been made, and what it had to say before the log had its file."""

    data_set: Any
    records: Sequence[logging.LogRecord]


class RunOptions(dict):
    """The options of a run, as BasicSR's parser returns them, with the run itself."""

    def __init__(self, opt: Mapping, run: Run):
        super().__init__(opt)
        self.run = run

    def __reduce__(self) -> tuple:
        return dict, (dict(self),)  # for another process they are options alone

    def __deepcopy__(self, memo: dict) -> RunOptions:
        from copy import deepcopy

        return RunOptions(deepcopy(dict(self), memo), self.run)


class DataSetOptions(dict):
    """The block of a data set that belongs to a run, which may have made the data set already."""

    def __init__(self, block: Mapping, run: Run, phase: str):
        super().__init__(block)
        self.run, self.phase = run, phase

    def __reduce__(self) -> tuple:
        return dict, (dict(self),)

    def __deepcopy__(self, memo: dict) -> dict:
        from copy import deepcopy

        return deepcopy(dict(self), memo)
