"""The formats that a network or its weights can be written in: each makes the bytes of a file.

A network is given back too as it runs from those bytes, so that it can be held against the original.
"""

import importlib.util
import inspect
import io
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from torch import Tensor, nn

from okdnet_plugin.errors import InputError
from okdnet_plugin.weights import reading

if TYPE_CHECKING:
    import onnx

INPUT, OUTPUT = 'hazy', 'dehazed'
OPSET = 18
_METADATA_FILE = 'metadata.json'  # inside .pt and .pt2
_TRACED = (2, 3, 38, 53)  # no side a multiple of 4, none equal, none 1: nothing of it may become a constant
_AXES = {0: 'batch', 2: 'height', 3: 'width'}

Run = Callable[[Tensor], Tensor]
Size = tuple[int, int] | None
"""Height and width of the only images that a graph takes; None for any, of any number."""


def need_dynamic_export(what: str) -> None:
    """See that torch can export programs for any size of image.

    Raises:
        InputError: it is too old.
    """
    if not hasattr(getattr(getattr(torch, 'export', None), 'Dim', None), 'DYNAMIC'):
        raise InputError(f'{what} needs torch 2.6 or later, and this is {torch.__version__}')


def _example(size: Size) -> Tensor:
    return torch.rand(_TRACED if size is None else (1, 3, *size))


def _onnx(net: nn.Module, metadata: Mapping[str, str], size: Size = None, half: bool = False) -> tuple[bytes, Run]:
    _need('onnx', 'onnxruntime', 'onnxscript')
    try:
        return _onnx_content(_onnx_of_trace(net, size), metadata, half)
    except Exception:  # it knows fewer operations than the newer one, which takes minutes where this takes seconds
        return _onnx_content(_onnx_of_program(net, size), metadata, half)


def _onnx_content(model: 'onnx.ModelProto', metadata: Mapping[str, str], half: bool) -> tuple[bytes, Run]:
    if half:
        from onnxruntime.transformers.float16 import convert_float_to_float16

        model = convert_float_to_float16(model, keep_io_types=True)
    model.doc_string = (
        f'{INPUT}: float32 RGB in [0, 1], (N, 3, H, W). {OUTPUT}: the same without haze, of the same shape.'
    )
    # The tracer does not know that it is as many as come in.
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    content = model.SerializeToString()
    return content, session_of(content)


def session_of(content: bytes) -> Run:
    """What runs an ONNX file in ONNX Runtime, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])
    return lambda hazy: torch.from_numpy(session.run([OUTPUT], {INPUT: hazy.numpy()})[0])


def _onnx_of_trace(net: nn.Module, size: Size) -> 'onnx.ModelProto':
    import onnx

    file = io.BytesIO()
    # Before torch 2.5 there was no other way, or no word for it.
    older: Any = {'dynamo': False} if 'dynamo' in inspect.signature(torch.onnx.export).parameters else {}
    # It prints the whole graph before it raises, whatever `verbose` says.
    with mock.patch.object(torch._C, '_jit_onnx_log'):
        torch.onnx.export(
            net,
            (_example(size),),
            file,  # pyright: ignore[reportArgumentType]  it takes files too, if the newer exporter does not
            **older,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: _AXES, OUTPUT: _AXES} if size is None else None,
            verbose=False,
        )
    return onnx.load_from_string(file.getvalue())


def _onnx_of_program(net: nn.Module, size: Size) -> 'onnx.ModelProto':
    need_dynamic_export('ONNX of this network')
    program = torch.onnx.export(
        net,
        (_example(size),),
        dynamo=True,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=(_AXES,) if size is None else None,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    # Traces of where each operation came from, files of this machine among them.
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.initializer, model.graph):
        del part.metadata_props[:]
    for function in model.functions:
        del function.metadata_props[:]
        for node in function.node:
            del node.metadata_props[:]
    return model


def _exported_program(
    net: nn.Module, metadata: Mapping[str, str], size: Size = None, half: bool = False
) -> tuple[bytes, Run]:
    _refuse_half(half, 'torch.export')
    need_dynamic_export('the format .pt2')
    from torch.fx.experimental import _config

    dynamic = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    # Else whether tensors are contiguous, which depends on the size, becomes a condition of the sizes.
    with _config.patch(backed_size_oblivious=True):  # pyright: ignore[reportAttributeAccessIssue]
        shapes = (dynamic,) if size is None else None
        program = torch.export.export(net, (_example(size),), dynamic_shapes=shapes)
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop('stack_trace', None)  # names files of this machine
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={_METADATA_FILE: json.dumps(metadata)})
    loaded = torch.export.load(io.BytesIO(file.getvalue())).module()
    return file.getvalue(), loaded


def _script(net: nn.Module, metadata: Mapping[str, str], size: Size = None, half: bool = False) -> tuple[bytes, Run]:
    _refuse_half(half, 'TorchScript')
    traced = torch.jit.trace(net, _example(size), check_trace=False)
    file = io.BytesIO()
    torch.jit.save(traced, file, _extra_files={_METADATA_FILE: json.dumps(metadata)})
    return file.getvalue(), torch.jit.load(io.BytesIO(file.getvalue()))


def _refuse_half(half: bool, kind: str) -> None:
    """Networks divide and normalise in float32 whatever their weights are, which a graph of torch holds fast."""
    if half:
        raise InputError(f'{kind} is written in float32 alone; write .onnx, .safetensors or .pth, or take --half out')


OF_NETWORKS: dict[str, tuple[str, Callable[[nn.Module, Mapping[str, str], Size, bool], tuple[bytes, Run]]]] = {
    '.onnx': (f'ONNX, opset {OPSET}', _onnx),
    '.pt2': ('torch.export', _exported_program),
    '.pt': ('TorchScript', _script),
}


def _safetensors(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    from safetensors.torch import load, save

    tensors = {name: tensor.contiguous().clone() for name, tensor in state.items()}
    content = save(tensors, {'format': 'pt', **metadata})
    _check_same(load(content), state)
    return content


def _pickle(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    file = io.BytesIO()
    torch.save({'params': dict(state), reading.METADATA: dict(metadata)}, file)
    _check_same(torch.load(io.BytesIO(file.getvalue()), weights_only=True)['params'], state)
    return file.getvalue()


def _check_same(read: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    if reading.digest(read) != reading.digest(state):
        raise InputError('what was written does not read back as it was; nothing is kept')


OF_WEIGHTS: dict[str, tuple[str, Callable[[Mapping[str, Tensor], Mapping[str, str]], bytes]]] = {
    '.safetensors': ('safetensors', _safetensors),
    '.pth': ("BasicSR's .pth, param_key_g: params", _pickle),
}


def _need(*packages: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f'exporting to ONNX needs {", ".join(missing)}; run: pip install okdnet_plugin[onnx]')
