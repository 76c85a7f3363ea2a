"""What the toolbox's training loop keeps to itself, and the model that it trains has to know."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch.utils.data import DataLoader

from okdnet_plugin.engine.journal import Journal


@dataclass
class Run:
    """One training, filled in by the patches of the loop's functions in the order in which the loop calls them."""

    state: dict | None = None
    """The training state that the run goes on from."""
    seed: int | None = None
    """What decides the order of the pictures and their augmentation; equal in all processes."""
    val_loaders: Sequence[DataLoader] = ()
    tb_logger: object = None
    journal: Journal = field(default_factory=Journal)
    is_begun: bool = False
    """The loop has made its loaders; false for a model that is built by hand."""


current = Run()


def begin(state: dict | None) -> Run:
    """Start the account of a new run.

    Args:
        state: the training state that it goes on from, or None.
    """
    global current
    current = Run(state=state)
    return current
