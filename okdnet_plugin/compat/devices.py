"""Which device a run takes, and that it says so."""

import functools
import importlib
import os
import sys

from okdnet_plugin.compat.patches import patch, replace_function, sources_of
from okdnet_plugin.errors import InputError


def options_in_force() -> dict:
    """The option file of this process's command line, as its overrides change it; empty without one.

    Where BasicSR's own parser is at work, it is what has been read for it.
    """
    from okdnet_plugin import config
    from okdnet_plugin.compat.command_line import parse
    from okdnet_plugin.compat.option_files import option_file_in_hand

    file = option_file_in_hand()
    if file is not None:
        return file.opt
    path, overrides, _ = parse(sys.argv[1:])
    return config.load(path, overrides) if path is not None else {}


@patch(lambda: 'usable_gpus' not in sources_of('basicsr.utils.options:parse_options'))
def take_the_gpus_that_there_are() -> None:
    """`num_gpu: 1` on a machine without a GPU is a traceback, `auto` with several is DataParallel without a word.

    With it a run falls back to the CPU with a warning, `auto` takes one GPU and says how to use all, and several
    processes that are started without `--launcher` are refused: each would be a training of its own in one folder.
    Can go when BasicSR looks at what there is.
    """
    original = importlib.import_module('basicsr.utils.options').parse_options

    @functools.wraps(original)
    def parse_options(root_path, is_train=True):
        from okdnet_plugin.engine.devices import usable_gpus

        command = 'train' if is_train else 'test'
        refuse_processes_without_launcher(f'{command} -opt FILE', _launcher())
        opt, args = original(root_path, is_train)
        # BasicSR's parser has put a number in place of `auto`; what it was given has the path's place.
        written = getattr(args.opt, 'opt', {})
        wanted = written.get('num_gpu', opt['num_gpu'])
        opt['num_gpu'], advice = usable_gpus(opt | {'num_gpu': wanted}, command)
        if advice and opt['rank'] == 0:
            print(f'WARNING: {advice}.', flush=True)  # the logger has no file before BasicSR has made the folders
        return opt, args

    replace_function('basicsr.utils.options:parse_options', parse_options)


# What tells that a launcher has started several processes: the variable, and the command that would be right.
_STARTED = {
    'WORLD_SIZE': ('RANK', 'torchrun --nproc_per_node={} -m okdnet_plugin {} --launcher pytorch'),
    # Not SLURM_NTASKS, which a script of a job has too where it starts one process.
    'SLURM_STEP_NUM_TASKS': ('SLURM_PROCID', 'srun --ntasks={} basicsr {} --launcher slurm'),
}


def refuse_processes_without_launcher(command: str, launcher: str) -> None:
    """
    Args:
        command: of `basicsr`, for the advice.
        launcher: what its command line says.

    Raises:
        InputError: this process is one of several, and nothing on its command line says so.
    """
    if launcher != 'none':
        return
    for size, (rank, right) in _STARTED.items():
        count = os.environ.get(size, '')
        if count.isdigit() and int(count) > 1 and rank in os.environ:
            raise InputError(
                f'{size} is {count}, so this is one of {count} processes, but --launcher is missing: each would do '
                f'all of the work, in the same folder; start `{right.format(count, command)}`'
            )


def _launcher() -> str:
    following = [value for option, value in zip(sys.argv, sys.argv[1:], strict=False) if option == '--launcher']
    following += [argument.partition('=')[2] for argument in sys.argv if argument.startswith('--launcher=')]
    return following[-1] if following else 'none'


@patch(lambda: 'device' not in sources_of('basicsr.models:build_model'))
def say_which_device() -> None:
    """A training does not say what it computes on, so that a driver which is too old costs days on the CPU.

    One line of the log now names the device; a GPU that torch cannot use is a warning with the reason. Can go when
    BasicSR does so.
    """
    original = importlib.import_module('basicsr.models').build_model

    @functools.wraps(original)
    def build_model(opt):
        from basicsr.utils import get_root_logger

        from okdnet_plugin.engine.devices import describe

        model = original(opt)
        device = getattr(model, 'device', None)
        if device is not None:
            text, is_wrong = describe(device)
            logger = get_root_logger()
            (logger.warning if is_wrong else logger.info)(f'Device: {text}.')
        return model

    replace_function('basicsr.models:build_model', build_model)
