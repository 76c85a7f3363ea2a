"""Random numbers that are taken up again, and that a block has for itself."""

import contextlib
import random

import numpy as np
import pytest
import torch

from okdnet_plugin.engine import randomness


def draw():
    return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(()).item()


def draw_seeded(*numbers):
    with randomness.seeded(*numbers):
        return draw()


@pytest.mark.parametrize('drawn', [0, 1, 2])
def test_generators_go_on_from_a_state_that_was_a_file(tmp_path, drawn):
    """Also from the middle of a pair of normal numbers, of which python and numpy keep the second."""
    for _ in range(drawn):
        random.gauss(0, 1), np.random.randn()
    torch.save(randomness.get_state(), tmp_path / 'state')
    expected = [draw() for _ in range(3)]
    randomness.set_state(torch.load(tmp_path / 'state', weights_only=True))
    assert [draw() for _ in range(3)] == expected


def test_state_is_not_moved_by_what_is_drawn_later():
    state = randomness.get_state()
    expected = [draw() for _ in range(400)]  # numpy and torch renew their words meanwhile
    randomness.set_state(state)
    assert [draw() for _ in range(400)] == expected


def test_equal_numbers_seed_equally_and_different_ones_differently():
    lists = [(0,), (2,), (-1,), (0, 1), (1, 0), (3, 1, 2), (3, 2, 1)]
    drawn = [draw_seeded(*numbers) for numbers in lists]
    assert [draw_seeded(*numbers) for numbers in lists] == drawn
    for values in zip(*drawn, strict=True):  # of each generator
        assert len(set(values)) == len(lists)


def test_block_does_not_depend_on_what_was_drawn_before():
    expected = draw_seeded(1, 2)
    draw()
    assert draw_seeded(1, 2) == expected


def test_block_leaves_the_generators_as_they_were():
    state = randomness.get_state()
    expected = draw()
    randomness.set_state(state)
    draw_seeded(5)
    assert draw() == expected


def test_block_that_fails_leaves_the_generators_as_they_were():
    state = randomness.get_state()
    expected = draw()
    randomness.set_state(state)
    with contextlib.suppress(ZeroDivisionError), randomness.seeded(5):
        draw()
        raise ZeroDivisionError
    assert draw() == expected


def test_blocks_can_be_nested():
    with randomness.seeded(1):
        draw_seeded(2)
        assert draw() == draw_seeded(1)


@pytest.mark.parametrize('numbers', [(-1,), (-(2**63),), (2**64 - 1,), (2**64 + 7, -5), (10**30,)])
def test_any_whole_number_gives_a_seed(numbers):
    seed = randomness.seed_of(*numbers)
    assert 0 <= seed < 2**64
    assert seed == randomness.seed_of(*numbers)
    draw_seeded(*numbers)


def test_seeds_of_images_differ():
    seeds = {randomness.seed_of(seed, epoch, n) for seed in (0, 1, 42) for epoch in range(5) for n in range(100)}
    assert len(seeds) == 1500


# Lists whose 32-bit words are the same, or end in zeros, are one to numpy's SeedSequence.
@pytest.mark.parametrize(('one', 'other'), [((5,), (5, 0)), ((1 + 2 * 2**32,), (1, 2)), ((0,), (2**64,))])
def test_lists_of_different_lengths_and_sizes_give_different_seeds(one, other):
    assert randomness.seed_of(*one) != randomness.seed_of(*other)
