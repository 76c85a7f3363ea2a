"""What the benchmarks share: photographs, turns, medians, ratios, tables, and the line that names the versions.

The plugin is imported only where it is used: one row of `training.py` is BasicSR as it was released.
"""

import statistics
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

SIZE = (460, 620)  # height and width of an image of RESIDE ITS and SOTS
PHOTOS = ('astronaut.png', 'coffee.png', 'rocket.jpg', 'chelsea.png')
_VERSIONS = ('okdnet_plugin', 'basicsr', 'torch', 'numpy', 'opencv-python')
Row = TypeVar('Row', bound=Hashable)
Result = TypeVar('Result')


def versions() -> str:
    """What was measured, and on what."""
    import torch

    names = []
    for name in _VERSIONS:
        try:
            names.append(f'{name} {version(name)}')
        except PackageNotFoundError:  # another build of OpenCV, say
            continue
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f'CPU, {torch.get_num_threads()} threads'
    return f'{", ".join(names)}; {device}'


# ----------------------------------------------------------------------------------------------------- turns and tables


def in_turns(rows: Mapping[Row, Callable[[], Result]], rounds: int, warm_up: int = 1) -> dict[Row, list[Result]]:
    """Let all rows take turns, so that a busy machine is busy for each of them.

    Args:
        rows: what a turn of each row does.
        rounds: turns of each row.
        warm_up: rounds before them, whose results are left out.

    Returns:
        The results of each row, one for each round.
    """
    results: dict[Row, list[Result]] = {row: [] for row in rows}
    for round_ in range(warm_up + rounds):
        for row, run in rows.items():
            result = run()
            if round_ >= warm_up:
                results[row].append(result)
    return results


def ratio(numerators: Iterable[float], denominators: Iterable[float]) -> float:
    """The median of the ratios within a round, in which the machine was as busy for both."""
    return statistics.median(one / other for one, other in zip(numerators, denominators, strict=True))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of Markdown."""
    lines = [f'| {" | ".join(head)} |', '|---' * len(head) + '|']
    return '\n'.join([*lines, *(f'| {" | ".join(map(str, row))} |' for row in rows)])


# ------------------------------------------------------------------------------------------------------------- images


def read(file: Path, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """An image as OpenCV reads it.

    Raises:
        InputError: it cannot be read.
    """
    from okdnet_plugin.errors import InputError

    image = cv2.imread(str(file), flags)
    if image is None:
        raise InputError(f'{file} cannot be read as an image; remove it')
    return image


def images_in(folder: Path) -> list[np.ndarray]:
    """Those files of a folder that are images, uint8 BGR."""
    found = (cv2.imread(str(file)) for file in sorted(folder.glob('*')) if file.is_file())
    return [image for image in found if image is not None]


def photographs(size: tuple[int, int] | None = SIZE) -> list[np.ndarray]:
    """Photographs that ship inside scikit-image, uint8 BGR.

    Args:
        size: height and width that they are scaled to; None leaves them as they are.
    """
    import skimage

    found = [read(Path(skimage.__file__).parent / 'data' / name) for name in PHOTOS]
    return found if size is None else [cv2.resize(one, size[::-1], interpolation=cv2.INTER_AREA) for one in found]


def hazy_of(clear: np.ndarray, depth: np.ndarray | None = None) -> np.ndarray:
    """A hazy version of a clear image, uint8 both.

    Args:
        clear: (H, W, 3).
        depth: (H, W), in units of which the haze scatters 1; by default a painted one.
    """
    from okdnet_plugin.data.depth import painted_depth
    from okdnet_plugin.data.haze import add_haze, transmission

    depth = painted_depth(clear) if depth is None else depth
    return np.rint(add_haze(clear / 255, transmission(depth, 1.0), 0.9) * 255).clip(0, 255).astype(np.uint8)
