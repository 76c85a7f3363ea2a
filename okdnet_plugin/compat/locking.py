"""A run from its begin to its end: one process at a time in its folder, and nothing lost by what ends it."""

import functools
import importlib
import itertools
import os
import sys
from collections.abc import Callable
from os import path as osp
from typing import Any

import torch.distributed

from okdnet_plugin.compat.option_files import handing_over, run_in_hand
from okdnet_plugin.compat.patches import patch, replace_function, source_of
from okdnet_plugin.errors import BadUpdatesError, InputError, SaveError, message_of

_CURE = 'wait for it, end it, or give this run another name'


@patch(lambda: 'lock' not in source_of('basicsr.train:train_pipeline'))
def keep_two_runs_apart() -> None:
    """A second run of one name renames the folder of the first, which goes on writing into the second's.

    Either may be lost, with exit code 0. The folder is now locked from before its states are looked at to the end of
    the pipeline, of a training as of a test; the second is refused in one line. What a training has made since its last
    save is saved when an error ends it between two updates. Can go when BasicSR locks its folders.
    """
    load = importlib.import_module('basicsr.train').load_resume_state
    make = importlib.import_module('basicsr.utils.misc').make_exp_dirs

    def load_resume_state(opt):
        hold(opt)
        return load(opt)

    def make_exp_dirs(opt):
        hold(opt)
        make(opt)

    replace_function('basicsr.train:load_resume_state', load_resume_state)
    replace_function('basicsr.utils.misc:make_exp_dirs', make_exp_dirs)
    for name in ('train', 'test'):
        pipeline = getattr(importlib.import_module(f'basicsr.{name}'), f'{name}_pipeline')
        replace_function(f'basicsr.{name}:{name}_pipeline', _letting_go(pipeline))


@patch(lambda: 'lexists' not in source_of('basicsr.utils.misc:mkdir_and_rename'))
def give_each_earlier_run_its_own_name() -> None:
    """The third start of a name within a second ends in a traceback: the second's archive has the name already.

    A number is now added to it. Can go when BasicSR looks whether the name is free.
    """
    misc = importlib.import_module('basicsr.utils.misc')

    def mkdir_and_rename(path):
        if osp.lexists(path):
            wanted = f'{path}_archived_{misc.get_time_str()}'
            names = itertools.chain([wanted], (f'{wanted}_{number}' for number in itertools.count(2)))
            name = next(name for name in names if not osp.lexists(name))
            print(f'Path already exists. Rename it to {name}', flush=True)
            os.rename(path, name)
        os.makedirs(path, exist_ok=True)

    replace_function('basicsr.utils.misc:mkdir_and_rename', mkdir_and_rename)


def _letting_go(pipeline: Callable[[str], None]) -> Callable[[str], None]:
    @functools.wraps(pipeline)
    def run_pipeline(root_path):
        from okdnet_plugin.engine.run import Run
        from okdnet_plugin.engine.workers import failure_of

        run = run_in_hand() or Run()
        with handing_over(run):
            try:
                pipeline(root_path)
            except Exception as error:
                try:
                    _save_first(run, error)
                except RuntimeError as another:
                    # Of a worker that is killed torch tells twice: where its batch is missing, and, by a signal's
                    # handler, at whatever the process is doing then.
                    if failure_of(another) is None:
                        raise
                    _save_first(run, another)
                raise
            finally:
                if run.lock is not None:
                    run.lock.release()

    return run_pipeline


def _save_first(run: Any, error: Exception) -> None:
    """Save a training that ends between two updates, and say in one line what has ended it if the cure is known.

    Raises:
        InputError: it is, of the class of the error if that is one.
    """
    from okdnet_plugin.engine.workers import failure_of

    rescue = None if isinstance(error, SaveError | BadUpdatesError) else run.rescue
    saved, cause = '' if rescue is None else rescue(), failure_of(error)
    if cause is not None:
        raise InputError(f'{cause}{saved}') from error
    if saved and isinstance(error, InputError):
        raise type(error)(f'{message_of(error)}{saved}') from error
    if saved:
        print(f'WARNING: {type(error).__name__}{saved}', file=sys.stderr)


def hold(opt: Any) -> None:
    """Lock the folder of a run in its first process, unless that has been done; to be called by all of them.

    Raises:
        InputError: another run holds it; in all processes.
        SaveError: nothing can be written there.
    """
    from okdnet_plugin.config.messages import OptionError
    from okdnet_plugin.engine.run import Run
    from okdnet_plugin.locks import Lock

    run, error = Run.of(opt), None
    kind, use = ('experiments', 'is being trained') if opt.get('is_train') else ('results', 'is being tested')
    folder = opt['path'].get(f'{kind}_root')
    if run.is_held or folder is None:  # of options that somebody has made by hand
        return
    if opt.get('rank', 0) == 0:
        try:
            run.lock = Lock(folder, use, _CURE)
        except (InputError, SaveError) as found:
            error = OptionError(str(found)) if isinstance(found, InputError) else found
    if opt.get('dist'):
        shared = [error]
        torch.distributed.broadcast_object_list(shared)
        error = shared[0]
    if error is not None:
        raise error
    run.is_held = True
