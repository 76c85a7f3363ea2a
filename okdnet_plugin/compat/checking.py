"""Looking at the options before anything is moved."""

import functools
import importlib
import logging

from okdnet_plugin.compat.patches import patch, replace_function, source_of


@patch(lambda: 'check_quietly' not in source_of('basicsr.utils.misc:make_exp_dirs'))
def look_before_moving_an_earlier_run() -> None:
    """A mistake in an option file is found only after the earlier run of that name has been moved away.

    `--auto_resume` then starts from nothing. The options are now checked before a folder is made or renamed. Can go
    when the toolbox builds its data sets and networks before its folders.
    """
    original = importlib.import_module('basicsr.utils.misc').make_exp_dirs

    @functools.wraps(original)
    def make_exp_dirs(opt):
        check_quietly(opt)
        original(opt)

    replace_function('basicsr.utils.misc:make_exp_dirs', make_exp_dirs)


def check_quietly(opt: dict) -> None:
    """Check the options before the toolbox's logger has its file, which its first use would settle."""
    from basicsr.utils.logger import initialized_logger

    from okdnet_plugin.schema import check_options

    fresh = 'basicsr' not in initialized_logger
    initialized_logger.setdefault('basicsr', True)
    logging.disable(logging.WARNING)
    try:
        check_options(opt)
    finally:
        logging.disable(logging.NOTSET)
        if fresh:
            del initialized_logger['basicsr']
