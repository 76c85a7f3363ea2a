"""What the page does with one file: the same as `basicsr dehaze`, in a folder of its own, and images to look at."""

import collections
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from os import path as osp

import cv2
import numpy as np

from okdnet_plugin.errors import InputError
from okdnet_plugin.inference import jobs as plan
from okdnet_plugin.inference.dehazer import Dehazer
from okdnet_plugin.inference.images import extras
from okdnet_plugin.inference.images.pipeline import Pipeline, Writing
from okdnet_plugin.inference.images.reading import OpenedImage, without_other_limits
from okdnet_plugin.inference.video import dehaze_video
from okdnet_plugin.weights.loading import load

LARGEST_VIEW = 1600  # px, of an image to look at
_KEPT = 20  # results, of all who use the page, before the oldest is removed
_DEHAZERS = 2  # in memory


@dataclass
class Restored:
    """A result, and what is shown of it."""

    path: str
    """The file that `basicsr dehaze` would write."""
    views: tuple[np.ndarray, np.ndarray] | None = None
    """Hazy and restored, uint8 RGB of one shape, at most `LARGEST_VIEW` px; None of a video."""
    maps: dict[str, str] = field(default_factory=dict)
    """Images of the transmission and the airlight, by their names."""
    notes: list[str] = field(default_factory=list)
    """What could not be kept, a line each."""


class Worker:
    """Dehazes the files of a page, one at a time; its results live as long as it does, the newest ones at least.

    Args:
        device, precision, backend: as for `Dehazer`.
        max_megapixels: larger images are refused.
    """

    def __init__(self, device: str, precision: str, backend: str, max_megapixels: float):
        self._device, self._precision, self._backend = device, precision, backend
        self._max_megapixels = max_megapixels
        self._dehazers: collections.OrderedDict[tuple[str, bool], Dehazer] = collections.OrderedDict()
        self._folder = tempfile.TemporaryDirectory(prefix='okdnet-demo-')
        self._results: collections.deque[str] = collections.deque()

    def close(self) -> None:
        """Remove all results."""
        self._folder.cleanup()

    def restore(
        self,
        source: str,
        weights: str,
        strength: float = 1.0,
        maps: bool = False,
        progress: Callable[[float], object] | None = None,
    ) -> Restored:
        """Dehaze an image or a video.

        Args:
            source: path of the file.
            weights: path or name of weights, as `basicsr dehaze --weights` takes it.
            strength: share of the network's change that is made, from 0 to 1.
            maps: show transmission and airlight, of networks that have them.
            progress: is told the share of the work that is done.

        Raises:
            InputError: the file or the weights cannot be used; one line that names it.
        """
        dehazer = self._dehazer(weights, maps)
        dehazer.strength = strength
        job = self._job(source, dehazer, maps)
        notes: list[str] = []
        if job.is_video:
            dehaze_video(job.source, job.target, dehazer, progress=False, say=notes.append)
            return Restored(job.target, notes=notes)
        done = 0.0

        def advance(share: float) -> None:
            nonlocal done
            done += share
            if progress:
                progress(done)

        def tell(message: str, is_failure: bool) -> None:
            if not is_failure:
                notes.append(message)

        with without_other_limits():
            outcome = Pipeline(dehazer, Writing(max_megapixels=self._max_megapixels), tell, advance).run([job])
            if outcome.failed:
                raise InputError(outcome.failed[0])
            views = self._view(job.source), self._view(job.target)
        shown = {kind: path for kind, path in job.extras.items() if kind in ('transmission', 'airlight')}
        return Restored(job.target, views, shown, notes)

    def _dehazer(self, weights: str, maps: bool) -> Dehazer:
        key = weights, maps
        found = self._dehazers.pop(key, None)
        if found is None:
            read = load(weights)
            found = Dehazer(read, backend=self._backend, precision=self._precision, device=self._device, maps=maps)
            while len(self._dehazers) >= _DEHAZERS:
                self._dehazers.popitem(last=False)
        self._dehazers[key] = found
        return found

    def _job(self, source: str, dehazer: Dehazer, maps: bool) -> plan.Job:
        wanted = plan.Extras()
        if maps:
            try:
                extras.check_maps(dehazer, True, True)
                wanted = plan.Extras(transmission=True, airlight=True)
            except InputError as error:
                raise InputError(f'{dehazer.network} has no transmission and airlight to show; untick them') from error
        while len(self._results) >= _KEPT:
            shutil.rmtree(self._results.popleft(), ignore_errors=True)
        folder = tempfile.mkdtemp(dir=self._folder.name)
        self._results.append(folder)
        return plan.jobs([source], osp.join(folder, 'clear'), extras=wanted)[0]

    def _view(self, path: str) -> np.ndarray:
        """An image as a browser shows it, uint8 RGB."""
        pixels = OpenedImage(path, osp.basename(path), self._max_megapixels).load().pixels
        if pixels.dtype == np.uint16:
            pixels = (pixels >> 8).astype(np.uint8)
        if pixels.ndim == 2 or pixels.shape[2] == 2:
            pixels = np.repeat(pixels.reshape(*pixels.shape[:2], -1)[..., :1], 3, 2)
        height, width = pixels.shape[:2]
        scale = LARGEST_VIEW / max(height, width)
        rgb = np.ascontiguousarray(pixels[..., :3])
        if scale >= 1:
            return rgb
        size = max(1, round(width * scale)), max(1, round(height * scale))
        return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
