"""What contradicts itself in an option file, though every single key is right."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from okdnet_plugin.config.consistency import data_sets, networks, schedule
from okdnet_plugin.config.consistency.seen import Given, Rule
from okdnet_plugin.config.messages import Mistake
from okdnet_plugin.config.walk import KeyPath, Phase

_ROOMS = (schedule, data_sets, networks)
_RULES: dict[Phase, tuple[Rule, ...]] = {
    'train': tuple(rule for room in _ROOMS for rule in room.TRAINING),
    'test': tuple(rule for room in _ROOMS for rule in room.TEST),
    'report': tuple(rule for room in _ROOMS for rule in room.REPORT),
}


def contradictions(opt: Mapping, phase: Phase, wrong: Collection[KeyPath]) -> Iterator[Mistake]:
    """What contradicts itself.

    Args:
        opt: the option file.
        phase: what it is used for.
        wrong: keys that have mistakes of their own, which are told elsewhere.
    """
    given = Given(opt, wrong)
    for rule in _RULES[phase]:
        yield from rule(given)
