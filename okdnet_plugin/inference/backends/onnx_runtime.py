"""The back end `onnx`: the network as an ONNX graph, made in memory, in ONNX Runtime."""

from collections.abc import Callable

import torch
from torch import Tensor

from okdnet_plugin.errors import InputError
from okdnet_plugin.inference.backends.graphs import Graph, quiet
from okdnet_plugin.inference.export.exporters import need_dynamic_export


class OnnxRuntime(Graph):
    """The exported network in ONNX Runtime, with as many threads as torch uses when it is made."""

    name = 'onnx'

    def _make_graph(self, example: tuple[Tensor, ...]) -> Callable[..., tuple[Tensor, ...]]:
        if self.precision != 'fp32':
            raise InputError(f'back end onnx computes in fp32, not {self.precision}; write openvino or eager')
        try:
            import onnxruntime
            import onnxscript  # noqa: F401  what torch.onnx needs
        except ImportError as error:
            raise InputError('back end onnx needs packages: pip install okdnet_plugin[onnx]') from error
        need_dynamic_export('back end onnx')
        axes = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
        dynamic = tuple(axes if x is example[0] else {0: torch.export.Dim.DYNAMIC} for x in example)
        with quiet():
            # A batch of one would be taken for a constant.
            pairs = tuple(torch.cat([x, x]) for x in example)
            program = torch.onnx.export(self.core, pairs, dynamo=True, dynamic_shapes=dynamic, verbose=False)
        assert program is not None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        model = program.model_proto.SerializeToString()
        session = onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])
        names = [entry.name for entry in session.get_inputs()]

        def run(*inputs: Tensor) -> tuple[Tensor, ...]:
            arrays = [x.contiguous().numpy() for x in inputs]
            results = session.run(None, dict(zip(names, arrays, strict=True)))
            return tuple(torch.from_numpy(result) for result in results)

        return run
