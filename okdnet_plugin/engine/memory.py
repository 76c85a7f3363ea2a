"""Memory of a CPU that is kept from one iteration to the next."""

import ctypes
import platform

# mallopt(3)
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_TOP_PAD = 64 * 2**20  # bytes by which the heap grows at least


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, where the C library is glibc.

    glibc gives large blocks back to the system when they are freed. Every iteration then gets its activations anew,
    page by page and filled with zeros, which takes a tenth of a training step and more. Freed blocks of other sizes lie
    beside them, by which the process may need half as much memory again.

    Returns:
        Whether it could be done.
    """
    if platform.libc_ver()[0] != 'glibc':
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(*pair) for pair in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, _TOP_PAD)))
