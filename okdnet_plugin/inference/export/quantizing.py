"""An ONNX graph whose convolutions compute in int8, by ONNX Runtime's static quantisation (QDQ).

Weights are int8 with a scale for each channel, activations uint8 with one scale each, whose range is that of images
given (Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
CVPR 2018). Where that costs too much, the layers that cost most stay in float32; which, is measured.
"""

import copy
import os
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from okdnet_plugin.data.image_sources import ImageFolder
from okdnet_plugin.data.images import decode, to_tensor
from okdnet_plugin.errors import InputError
from okdnet_plugin.inference.export.exporters import INPUT, Run, session_of

LEAST_PSNR = 40.0
"""dB against float32 that each measured image keeps at least."""
_IMAGES = 20  # every other one gives the ranges, the others are measured
_RANKED = 3  # images on which each layer is measured alone
_SHORTER, _SHORTEST = 192, 48  # px that the shorter side of images is brought to, and that any side has at least
_LAYERS = ('Conv', 'ConvTranspose')


@dataclass(frozen=True)
class Quantized:
    """What was made of a graph."""

    num_layers: int
    """Convolutions of the graph."""
    in_float: tuple[str, ...]
    """Those that stay in float32."""
    psnr: tuple[float, ...]
    """Of each measured image against float32, dB."""


def images_of(folder: str, size: tuple[int, int] | None) -> list[np.ndarray]:
    """Hazy images for `quantize`: at most 20 of a folder, evenly spread over its names.

    Args:
        folder: images of any size; folders in it count.
        size: height and width that they are brought to; by default 192 px of the shorter side, if it is longer,
            and 48 px of any side, if it is shorter.

    Returns:
        Each (1, 3, H, W), float32 RGB in [0, 1].

    Raises:
        InputError: there is no such folder, it has fewer than two images, or one cannot be read.
    """
    source = ImageFolder(folder, recursive=True)
    names = source.names()
    if len(names) < 2:
        raise InputError(f'--calibrate {folder}: it has one image, and two are needed, better 20: hazy ones')
    chosen = [names[i] for i in np.linspace(0, len(names) - 1, min(_IMAGES, len(names))).round().astype(int)]
    return [_brought_to(to_tensor(decode(source.read(name), name))[None], size).numpy() for name in chosen]


def _brought_to(image: torch.Tensor, size: tuple[int, int] | None) -> torch.Tensor:
    height, width = image.shape[-2:]
    factor = min(1.0, _SHORTER / min(height, width))
    wanted = size or (max(_SHORTEST, round(height * factor)), max(_SHORTEST, round(width * factor)))
    if wanted == (height, width):
        return image
    return F.interpolate(image, wanted, mode='bilinear', antialias=True, align_corners=False)


def quantize(content: bytes, images: Sequence[np.ndarray], what: str) -> tuple[bytes, Run, Quantized]:
    """The same graph in int8.

    Args:
        content: ONNX, float32, with the input `hazy` and the output `dehazed`.
        images: as `images_of` gives them.
        what: the network and its format, for messages.

    Returns:
        The new file, with the metadata of the old one; what runs it; what was measured.

    Raises:
        InputError: the graph has no convolution, or less than 40 dB even with half of them in float32.
    """
    graph = _Graph(content, images[::2], what)
    measured = images[1::2]
    runs = session_of(content)
    wanted = [runs(torch.from_numpy(image)) for image in measured]

    def psnr_of(layers: Collection[str], count: int | None = None) -> tuple[float, ...]:
        run = session_of(graph.quantized(layers))
        pairs = list(zip(measured, wanted, strict=True))[:count]
        return tuple(psnr(run(torch.from_numpy(image)), clear) for image, clear in pairs)

    kept: list[str] = []
    near = psnr_of(graph.layers)
    if min(near) < LEAST_PSNR:
        _refuse_single(near, graph.layers, what)
        alone = {layer: min(psnr_of([layer], _RANKED)) for layer in graph.layers}
        by_cost = sorted(alone, key=lambda layer: alone[layer])
        few, many = 0, len(by_cost) // 2  # so many in float32 are too few, or perhaps enough
        near = psnr_of(by_cost[many:])
        if min(near) < LEAST_PSNR:
            raise InputError(
                f'{what}: int8 keeps {min(near):.1f} dB of {LEAST_PSNR:g} even with {many} of {len(by_cost)} '
                'convolutions in float32; nothing is written; take --half in place of --int8'
            )
        while many - few > 1:
            middle = (few + many) // 2
            of_middle = psnr_of(by_cost[middle:])
            if min(of_middle) < LEAST_PSNR:
                few = middle
            else:
                many, near = middle, of_middle
        kept = by_cost[:many]
    found = Quantized(len(graph.layers), tuple(kept), near)
    told = f'{found.num_layers - len(kept)} of {found.num_layers} convolutions, {min(near):.1f} dB at least'
    made = graph.quantized([layer for layer in graph.layers if layer not in kept], {'int8': told})
    return made, session_of(made), found


