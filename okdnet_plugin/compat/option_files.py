"""Option files and the command line that changes them."""

import contextlib
import functools
import importlib
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from copy import deepcopy
from typing import Any

import torch.distributed

from okdnet_plugin.compat.command_line import OptionFile, parse, write_copy
from okdnet_plugin.compat.patches import patch, replace_function, source_of
from okdnet_plugin.config.yaml_values import SafeLoader
from okdnet_plugin.redaction import redacted

_in_hand: ContextVar[OptionFile | None] = ContextVar('option file', default=None)
_run_in_hand: ContextVar[Any] = ContextVar('run', default=None)
_MORE_HELP = """\
  --set KEY.KEY=VALUE [KEY.KEY=VALUE ...]
                        Values in place of those of the option file, as train.optim_g.lr=5e-4. KEY=null empties a
                        key, KEY=_delete_ takes it out. --force_yml is the same."""


@contextlib.contextmanager
def handing_over(run: object) -> Iterator[None]:
    """Let the options that BasicSR's parser returns belong to this run."""
    token = _run_in_hand.set(run)
    try:
        yield
    finally:
        _run_in_hand.reset(token)


def run_in_hand() -> Any:
    """The run of the pipeline that is at work; None outside of one."""
    return _run_in_hand.get()


def option_file_in_hand() -> OptionFile | None:
    """What BasicSR's parser is being given, as long as it parses."""
    return _in_hand.get()


class _Given(SafeLoader):
    """Loader for `yaml.load(file, Loader=…)`, as BasicSR calls it, that hands over what has been read."""

    def __init__(self, stream):
        # The text is left to lie: BasicSR decodes it by the settings of the machine, which may fail.
        super().__init__('' if option_file_in_hand() is not None else stream)

    def get_single_data(self):
        file = option_file_in_hand()
        return super().get_single_data() if file is None else deepcopy(file.opt)


@patch(lambda: 'exec(' in source_of('basicsr.utils.options:parse_options'))
def read_option_files_once() -> None:
    """An option file repeats what others say, its YAML may make objects of any class, `--force_yml` runs Python.

    With it a file may say `_base_` and `${key}`, see `okdnet_plugin.config`; `--set` and `--force_yml` are read as the
    type that the key expects, before the seed is chosen. The file is read once and checked once; the options that come
    back carry the `Run`, the path what was read, so that the copy that a run keeps says all, and plain BasicSR runs it.
    Of several processes the first makes the copy, and the others wait. Can go when BasicSR has inheritance, the safe
    loader, and assigns without exec and eval.
    """
    options = importlib.import_module('basicsr.utils.options')
    original, original_yaml, copy = options.parse_options, options.ordered_yaml, options.copy_opt_file

    @functools.wraps(original_yaml)
    def ordered_yaml():
        return _Given, original_yaml()[1]

    @functools.wraps(original)
    def parse_options(root_path, is_train=True):
        from okdnet_plugin.config.check import refuse
        from okdnet_plugin.engine.run import DataSetOptions, Run, RunOptions

        given = sys.argv
        path, overrides, rest = parse(given[1:])
        run, file = _run_in_hand.get() or Run(), None
        if path is not None:  # else BasicSR's own parser says so
            file = OptionFile.read(path, overrides)
            refuse(file.opt, file.places, 'train' if is_train else 'test')
            run.is_checked = True
        sys.argv = [given[0], *rest]
        token = _in_hand.set(file)
        try:
            read, args = original(root_path, is_train)
        except SystemExit:
            if {'-h', '--help'} & set(rest):
                print(_MORE_HELP)
            raise
        finally:
            _in_hand.reset(token)
            sys.argv = given
        opt = RunOptions(read, run)
        opt['datasets'] = {phase: DataSetOptions(one, run, phase) for phase, one in read['datasets'].items()}
        args.opt = file if file is not None else args.opt
        return opt, args

    get_dist_info = importlib.import_module('basicsr.utils.dist_util').get_dist_info

    @functools.wraps(copy)
    def copy_opt_file(opt_file, experiments_root):
        rank, processes = get_dist_info()
        if rank == 0:
            write_copy(opt_file, experiments_root)
        if processes > 1:
            torch.distributed.barrier()  # the folder is there, and an earlier run has its other name

    init_wandb_logger = importlib.import_module('basicsr.utils.logger').init_wandb_logger

    @functools.wraps(init_wandb_logger)
    def init_wandb_without_secrets(opt):
        init_wandb_logger(redacted(opt))  # which become the config of a run that others may see

    replace_function('basicsr.utils.logger:init_wandb_logger', init_wandb_without_secrets)
    replace_function('basicsr.utils.options:ordered_yaml', ordered_yaml)
    replace_function('basicsr.utils.options:parse_options', parse_options)
    replace_function('basicsr.utils.options:copy_opt_file', copy_opt_file)
