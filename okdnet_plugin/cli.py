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

from okdnet_plugin import option_file, plugins
from okdnet_plugin.engine.checkpoints import save_error
from okdnet_plugin.errors import BadUpdatesError, InputError, SaveError, UnknownNameError, did_you_mean, message_of
from okdnet_plugin.option_file import toolbox
from okdnet_plugin.plugins import PluginError, load_plugins

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
    commands = {entry.name: entry for entry in plugins.entries('basicsr.commands')}
    if command not in commands:
        known = ['train', 'test', *commands]
        raise InputError(f"no command '{command}'{did_you_mean(command, known)}; there are {', '.join(known)}")
    return commands[command].load()(arguments) or 0


def _run_toolbox(command: str, arguments: list[str]) -> int:
    from okdnet_plugin.engine import run

    loaded = load_plugins()
    # The toolbox parses sys.argv itself and notes it down in the run's copy of the option file.
    sys.argv = [f'basicsr {command}', *arguments]
    try:
        if not _is_right(command, arguments):
            return 2
        _pipeline(command)(os.getcwd())
    except UnknownNameError as error:
        raise InputError(f'{error}; plugins loaded: {", ".join(loaded)}') from error
    except SystemExit:
        _leave_process_group()  # a signal has stopped all processes after the same iteration
        raise
    finally:
        run.current.journal.close()
    _leave_process_group()
    return 0


def _pipeline(command: str) -> Callable[[str], None]:
    if command == 'train':
        from basicsr.train import train_pipeline

        return train_pipeline
    from basicsr.test import test_pipeline

    return test_pipeline


def _is_right(command: str, arguments: list[str]) -> bool:
    """See that the option file can be read and says nothing wrong, before the toolbox starts.

    Returns:
        False in a process whose neighbour on this machine, the first, says what is wrong.

    Raises:
        InputError: the mistakes. A missing -opt is left to the toolbox's own parser.
    """
    path, overrides, _ = toolbox.parse(arguments)
    if path is None:
        return True
    from okdnet_plugin import schema

    try:
        opt, places = option_file.load_with_places(path, overrides)
        schema.refuse(opt, places, 'train' if command == 'train' else 'test')
    except InputError:
        if (os.environ.get('LOCAL_RANK') or os.environ.get('SLURM_LOCALID') or '0') != '0':
            return False
        raise
    return True


def _split(argv: list[str]) -> tuple[str | None, list[str]]:
    """Part the command from its arguments; torch.distributed.launch puts --local-rank in front of both."""
    rank = [argument for argument in argv[:1] if argument.startswith(('--local-rank', '--local_rank'))]
    rest = argv[len(rank) :]
    return (rest[0], rest[1:] + rank) if rest else (None, [])


def _usage() -> str:
    entries = plugins.entries('basicsr.commands')
    commands = ''.join(f'  {entry.name:<8}{plugins.distribution(entry)}\n' for entry in entries)
    loaded = ', '.join(map(plugins.describe, plugins.entries(plugins.GROUP)))
    return USAGE.format(commands=commands, plugins=loaded or 'none')


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
