"""Dehazing from Python: one object that holds a network, takes images of any size, and gives them back restored."""

import copy
import inspect
import math
import os
import warnings
from collections.abc import Callable, Sequence
from numbers import Real
from os import PathLike, fspath
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from okdnet_plugin import shipped_weights
from okdnet_plugin.archs.arch_util import SMALLEST
from okdnet_plugin.config.types import SMALLEST_TILE
from okdnet_plugin.engine.any_size import continued
from okdnet_plugin.errors import InputError
from okdnet_plugin.files import shown
from okdnet_plugin.inference import backends, memory, tiling
from okdnet_plugin.inference.backends import Restored
from okdnet_plugin.inference.images.reading import OpenedImage, plain, without_other_limits
from okdnet_plugin.inference.transfer import Transfer, from_float, to_float
from okdnet_plugin.weights.loading import Weights, build, load

_SHARE = 0.5  # of the available memory that an image, or on a GPU a tile, may need
_TILE_BYTES = 3 * 2**28  # that a tile may need on a CPU: images of 12 megapixels then stay below 2 GB, all told
_LARGEST_TILE = {'cpu': 1024}  # px; a GPU takes what its memory holds
_AIRLIGHT_SIZE = 256  # px, to which the networks that estimate an airlight bring an image first
_BAND = 64  # rows of the smaller image, of which so many are made at a time
_BEYOND = 1e-3  # that values of a tensor may lie beyond 0 and 1, as rounding leaves them
_MAX_MEGAPIXELS = 200  # of a file


class Dehazed(NamedTuple):
    """A restored image, with what else the network says of it."""

    pixels: np.ndarray
    """Of the shape and type of the hazy image."""
    transmission: np.ndarray | None = None
    """(H, W), uint16, where 65535 stands for 1; None unless `maps`, and of networks that have none."""
    airlight: tuple[float, float, float] | None = None
    """RGB, where 1 is white, not bounded; None unless `maps`, and of networks that have none."""
    depth: np.ndarray | None = None
    """(H, W), uint16, where 65535 stands for the farthest; None unless `maps`, and of networks that have none."""


