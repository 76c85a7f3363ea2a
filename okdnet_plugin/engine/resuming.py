"""A training state beside the option file that goes on from it: which of them decides what, told once."""

from __future__ import annotations

import inspect
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from basicsr.utils import get_root_logger
from torch.optim import Optimizer

from okdnet_plugin.engine import state_check
from okdnet_plugin.errors import InputError, one_line
from okdnet_plugin.redaction import redacted

_CURE = 'for those of the option file write train:resume_settings: file'
# What changes neither the network nor how it learns, or is told elsewhere.
_UNTOLD_OF_TRAIN = ('total_iter', 'scheduler', 'resume_settings', 'max_bad_steps', 'recalibrate_bn')
_UNTOLD_OF_DATA = (
    *('name', 'phase', 'scale', 'io_backend', 'meta_info_file', 'num_worker_per_gpu', 'prefetch_mode'),
    *('num_prefetch_queue', 'pin_memory', 'persistent_workers', 'use_shuffle', 'cache'),
)


def is_finished(state: Mapping, opt: Mapping) -> bool:
    """Whether a state has all iterations of the option file behind it.

    Raises:
        InputError: it has more.
    """
    made, total, path = state['iter'], opt['train']['total_iter'], opt['path'].get('resume_state')
    if made > total:
        raise InputError(
            f'option train:total_iter is {total}, but {path}, from which the run would go on, is of iteration {made}: '
            'nothing would be trained; raise total_iter, or name an earlier state by path:resume_state'
        )
    return made == total


def facts_of(opt: Mapping, length: int) -> dict[str, Any]:
    """What a state keeps of its option file, to be held against that of the run that goes on: keys and plain values.

    Args:
        opt: the option file, with the number of processes.
        length: images of the training set.
    """
    data, train = opt['datasets']['train'], opt['train']
    kept = {
        'network_g': opt.get('network_g'),
        'amp': opt.get('amp') or 'off',
        'train': {key: one for key, one in train.items() if key not in _UNTOLD_OF_TRAIN and 'optim_' not in key},
        'datasets': {
            'train': {
                key: one
                for key, one in data.items()
                if key not in _UNTOLD_OF_DATA and not str(key).startswith('dataroot')
            }
        },
    }
    known = {'the number of processes': opt['world_size'], 'the number of training images': length}
    return redacted(known | dict(_flat(kept)))


def tell_changes(state: Mapping, opt: Mapping, facts: Mapping[str, Any], seed: int) -> None:
    """Log what of the option file differs from what the state was trained with, a line each.

    Args:
        state: it may lack `facts`, if another version or nobody has saved them.
        opt: the option file.
        facts: see `facts_of`.
        seed: that of the option file, or a random one.
    """
    logger, before = get_root_logger(), state.get('facts') or {}
    if is_finished(state, opt):
        logger.warning(
            f'This run is finished: its state {opt["path"].get("resume_state")} is of iteration {state["iter"]}, which '
            'is train:total_iter. Nothing is trained; raise total_iter to go on.'
        )
    if state.get('seed') not in (None, seed):
        logger.info(f'The order of the images goes on by the seed {state["seed"]} of the state, not by {seed}.')
    for key in dict.fromkeys([*before, *facts]) if before else ():
        old, new = (_plain(one.get(key)) for one in (before, facts))
        if old != new:
            name = f'option {key}' if ':' in key or key == 'amp' else key
            logger.warning(
                f'{name} is {_shown(new)}, and was {_shown(old)} until iteration {state["iter"]} of this run; '
                f'from here on it is {_shown(new)}'
            )


def take_up(optimizers: Sequence[Optimizer], schedulers: Sequence[Any], state: dict, train: Mapping) -> None:
    """Load the states of optimisers and schedules, and say which settings of the option file do not count.

    Args:
        optimizers, schedulers: as the option file makes them.
        state: of the run that goes on.
        train: that block of the option file. With `resume_settings: file` the moments alone are the state's.

    Raises:
        InputError: the state is of another optimiser or schedule, or its schedule ends before the training.
    """
    from_file = train.get('resume_settings') == 'file'
    _check_optimizers(optimizers, state)
    if not from_file:
        _check_schedules(schedulers, state, train)
        for line in _of_optimizers(optimizers, state):
            get_root_logger().warning(line)
    fresh = [[dict(group) for group in optimizer.param_groups] for optimizer in optimizers]
    for optimizer, groups, saved in zip(optimizers, fresh, state['optimizers'], strict=True):
        optimizer.load_state_dict(saved)
        for group, settings in zip(optimizer.param_groups, groups, strict=True):
            # How an update is computed is no part of what it is.
            keys = settings.keys() - {'params'} if from_file else settings.keys() & {'fused', 'foreach'}
            group.update({key: settings[key] for key in keys})
    if not from_file:
        for scheduler, saved in zip(schedulers, state['schedulers'], strict=True):
            scheduler.load_state_dict(saved)
        return
    get_root_logger().info(
        'Learning rate, settings of the optimiser and schedule are those of the option file (train:resume_settings).'
    )
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # that no update has been made
        for scheduler in schedulers:
            for _ in range(state['iter'] - 1):  # BasicSR's loop makes the next step before the next update
                scheduler.step()


