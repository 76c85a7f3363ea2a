"""The width of progress bars."""

import os
import shutil
import sys
from typing import Any


def fitting() -> dict[str, Any]:
    """Arguments of tqdm by which a bar follows the terminal's width, or has a usual one where that is not known.

    Consoles of containers and of CI often say 0 columns and rows, for which tqdm shows nothing at all.
    """
    try:
        is_known = all(os.get_terminal_size(sys.stderr.fileno()))
    except (OSError, ValueError, AttributeError):  # it is no terminal
        is_known = True
    return {'dynamic_ncols': True} if is_known else {'ncols': shutil.get_terminal_size().columns, 'nrows': 24}
