"""The back end `openvino`: Intel's runtime, on any x86 or ARM processor."""

import functools
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from okdnet_plugin.errors import InputError
from okdnet_plugin.inference.backends.graphs import Graph, quiet

_STARTING = threading.Lock()


class OpenVino(Graph):
    """The traced network in OpenVINO, which merges element-wise steps into convolutions and plans its memory.

    It uses as many threads as torch does when it is made.
    """

    name = 'openvino'
    request: Any
    """What runs the graph that was made last, an `openvino.InferRequest`."""

    def _make_graph(self, example: tuple[Tensor, ...]) -> Callable[..., tuple[Tensor, ...]]:
        try:
            import openvino
        except ImportError as error:
            raise InputError('back end openvino needs a package: pip install okdnet_plugin[openvino]') from error
        if self.precision == 'bf16' and not has_bf16():
            raise InputError('this processor has no bf16 instructions; write precision fp32')
        with quiet():
            traced: Any = torch.jit.trace(self.core, example, check_trace=False)
            model = openvino.convert_model(traced, example_input=example)
        lock = threading.Lock()  # a request takes one image at a time, and threads may share the back end
        request = self.request = request_of(model, self.precision)

        def run(*inputs: Tensor) -> tuple[Tensor, ...]:
            arrays = [x.contiguous().numpy() for x in inputs]
            with lock:
                results = request.infer(dict(enumerate(arrays)))
                # a copy, for the next image goes into the same memory
                return tuple(torch.from_numpy(results[i].copy()) for i in range(len(results)))

        return run


def has_bf16() -> bool:
    """Whether this processor computes in bfloat16."""
    return 'BF16' in runtime().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')


def request_of(model: Any, precision: str) -> Any:
    """What runs a model of OpenVINO, or the file of one, with as many threads as torch uses now.

    Args:
        model: a model or a path.
        precision: `fp32` or `bf16`.
    """
    settings = {
        'INFERENCE_PRECISION_HINT': {'fp32': 'f32', 'bf16': 'bf16'}[precision],
        'INFERENCE_NUM_THREADS': torch.get_num_threads(),
        'PERFORMANCE_HINT': 'LATENCY',
        'ENABLE_CPU_PINNING': False,  # several processes would be bound to the same cores
    }
    return runtime().compile_model(model, 'CPU', settings).create_infer_request()


def runtime() -> Any:
    """OpenVINO, started once and never ended.

    Its start replaces the calling thread's stack for signal handlers, and its end frees that stack but puts the old one
    back in the thread that ends it alone: if that is another, the next signal that has a handler kills the process. So
    does it where two have been started and the first ends first.
    """
    with _STARTING:
        return _started()


@functools.cache
def _started() -> Any:
    import openvino

    return openvino.Core()
