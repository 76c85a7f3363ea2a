"""A trained network as a file for others: ONNX, torch.export, TorchScript, safetensors, and back to BasicSR's .pth.

What runs without this package is held against the network before it is written, at several sizes and batches.
"""

import contextlib
import logging
import math
import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import path as osp
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from okdnet_plugin import files
from okdnet_plugin.archs import fused_okdnet
from okdnet_plugin.errors import InputError, named, one_line
from okdnet_plugin.inference.export import quantizing
from okdnet_plugin.inference.export.exporters import OF_NETWORKS, OF_WEIGHTS, Run
from okdnet_plugin.inference.export.metadata import describe
from okdnet_plugin.weights.loading import Weights, build

TOLERANCE, HALF_TOLERANCE = 1e-4, 4e-3
"""Largest difference to the network, of values in [0, 1], that is let pass; of float16 a step of 8 bits."""
# Sides of the smallest image; a network with many scales may need more than 16 px once its size checks are fixed.
_SMALLEST = (16, 17, 33)
# Batch, height and width: even and odd, landscape and portrait, multiples of the scales' factors and not.
_CHECKED = ((1, 64, 48), (2, 50, 75), (1, 101, 67))

_COLOURS = re.compile(r'\x1b\[[0-9;]*m')  # of a terminal, in what torch's exporter says


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: str
    kind: str
    """The format, in words."""
    size: int
    """Bytes of the file."""
    seconds: float
    is_fused: bool = False
    smallest: int | None = None
    """Shortest side of an image that it takes, in px; None for weights alone."""
    differences: Mapping[tuple[int, ...], float] = field(default_factory=dict)
    """Largest difference to the network by shape of the images; of int8 before it."""
    quantized: quantizing.Quantized | None = None
    """Of int8, which layers compute in it and how near it is."""


def export(
    weights: Weights,
    path: str,
    *,
    fuse: bool = True,
    more: Mapping[str, str] | None = None,
    replace: bool = False,
    size: tuple[int, int] | None = None,
    half: bool = False,
    calibrate: str | None = None,
) -> Exported:
    """Write a network to a file whose ending says how.

    Args:
        weights: of the network.
        path: `.onnx` (ONNX Runtime and others), `.pt2` (torch.export), `.pt` (TorchScript): a network that takes
            images (N, 3, H, W) of any number and size and runs without this package. `.safetensors`, `.pth`: its
            weights, with metadata.
        fuse: let a network that can merge layers that are linear do so, see `archs.fused_okdnet`; not for weights
            alone.
        more: texts by name for the metadata.
        replace: write over a file that is there.
        size: height and width of the only image that the file takes, for networks that cannot be exported for any.
        half: weights, and what an ONNX graph computes, in float16; its images stay float32.
        calibrate: folder of hazy images by which the convolutions of an ONNX graph are quantised to int8; those that
            cost too much stay in float32.

    Raises:
        InputError: the ending is unknown, the file is there or the weights themselves, a package is missing, or the
            network does not take the size, or cannot be exported so, or not exactly, or in int8 not to 40 dB; nothing
            is written.
        SaveError: the file cannot be written.
    """
    begin = time.perf_counter()
    ending = osp.splitext(path)[1].lower()
    check_target(weights.path, path, replace)
    if calibrate is not None and (half or ending != '.onnx'):
        raise InputError(f'{path}: --int8 is for .onnx, without --half')
    images = [] if calibrate is None else quantizing.images_of(calibrate, size)
    net = build(weights)
    if ending in OF_WEIGHTS:
        kind, make = OF_WEIGHTS[ending]
        state = _in_half(net.state_dict()) if half else net.state_dict()
        if not state:
            raise InputError(f'{path}: {weights.network["type"]} has no weights; its option file is all that it needs')
        content = make(state, describe(weights, state, more))
        files.write(path, content)
        return Exported(path, kind, len(content), time.perf_counter() - begin)

    kind, make = OF_NETWORKS[ending]
    fused = fused_okdnet.fuse(net) if fuse else net
    name = weights.network['type']
    if size is not None:
        _try_size(net, size, name)
    try:
        with _quiet():
            content, run = make(fused, describe(weights, net.state_dict(), more), size, half)
    except InputError:
        raise
    except Exception as error:  # exporters fail as they like
        cause = _cause_of(error)
        raise InputError(
            f'{name} cannot be exported to {kind}: {named(cause, _plain_line(cause))}; try another ending of '
            f'{", ".join(other for other in OF_NETWORKS if other != ending)}'
            f'{", or --size HxW for images of one size" if size is None else ""}'
        ) from error
    if size is None:
        smallest, differences = _compare(net, run, f'{name} in {kind}')
    else:
        smallest, differences = min(size), _compare_at(net, run, size, f'{name} in {kind}')
    _refuse_differences(differences, f'{name} in {kind}', HALF_TOLERANCE if half else TOLERANCE)
    quantized = None
    if images:
        what = f'{name} in int8'
        content, run, quantized = _quantized(content, images, what)
        of_int8 = _compare(net, run, what)[1] if size is None else _compare_at(net, run, size, what)
        if not all(map(math.isfinite, of_int8.values())):
            raise InputError(f'{what} gives no image of some sizes; nothing is written; take --int8 out')
    files.write(path, content)
    seconds = time.perf_counter() - begin
    return Exported(path, kind, len(content), seconds, fused is not net, smallest, differences, quantized)


