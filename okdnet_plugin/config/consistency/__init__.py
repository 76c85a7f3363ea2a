"""What contradicts itself in an option file, though every single key is right.

What a model reads itself it has rules for, as its `option_rules`. What BasicSR or torch refuses before an earlier run
is moved aside needs none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from okdnet_plugin.config.consistency import after_the_move, data_sets, training
from okdnet_plugin.config.consistency.seen import Given, Rule
from okdnet_plugin.config.items import KeyPath
from okdnet_plugin.config.messages import Mistake
from okdnet_plugin.config.walk import Phase

_RULES: Mapping[Phase, tuple[Rule, ...]] = {
    'train': (
        training.milestones_rise_and_lie_within_the_training,
        training.a_schedule_lasts_as_long_as_the_training,
        training.warm_up_ends_within_the_training,
        training.crops_fit_the_scale,
        training.a_training_has_a_loss,
        after_the_move.the_loader_can_be_made,
        after_the_move.weights_and_biases_can_be_used,
        after_the_move.basicsrs_models_know_optimiser_and_schedule,
        after_the_move.an_srmodel_has_a_loss,
        data_sets.a_training_has_its_data_sets,
        data_sets.validation_has_a_data_set,
        data_sets.validation_makes_something,
    ),
    'test': (data_sets.a_test_has_data_sets, after_the_move.saved_images_have_their_suffix),
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
    kinds = getattr(given.model, '__mro__', ()) if phase == 'train' else ()
    of_model = (rule for kind in kinds for rule in vars(kind).get('option_rules', ()))
    for rule in (*_RULES[phase], *of_model):
        yield from rule(given)
