"""What contradicts itself in an option file, though every single key is right.

What BasicSR or torch refuses itself when a run starts, before any work is lost, needs no rule.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from okdnet_plugin.config.consistency import data_sets, networks, schedule
from okdnet_plugin.config.consistency.seen import Given, Rule
from okdnet_plugin.config.items import KeyPath
from okdnet_plugin.config.messages import Mistake
from okdnet_plugin.config.walk import Phase

_RULES: Mapping[Phase, tuple[Rule, ...]] = {
    'train': (
        schedule.milestones_rise_and_lie_within_the_training,
        schedule.a_schedule_lasts_as_long_as_the_training,
        schedule.warm_up_ends_within_the_training,
        data_sets.a_training_has_its_data_sets,
        data_sets.validation_has_a_data_set,
        data_sets.the_best_network_is_that_of_a_figure,
        networks.crops_fit_the_scale,
        networks.stages_of_sizes_fit,
        networks.a_batch_holds_what_is_mixed,
        networks.a_training_has_a_loss,
    ),
    'test': (data_sets.a_test_has_data_sets,),
    'report': (data_sets.a_report_measures_something,),
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
