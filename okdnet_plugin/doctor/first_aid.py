"""`basicsr doctor` where the package itself cannot be imported: that is when it is needed most."""

import contextlib
import os
import sys
from collections.abc import Iterator
from os import path as osp


@contextlib.contextmanager
def first_aid() -> Iterator[None]:
    """Go round the imports of the package.

    If one of them fails, `basicsr doctor` makes its examination all the same and ends the process with it. In any other
    command the error goes on, with a hint.

    Raises:
        SystemExit: the command is `basicsr doctor`; the exit code is 1.
    """
    if _is_asked_for(sys.argv):
        try:
            os.getcwd()
        except OSError as error:  # in which to import torch ends the process
            message = 'basicsr doctor: wrong: the current folder has been removed; change to one that exists'
            raise SystemExit(message) from error
    try:
        yield
    except Exception as error:
        if _is_asked_for(sys.argv):
            from okdnet_plugin.commands.doctor import main

            raise SystemExit(main(sys.argv[2:], import_error=error)) from error
        if hasattr(error, 'add_note'):  # Python 3.11
            error.add_note('`basicsr doctor` says what is wrong with this environment.')
        raise


def _is_asked_for(argv: list[str]) -> bool:
    """Whether this process is `basicsr doctor …` or `python -m okdnet_plugin doctor …`."""
    program = osp.basename(argv[0]) if argv else ''
    return argv[1:2] == ['doctor'] and (program == '-m' or osp.splitext(program)[0] == 'basicsr')
