"""Memory of a CPU that is kept from one iteration to the next, and how it looks when memory was not enough."""

import ctypes
import platform
import re

import torch

# mallopt(3)
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_TOP_PAD = 64 * 2**20  # bytes by which the heap grows at least

_OUT_OF_MEMORY = getattr(torch, 'OutOfMemoryError', torch.cuda.OutOfMemoryError)  # the first since torch 2.5
# How PyTorch's allocator of the CPU, CUDA's libraries, ONNX Runtime, OpenVINO and the C++ library say it.
_MESSAGES = re.compile(
    r'DefaultCPUAllocator|not enough memory|[Oo]ut of memory|std::bad_alloc|bad allocation|Failed to allocate|'
    r"can't allocate|Cannot allocate memory|can't start new thread|(?:CUBLAS|CUDNN)_STATUS_ALLOC_FAILED|"
    r'[Uu]nable to find an engine'
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of PyTorch, ONNX Runtime, OpenVINO or Python says that memory was short."""
    if isinstance(error, MemoryError | _OUT_OF_MEMORY):
        return True
    return isinstance(error, RuntimeError) and _MESSAGES.search(str(error)) is not None


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