def _quantized(content: bytes, images: Sequence[np.ndarray], what: str) -> tuple[bytes, Run, quantizing.Quantized]:
    try:
        with _quiet():
            return quantizing.quantize(content, images, what)
    except (InputError, OSError):
        raise
    except Exception as error:  # the quantiser and its sessions fail as they like
        raise InputError(
            f'{what}: {named(error, _plain_line(error))}; nothing is written; take --half in place of --int8'
        ) from error


def _in_half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights as float16; what counts stays.

    Raises:
        InputError: one is too large for it.
    """
    halved = {name: one.half() if one.is_floating_point() else one for name, one in state.items()}
    for name, one in halved.items():
        if not one.isfinite().all():
            raise InputError(f'{name} has values beyond 65504, the largest of float16; take --half out')
    return halved


@torch.inference_mode()
def _try_size(net: nn.Module, size: tuple[int, int], name: str) -> None:
    try:
        net(_image(1, *size))
    except Exception as error:  # a network may refuse in any way
        shown = 'x'.join(map(str, size))
        raise InputError(
            f'{name} does not take an image of {shown}: {_plain_line(error)}; write another --size: a network of '
            'windows takes multiples of its window'
        ) from error


def _cause_of(error: BaseException) -> BaseException:
    """What an exporter has met, below what it says of its own steps."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _plain_line(error: BaseException) -> str:
    said = _COLOURS.sub('', str(error))
    return one_line(said if said.strip() else error)


def check_target(source: str | None, path: str, replace: bool) -> None:
    """See that a file may be written.

    Raises:
        InputError: so it is not.
    """
    ending = osp.splitext(path)[1].lower()
    if ending not in {**OF_NETWORKS, **OF_WEIGHTS}:
        known = ', '.join(f'{ending} ({kind})' for ending, (kind, _) in {**OF_NETWORKS, **OF_WEIGHTS}.items())
        raise InputError(f'{path}: its ending says no format that is known; write one of {known}')
    folder = osp.dirname(path) or '.'
    if not osp.isdir(folder):
        raise InputError(f'{path}: there is no folder {folder}; make it first')
    if not os.access(folder, os.W_OK):  # an export may take minutes before it is written
        raise InputError(f'{path}: nothing can be written in the folder {folder}; take another')
    if osp.isdir(path):
        raise InputError(f'{path}: it is a folder; write the name of a file')
    if source is not None and osp.exists(path) and osp.exists(source) and osp.samefile(source, path):
        raise InputError(f'{path}: these are the weights themselves, which are not written over; take another name')
    if osp.exists(path) and not replace:
        raise InputError(f'{path}: there is such a file; take another name, or --force to write over it')


def _compare(net: nn.Module, run: Run, what: str) -> tuple[int, dict[tuple[int, ...], float]]:
    """Shortest side that an exported network takes, and its differences to the network.

    Raises:
        InputError: it fails at one of the sizes.
    """
    differences: dict[tuple[int, ...], float] = {}
    failure, smallest = None, None
    for smallest in _SMALLEST:
        try:
            differences |= _difference(net, run, (1, smallest, smallest))
            break
        except Exception as error:
            failure = error
    else:
        raise InputError(f'{what} does not run: {one_line(failure)}') from failure
    for size in _CHECKED:
        try:
            differences |= _difference(net, run, size)
        except Exception as error:
            raise InputError(
                f'{what} does not run at other sizes than it was exported at: {one_line(error)}; --size HxW '
                'writes it for images of one size'
            ) from error
    return smallest, differences


def _compare_at(net: nn.Module, run: Run, size: tuple[int, int], what: str) -> dict[tuple[int, ...], float]:
    """As `_compare`, for one image of the one size that it takes."""
    try:
        differences = _difference(net, run, (1, *size))
    except Exception as error:
        raise InputError(f'{what} does not run: {one_line(error)}') from error
    return differences


def _refuse_differences(differences: Mapping[tuple[int, ...], float], what: str, tolerance: float) -> None:
    shape, largest = max(differences.items(), key=lambda item: item[1] if item[1] == item[1] else float('inf'))
    if not largest <= tolerance:
        raise InputError(
            f'{what} is not the same network: at {"x".join(map(str, shape))} it differs by {largest:.1e}, and '
            f'{tolerance:.0e} is allowed; nothing is written'
        )


@torch.inference_mode()
def _difference(net: nn.Module, run: Run, size: tuple[int, int, int]) -> dict[tuple[int, ...], float]:
    hazy = _image(*size)
    wanted, got = net(hazy), run(hazy)
    if got.shape != wanted.shape:
        return {tuple(hazy.shape): float('inf')}
    return {tuple(hazy.shape): (got - wanted).abs().max().item()}


def _image(batch: int, height: int, width: int) -> Tensor:
    """Something with areas and texture, always the same, (N, 3, H, W) in [0, 1]."""
    random = torch.Generator().manual_seed(0)
    areas = F.interpolate(torch.rand(batch, 3, 5, 7, generator=random), (height, width), mode='bilinear')
    return (0.9 * areas + 0.1 * torch.rand(batch, 3, height, width, generator=random)).clamp(0, 1)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what exporters say of their own inside from the user; what they make is checked."""
    level: Any = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(level)
