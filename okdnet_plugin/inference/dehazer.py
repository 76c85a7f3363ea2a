"""Dehazing from Python: one object that holds a network, takes pictures of any size, and gives them back restored."""

import inspect
import math
import warnings
from collections.abc import Callable
from os import PathLike, fspath
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from okdnet_plugin.errors import InputError
from okdnet_plugin.inference import backends, memory, tiling
from okdnet_plugin.inference.backends import Restored
from okdnet_plugin.inference.weights import Weights, build, load

_LEAST = 16  # px, the shortest side that every registered network takes
_SHARE = 0.5  # of the available memory that a picture may need to be restored in one piece
_TILE_BYTES = 3 * 2**28  # that a tile may need: pictures of 12 megapixels then stay below 2 GB, all told
_LARGEST_TILE = 1024  # px
_AIRLIGHT_SIZE = 256  # px, to which the networks that estimate an airlight bring a picture first
_BEYOND = 1e-3  # that values of a tensor may lie beyond 0 and 1, as rounding leaves them
_LUMA = (0.299, 0.587, 0.114)  # of R, G and B; ITU-R BT.601

Picture = TypeVar('Picture', np.ndarray, Tensor)


class Dehazed(NamedTuple):
    """A restored picture, with what else the network says of it."""

    pixels: np.ndarray
    """Of the shape and type of the hazy picture."""
    transmission: np.ndarray | None = None
    """(H, W), uint16, where 65535 stands for 1; None unless `maps`, and of networks that have none."""
    airlight: tuple[float, float, float] | None = None
    """RGB, where 1 is white, not bounded; None unless `maps`, and of networks that have none."""


