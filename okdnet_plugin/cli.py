"""The command `basicsr`: the toolbox's own training and testing, with every installed plugin loaded.

Plugins are entry points of the group `basicsr.plugins` (`name = package:register`), further sub-commands of the group
`basicsr.commands` (`name = module:main`, called with the arguments that follow the name).
"""

import errno
import logging
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

from okdnet_plugin.config.messages import OptionError
from okdnet_plugin.engine.checkpoints import save_error
from okdnet_plugin.errors import BadUpdatesError, InputError, SaveError, UnknownNameError, did_you_mean, message_of

USAGE = """\
usage: basicsr COMMAND [ARGUMENTS]

commands:
  train   -opt FILE   train what the option file describes, into experiments/<name>/ of the current folder
  test    -opt FILE   test it, into results/<name>/ of the current folder
{commands}
options of train and test (those of the toolbox; `basicsr train -h` lists them all):
  --launcher none|pytorch|slurm    how the processes were started
  --auto_resume                    go on from the newest state of the run, if there is one
  --set KEY.KEY=VALUE ...          change values of the option file, for example train.optim_g.lr=5e-4; KEY=null
                                   empties a key, KEY=_delete_ takes it out. --force_yml KEY:KEY=VALUE is the same
  --debug                          short intervals, to try an option file out

on several devices: torchrun --nproc_per_node=N -m okdnet_plugin train -opt FILE --launcher pytorch

plugins: {plugins}
"""


class PluginError(Exception):
    """A plugin could not be loaded."""


def load_plugins() -> list[str]:
    """Call every entry point of the group `basicsr.plugins`.

    Returns:
        A line for each plugin: its name, distribution and version.

    Raises:
        PluginError: a plugin cannot be imported or does not register; the message names it.
    """
    loaded = []
    for plugin in _entry_points('basicsr.plugins'):
        try:
            plugin.load()()
        except Exception as error:
            raise PluginError(
                f'plugin {_describe(plugin)} cannot be loaded from {plugin.value}: {type(error).__name__}: {error}'
            ) from error
        loaded.append(_describe(plugin))
    return loaded


def main(argv: list[str] | None = None) -> int:
    """Run one sub-command.

    Args:
        argv: what follows `basicsr` on the command line; by default that of this process.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong input, 130 stopped by Ctrl-C, with one line on the standard error that
        says what to mend; 141, without one, if who read the output has gone.

    Raises:
        SystemExit: a signal has stopped a training, which is saved; the code is 128 and the signal's number.
    """
    logging.raiseExceptions = False  # where the disk is full, a log would print a traceback for each of its lines
    command, arguments = _split(sys.argv[1:] if argv is None else argv)
    if command in (None, '-h', '--help'):
        print(_usage(), end='')
        return 0 if command else 2
    try:
        code = _run(command, arguments)
        sys.stdout.flush()  # here, where a reader that has gone is no traceback
        return code
    except BrokenPipeError as error:
        return _reader_has_gone(error)
    except KeyboardInterrupt:
        return _fail('stopped by Ctrl-C', 130)
    except InputError as error:
        return _fail(message_of(error), 2)
    except (SaveError, BadUpdatesError) as error:
        return _fail(str(error), 1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG):
            raise
        return _fail(str(save_error(error.filename or 'a file of the run', error)), 1)
    except PluginError as error:
        traceback.print_exc()
        return _fail(str(error), 1)


def _run(command: str, arguments: list[str]) -> int:
    if command in ('train', 'test'):
        return _run_toolbox(command, arguments)
    commands = {entry.name: entry for entry in _entry_points('basicsr.commands')}
    if command not in commands:
        known = ['train', 'test', *commands]
        raise InputError(f"no command '{command}'{did_you_mean(command, known)}; there are {', '.join(known)}")
    return commands[command].load()(arguments) or 0


def _run_toolbox(command: str, arguments: list[str]) -> int:
    from okdnet_plugin.compat.option_files import handing_over
    from okdnet_plugin.config.command_line import is_first_process
    from okdnet_plugin.engine.run import Run

    plugins, run = load_plugins(), Run()
    # The toolbox parses sys.argv itself and notes it down in the run's copy of the option file.
    sys.argv = [f'basicsr {command}', *arguments]
    try:
        with handing_over(run):
            _pipeline(command)(os.getcwd())
    except OptionError as error:
        if not is_first_process():
            return 2  # a neighbour on this machine says what is wrong
        known = f'; plugins loaded: {", ".join(plugins)}' if isinstance(error, UnknownNameError) else ''
        raise InputError(f'{error}{known}') from error
    except UnknownNameError as error:
        raise InputError(f'{error}; plugins loaded: {", ".join(plugins)}') from error
    except SystemExit:
        _leave_process_group()  # a signal has stopped all processes after the same iteration
        raise
    finally:
        run.journal.close()
    _leave_process_group()
    return 0


def _pipeline(command: str) -> Callable[[str], None]:
    if command == 'train':
        from basicsr.train import train_pipeline

        return train_pipeline
    from basicsr.test import test_pipeline

    return test_pipeline


def _split(argv: list[str]) -> tuple[str | None, list[str]]:
    """Part the command from its arguments; torch.distributed.launch puts --local-rank in front of both."""
    rank = [argument for argument in argv[:1] if argument.startswith(('--local-rank', '--local_rank'))]
    rest = argv[len(rank) :]
    return (rest[0], rest[1:] + rank) if rest else (None, [])


def _usage() -> str:
    commands = ''.join(f'  {entry.name:<8}{_distribution(entry)}\n' for entry in _entry_points('basicsr.commands'))
    plugins = ', '.join(map(_describe, _entry_points('basicsr.plugins')))
    return USAGE.format(commands=commands, plugins=plugins or 'none')


def _entry_points(group: str) -> list[EntryPoint]:
    return sorted(entry_points(group=group), key=lambda entry: entry.name)


def _describe(entry: EntryPoint) -> str:
    return f'{entry.name} ({_distribution(entry)})'


def _distribution(entry: EntryPoint) -> str:
    return f'{entry.dist.name} {entry.dist.version}' if entry.dist else 'no distribution'


def _leave_process_group() -> None:
    """After success only: leaving takes all processes, and after an error the others may never come."""
    import torch.distributed

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _reader_has_gone(error: BrokenPipeError) -> int:
    """End quietly after `basicsr options | head`, as other commands do; another broken pipe is an error.

    Args:
        error: what the command has met.

    Returns:
        141, as of a program that SIGPIPE ends.

    Raises:
        BrokenPipeError: it was not that of the standard output.
    """
    output = sys.stdout.fileno()
    poll = select.poll()
    poll.register(output, 0)
    if not any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
        raise error
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)  # Python flushes once more at its end
    return 128 + signal.SIGPIPE


def _fail(message: str, code: int) -> int:
    # In one write: a worker that is still running may print between two.
    sys.stderr.write(f'basicsr: error: {message}\n')
    return code