class Dehazer:
    """A trained network, ready for images of any size.

    Args:
        weights: a file (.pth of a training, .safetensors), the name of weights that come with the package, what
            `weights.loading.load` has made of them, or a network, which stays as it is and where it is. Default: those
            of `opt`, else `okdnet` of the package.
        opt: option file whose `network_g` describes the network; needed where the file of weights does not tell.
        param_key: weights in the file, for example `params`. Default: `params_ema`, else `params`.
        backend: `auto`, `eager`, `compile`, `onnx` or `openvino`.
        precision: `fp32`, `bf16` or `fp16`.
        device: `auto`, `cpu`, `cuda`, `cuda:1` …, or one of torch.
        tile: largest side, in px, of the pieces in which images are restored; at least 128. 0 for never. Default: in
            one piece if half of the free memory suffices, else in pieces: on a CPU of about 0.8 GB, on a GPU of half of
            what is free.
        strength: share of the network's change that is made, from 0, the hazy image, to 1.
        maps: give transmission and airlight, or depth, too, where the network has them.
        self_ensemble: give the mean over the eight orientations of an image, which takes eight times as long.
        notify: called with a line that the user should see; default: `warnings.warn`.

    Raises:
        InputError: the weights or an option cannot be used.

    Example:
        >>> from okdnet_plugin import Dehazer
        >>> dehazer = Dehazer('experiments/OKDNet_ITS/models/net_g_latest.pth')  # doctest: +SKIP
        >>> clear = dehazer('hazy.jpg', strength=0.8)  # doctest: +SKIP
    """

    def __init__(
        self,
        weights: str | PathLike | Weights | nn.Module | None = None,
        opt: str | PathLike | None = None,
        *,
        param_key: str | None = None,
        backend: str = 'auto',
        precision: str = 'fp32',
        device: str | torch.device = 'auto',
        tile: int | None = None,
        strength: float = 1.0,
        maps: bool = False,
        self_ensemble: bool = False,
        notify: Callable[[str], object] | None = None,
    ):
        if tile is not None and not (isinstance(tile, int | np.integer) and (tile == 0 or tile >= SMALLEST_TILE)):
            raise InputError(f'tile is {tile!r}; give {SMALLEST_TILE} or more px, or 0 for images in one piece')
        self.strength, self.tile, self.maps = _checked_strength(strength), None if tile is None else int(tile), maps
        net = _network(weights, opt, param_key)
        self.network = type(net).__name__
        self._origin = (
            f' (weights {shipped_weights.DEFAULT} of this package)' if weights is None and opt is None else ''
        )
        self._notify = notify or _warn
        self._estimates_airlight = hasattr(net, 'estimate_airlight')
        has_maps = not {'return_branches', 'return_depth'}.isdisjoint(inspect.signature(net.forward).parameters)
        self._has_depth = 'return_depth' in inspect.signature(net.forward).parameters
        self._backend = backends.make(net, backend, precision, str(device), maps and has_maps)
        self._backend.self_ensemble = self_ensemble
        self.device = torch.device(self._backend.device)
        self._transfer = Transfer(self.device)
        self._most = math.inf  # pixels at once, learnt from running out of memory

    @property
    def description(self) -> str:
        """Network, back end, precision and device, in one line; also the weights, where nobody has named any."""
        ensemble = ', self-ensemble' if self._backend.self_ensemble else ''
        return f'{self.network}{self._origin}, {self._backend.name}, {self._backend.precision}, {self.device}{ensemble}'

    def __repr__(self) -> str:
        return f'Dehazer({self.description})'

    def __call__(self, image: Any, *, strength: float | None = None) -> Any:
        """Restore an image, or each of a list.

        Args:
            image: path of a file; a PIL image; numpy uint8 or uint16, (H, W, 3) RGB, (H, W, 4) with alpha, which is
                kept, or grey (H, W), (H, W, 1) or (H, W, 2); torch RGB, (3, H, W) or (N, 3, H, W), uint8 or floating
                point in [0, 1]; or a list of such.
            strength: share of the change that is made, from 0 to 1. Default: that of the object.

        Returns:
            Of the same kind, shape, type and device for any H and W; of a path a numpy array, RGB or grey, upright.

        Raises:
            InputError: it is no such image, or memory does not suffice for the smallest tiles.
        """
        if isinstance(image, str | PathLike):
            with without_other_limits():
                read = OpenedImage(image, shown(fspath(image)), _MAX_MEGAPIXELS).load()
            return self.dehaze(read.pixels, strength=strength).pixels
        if isinstance(image, Image.Image):
            return Image.fromarray(self.dehaze(np.asarray(plain(image)), strength=strength).pixels)
        if isinstance(image, np.ndarray):
            return self.dehaze(image, strength=strength).pixels
        if isinstance(image, Sequence):
            return [self(one, strength=strength) for one in image]
        _check_tensor(image, (3, 4), wholes=True)
        batch = image if image.ndim == 4 else image[None]
        if image.is_floating_point():
            _check_range(image)
            batch = batch.float()
        output = self._restore(batch, strength=strength).output.to(image.dtype)
        return output if image.ndim == 4 else output[0]

    def estimate_airlight(self, hazy: Tensor) -> Tensor | None:
        """The airlight of images, to be shared by images of one scene.

        Args:
            hazy: float32 RGB in [0, 1], (N, 3, H, W).

        Returns:
            One colour an image, RGB where 1 is white, not bounded, (N, 3, 1, 1); None if the network estimates none.
        """
        return self._backend.estimate_airlight(_at_least(self._transfer.bring(hazy)))

    def restore(self, hazy: Tensor, airlight: Tensor | None = None, strength: float | None = None) -> Restored:
        """Restore images that are tensors, in tiles where that is needed.

        Args:
            hazy: float32 RGB in [0, 1], (N, 3, H, W).
            airlight: that of the scene, (N, 3, 1, 1), as `estimate_airlight` gives it. Default: of the image.
            strength: share of the change that is made, from 0 to 1. Default: that of the object.

        Returns:
            The restored images where the hazy ones are; transmission and airlight only if `maps`.

        Raises:
            InputError: it is no such tensor, or memory does not suffice for the smallest tiles.
        """
        _check_tensor(hazy, (4,))
        return self._restore(hazy, airlight, strength)

    def dehaze(
        self,
        image: np.ndarray,
        progress: Callable[[float], object] | None = None,
        strength: float | None = None,
    ) -> Dehazed:
        """Restore an image that is an array; in memory as floating-point numbers is one band of tiles only.

        Args:
            image: as `__call__` takes it.
            progress: called with the share of the image that has been restored since the last call. What it raises
                ends the work.
            strength: share of the change that is made, from 0 to 1. Default: that of the object.
        """
        _check_array(image)
        native = np.ascontiguousarray(image, image.dtype.newbyteorder('='))
        hazy = native if image.ndim == 3 else native[..., None]
        channels = hazy.shape[2]
        colours = channels - 1 if channels in (2, 4) else channels
        numbers = hazy if hazy.flags.writeable else hazy.copy()  # or torch would warn
        numbers = torch.from_numpy(numbers.view(np.int16) if hazy.dtype == np.uint16 else numbers)
        result = self._restore(numbers[..., :colours].permute(2, 0, 1)[None], None, strength, progress)
        pixels = np.empty_like(hazy)
        pixels[..., :colours] = result.output[0].permute(1, 2, 0).numpy().view(hazy.dtype)
        pixels[..., colours:] = hazy[..., colours:]  # alpha
        light = result.airlight
        return Dehazed(
            pixels.reshape(image.shape).astype(image.dtype, copy=False),
            _sixteen_bits(result.transmission),
            None if light is None else tuple(light.flatten().tolist()),
            _sixteen_bits(result.depth),
        )

    def tile_of(self, count: int, height: int, width: int) -> int:
        """Side in px of the tiles in which images of a size are restored now; 0 for one piece."""
        pixels = count * height * width
        if self.tile:
            wanted = self.tile if max(height, width) > self.tile else 0
        elif self.tile == 0:
            wanted = 0
        else:
            need = memory.bytes_per_pixel(self.network, self._backend.precision)
            room = _SHARE * memory.available(self.device)
            most = room if self.device.type == 'cuda' else min(room, _TILE_BYTES)
            wanted = 0 if pixels * need <= room else self._side(most / need / count)
        if pixels > self._most and (not wanted or count * wanted**2 > self._most):
            wanted = self._side(self._most / count)
        return wanted if max(height, width) > wanted else 0

    def _restore(
        self,
        hazy: Tensor,
        airlight: Tensor | None = None,
        strength: float | None = None,
        progress: Callable[[float], object] | None = None,
    ) -> Restored:
        """Restore images, (N, 3 or 1, H, W), of any type that `to_float` takes, which the result has too.

        The transmission or depth of whole numbers is int16 that stands for the 16 bits of uint16.
        """
        strength = self.strength if strength is None else _checked_strength(strength)
        if strength == 0 and not self.maps:
            return Restored(hazy.clone())
        channels, height, width = hazy.shape[1:]
        output = torch.empty_like(hazy)
        of_maps = hazy.dtype if hazy.is_floating_point() else torch.int16
        plane: Tensor | None = None
        used = airlight

        def take(top: int, restored: Tensor, light: Tensor | None) -> None:
            nonlocal plane, used
            rows = slice(top, top + restored.shape[-2])
            image = restored[:, :3]
            if strength != 1:
                image = to_float(self._transfer.bring(hazy[..., rows, :])).lerp(image, strength)
            output[..., rows, :] = self._transfer.fetch(from_float(image, hazy.dtype, channels), hazy.device)
            if restored.shape[1] > 3:
                if plane is None:
                    plane = hazy.new_empty(len(hazy), 1, height, width, dtype=of_maps)
                found = from_float(restored[:, 3:], of_maps, 1)
                plane[..., rows, :] = self._transfer.fetch(found, hazy.device)
            used = light

        self._run(hazy, airlight, take, progress)
        used = used if self.maps else None
        return Restored(output, airlight=used, **{'depth' if self._has_depth else 'transmission': plane})

    def _run(
        self,
        hazy: Tensor,
        airlight: Tensor | None,
        take: Callable[[int, Tensor, Tensor | None], None],
        progress: Callable[[float], object] | None,
    ) -> None:
        """Give all rows of the result to `take`, from smaller and smaller tiles until memory suffices."""
        count, _, height, width = hazy.shape
        tile, done = self.tile_of(count, height, width), 0.0

        def advance(share: float) -> None:
            nonlocal done
            done += share
            if progress:
                progress(share)

        while True:
            try:
                self._run_tiles(hazy, tile, airlight, take, advance)
                return
            except Exception as error:
                if not memory.is_out_of_memory(error):
                    raise
                cause = error
            if self.device.type == 'cuda':
                torch.cuda.empty_cache()
            advance(-done)
            tile = self._smaller(tile, count, height, width, cause)

    def _run_tiles(self, hazy: Tensor, tile: int, airlight: Tensor | None, take, advance) -> None:
        height, width = hazy.shape[-2:]
        if not tile:
            restored, light = self._run_one(self._transfer.bring(hazy), airlight)
            take(0, restored, light)
            advance(1.0)
            return
        if airlight is None and self._estimates_airlight:
            airlight = self._backend.estimate_airlight(_overview(hazy, self._transfer.bring))
        attention = self._attention(hazy, tile)
        places = tiling.places(height, width, tile)
        share = 1 / len(places)
        pieces = (hazy[..., top:bottom, left:right] for top, bottom, left, right in places)
        sent = self._transfer.send(next(pieces))

        def run(top: int, bottom: int, left: int, right: int) -> Tensor:
            nonlocal sent
            now, following = sent, next(pieces, None)
            if following is not None:  # goes up while this one is computed
                sent = self._transfer.send(following)
            restored, _ = self._run_one(self._transfer.arrive(now), airlight, attention)
            advance(share)
            return restored

        for top, rows in tiling.restore(height, width, tile, run):
            take(top, rows, airlight)

    def _attention(self, hazy: Tensor, tile: int) -> list[Tensor] | None:
        """The attention that tiles share: of the whole image, made as small as a tile."""
        if not self._backend.core.takes_attention:
            return None
        height, width = hazy.shape[-2:]
        factor = min(math.ceil(math.sqrt(height * width) / tile), height, width)
        return self._backend.estimate_attention(_at_least(_reduced(hazy, factor, self._transfer.bring)))

    def _run_one(
        self, hazy: Tensor, airlight: Tensor | None, attention: list[Tensor] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The restored piece, with transmission or depth as a fourth channel if there is one, and the airlight used."""
        height, width = hazy.shape[-2:]
        light = airlight if airlight is None else airlight.to(self.device)
        result = self._backend(_at_least(to_float(hazy)), light, attention)
        parts = [one for one in (result.output, result.transmission, result.depth) if one is not None]
        restored = torch.cat(parts, 1) if len(parts) > 1 else result.output
        return restored[..., :height, :width], result.airlight if result.airlight is not None else airlight

    def _side(self, pixels: float) -> int:
        """Side of the largest square tile of so many pixels, within the sizes that tiles have."""
        side = min(_LARGEST_TILE.get(self.device.type, 2**16), int(math.sqrt(pixels)))
        return max(SMALLEST_TILE, side // tiling.ALIGN * tiling.ALIGN)

    def _smaller(self, tile: int, count: int, height: int, width: int, cause: Exception) -> int:
        """The next size of tiles to try after one has not fitted, which is reported."""
        if tile == SMALLEST_TILE or max(height, width) <= SMALLEST_TILE:
            raise InputError(
                f'{self.device} has not enough memory for {self.network} even in tiles of {SMALLEST_TILE} px; '
                'end other programs or take another device'
            ) from cause
        pixels = min(tile, height) * min(tile, width) if tile else height * width
        smaller = self._side(pixels / 4)
        self._most = count * smaller**2
        self._notify(
            f'not enough memory on {self.device} for {f"tiles of {tile}" if tile else f"{width}x{height}"} px; '
            f'going on in tiles of {smaller} px'
        )
        return smaller


def _network(
    given: str | PathLike | Weights | nn.Module | None, opt: str | PathLike | None, param_key: str | None
) -> nn.Module:
    if isinstance(given, nn.Module):  # a copy, of which the caller's network and its GPU know nothing
        return copy.deepcopy(given).cpu().eval().requires_grad_(False)
    if isinstance(given, Weights):
        return build(given)
    path = (shipped_weights.DEFAULT if opt is None else None) if given is None else os.path.expanduser(fspath(given))
    return build(load(path, None if opt is None else fspath(opt), param_key))


def _sixteen_bits(plane: Tensor | None) -> np.ndarray | None:
    """The one channel of a map, (H, W), uint16."""
    return None if plane is None else plane[0, 0].numpy().view(np.uint16)


def _overview(hazy: Tensor, bring: Callable[[Tensor], Tensor]) -> Tensor:
    """Images at 256x256, (N, 3, 256, 256), with the values of a bilinear resizing without smoothing.

    These are the values that the airlight network of OKDNet makes of the whole image, so that its estimate is the same.
    Only the rows that they are made of become floating-point numbers.
    """
    above, below, part = _neighbours(_AIRLIGHT_SIZE, hazy.shape[-2])
    left, right, share = _neighbours(_AIRLIGHT_SIZE, hazy.shape[-1])
    rows = to_float(bring(hazy.index_select(2, torch.cat([above, below]).to(hazy.device))))
    columns = (rows.index_select(3, places.to(rows.device)) for places in (left, right))
    first, second = next(columns).lerp(next(columns), share.to(rows)).chunk(2, 2)
    return first.lerp(second, part.to(rows)[:, None])


def _reduced(hazy: Tensor, factor: int, bring: Callable[[Tensor], Tensor]) -> Tensor:
    """Means of squares of `factor` px, (N, 3, H / factor, W / factor), float32; few rows at a time are in memory."""
    bands = (to_float(bring(rows)) for rows in hazy.split(factor * _BAND, 2))
    return torch.cat([F.avg_pool2d(band, factor, ceil_mode=True, count_include_pad=False) for band in bands], 2)


def _neighbours(number: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each of a number of places along an edge: the pixels before and after it, and the share of the second."""
    places = ((torch.arange(number, dtype=torch.float64) + 0.5) * length / number - 0.5).clamp(min=0)
    before = places.floor().long().clamp(max=length - 1)
    return before, (before + 1).clamp(max=length - 1), places - before


def _at_least(hazy: Tensor) -> Tensor:
    height, width = hazy.shape[-2:]
    return continued(hazy, max(height, SMALLEST), max(width, SMALLEST))


def _checked_strength(strength: float) -> float:
    if not isinstance(strength, Real) or not 0 <= strength <= 1:
        raise InputError(f'strength is {strength!r}; give a number from 0 (nothing is changed) to 1')
    return float(strength)


def _check_tensor(image: Any, dimensions: tuple[int, ...], wholes: bool = False) -> None:
    is_right = isinstance(image, Tensor) and (image.is_floating_point() or (wholes and image.dtype == torch.uint8))
    if not is_right or image.ndim not in dimensions:
        found = f'{image.dtype} {tuple(image.shape)}' if isinstance(image, Tensor) else type(image).__name__
        raise InputError(
            f'an image is {found}; give a path, a PIL image, numpy uint8 or uint16, (H, W, 3), or torch uint8 or '
            'floating point in [0, 1], (3, H, W) or (N, 3, H, W)'
        )
    if image.shape[-3] != 3 or 0 in image.shape:
        raise InputError(f'an image has the shape {tuple(image.shape)}; give RGB, (3, H, W) or (N, 3, H, W)')


def _check_range(image: Tensor) -> None:
    low, high = (float(value) for value in image.detach().aminmax())
    if not (low >= -_BEYOND and high <= 1 + _BEYOND):  # so that NaN is refused, too
        raise InputError(
            f'an image has values from {low:.4g} to {high:.4g}; give finite ones in [0, 1]: divide 8 bits by 255, '
            'and clamp what a resizing leaves beyond'
        )


def _check_array(image: np.ndarray) -> None:
    if image.dtype.newbyteorder('=') not in (np.uint8, np.uint16):
        raise InputError(f'an image has values of type {image.dtype}; give uint8 or uint16')
    if 0 in image.shape or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] > 4):
        raise InputError(f'an image has the shape {image.shape}; give (H, W, 3), (H, W, 4) or grey (H, W)')


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)
