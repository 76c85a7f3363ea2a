"""Runs commands of `basicsr`, or Python code, each in a process of its own, without the seconds that imports take.

A process that has imported everything, and done nothing else, forks a child for each command: it has a single thread,
so that a fork is safe, and a child is in the state of a process that has just ended its imports. `conftest.basicsr`
and `conftest.run_code` ask it; what a start from nothing does is for `conftest.run`.
"""

import contextlib
import json
import os
import signal
import sys
import traceback

from okdnet_plugin.cli import main  # a worker of a loader that is spawned gets it, and with it the patches


def be_a_nursery() -> None:
    """For each order, a line of JSON, fork its processes, and print their exit codes when all have ended."""
    import basicsr.test
    import basicsr.train  # noqa: F401
    import cv2
    import torch
    import torch._dynamo  # which the first optimiser of a process imports, for longer than a small training takes

    import okdnet_plugin
    import okdnet_plugin.config.check
    import okdnet_plugin.inference.dehazer
    import okdnet_plugin.report.make

    okdnet_plugin.register()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    if len(os.listdir('/proc/self/task')) > 1:
        sys.exit('the nursery has several threads, and must not fork')
    print('ready', flush=True)
    for line in sys.stdin:
        children = []
        for order in json.loads(line):
            pid = os.fork()
            if pid == 0:
                _be_a_command(**order)
            children.append(pid)
        print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]), flush=True)


def _be_a_command(
    arguments: list[str], cwd: str, environment: dict[str, str], stdout: str, stderr: str, program: str | None
) -> None:
    """Be `basicsr ARGUMENTS`, or `python -c PROGRAM ARGUMENTS`."""
    code = 1
    try:
        os.chdir(cwd)
        os.environ.update(environment)
        for number, path in enumerate((os.devnull, stdout, stderr)):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.argv = ['-c' if program else 'basicsr', *arguments]
        if program:
            exec(compile(program, '<code>', 'exec'), {'__name__': '__main__'})
        code = 0 if program else main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os._exit(code)


if __name__ == '__main__':
    be_a_nursery()
