"""The command `basicsr`: BasicSR's own training and testing, with every installed plugin loaded.

Plugins are entry points of the group `basicsr.plugins` (`name = package:register`), further sub-commands of the group
`basicsr.commands` (`name = module:main`, called with the arguments that follow the name).

Nothing here imports torch or BasicSR before a command is run: the help comes at once, also where they are broken.
"""

import ast
import contextlib
import errno
import importlib.metadata
import logging
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint

from okdnet_plugin import plugins
from okdnet_plugin.errors import (
    BadUpdatesError,
    InputError,
    SaveError,
    UnknownNameError,
    did_you_mean,
    message_of,
    one_line,
)
from okdnet_plugin.files import OF_THE_DISK, shown
from okdnet_plugin.plugins import PluginError, load_plugins
from okdnet_plugin.redaction import redacted

USAGE = """\
usage: basicsr COMMAND [ARGUMENTS]
       basicsr COMMAND -h
       basicsr --version

commands:
{commands}
on several devices: torchrun --nproc_per_node=N -m okdnet_plugin train -opt FILE --launcher pytorch

plugins: {plugins}
"""
_OF_BASICSR = {
    'train': 'train what an option file describes, into experiments/<name>/ of the current folder',
    'test': 'test it, into results/<name>/ of the current folder',
}
# What a disk, its limits or its rights say to a file that nothing nearer to it answers for.
_OF_A_FILE = (
    *(*OF_THE_DISK, errno.EFBIG, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EMFILE, errno.ENFILE),
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR),
)
_ADVICE = 'What was saved before is whole: remove the cause, then go on with --auto_resume'
_DOCTOR = '`basicsr doctor` says what is wrong with this environment.'


