"""Whether a network has the right gradients on a device: against its own in float64 on the CPU."""

import contextlib
import copy
import inspect
import typing
from collections.abc import Iterator, Sequence

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

INPUT = 'input'
Gradients = dict[str, list[Tensor | None]]
_PACKAGE = __name__.split('.')[0]


def registered_networks() -> dict[str, type[nn.Module]]:
    """The registered networks of this package by their names."""
    return {name: net for name, net in ARCH_REGISTRY if net.__module__.split('.')[0] == _PACKAGE}


def variants_of(network: type[nn.Module]) -> dict[str, dict]:
    """What a network can be, each choice of its constructor on its own.

    Args:
        network: its constructor says choices by `bool` or `Literal`.

    Returns:
        Arguments by a name, `default` with none first; combinations that the network refuses are left out.
    """
    variants: dict[str, dict] = {'default': {}}
    hints = typing.get_type_hints(network.__init__)
    for name, parameter in inspect.signature(network).parameters.items():
        kind = hints.get(name)
        choices = (True, False) if kind is bool else typing.get_args(kind) if _is_literal(kind) else ()
        for choice in choices:
            arguments = {name: choice}
            if choice != parameter.default and _is_accepted(network, arguments):
                variants[f'{name}={choice}'] = arguments
    return variants


def steady_arguments(network: type[nn.Module]) -> dict:
    """Arguments by which a network can be built at its own size and checked.

    No transmission is so small that to divide by it makes much of a rounding error. A network that is built around
    another gets a small one.
    """
    steady = {'t_min': 0.1, 'restorer': {'type': 'AODNet'}}
    parameters = inspect.signature(network).parameters
    return {name: value for name, value in steady.items() if name in parameters}


def small_arguments(network: type[nn.Module]) -> dict:
    """Arguments by which a network is as narrow and shallow as it can be, for a quick check.

    Widths (`num_feat`, `growth`) become 4, other numbers of things (`num_…`) 1, as far as the network accepts it; the
    others are those of `steady_arguments`.
    """
    small = steady_arguments(network)
    for name, parameter in inspect.signature(network).parameters.items():
        if name in small or name == 'num_channels':
            continue
        least = {'num_feat': 4, 'growth': 4}.get(name, 1 if name.startswith('num_') else None)
        if least is None or parameter.default is parameter.empty:
            continue
        value = least if isinstance(parameter.default, int) else [least] * len(parameter.default)
        if _is_accepted(network, {**small, name: value}):
            small[name] = value
    return small


def check_gradients(
    net: nn.Module,
    device: torch.device | str = 'cpu',
    memory_format: torch.memory_format = torch.contiguous_format,
    *,
    dtype: torch.dtype = torch.float32,
    shape: Sequence[int] = (2, 3, 32, 48),
    compile_mode: str | None = None,
    seed: int = 0,
    reference: Gradients | None = None,
) -> dict[str, float]:
    """Compare gradients of a network in train mode on a device with those of float64 on the CPU.

    What is differentiated is the product of the output with random numbers. Nothing is dropped by chance, because
    devices and precisions draw different numbers. TF32 is off, whose errors are not float32's.

    Args:
        net: stays as it is.
        device: where the network is tried.
        memory_format: of its weights and its input there.
        dtype: of both there; `float64` shows what the device does without a rounding error.
        shape: of the input, (N, 3, H, W).
        compile_mode: a mode of torch.compile, by which the network is tried; None for none.
        seed: of the input and of the random numbers.
        reference: what `reference_gradients` gives for the network, shape and seed, where several checks need it.

    Returns:
        ||gradient - reference|| / ||reference|| for each child of the network that has parameters, for its own
        parameters, and for `input`, the images. Infinite where only one of the two has a gradient.
    """
    if reference is None:
        reference = reference_gradients(net, shape, seed)
    tried = _copy_of(net, torch.device(device), dtype).to(memory_format=memory_format)  # type: ignore[call-overload]
    if compile_mode is not None:
        tried.compile(mode=compile_mode)
    there = [tensor.to(device, dtype).contiguous(memory_format=memory_format) for tensor in _numbers(shape, seed)]
    with _exact_float32():
        gradients = _gradients(tried, *there)
    return {name: _relative_error(gradients[name], values) for name, values in reference.items()}


def reference_gradients(net: nn.Module, shape: Sequence[int] = (2, 3, 32, 48), seed: int = 0) -> Gradients:
    """Gradients of a network in float64 on the CPU, by child and of the input; arguments as for `check_gradients`."""
    return _gradients(_copy_of(net, torch.device('cpu'), torch.float64), *_numbers(shape, seed))


def _numbers(shape: Sequence[int], seed: int) -> tuple[Tensor, Tensor]:
    """Hazy images in [0, 1], and what the output is multiplied with, in [-1/2, 1/2]; float64."""
    generator = torch.Generator().manual_seed(seed)
    hazy, weights = (torch.rand(*shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return hazy, weights - 0.5


def _copy_of(net: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    copied = copy.deepcopy(net).to(device, dtype).train()
    for module in copied.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd | StochasticDepth):
            module.eval()
    return copied


def _gradients(net: nn.Module, hazy: Tensor, weights: Tensor) -> Gradients:
    """Gradients by child, and of the input, in float64 on the CPU."""
    hazy = hazy.detach().requires_grad_()
    output = net(hazy)
    if output.shape[-2:] != weights.shape[-2:]:  # of a network that enlarges
        weights = nn.functional.interpolate(weights, size=output.shape[-2:])
    (output * weights).sum().backward()
    groups: Gradients = {}
    for name, parameter in net.named_parameters():
        groups.setdefault(name.split('.')[0], []).append(_plain(parameter.grad))
    return {**groups, INPUT: [_plain(hazy.grad)]}


def _plain(gradient: Tensor | None) -> Tensor | None:
    return None if gradient is None else gradient.detach().to('cpu', torch.float64)


def _relative_error(found: Sequence[Tensor | None], expected: Sequence[Tensor | None]) -> float:
    if [gradient is None for gradient in found] != [gradient is None for gradient in expected]:
        return float('inf')
    pairs = [(a, b) for a, b in zip(found, expected, strict=True) if a is not None and b is not None]
    if not pairs:
        return 0.0
    error = torch.stack([(a - b).norm() for a, b in pairs]).norm()
    size = torch.stack([b.norm() for _, b in pairs]).norm()
    return float(error) if size == 0 else float(error / size)


@contextlib.contextmanager
def _exact_float32() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def _is_literal(kind: object) -> bool:
    return typing.get_origin(kind) is typing.Literal


def _is_accepted(network: type[nn.Module], arguments: dict) -> bool:
    with torch.device('meta'), contextlib.suppress(ValueError):
        network(**arguments)
        return True
    return False
