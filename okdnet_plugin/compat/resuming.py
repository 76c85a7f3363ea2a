"""Going on with a run."""

import importlib
from os import path as osp
from typing import Any

import torch
import torch.distributed

from okdnet_plugin.compat.checking import prepare
from okdnet_plugin.compat.patches import patch, replace_function, source_of
from okdnet_plugin.errors import InputError


@patch(lambda: 'torch.cuda.current_device()' in source_of('basicsr.train:load_resume_state'))
def resume_without_gpu() -> None:
    """Resuming asks for the current GPU, and `--auto_resume` looks in a fixed folder instead of the run's own.

    The state is loaded to the CPU, from where optimisers move it to their parameters, and without running code. Of
    states that cannot be read, or whose networks cannot, `--auto_resume` takes the one before. Processes that find
    different states do not begin. Can go when BasicSR resumes on a machine without a GPU and looks at what it
    finds.
    """
    train = importlib.import_module('basicsr.train')

    def load_resume_state(opt):
        from okdnet_plugin.engine import checkpoints, resuming
        from okdnet_plugin.engine.run import Run

        if opt['auto_resume']:
            state, opt['path']['resume_state'] = _newest_whole_state(opt)
        elif opt['path'].get('resume_state'):
            state = checkpoints.load_state(opt['path']['resume_state'])
            _check_networks_of(state, opt)
            _check_model_of(state, opt, opt['path']['resume_state'])
        else:
            state = None
        _check_same_in_all_processes(state)
        Run.of(opt).state = state
        if state is not None:
            resuming.is_finished(state, opt)
            prepare(opt)
            train.check_resume(opt, state['iter'])
        return state

    replace_function('basicsr.train:load_resume_state', load_resume_state)


@patch(lambda: 'load_state_dict(s)' in source_of('basicsr.models.base_model:BaseModel.resume_training'))
def hold_a_state_against_the_option_file() -> None:
    """The schedule and the optimiser's settings of a state win over the option file's without a word.

    Longer `periods` then end in a TypeError behind the old ones. What differs is now told, a line each, or refused;
    with `train: resume_settings: file` the option file wins, see `okdnet_plugin.engine.resuming`. Can go when BasicSR
    compares both.
    """
    from basicsr.models.base_model import BaseModel

    def resume_training(self, resume_state):
        from okdnet_plugin.engine import resuming

        resuming.take_up(self.optimizers, self.schedulers, resume_state, self.opt['train'])

    BaseModel.resume_training = resume_training


def _newest_whole_state(opt: dict) -> tuple[dict | None, str | None]:
    from okdnet_plugin.engine import checkpoints

    passed_over = []
    for _, path in checkpoints.states_of(opt['path']['training_states']):
        try:
            state = checkpoints.load_state(path)
            _check_networks_of(state, opt)
            _check_model_of(state, opt, path)
        except InputError as error:
            # The logger has no file before BasicSR has made the folders.
            print(f'WARNING: {error}; --auto_resume takes the state before it.', flush=True)
            passed_over.append(path)
        else:
            return state, path
    if passed_over:
        raise InputError(
            f'--auto_resume: none of the states in {opt["path"]["training_states"]} can be used; put one '
            'back, or start anew without --auto_resume, which keeps this run under another name'
        )
    return None, None


def _check_same_in_all_processes(state: dict | None) -> None:
    """See that all processes go on from the same iteration: nodes without a shared disk find different states.

    Raises:
        InputError: they do not; in all processes.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    iterations: list = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(iterations, 0 if state is None else state['iter'])
    other = next((rank for rank, iteration in enumerate(iterations) if iteration != iterations[0]), None)
    if other is not None:
        raise InputError(
            f'process 0 goes on from iteration {iterations[0]}, process {other} from {iterations[other]}: they see '
            'different folders; run in a folder on a disk that all nodes share, or copy the newest state and its '
            'networks to each node'
        )


def _check_model_of(state: dict, opt: dict, path: str) -> None:
    """See that the model can go on from a state; it may say so by a class method `check_state(opt, state, path)`."""
    from okdnet_plugin.config.walk import model_of

    model: Any = model_of(opt)
    if hasattr(model, 'check_state'):
        model.check_state(opt, state, path)


def _check_networks_of(state: dict, opt: dict) -> None:
    """See that the networks which were saved with a state can be read, and hold finite values."""
    from okdnet_plugin.engine import checkpoints

    ignored = opt['path'].get('ignore_resume_networks') or ()
    for network in (key for key in opt if key.startswith('network_') and key not in ignored):
        name = f'net_{network.removeprefix("network_")}_{state["iter"]}.pth'
        path = osp.join(opt['path']['models'], name)
        checkpoints.refuse_not_finite(checkpoints.load(path), path)
