"""What is written beside a result: hazy and restored side by side, the transmission, the airlight, the depth."""

import json

import cv2
import numpy as np

from okdnet_plugin.errors import InputError
from okdnet_plugin.inference.dehazer import Dehazed
from okdnet_plugin.inference.images import writing
from okdnet_plugin.inference.images.metadata import Metadata

_SWATCH = 64  # px
_THINNEST = 2  # px of the line between hazy and restored


def side_by_side(hazy: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Hazy | restored with a white line between them; both (H, W, …) of one shape and type."""
    line = np.full_like(
        hazy[:, : max(1, min(hazy.shape[1], _THINNEST + hazy.shape[1] // 200))], np.iinfo(hazy.dtype).max
    )
    return np.concatenate([hazy, line, restored], 1)


def contents(
    wanted: dict[str, str], hazy: np.ndarray, result: Dehazed, kept: Metadata, quality: int
) -> dict[str, bytes]:
    """Content of each extra file.

    Args:
        wanted: paths by kinds, as `jobs.Job.extras` has them.
        hazy: the image as it was.
        result: what has become of it.
        kept: metadata of the image; of them, a comparison keeps what fits it.
        quality: of JPEG and WebP.

    Raises:
        InputError: a comparison is too wide for its kind of file.
    """
    made = {}
    for kind, path in wanted.items():
        if kind == 'compare':
            made[path] = _comparison(hazy, result.pixels, kept, path, quality)
        elif kind.startswith('transmission') and result.transmission is not None:
            made[path] = _map(result.transmission, raw=kind.endswith('raw'))
        elif kind.startswith('depth') and result.depth is not None:
            made[path] = _map(result.depth, raw=kind.endswith('raw'))
        elif kind.startswith('airlight') and result.airlight is not None:
            made[path] = _airlight(result.airlight, raw=kind.endswith('raw'))
    return made


def _comparison(hazy: np.ndarray, restored: np.ndarray, kept: Metadata, path: str, quality: int) -> bytes:
    both = side_by_side(hazy, restored)
    kind = writing.kind_of(path)
    writing.check_size(both.shape[0], both.shape[1], kind, 'the comparison')
    return writing.encode(both, kept.upright(), kind, quality)[0]


def _map(values: np.ndarray, raw: bool) -> bytes:
    """PNG of (H, W), uint16: as it is, or in the colours of viridis, from 0 (dark blue) to 1 (yellow)."""
    if not raw:
        eight_bits = (values // 257).astype(np.uint8)
        values = cv2.cvtColor(cv2.applyColorMap(eight_bits, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)
    return writing.encode(values, Metadata(), 'PNG', 100)[0]


def _airlight(airlight: tuple[float, float, float], raw: bool) -> bytes:
    """JSON of the colour, which is not bounded, or a PNG filled with it as far as it can be shown."""
    if raw:
        return json.dumps({'airlight': [round(value, 6) for value in airlight], 'scale': 'RGB, 1 is white'}).encode()
    colour = (np.clip(airlight, 0, 1) * 255).round().astype(np.uint8)
    return writing.encode(np.tile(colour, (_SWATCH, _SWATCH, 1)), Metadata(), 'PNG', 100)[0]


def check_maps(dehazer, transmission: bool, airlight: bool, depth: bool = False) -> None:
    """See that a network has the maps that are asked for, before anything is computed.

    Raises:
        InputError: it has not.
    """
    import torch

    result = dehazer.restore(torch.full((1, 3, 32, 32), 0.5))
    for wanted, found, name in (
        (transmission, result.transmission, 'transmission'),
        (airlight, result.airlight, 'airlight'),
        (depth, result.depth, 'depth'),
    ):
        if wanted and found is None:
            raise InputError(f'{dehazer.network} gives no {name}; take --save-{name} out')