def _refuse_single(psnr: Sequence[float], layers: Sequence[str], what: str) -> None:
    if len(layers) == 1:
        raise InputError(
            f'{what}: int8 keeps {min(psnr):.1f} dB of {LEAST_PSNR:g}; nothing is written; take --half in place of '
            '--int8'
        )


def psnr(image: torch.Tensor, exact: torch.Tensor) -> float:
    """dB between images in [0, 1], which are not rounded; -inf where one is not finite."""
    error = float((image - exact).double().square().mean())
    return -10 * float(np.log10(max(error, 1e-20))) if np.isfinite(error) else -float('inf')


class _Graph:
    """A graph with the ranges of its activations, of which any convolutions can be quantised.

    Args:
        content: ONNX.
        images: that give the ranges.
        what: the network and its format, for messages.

    Raises:
        InputError: it has no convolution.
    """

    def __init__(self, content: bytes, images: Sequence[np.ndarray], what: str):
        import onnx
        import onnxruntime
        from onnxruntime.quantization import CalibrationMethod, create_calibrator
        from onnxruntime.quantization.shape_inference import quant_pre_process

        original = onnx.load_from_string(content)
        self._doc, self._metadata = original.doc_string, {one.key: one.value for one in original.metadata_props}
        onnxruntime.set_default_logger_severity(4)  # of its own sessions; what they make is measured
        try:
            with tempfile.TemporaryDirectory() as folder:  # the quantiser reads and writes files
                names = (os.path.join(folder, f'{name}.onnx') for name in ('source', 'prepared', 'tapped'))
                source, prepared, tapped = names
                with open(source, 'wb') as file:
                    file.write(content)
                quant_pre_process(source, prepared, skip_symbolic_shape=True)
                self._model = onnx.load(prepared)
                self.layers = _named_layers(self._model)
                if not self.layers:
                    raise InputError(f'{what} has no convolution that could compute in int8; take --int8 out')
                onnx.save(self._model, prepared)
                method = CalibrationMethod.MinMax
                calibrator: Any = create_calibrator(prepared, _LAYERS, tapped, calibrate_method=method)
                calibrator.collect_data(_Reader(images))
                self._ranges = calibrator.compute_data()
                del calibrator
        finally:
            onnxruntime.set_default_logger_severity(2)

    def quantized(self, layers: Collection[str], more: dict[str, str] | None = None) -> bytes:
        """The file with these convolutions in int8."""
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        quantizer: Any = QDQQuantizer(
            model=copy.deepcopy(self._model),
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=self._ranges,
            nodes_to_quantize=list(layers),
            nodes_to_exclude=[],
            op_types_to_quantize=list(_LAYERS),
            extra_options={},
        )
        quantizer.quantize_model()
        model = quantizer.model.model
        del model.metadata_props[:]
        model.doc_string = self._doc
        for key, value in (self._metadata | (more or {})).items():
            model.metadata_props.add(key=key, value=value)
        return model.SerializeToString()


def _named_layers(model: Any) -> list[str]:
    """Names of the convolutions that ONNX Runtime can quantise, each of which gets one of its own."""
    names: list[str] = []
    for node in model.graph.node:
        is_grouped = any(one.name == 'group' and one.i > 1 for one in node.attribute)
        if node.op_type not in _LAYERS or (node.op_type == 'ConvTranspose' and is_grouped):
            continue  # it gives a transposed convolution of groups too few scales
        name = node.name or node.op_type
        while name in names:
            name += '_'
        node.name = name
        names.append(name)
    return names


class _Reader:
    """Images, as the calibration of ONNX Runtime takes them."""

    def __init__(self, images: Sequence[np.ndarray]):
        self._left: Iterator[np.ndarray] = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._left, None)
        return None if image is None else {INPUT: image}