class Dehazer:
    """A trained network, ready for pictures of any size.

    Args:
        weights: a file (.pth of a training, .safetensors), what `inference.weights.load` has made of it, or a network.
        opt: option file whose `network_g` describes the network; needed where the file of weights does not tell.
        param_key: weights in the file, for example `params`. Default: `params_ema`, else `params`.
        backend: `auto`, `eager`, `compile`, `onnx` or `openvino`.
        precision: `fp32`, `bf16` or `fp16`.
        device: `auto`, `cpu`, `cuda`, `cuda:1` …
        tile: largest side, in px, of the pieces in which pictures are restored; at least 128. 0 for never. Default: in
            one piece if half of the free memory suffices, else in pieces of about 0.8 GB.
        strength: share of the network's change that is made, from 0, the hazy picture, to 1.
        maps: give transmission and airlight too, where the network has them.
        notify: called with a line that the user should see; default: `warnings.warn`.

    Raises:
        InputError: the weights or an option cannot be used.

    Example:
        >>> import numpy as np
        >>> from okdnet_plugin import Dehazer
        >>> dehazer = Dehazer('experiments/OKDNet_ITS/models/net_g_latest.pth')  # doctest: +SKIP
        >>> clear = dehazer(np.zeros((480, 640, 3), np.uint8))  # doctest: +SKIP
    """

    def __init__(
        self,
        weights: str | PathLike | Weights | nn.Module | None = None,
        opt: str | PathLike | None = None,
        *,
        param_key: str | None = None,
        backend: str = 'auto',
        precision: str = 'fp32',
        device: str = 'auto',
        tile: int | None = None,
        strength: float = 1.0,
        maps: bool = False,
        notify: Callable[[str], object] | None = None,
    ):
        if not 0 <= strength <= 1:
            raise InputError(f'strength is {strength}; give a number from 0 (nothing is changed) to 1')
        if tile and tile < tiling.SMALLEST:
            raise InputError(f'tile is {tile}; give {tiling.SMALLEST} or more px, or 0 for pictures in one piece')
        self.strength, self.tile, self.maps = float(strength), tile, maps
        net = _network(weights, opt, param_key)
        self.network = type(net).__name__
        self._notify = notify or _warn
        has_maps = 'return_branches' in inspect.signature(net.forward).parameters
        self._backend = backends.make(net, backend, precision, device, maps and has_maps)
        self.device = torch.device(self._backend.device)
        self._most = math.inf  # pixels at once, learnt from running out of memory

    @property
    def description(self) -> str:
        """Network, back end, precision and device, in one line."""
        return f'{self.network}, {self._backend.name}, {self._backend.precision}, {self.device}'

    def __call__(self, picture: Picture) -> Picture:
        """Restore a picture.

        Args:
            picture: numpy uint8 or uint16, (H, W, 3) RGB, (H, W, 4) with alpha, which is kept, or grey (H, W),
                (H, W, 1) or (H, W, 2); or torch floating point RGB in [0, 1], (3, H, W) or (N, 3, H, W).

        Returns:
            Of the same kind, shape, type and device; (H, W, …) or (N, …, H, W) for any H and W.

        Raises:
            InputError: it is no such picture, or memory does not suffice for the smallest tiles.
        """
        if isinstance(picture, np.ndarray):
            return self.dehaze(picture).pixels
        _check_tensor(picture)
        _check_range(picture)
        batch = picture if picture.ndim == 4 else picture[None]
        output = self.restore(batch.float()).output.to(picture.device, picture.dtype)
        return output if picture.ndim == 4 else output[0]

    def estimate_airlight(self, hazy: Tensor) -> Tensor | None:
        """The airlight of pictures, to be shared by pictures of one scene.

        Args:
            hazy: float32 RGB in [0, 1], (N, 3, H, W).

        Returns:
            One colour a picture, RGB where 1 is white, not bounded, (N, 3, 1, 1); None if the network estimates none.
        """
        return self._backend.estimate_airlight(_at_least(hazy.to(self.device), _LEAST))

    def restore(self, hazy: Tensor, airlight: Tensor | None = None) -> Restored:
        """Restore pictures that are tensors, in tiles where that is needed.

        Args:
            hazy: float32 RGB in [0, 1], (N, 3, H, W).
            airlight: that of the scene, (N, 3, 1, 1), as `estimate_airlight` gives it. Default: of the picture.

        Returns:
            The restored pictures; transmission and airlight only if `maps`.

        Raises:
            InputError: it is no such tensor, or memory does not suffice for the smallest tiles.
        """
        _check_tensor(hazy, (4,))
        height, width = hazy.shape[-2:]
        output = torch.empty_like(hazy)
        transmission: Tensor | None = None
        used = airlight

        def take(top: int, restored: Tensor, light: Tensor | None) -> None:
            nonlocal transmission, used
            rows = slice(top, top + restored.shape[-2])
            output[..., rows, :] = self._blend(hazy[..., rows, :], restored[:, :3].to(hazy.device))
            if restored.shape[1] > 3:
                if transmission is None:
                    transmission = hazy.new_empty(len(hazy), 1, height, width)
                transmission[..., rows, :] = restored[:, 3:].to(hazy.device)
            used = light

        self._run(lambda top, bottom, left, right: hazy[..., top:bottom, left:right], hazy.shape, airlight, take)
        return Restored(output, transmission, used if self.maps else None)

    def dehaze(self, picture: np.ndarray, progress: Callable[[float], object] | None = None) -> Dehazed:
        """Restore a picture that is an array; in memory as floating-point numbers is one band of tiles only.

        Args:
            picture: as `__call__` takes it.
            progress: called with the share of the picture that has been restored since the last call. What it raises
                ends the work.
        """
        _check_array(picture)
        if not picture.dtype.isnative:
            result = self.dehaze(picture.astype(picture.dtype.newbyteorder('=')), progress)
            return result._replace(pixels=result.pixels.astype(picture.dtype))
        if self.strength == 0 and not self.maps:
            return Dehazed(picture.copy())
        hazy = picture if picture.ndim == 3 else picture[..., None]
        height, width, channels = hazy.shape
        colours = channels - 1 if channels in (2, 4) else channels
        pixels = np.empty_like(hazy)
        pixels[..., colours:] = hazy[..., colours:]  # alpha
        maps: dict = {}

        def read(top: int, bottom: int, left: int, right: int) -> Tensor:
            return _to_tensor(hazy[top:bottom, left:right, :colours])

        def take(top: int, restored: Tensor, light: Tensor | None) -> None:
            rows = slice(top, top + restored.shape[-2])
            source = read(rows.start, rows.stop, 0, width)
            blended = self._blend(source, restored[:, :3].to(source.device))
            pixels[rows, :, :colours] = _to_array(blended, colours, hazy.dtype)
            if restored.shape[1] > 3:
                if 'transmission' not in maps:
                    maps['transmission'] = np.empty((height, width), np.uint16)
                maps['transmission'][rows] = _to_array(restored[:, 3:].cpu(), 1, np.dtype(np.uint16))[..., 0]
            if self.maps and light is not None:
                maps['airlight'] = tuple(light.flatten().tolist())

        self._run(read, (1, 3, height, width), None, take, progress)
        if self.strength == 0:
            pixels = hazy.copy()
        return Dehazed(pixels.reshape(picture.shape), **maps)

    def _blend(self, hazy: Tensor, restored: Tensor) -> Tensor:
        return restored if self.strength == 1 else hazy.lerp(restored, self.strength)

    def _run(
        self,
        read: Callable[[int, int, int, int], Tensor],
        shape: tuple[int, ...],
        airlight: Tensor | None,
        take: Callable[[int, Tensor, Tensor | None], None],
        progress: Callable[[float], object] | None = None,
    ) -> None:
        """Give all rows of the result to `take`, from smaller and smaller tiles until memory suffices."""
        count, _, height, width = shape
        tile, done = self._first_tile(count, height, width), 0.0

        def advance(share: float) -> None:
            nonlocal done
            done += share
            if progress:
                progress(share)

        while True:
            try:
                self._run_tiles(read, shape, tile, airlight, take, advance)
                return
            except Exception as error:
                if not memory.is_out_of_memory(error):
                    raise
            if self.device.type == 'cuda':
                torch.cuda.empty_cache()
            advance(-done)
            tile = self._smaller(tile, count, height, width)

    def _run_tiles(self, read, shape, tile, airlight, take, advance) -> None:
        _, _, height, width = shape
        if not tile:
            restored, light = self._run_one(read(0, height, 0, width), airlight)
            take(0, restored, light)
            advance(1.0)
            return
        if airlight is None:
            airlight = self._backend.estimate_airlight(_overview(read, height, width).to(self.device))
        share = 1 / tiling.count(height, width, tile)

        def run(top: int, bottom: int, left: int, right: int) -> Tensor:
            restored, _ = self._run_one(read(top, bottom, left, right), airlight)
            advance(share)
            return restored

        for top, rows in tiling.restore(height, width, tile, run):
            take(top, rows, airlight)

    def _run_one(self, hazy: Tensor, airlight: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The restored piece, with the transmission as a fourth channel if there is one, and the airlight used."""
        height, width = hazy.shape[-2:]
        light = airlight if airlight is None else airlight.to(self.device)
        piece = _at_least(hazy.to(self.device), _LEAST)
        result = self._backend(piece, light)
        if result.output.shape != piece.shape:
            raise InputError(
                f'{self.network} makes {tuple(result.output.shape)} of {tuple(piece.shape)}: it is no '
                'network that dehazes; give the weights of one'
            )
        parts = [result.output] if result.transmission is None else [result.output, result.transmission]
        restored = torch.cat(parts, 1) if len(parts) > 1 else result.output
        return restored[..., :height, :width], result.airlight if result.airlight is not None else airlight

    def _first_tile(self, count: int, height: int, width: int) -> int:
        """Side of the tiles for pictures of a size; 0 for one piece."""
        pixels = count * height * width
        if self.tile:
            wanted = self.tile if max(height, width) > self.tile else 0
        elif self.tile == 0:
            wanted = 0
        else:
            need = memory.bytes_per_pixel(self.network)
            fits = pixels * need <= _SHARE * memory.available(self.device)
            wanted = 0 if fits else _side(_TILE_BYTES / need / count)
        if pixels > self._most and (not wanted or count * wanted**2 > self._most):
            wanted = _side(self._most / count)
        return wanted if max(height, width) > wanted else 0

    def _smaller(self, tile: int, count: int, height: int, width: int) -> int:
        """The next size of tiles to try after one has not fitted, which is reported."""
        if tile == tiling.SMALLEST or max(height, width) <= tiling.SMALLEST:
            raise InputError(
                f'{self.device} has not enough memory for {self.network} even in tiles of {tiling.SMALLEST} px; '
                'end other programs or take another device'
            )
        pixels = min(tile, height) * min(tile, width) if tile else height * width
        smaller = _side(pixels / 4)
        self._most = count * smaller**2
        self._notify(
            f'not enough memory on {self.device} for {f"tiles of {tile}" if tile else f"{width}x{height}"} px; '
            f'going on in tiles of {smaller} px'
        )
        return smaller


def _network(
    given: str | PathLike | Weights | nn.Module | None, opt: str | PathLike | None, param_key: str | None
) -> nn.Module:
    if isinstance(given, nn.Module):
        return given.eval().requires_grad_(False)
    if isinstance(given, Weights):
        return build(given)
    path = None if given is None else fspath(given)
    return build(load(path, None if opt is None else fspath(opt), param_key))


def _side(pixels: float) -> int:
    """Side of the largest square tile of so many pixels, within the sizes that tiles have."""
    side = min(_LARGEST_TILE, int(math.sqrt(pixels)))
    return max(tiling.SMALLEST, side // tiling.ALIGN * tiling.ALIGN)


def _overview(read: Callable[[int, int, int, int], Tensor], height: int, width: int) -> Tensor:
    """A picture at 256x256, (N, 3, 256, 256), with the values of a bilinear resizing without smoothing.

    These are the values that the airlight network of OKDNet makes of the whole picture, so that its estimate is the
    same. They are computed row by row, for which the whole picture need not be there as floating-point numbers.
    """
    above, below, part = _neighbours(_AIRLIGHT_SIZE, height)
    left, right, share = _neighbours(_AIRLIGHT_SIZE, width)
    rows = []
    for first, second, weight in zip(above.tolist(), below.tolist(), part.tolist(), strict=True):
        pair = [read(row, row + 1, 0, width) for row in (first, second)]
        first_row, second_row = (row[..., left].lerp(row[..., right], share.to(row)) for row in pair)
        rows.append(first_row.lerp(second_row, weight))
    return torch.cat(rows, 2)


def _neighbours(number: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each of a number of places along an edge: the pixels before and after it, and the share of the second."""
    places = ((torch.arange(number, dtype=torch.float64) + 0.5) * length / number - 0.5).clamp(min=0)
    before = places.floor().long().clamp(max=length - 1)
    return before, (before + 1).clamp(max=length - 1), places - before


def _at_least(hazy: Tensor, least: int) -> Tensor:
    """Pictures continued to the right and downwards, by mirroring, to a shortest side."""
    for axis in (2, 3):
        length = hazy.shape[axis]
        if length < least:
            there_and_back = np.pad(np.arange(length), (0, least - length), mode='symmetric')
            hazy = hazy.index_select(axis, torch.from_numpy(there_and_back).to(hazy.device))
    return hazy


def _to_tensor(picture: np.ndarray) -> Tensor:
    """float32 RGB in [0, 1], (1, 3, H, W), of (H, W, 3), or of grey (H, W, 1)."""
    largest = np.iinfo(picture.dtype).max
    planes = np.array(picture.transpose(2, 0, 1), order='C')  # moved before it is widened to float32
    values = torch.from_numpy(planes).float().div_(largest)[None]
    return values if values.shape[1] == 3 else values.expand(-1, 3, -1, -1).contiguous()


def _to_array(values: Tensor, channels: int, dtype: np.dtype) -> np.ndarray:
    """(H, W, channels) of (1, C, H, W) in [0, 1]; one channel of three is their luma."""
    if channels == 1 and values.shape[1] == 3:
        values = (values * values.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)
    largest = np.iinfo(dtype).max
    whole = (values[0].clamp(0, 1) * largest).round()
    kind = torch.uint8 if dtype == np.uint8 else torch.int32  # torch knows uint16 by name only
    return whole.to(kind).permute(1, 2, 0).numpy().astype(dtype, copy=False)


def _check_tensor(picture: object, dimensions: tuple[int, ...] = (3, 4)) -> None:
    if not isinstance(picture, Tensor) or picture.ndim not in dimensions or not picture.is_floating_point():
        found = f'{picture.dtype} {tuple(picture.shape)}' if isinstance(picture, Tensor) else type(picture).__name__
        raise InputError(
            f'a picture is {found}; give numpy uint8 or uint16, (H, W, 3), or torch floating point, (3, H, W) or '
            '(N, 3, H, W), in [0, 1]'
        )
    if picture.shape[-3] != 3 or 0 in picture.shape:
        raise InputError(f'a picture has the shape {tuple(picture.shape)}; give RGB, (3, H, W) or (N, 3, H, W)')


def _check_range(picture: Tensor) -> None:
    low, high = (float(value) for value in picture.aminmax())
    if not (low >= -_BEYOND and high <= 1 + _BEYOND):  # so that NaN is refused, too
        raise InputError(
            f'a picture has values from {low:.4g} to {high:.4g}; give finite ones in [0, 1]: divide 8 bits by 255, '
            'and clamp what a resizing leaves beyond'
        )


def _check_array(picture: np.ndarray) -> None:
    if picture.dtype.newbyteorder('=') not in (np.uint8, np.uint16):
        raise InputError(f'a picture has values of type {picture.dtype}; give uint8 or uint16')
    if 0 in picture.shape or picture.ndim not in (2, 3) or (picture.ndim == 3 and picture.shape[2] > 4):
        raise InputError(f'a picture has the shape {picture.shape}; give (H, W, 3), (H, W, 4) or grey (H, W)')


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)
