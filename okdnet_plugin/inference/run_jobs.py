"""The work of `basicsr dehaze`: images and videos, a bar, a summary, and Ctrl-C that leaves nothing half done."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os import path as osp
from typing import TextIO

from tqdm import tqdm

from okdnet_plugin import files
from okdnet_plugin.inference.dehazer import Dehazer
from okdnet_plugin.inference.images.pipeline import Pipeline, Writing
from okdnet_plugin.inference.images.reading import without_other_limits
from okdnet_plugin.inference.jobs import STANDARD, Job, failure
from okdnet_plugin.inference.shares import Share
from okdnet_plugin.inference.video import SMOOTHING, Encoding, dehaze_video
from okdnet_plugin.progress import fitting

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_BAR = '{percentage:3.0f}%|{bar}| {n:.1f}/{total} [{elapsed}<{remaining}]'


@dataclass(frozen=True)
class VideoSettings:
    """How videos are restored and written."""

    compare: bool = False
    smoothing: float = SMOOTHING
    encoding: Encoding = field(default_factory=Encoding)


def run(
    jobs: Sequence[Job],
    dehazer: Dehazer,
    writing: Writing,
    video: VideoSettings | None = None,
    overwrite: bool = False,
    quiet_output: bool = False,
    share: Share | None = None,
) -> int:
    """Dehaze files.

    Args:
        jobs: what `jobs.jobs` has made, of which this process does its share.
        dehazer: restores them.
        writing: how images are written.
        video: how videos are restored and written.
        overwrite: replace results that are there; else they are passed over.
        quiet_output: say the summary on the standard error, too.
        share: which of several processes this is; the first says the summary of all.

    Returns:
        The exit code: 0, 1 if a file has failed, 130 after Ctrl-C and 143 after SIGTERM.
    """
    begin, share = time.monotonic(), share or Share()
    # By the result alone: one that is there, made however, is not replaced for what is missing beside it.
    waiting = [job for job in jobs if overwrite or job.target == STANDARD or not osp.lexists(job.target)]
    files.remove_leftovers(*{osp.dirname(path) for job in waiting for path in job.targets}, is_shared=True)
    images = [job for job in waiting if not job.is_video]
    videos = [job for job in waiting if job.is_video]
    stopped: int | None = None
    done: list[Job] = []
    failed: list[str] = []
    pixels, is_given_up = 0, False
    if images:
        with _bar(len(images), share.index == 0) as bar, without_other_limits():
            pipeline = Pipeline(dehazer, writing, _teller(bar), bar.update)
            with _Signals(pipeline.stop) as signals:
                outcome = pipeline.run(images)
            done, failed, pixels, stopped = outcome.done, outcome.failed, outcome.pixels, signals.received
            is_given_up = outcome.is_given_up
    for job in videos:
        if stopped is None and not is_given_up:
            stopped = _dehaze_video(job, dehazer, video or VideoSettings(), overwrite, done, failed)
    own = _Summary(len(jobs), len(jobs) - len(waiting), len(done), failed, pixels, time.monotonic() - begin)
    # A process that was told to stop waits for no other.
    all_of_them = [own] if stopped is not None else share.gathered(own)
    code = 1 if failed else 0
    if all_of_them is not None:
        summary = _together(all_of_them)
        code = 1 if summary.failed else 0
        is_part = share.count > 1 and len(all_of_them) == 1
        summary.say(
            f'share {share.index + 1} of {share.count}: ' if is_part else '', sys.stderr if quiet_output else sys.stdout
        )
    if is_given_up:
        left = len(waiting) - len(done) - len(failed)
        sys.stderr.write(f'basicsr: error: the disk takes no more: {left} files are left; the same command goes on\n')
    if stopped is not None:
        sys.stderr.write('basicsr: interrupted: finished files stay, and the same command goes on with the others\n')
        return 128 + stopped
    return code


def _bar(total: int, is_shown: bool) -> tqdm:
    return tqdm(total=total, bar_format=_BAR, **fitting(), disable=None if is_shown else True)


def _teller(bar: tqdm) -> Callable[[str, bool], None]:
    def tell(message: str, failure: bool) -> None:
        with contextlib.suppress(OSError):  # whoever listened may be gone, and the results are wanted all the same
            bar.write(f'basicsr: {"error" if failure else "note"}: {message}', file=sys.stderr)

    return tell


def _dehaze_video(
    job: Job, dehazer: Dehazer, video: VideoSettings, overwrite: bool, done: list[Job], failed: list[str]
) -> int | None:
    """Dehaze a video; the signal that has interrupted it, if one has."""
    with _Signals(_raise_interrupt) as signals:
        try:
            dehaze_video(
                job.source,
                job.target,
                dehazer,
                compare=video.compare,
                smoothing=video.smoothing,
                encoding=video.encoding,
                overwrite=overwrite,
            )
            done.append(job)
        except KeyboardInterrupt:
            return signals.received or signal.SIGINT
        except Exception as error:  # so that the others go on
            failed.append(failure(job, error))
            sys.stderr.write(f'basicsr: error: {failed[-1]}\n')
    return None


def _raise_interrupt() -> None:
    raise KeyboardInterrupt


@dataclass
class _Summary:
    """What has become of the files of a process, or of several."""

    files: int
    there: int
    """Whose results were there before."""
    done: int
    failed: list[str]
    pixels: int
    seconds: float

    def say(self, whose: str, out: TextIO) -> None:
        parts = [f'{whose}{self.done} of {self.files} file{"s" * (self.files != 1)} dehazed in {self.seconds:.1f} s']
        if self.pixels:
            parts[0] += f' ({self.pixels / 1e6:.1f} megapixels)'
        if self.there:
            parts.append(f'{self.there} were there already (--overwrite makes them anew)')
        if self.failed:
            parts.append(f'{len(self.failed)} failed')
        print('; '.join(parts), file=out, flush=True)
        if len(self.failed) > 1 or (self.failed and self.files > 1):
            sys.stderr.write('failed:\n' + ''.join(f'  {message}\n' for message in self.failed))


def _together(parts: Sequence[_Summary]) -> _Summary:
    counts = [sum(column) for column in zip(*((p.files, p.there, p.done, p.pixels) for p in parts), strict=True)]
    files, there, done, pixels = counts
    failed = [message for part in parts for message in part.failed]
    return _Summary(files, there, done, failed, pixels, max(part.seconds for part in parts))


class _Signals:
    """Ctrl-C and SIGTERM while this is entered: the first asks to stop, the second ends the process at once.

    Args:
        stop: what asks to stop.
    """

    def __init__(self, stop: Callable[[], None]):
        self.received: int | None = None
        self._stop = stop
        self._before: dict = {}

    def __enter__(self) -> '_Signals':
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: object) -> None:
        if self.received is not None:
            files.discard_all()
            os._exit(128 + number)
        self.received = number
        _say('\nbasicsr: stopping; once more ends at once\n')
        self._stop()


def _say(message: str) -> None:
    with contextlib.suppress(OSError):  # whoever listened may be gone; and what buffers may be in the middle of a write
        os.write(2, message.encode())
