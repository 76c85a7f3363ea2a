"""Whether a training state is of the form that a run can go on from; else it is passed over like a damaged one."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from okdnet_plugin.engine import randomness
from okdnet_plugin.errors import InputError, one_line

# What optimisers of torch remember of each parameter in its own shape.
_OF_PARAMETERS = (
    *('exp_avg', 'exp_avg_sq', 'max_exp_avg_sq', 'momentum_buffer', 'square_avg', 'grad_avg', 'acc_delta'),
    *('exp_inf', 'sum', 'prev', 'step_size', 'ax'),
)
_OR_ANEW = 'or begin a new run from its weights by path:pretrain_network_g'
_MOST_TIMES = 1000  # that a schedule has one milestone
_NOT_SETTINGS = ('fused', 'foreach', 'capturable', 'differentiable')


def refuse_malformed(state: Mapping, path: str) -> None:
    """Look at what a state of any model of BasicSR has to be.

    Raises:
        InputError: it is not.
    """
    groups = [_groups_of(optimizer, path) for optimizer in state['optimizers']]
    _require(all(groups), path, 'an optimiser without parameters')
    for schedule in state['schedulers']:
        is_one = isinstance(schedule, Mapping) and all(isinstance(key, str) and key for key in schedule)
        _require(is_one and _counts(list(schedule.values())), path, 'a schedule that is none')
    for key in ('iter', 'epoch'):
        _require(not isinstance(state[key], bool) and state[key] >= 0, path, f'{key} {state[key]}')
    seed = state.get('seed')
    _require(seed is None or isinstance(seed, int), path, f'the seed {one_line(str(seed), 40)}')
    name = state.get('optimizer')
    _require(name is None or isinstance(name, str), path, 'an optimiser whose name is none')
    facts = state.get('facts')
    are_facts = isinstance(facts, Mapping) and all(isinstance(key, str) for key in facts) and _counts([*facts.values()])
    _require(facts is None or are_facts, path, 'facts that are none')


def refuse_what_does_not_fit(
    state: Mapping, path: str, optimizers: Sequence[Optimizer], rank: int, world_size: int
) -> None:
    """Try a state of RestorationModel on optimisers as its networks have them.

    Args:
        state: as `refuse_malformed` has let it pass.
        path: of its file.
        optimizers: new ones, of parameters at whose values nothing looks; they take the state up.
        rank, world_size: of this process.

    Raises:
        InputError: it does not fit.
    """
    count = len(state['optimizers'])
    _require(count == len(optimizers), path, f'{count} optimisers instead of {len(optimizers)}')
    for optimizer, saved in zip(optimizers, state['optimizers'], strict=True):
        _refuse_other_optimizer(optimizer, saved, path)
    _refuse_other_parts(state, path, rank, world_size)


def _refuse_other_optimizer(optimizer: Optimizer, saved: dict, path: str) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group['params']]
    wanted = set(optimizer.defaults) - set(_NOT_SETTINGS)
    try:
        missing = sorted(wanted - {key for group in saved['param_groups'] for key in group})
        optimizer.load_state_dict(saved)
    except Exception as error:  # what is in it may be anything
        raise _malformed(
            path,
            f'an optimiser of another network, train:freeze or train:lr_factors, or none ({one_line(error, 120)}); '
            f'write these as before, {_OR_ANEW}',
        ) from error
    _require(not missing, path, f'an optimiser without {", ".join(missing)}')
    for number, parameter in enumerate(parameters):
        remembered = optimizer.state.get(parameter, {})
        _require(isinstance(remembered, Mapping), path, f'no moments of parameter {number}, or another thing')
        for key, value in remembered.items():
            if key in _OF_PARAMETERS:
                is_one = value is None or isinstance(value, Tensor)
                _require(is_one, path, f'{key} of parameter {number} that is no tensor')
                fits = value is None or value.shape == parameter.shape
                here = f'parameter {number} is of shape {list(parameter.shape)} in the option file'
                _require(fits, path, f'{key} of another network ({here}); write network_g as before, {_OR_ANEW}')


def _refuse_other_parts(state: Mapping, path: str, rank: int, world_size: int) -> None:
    if 'random_states' not in state:  # of BasicSR's own models
        return
    kinds = {'random_states': list, 'best_metric_results': Mapping, 'scaler': Mapping, 'guard': Mapping}
    for key, kind in kinds.items():
        _require(isinstance(state.get(key), kind), path, f'no {key}, or another thing in their place')
    _require(isinstance(state.get('is_validated'), bool), path, 'no is_validated')
    guard = [state['guard'].get(key) for key in ('skipped', 'in_a_row')]
    _require(all(isinstance(count, int) for count in guard), path, 'a guard without counts')
    for records in state['best_metric_results'].values():
        are_records = isinstance(records, Mapping) and all(
            isinstance(record, Mapping)
            and isinstance(record.get('val'), float)
            and isinstance(record.get('iter'), int)
            and record.get('better') in ('higher', 'lower')
            for record in records.values()
        )
        _require(are_records, path, 'best metric values that are none')
    if len(state['random_states']) == world_size:
        before = randomness.get_state()
        try:
            randomness.set_state(state['random_states'][rank])
        except Exception as error:
            raise _malformed(path, f'random states that are none ({one_line(error, 120)})') from error
        finally:
            randomness.set_state(before)


def is_alike(one: object, other: object) -> bool:
    """Whether two values of a setting are of one kind: numbers, texts, lists of what is alike, or nothing."""
    if one is None or other is None:
        return True
    if isinstance(one, bool) or isinstance(other, bool):
        return isinstance(one, bool) and isinstance(other, bool)
    if isinstance(one, list | tuple):
        return isinstance(other, list | tuple) and all(is_alike(one[0], each) for each in other if one)
    for kind in (str, Mapping, int | float):
        if isinstance(one, kind):
            return isinstance(other, kind)
    return True


def _counts(values: Sequence) -> bool:
    """Whether all milestones that are somewhere in them are iterations, each a few times."""
    milestones: list = []
    for value in values:
        if isinstance(value, Counter):
            milestones += value.items()
        elif isinstance(value, list | tuple | Mapping):
            inner = [*value.values()] if isinstance(value, Mapping) else value
            if not _counts(inner):
                return False
    return all(isinstance(at, int) and isinstance(times, int) and 0 <= times <= _MOST_TIMES for at, times in milestones)


def _groups_of(optimizer: object, path: str) -> list:
    is_one = isinstance(optimizer, Mapping) and isinstance(optimizer.get('state'), Mapping)
    groups = optimizer.get('param_groups') if is_one else None  # type: ignore[attr-defined]
    are_groups = isinstance(groups, list) and all(
        isinstance(group, Mapping) and isinstance(group.get('params'), list) and 'lr' in group for group in groups
    )
    _require(are_groups, path, 'an optimiser that is none')
    assert isinstance(groups, list)
    return [number for group in groups for number in group['params']]


def _require(holds: bool, path: str, what: str) -> None:
    if not holds:
        raise _malformed(path, what)


def _malformed(path: str, what: str) -> InputError:
    return InputError(f'{path} is no training state of this run: it holds {what}')


def without_values(make: Callable[..., nn.Module], arguments: Mapping) -> nn.Module | None:
    """A network without memory for its values; None if it cannot be made so."""
    try:
        with torch.device('meta'), torch.random.fork_rng(devices=[]):
            return make(**arguments)
    except Exception:  # a network may need values to be made
        return None
