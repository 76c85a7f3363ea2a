"""The random numbers of a process: which they are, and how they are taken up again."""

import contextlib
import hashlib
import random
from collections.abc import Iterator

import numpy as np
import torch


def get_state() -> dict:
    """State of all generators of this process, in types that `torch.load(weights_only=True)` reads."""
    state = np.random.get_state(legacy=True)
    assert isinstance(state, tuple)
    name, keys, *rest = state
    return {
        'python': random.getstate(),
        'numpy': (name, torch.from_numpy(keys.astype(np.int64)), *rest),
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    }


def set_state(state: dict) -> None:
    """Take the generators up where `get_state` found them."""
    random.setstate(state['python'])
    name, keys, *rest = state['numpy']
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state['torch'])
    if state['cuda'] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'])


def seed_of(*numbers: int) -> int:
    """A seed of 64 bits that differs, for all that is known, for any two lists of whole numbers."""
    digest = hashlib.blake2b(repr([int(number) for number in numbers]).encode(), digest_size=8)
    return int.from_bytes(digest.digest(), 'little')


@contextlib.contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Seed the generators of the CPU for a block, and leave them afterwards as they were."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed = seed_of(*numbers)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed % 2**63)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
