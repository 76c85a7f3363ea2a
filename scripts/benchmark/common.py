"""What the benchmarks share: photographs, turns, medians, tables, small trainings, the line that names the versions.

The plugin is imported only where it is used: one row of `training.py` is BasicSR as it was released.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import yaml

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


# ---------------------------------------------------------------------------------------------------- small trainings


def exit_code_of(work: Callable[[], None]) -> int:
    """What a script that may be interrupted and gone on with ends with: 2 after a mistake, which is one line."""
    from okdnet_plugin.errors import InputError

    try:
        work()
    except InputError as error:
        print(f'{Path(sys.argv[0]).name}: error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('\ninterrupted: the same command goes on', file=sys.stderr)
        return 130
    return 0


class Kept(dict):
    """What has been measured, in `results.json` of a folder, by names.

    Args:
        folder: where it is; made if need be.
        settings: arguments of the command, on which the values depend.

    Raises:
        InputError: what is there was made with other arguments.
    """

    def __init__(self, folder: Path, settings: Mapping[str, object]):
        from okdnet_plugin.errors import InputError

        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / 'results.json'
        super().__init__(json.loads(self._file.read_text(encoding='utf-8')) if self._file.is_file() else {})
        told = {key: str(value) for key, value in settings.items()}
        if self.setdefault('settings', told) != told:
            raise InputError(f'{self._file} was made with other arguments; choose another folder by -o')

    def keep(self, name: str, value: Any) -> Any:
        """Note a value, whole or not at all."""
        from okdnet_plugin import files

        self[name] = value
        files.write(str(self._file), (json.dumps(self, indent=1) + '\n').encode())
        return value


def trained(folder: Path, name: str, opt: Mapping, steps: int, arguments: Sequence[str] = ()) -> list[dict]:
    """The journal of a training, which is run, or gone on with, unless it has been validated at its last step.

    Args:
        folder: in which `basicsr train` runs.
        name: of the training.
        opt: its option file.
        steps: how many it has.
        arguments: further ones of the command.

    Raises:
        InputError: it has failed.
    """
    from okdnet_plugin.errors import InputError

    journal = folder / 'experiments' / name / 'metrics.jsonl'
    if not any(entry.get('iter') == steps and 'dataset' in entry for entry in entries_of(journal)):
        file = folder / f'{name}.yml'
        file.write_text(yaml.safe_dump(dict(opt), sort_keys=False), encoding='utf-8')
        command = [sys.executable, '-m', 'okdnet_plugin', 'train', '-opt', file.name, '--auto_resume', *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ['no message'])[-1]
            raise InputError(f'the training {name} in {folder} ended with exit code {done.returncode}: {last}')
    return entries_of(journal)


def entries_of(journal: Path) -> list[dict]:
    """The whole lines of a journal; none if there is none."""
    lines = journal.read_text(encoding='utf-8').splitlines() if journal.is_file() else []
    return [json.loads(line) for line in lines if line.endswith('}')]


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