def _check_optimizers(optimizers: Sequence[Optimizer], state: Mapping) -> None:
    name = type(optimizers[0]).__name__ if optimizers else ''
    cure = 'or begin a new run from the weights by path:pretrain_network_g'
    if state.get('optimizer', name) != name:
        raise InputError(
            f'option train:optim_g:type is {name}, but the state is of {one_line(state["optimizer"], 40)}; write '
            f'that again, {cure}'
        )
    here = [[len(group['params']) for group in optimizer.param_groups] for optimizer in optimizers]
    there = [[len(group['params']) for group in saved['param_groups']] for saved in state['optimizers']]
    if here != there:
        raise InputError(
            f'option train: the optimisers have groups of {_shown(here)} parameters, those of the state {there}; write '
            f'the network and what is trained of it as before, {cure}'
        )


def _of_optimizers(optimizers: Sequence[Optimizer], state: Mapping) -> Iterator[str]:
    for optimizer, saved in zip(optimizers, state['optimizers'], strict=True):
        told = set()
        for group, old in zip(optimizer.param_groups, saved['param_groups'], strict=True):
            for key in group.keys() & {'lr', *optimizer.defaults} - {'fused', 'foreach'}:
                # The rate itself follows the schedule.
                wanted, was = (one.get('initial_lr' if key == 'lr' else key) for one in (group, old))
                if None not in (wanted, was) and _plain(wanted) != _plain(was):
                    told.add((list(group).index(key), key, _shown(wanted), _shown(was)))
        for _, key, wanted, was in sorted(told):
            yield (
                f'option train:optim_g:{key} is {wanted}, but the run goes on with {was}, as its state says; {_CURE}'
            )


def _check_schedules(schedulers: Sequence[Any], state: Mapping, train: Mapping) -> None:
    told, count = set(), len(state['schedulers'])
    if count != len(schedulers):
        raise InputError(
            f'the state of iteration {state["iter"]} holds {count} schedules instead of {len(schedulers)}; go on from '
            'an earlier state, or write train:resume_settings: file'
        )
    for scheduler, saved in zip(schedulers, state['schedulers'], strict=True):
        here, there = ({key for key in one if key[0] != '_'} - {'verbose'} for one in (scheduler.state_dict(), saved))
        if here != there:
            raise InputError(
                f'option train:scheduler:type is {type(scheduler).__name__}, but the state is of a schedule with '
                f'{", ".join(sorted(there - here)) or "fewer arguments"}; write that again, or write '
                'train:resume_settings: file'
            )
        values = scheduler.state_dict()
        spoiled = sorted(key for key in here if not state_check.is_alike(values[key], saved[key]))
        if spoiled:
            raise InputError(
                f'the state of iteration {state["iter"]} holds a schedule whose {spoiled[0]} is '
                f'{one_line(str(saved[spoiled[0]]), 40)}; write train:resume_settings: file, or go on from an earlier '
                'state'
            )
        ends = (saved.get('cumulative_period') or [None])[-1]
        if ends is not None and ends < train['total_iter'] - 1:
            raise InputError(
                f'option train:total_iter is {train["total_iter"]}, but the periods {saved["periods"]} of the state '
                f'end after {ends} iterations, where the training would fail; {_CURE}'
            )
        for key in inspect.signature(type(scheduler)).parameters:
            if key in there - {'last_epoch'} and _plain(getattr(scheduler, key)) != _plain(saved[key]):
                told.add((key, _shown(getattr(scheduler, key)), _shown(saved[key])))
    for key, wanted, was in sorted(told):
        get_root_logger().warning(
            f'option train:scheduler:{key} is {wanted}, but the run goes on with {was}, as its state says; {_CURE}'
        )


def _flat(block: Mapping, prefix: str = '') -> Iterator[Any]:
    """Pairs of `key:key` and the value there."""
    for key, one in block.items():
        if isinstance(one, Mapping):
            yield from _flat(one, f'{prefix}{key}:')
        else:
            yield f'{prefix}{key}', _plain(one)


def _plain(value: Any) -> Any:
    """A value as a state may hold it, and equal to what means the same."""
    if isinstance(value, Counter):
        return sorted(value.elements())
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, torch.Tensor):
        return value.tolist()
    return value if isinstance(value, int | float | str | None) else str(value)


def _shown(value: Any) -> str:
    return 'not given' if value is None else str(_plain(value))
