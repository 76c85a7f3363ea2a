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

    def _make_graph(self, example: tuple[Tensor, ...]) -> Callable[..., tuple[Tensor, ...]]:
        try:
            import openvino
        except ImportError as error:
            raise InputError('back end openvino needs a package: pip install okdnet_plugin[openvino]') from error
        core = runtime()
        if self.precision == 'bf16' and 'BF16' not in core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
            raise InputError('this processor has no bf16 instructions; write precision fp32')
        with quiet():
            traced: Any = torch.jit.trace(self.core, example, check_trace=False)
            model = openvino.convert_model(traced, example_input=example)
        settings = {
            'INFERENCE_PRECISION_HINT': {'fp32': 'f32', 'bf16': 'bf16'}[self.precision],
            'INFERENCE_NUM_THREADS': torch.get_num_threads(),
            'PERFORMANCE_HINT': 'LATENCY',
            'ENABLE_CPU_PINNING': False,  # several processes would be bound to the same cores
        }
        lock = threading.Lock()  # a request takes one image at a time, and threads may share the back end
        request = core.compile_model(model, 'CPU', settings).create_infer_request()

        def run(*inputs: Tensor) -> tuple[Tensor, ...]:
            arrays = [x.contiguous().numpy() for x in inputs]
            with lock:
                results = request.infer(dict(enumerate(arrays)))
                # a copy, for the next image goes into the same memory
                return tuple(torch.from_numpy(results[i].copy()) for i in range(len(results)))

        return run


def runtime() -> Any:
    """OpenVINO, started once and never ended: take it in place of an `openvino.Core` of one's own.

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
