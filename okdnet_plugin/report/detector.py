"""Object detectors as ONNX files: NanoDet and YOLOX, by ONNX Runtime on the CPU."""

from collections.abc import Sequence
from os import path as osp
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np

from okdnet_plugin.errors import InputError

Format = Literal['nanodet', 'yolox']
_LEAST = 0.05  # score of a box that is kept; below it boxes are noise that costs time
_OVERLAP = 0.6  # of two boxes of a class, of which the weaker is one too many
_MOST = 100  # boxes of an image, as COCO evaluates
_LARGEST_SIDE = 2048  # px of the input of a network whose file leaves it open
_MEAN, _STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)  # of B, G and R; NanoDet's, which are ImageNet's
_GREY = 114  # that YOLOX fills up with


class Box(NamedTuple):
    """An object in an image, in px."""

    left: float
    top: float
    width: float
    height: float
    score: float
    kind: int
    """Number of its class, from 0."""


class Detector:
    """A detector whose outputs are NanoDet's or YOLOX's.

    NanoDet: class scores in [0, 1] and distances to the four sides as distributions over bins, of one output for each
    stride or of one output with both. YOLOX: centre, logarithm of the size, objectness and class scores of each cell of
    strides 8, 16 and 32. Its outputs tell which of the two a file is, unless `format` says so; a single output over
    three strides is a YOLOX's unless the number of classes says else.

    Source: RangiLyu, NanoDet, 2020; Ge et al., "YOLOX: Exceeding YOLO Series in 2021", arXiv 2107.08430.

    Args:
        path: the ONNX file; input (1, 3, H, W), float32 BGR.
        classes: how many classes there are, where that is known; it tells the parts of a single output.
        format: nanodet or yolox.

    Raises:
        InputError: the file cannot be read, or is of another kind.
    """

    def __init__(self, path: str, classes: int | None = None, format: Format | None = None):
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError('a detector needs ONNX Runtime: pip install okdnet_plugin[detection]') from error
        self.path = path
        if not osp.isfile(path):
            raise InputError(f'the detector {path} does not exist; give an ONNX file')
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # what a file could do better is not for whoever runs it
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
        except Exception as error:  # ONNX Runtime has a class for each kind of damage
            raise InputError(f'the detector {path} is no ONNX file that can run: {_short(error)}') from error
        inputs = self._session.get_inputs()
        shape = inputs[0].shape
        if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3:
            raise InputError(f'the detector {path} takes {[one.shape for one in inputs]}, not one image (1, 3, H, W)')
        sides = [side if isinstance(side, int) else 640 for side in shape[2:]]
        if any(side % 32 or not 32 <= side <= _LARGEST_SIDE for side in sides):
            raise InputError(
                f'the detector {path} takes {sides} px; sides have to be multiples of 32 up to {_LARGEST_SIDE}'
            )
        self.size = sides[0], sides[1]
        self._input = inputs[0].name
        self._cells = {stride: (self.size[0] // stride) * (self.size[1] // stride) for stride in (8, 16, 32, 64)}
        outputs = self._run(np.zeros((*self.size, 3), np.float32))
        self._strides = self._strides_of(outputs)
        self.format: Format = format or self._format_of(outputs, classes)
        self.classes = self._count_classes(outputs)
        if classes is not None and classes != self.classes:
            raise InputError(f'the detector {path} has {self.classes} classes, and {classes} names are given')

    def __call__(self, image: np.ndarray) -> list[Box]:
        """The objects in an image, the surest first.

        Args:
            image: uint8 BGR, (H, W, 3).
        """
        height, width = image.shape[:2]
        scale = min(self.size[0] / height, self.size[1] / width)
        inner = max(1, round(height * scale)), max(1, round(width * scale))
        top, left = ((full - part) // 2 for full, part in zip(self.size, inner, strict=True))
        if self.format == 'yolox':
            top = left = 0
        small = cv2.resize(image, inner[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)
        framed = np.full((*self.size, 3), _GREY if self.format == 'yolox' else 0, np.float32)
        framed[top : top + inner[0], left : left + inner[1]] = small
        if self.format == 'nanodet':
            framed = (framed - np.array(_MEAN, np.float32)) / np.array(_STD, np.float32)
        decode = self._of_yolox if self.format == 'yolox' else self._of_nanodet
        corners, scores = decode(self._run(framed))
        corners = (corners - [left, top, left, top]) / scale
        corners = corners.clip(0, [width, height, width, height])
        return self._best(corners, scores)

    def _run(self, framed: np.ndarray) -> list[np.ndarray]:
        try:
            outputs: Any = self._session.run(None, {self._input: framed.transpose(2, 0, 1)[None]})
        except Exception as error:
            raise InputError(f'the detector {self.path} fails: {_short(error)}') from error
        return [output[0] if output.ndim == 3 else output for output in map(np.asarray, outputs)]

    def _strides_of(self, outputs: Sequence[np.ndarray]) -> tuple[int, ...]:
        rows = [output.shape[0] for output in outputs if output.ndim == 2]
        for strides in ((8, 16, 32), (8, 16, 32, 64)):
            cells = [self._cells[stride] for stride in strides]
            if rows in (cells * 2, [sum(cells)]):
                return strides
        raise InputError(
            f'the detector {self.path} gives {[output.shape for output in outputs]}, which are neither the outputs of '
            'NanoDet nor of YOLOX; export it as its authors do'
        )

    def _format_of(self, outputs: Sequence[np.ndarray], classes: int | None) -> Format:
        if len(outputs) > 1 or len(self._strides) == 4:
            return 'nanodet'
        channels = outputs[0].shape[1]
        return 'nanodet' if classes is not None and channels != classes + 5 else 'yolox'

    def _count_classes(self, outputs: Sequence[np.ndarray]) -> int:
        if self.format == 'yolox':
            count = outputs[0].shape[1] - 5 if len(outputs) == 1 else 0
        elif len(outputs) > 1:
            count = outputs[0].shape[1]
        else:
            count = outputs[0].shape[1] - 32  # eight bins for each side
        if count < 1:
            raise InputError(
                f'the detector {self.path} gives {[output.shape for output in outputs]}, not {self.format}'
            )
        return count

    def _centres(self, offset: float) -> tuple[np.ndarray, np.ndarray]:
        """Place of each cell, (N, 2), and its stride, (N, 1), in px."""
        places, strides = [], []
        for stride in self._strides:
            rows, columns = np.mgrid[: self.size[0] // stride, : self.size[1] // stride]
            places.append((np.stack([columns.ravel(), rows.ravel()], 1) + offset) * stride)
            strides.append(np.full((places[-1].shape[0], 1), stride))
        return np.concatenate(places), np.concatenate(strides)

    def _of_nanodet(self, outputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Corners (N, 4) in px of the input, and scores (N, classes)."""
        if len(outputs) > 1:
            half = len(outputs) // 2
            scores, bins = np.concatenate(outputs[:half]), np.concatenate(outputs[half:])
        else:
            scores, bins = np.split(outputs[0], [self.classes], 1)
        shares = bins.reshape(len(bins), 4, -1)
        shares = np.exp(shares - shares.max(2, keepdims=True))
        shares /= shares.sum(2, keepdims=True)
        centres, strides = self._centres(0.5 if len(outputs) > 1 else 0)
        away = (shares * np.arange(shares.shape[2])).sum(2) * strides
        return np.concatenate([centres - away[:, :2], centres + away[:, 2:]], 1), scores

    def _of_yolox(self, outputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        cells = outputs[0]
        places, strides = self._centres(0)
        centres = cells[:, :2] * strides + places
        sides = np.exp(cells[:, 2:4].clip(max=20)) * strides
        return np.concatenate([centres - sides / 2, centres + sides / 2], 1), cells[:, 4:5] * cells[:, 5:]

    def _best(self, corners: np.ndarray, scores: np.ndarray) -> list[Box]:
        places, kinds = np.nonzero(scores >= _LEAST)
        if not len(places):
            return []
        values = scores[places, kinds]
        boxes = np.concatenate([corners[places, :2], corners[places, 2:] - corners[places, :2]], 1)
        kept = cv2.dnn.NMSBoxesBatched(boxes.tolist(), values.astype(float).tolist(), kinds.tolist(), _LEAST, _OVERLAP)
        kept = sorted(np.asarray(kept, int).ravel(), key=lambda number: -values[number])[:_MOST]
        found = []
        for number in kept:
            left, top, width, height = (round(float(side), 2) for side in boxes[number])
            found.append(Box(left, top, width, height, round(float(values[number]), 4), int(kinds[number])))
        return found


def _short(error: Exception) -> str:
    return ' '.join(str(error).split())[:200]
