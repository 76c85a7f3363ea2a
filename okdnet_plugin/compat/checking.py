"""Looking at the options before anything is moved, and building each data set once."""

import contextlib
import functools
import importlib
import logging
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from okdnet_plugin.compat.patches import original_source_of, patch, replace_function, source_of
from okdnet_plugin.errors import InputError


def _moves_before_it_builds() -> bool:
    source = source_of('basicsr.train:train_pipeline')
    is_blind = 'mkdir_and_rename(' in original_source_of('basicsr.utils.misc:make_exp_dirs')
    return is_blind and source.index('make_exp_dirs(') < source.index('create_train_val_dataloader(')


@patch(_moves_before_it_builds)
def look_before_moving_an_earlier_run() -> None:
    """A mistake in an option file is found only after the earlier run of that name has been moved away.

    `--auto_resume` then starts from nothing. Data sets are now built, and a first batch drawn, before a folder is made
    or renamed; the loop gets these data sets. Can go when BasicSR builds its data sets and networks before its folders.
    """
    from okdnet_plugin.engine import checkpoints

    original = importlib.import_module('basicsr.utils.misc').make_exp_dirs
    build = importlib.import_module('basicsr.data').build_dataset

    def make_exp_dirs(opt):
        prepare(opt)
        states = checkpoints.states_of(opt['path']['training_states']) if opt['is_train'] else []
        original(opt)
        if states and opt['rank'] == 0:
            print(
                f'The earlier run of that name had made {states[0][0]} iterations. To go on with it instead, give it '
                'its name back and start with --auto_resume.',
                flush=True,
            )

    @functools.wraps(build)
    def build_dataset(dataset_opt):
        from basicsr.utils import get_root_logger

        run = getattr(dataset_opt, 'run', None)
        made = run.data_sets.pop(dataset_opt.phase, None) if run is not None else None
        if made is None:
            return build(dataset_opt)
        logger = get_root_logger()
        for record in made.records:
            logger.handle(record)
        logger.info(f'Dataset [{type(made.data_set).__name__}] - {dataset_opt["name"]} is built.')
        return made.data_set

    replace_function('basicsr.utils.misc:make_exp_dirs', make_exp_dirs)
    replace_function('basicsr.data:build_dataset', build_dataset)


def prepare(opt: Any) -> None:
    """Check the options of a run, if nobody has, and make what only a try shows to be right.

    A model class may add its own check as a class method `check_options(opt)`.

    Args:
        opt: as BasicSR's parser returns it; its run keeps the data sets.

    Raises:
        InputError: all mistakes that the option file shows by itself, or those of its data sets, or of the model.
    """
    from okdnet_plugin.config import check
    from okdnet_plugin.config.messages import Mistake, error_of
    from okdnet_plugin.config.walk import model_of
    from okdnet_plugin.engine import trial
    from okdnet_plugin.engine.run import Made, Run

    run = Run.of(opt)
    if not run.is_checked:
        check.refuse(check.as_written(opt), phase='train' if opt['is_train'] else 'test')
    model: Any = model_of(opt)
    if hasattr(model, 'check_options'):
        model.check_options(opt)
    made, errors = {}, []
    for phase, block in opt['datasets'].items():
        with _records() as records:
            try:
                made[phase] = Made(trial.construct({'phase': phase, **block}), records)
            except InputError as error:
                errors.append(error)
    if len(errors) > 1:
        raise error_of([Mistake((), str(error), 'wrong value') for error in errors])
    if errors:
        raise errors[0]
    if opt['is_train'] and 'train' in made:
        with _records(), _same_random_numbers():
            trial.first_batch(opt, made['train'].data_set, opt.get('world_size', 1))
    run.is_checked, run.data_sets = True, made


@contextlib.contextmanager
def _records() -> Iterator[list[logging.LogRecord]]:
    """Keep what is logged before BasicSR's logger has its file, which its first use would settle."""
    from basicsr.utils.logger import initialized_logger

    records: list[logging.LogRecord] = []
    logger, fresh = logging.getLogger('basicsr'), 'basicsr' not in initialized_logger
    initialized_logger.setdefault('basicsr', True)
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    before, propagates, level = logger.handlers[:], logger.propagate, logger.level
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    try:
        yield records
    finally:
        logger.handlers, logger.propagate = before, propagates
        logger.setLevel(level)
        if fresh:
            del initialized_logger['basicsr']


@contextlib.contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Leave the run the random numbers that it would have had."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