def main(argv: list[str] | None = None) -> int:
    """Run one sub-command.

    Args:
        argv: what follows `basicsr` on the command line; by default that of this process.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong input, 130 stopped by Ctrl-C, with one line on the standard error that
        says what to correct; 141, without one, if who read the output has gone.

    Raises:
        SystemExit: a signal has stopped a training, which is saved; the code is 128 and the signal's number.
    """
    logging.raiseExceptions = False  # where the disk is full, a log would print a traceback for each of its lines
    command, arguments = _split(sys.argv[1:] if argv is None else argv)
    try:
        try:
            with _one_line_of_threads():
                code = _run(command, arguments)
        finally:
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
        if error.errno not in _OF_A_FILE:
            raise
        place = shown(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else 'a file'
        more = f'. {_ADVICE}' if command == 'train' else ''
        return _fail(f'{place} cannot be used: {error.strerror}{more}', 1)
    except (MemoryError, RuntimeError) as error:
        line = _known(error)
        if line is None:
            raise
        return _fail(line, 1)
    except PluginError as error:
        traceback.print_exc()
        print(_DOCTOR, file=sys.stderr)
        return _fail(str(error), 1)
    except ImportError as error:
        # A note stands below the traceback; Python 3.10 has none.
        getattr(error, 'add_note', lambda line: print(line, file=sys.stderr))(_DOCTOR)
        raise


def _run(command: str | None, arguments: list[str]) -> int:
    if command in (None, '-h', '--help'):
        print(_usage(), end='')
        return 0 if command else 2
    if command == '--version':
        print(_versions())
        return 0
    if command in _OF_BASICSR:
        return _run_basicsr(command, arguments)
    commands = {entry.name: entry for entry in plugins.entries('basicsr.commands')}
    if command not in commands:
        known = [*_OF_BASICSR, *commands]
        raise InputError(f"no command '{command}'{did_you_mean(command, known)}; there are {', '.join(known)}")
    return commands[command].load()(arguments) or 0


def _run_basicsr(command: str, arguments: list[str]) -> int:
    from okdnet_plugin.commands.train import parser

    parser(command, _OF_BASICSR[command]).parse_args(arguments)  # for -h, and for mistakes before the imports
    from okdnet_plugin.compat.option_files import handing_over
    from okdnet_plugin.config.messages import OptionError, is_first_process
    from okdnet_plugin.engine.run import Run
    from okdnet_plugin.engine.torch_versions import leave_process_group

    loaded, run = load_plugins(), Run()
    # BasicSR parses sys.argv itself and notes it down in the run's copy of the option file.
    sys.argv = [f'basicsr {command}', *arguments]
    try:
        with handing_over(run):
            _pipeline(command)(os.getcwd())
    except OptionError as error:
        if not is_first_process():
            return 2  # a neighbour on this machine says what is wrong
        known = f'; plugins loaded: {", ".join(loaded)}' if isinstance(error, UnknownNameError) else ''
        raise InputError(f'{error}{known}') from error
    except UnknownNameError as error:
        raise InputError(f'{error}; plugins loaded: {", ".join(loaded)}') from error
    except SystemExit:
        leave_process_group()  # a signal has stopped all processes after the same iteration
        raise
    finally:
        run.journal.close()
    leave_process_group()
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
    rows = dict(_OF_BASICSR)
    for entry in plugins.entries('basicsr.commands'):
        by = '' if _is_ours(entry) else f' ({plugins.distribution(entry)})'
        rows[entry.name] = f'{summary_of(entry)}{by}'.strip()
    width = max(map(len, rows)) + 2
    commands = ''.join(f'  {name:<{width}}{text}\n' for name, text in rows.items())
    known = ', '.join(map(plugins.describe, plugins.entries(plugins.GROUP)))
    return USAGE.format(commands=commands, plugins=known or 'none')


def summary_of(entry: EntryPoint) -> str:
    """What a command does: the first line of its module's docstring, behind `basicsr NAME: ` if it begins so.

    The module is read and not imported, so that the help needs none of its packages.

    Returns:
        The line; empty if there is none.
    """
    try:
        spec = _spec_of(entry.module)
        source = spec.loader.get_source(entry.module) if spec and spec.loader else None  # type: ignore[attr-defined]
        doc = ast.get_docstring(ast.parse(source or ''))
    except (AttributeError, ImportError, OSError, SyntaxError, ValueError):  # without source, or broken: `doctor` tells
        return ''
    line = (doc or '').partition('\n')[0].strip()
    return line.removeprefix(f'basicsr {entry.name}: ').removesuffix('.')


def _spec_of(module: str) -> ModuleSpec | None:
    """Where a module is; importlib.util.find_spec would import the packages that it is in."""
    spec, path, name = None, None, ''
    for part in module.split('.'):
        name = f'{name}.{part}' if name else part
        found = (finder.find_spec(name, path) for finder in sys.meta_path)
        spec = next(filter(None, found), None)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return spec


def _is_ours(entry: EntryPoint) -> bool:
    return entry.module.partition('.')[0] == 'okdnet_plugin'


def _versions() -> str:
    """This package, BasicSR, torch and Python, as they are installed; none of them is imported."""
    found = []
    for name in ('okdnet_plugin', 'basicsr', 'torch'):
        try:
            found.append(f'{name} {importlib.metadata.version(name)}')
        except importlib.metadata.PackageNotFoundError:
            found.append(f'{name} is not installed')
    return ', '.join([*found, f'Python {sys.version.split()[0]}'])


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


@contextlib.contextmanager
def _one_line_of_threads() -> Iterator[None]:
    """A thread whose disk is full, as TensorBoard's, ends with a line; the main one meets the same error."""
    before = threading.excepthook

    def tell(args: threading.ExceptHookArgs) -> None:
        error = args.exc_value
        if isinstance(error, OSError) and error.errno in OF_THE_DISK:
            sys.stderr.write(f'basicsr: warning: {one_line(error)}\n')
        else:
            before(args)

    threading.excepthook = tell
    try:
        yield
    finally:
        threading.excepthook = before


def _known(error: MemoryError | RuntimeError) -> str | None:
    """The line for an error that is not the program's: too little memory, another process that is gone."""
    if isinstance(error, RuntimeError):
        from okdnet_plugin.compat.launching import lost_process
        from okdnet_plugin.engine.memory import is_out_of_memory

        if not is_out_of_memory(error):
            return lost_process(error)
    return f'not enough memory ({one_line(error, 100)}); end other programs, or raise the limit of this one'


def _fail(message: str, code: int) -> int:
    # In one write: a worker that is still running may print between two.
    sys.stderr.write(f'basicsr: error: {redacted(message)}\n')
    return code
