"""What a training computes in: TF32 or float32, the same numbers each time or the fastest, bfloat16 or none."""

import os

import torch

from okdnet_plugin.engine.torch_versions import cpu_has_bf16

_AMPERE = 8  # compute capability of the first GPUs with bfloat16


def use_tf32(is_wanted: bool) -> None:
    """Let matrix products and convolutions of GPUs round their factors to ten bits, or not.

    Both are always said: torch's own default is TF32 for convolutions and float32 for products.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = is_wanted


def be_deterministic() -> None:
    """Make a run on a GPU give the same numbers each time; has to come before the first product of matrices there."""
    os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')  # without it cuBLAS refuses
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False  # which chooses by the clock


def is_not_deterministic(error: Exception) -> bool:
    """Whether an error is torch's refusal of an operation that has no deterministic form."""
    return isinstance(error, RuntimeError) and 'does not have a deterministic implementation' in str(error)


def complaint_about_bf16(device: torch.device) -> str | None:
    """What is to be said of bfloat16 on a device that has no instructions for it; None where it has."""
    if device.type == 'cpu':
        if cpu_has_bf16():
            return None
        return 'amp: bf16 is slower than float32 on this CPU, which has no instructions for it; write amp: off.'
    if device.type != 'cuda' or getattr(torch.version, 'hip', None):
        return None
    major, minor = torch.cuda.get_device_capability(device)
    if major >= _AMPERE:
        return None
    return (
        f'amp: bf16 is slower than float32 on {torch.cuda.get_device_name(device)} (compute capability '
        f'{major}.{minor}), which has no instructions for it; use amp: fp16.'
    )
