"""Many images, one network: files are read ahead and written behind while it computes, in bounded memory."""

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from os import path as osp

import torch

from okdnet_plugin import files
from okdnet_plugin.errors import InputError, SaveError
from okdnet_plugin.inference import memory
from okdnet_plugin.inference.dehazer import Dehazed, Dehazer
from okdnet_plugin.inference.images import extras, writing
from okdnet_plugin.inference.images.reading import ImageFile, OpenedImage
from okdnet_plugin.inference.jobs import STANDARD, Job, failure

# Pixels that are read, computed and written at one time: three images of 12 megapixels, at about 14 bytes each.
_IN_FLIGHT = 36_000_000
_COPIES = 5  # of the pixels of an image at a time: as they are decoded, upright, restored, and what is packed of them
_MOST_LOST = 3  # results in a row that the disk does not take, after which no other is made
_THREADS = 2  # that read, and as many that write
_WAITING = 32  # images, however small
_TURN = 0.1  # s, after which who waits looks whether to stop


class Stopped(Exception):
    """The work is to end; nothing is wrong."""


@dataclass
class Outcome:
    """What has become of the files, by their jobs' labels."""

    done: list[Job] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    """A line each."""
    pixels: int = 0
    """Restored."""
    is_given_up: bool = False
    """The disk takes no result any more, and some files are neither done nor failed."""


@dataclass(frozen=True)
class Writing:
    """How results are written."""

    quality: int = 95
    """Of JPEG and WebP, 1 to 100."""
    kind: str | None = None
    """For the standard output: PNG, JPEG, WEBP, TIFF or BMP; by default that of the source."""
    max_megapixels: float = 200
    """Larger images are refused."""


class Pipeline:
    """Readers, a thread that computes, and writers; what is between them is bounded by its pixels.

    Args:
        dehazer: restores the images.
        writing: how they are written.
        tell: is told a line for the user: of a failure with True, else of what is not kept.
        progress: is told the share of an image by which the work has gone on.
    """

    def __init__(
        self,
        dehazer: Dehazer,
        writing: Writing,
        tell: Callable[[str, bool], None],
        progress: Callable[[float], object],
    ):
        self._dehazer, self._writing, self._tell, self._progress = dehazer, writing, tell, progress
        self.outcome = Outcome()
        self._stop = threading.Event()
        self._room = _Room(_IN_FLIGHT, self._stop)
        self._lock = threading.Lock()
        self._lost = 0

    def stop(self) -> None:
        """Let what is being written be finished, and nothing else."""
        self._stop.set()

    def run(self, jobs: Iterable[Job]) -> Outcome:
        """Dehaze images, in their order; one that fails is told of, and the others go on.

        The thread that calls this waits only, so that a signal finds it at once.
        """
        waiting: queue.Queue = queue.Queue(_WAITING)
        with (
            ThreadPoolExecutor(_THREADS, 'read') as readers,
            ThreadPoolExecutor(_THREADS, 'write') as writers,
            ThreadPoolExecutor(2, 'main') as both,
        ):
            # A pool's threads, not bare ones, so that no error of the program is lost.
            try:
                parts = [both.submit(self._feed, jobs, readers, waiting), both.submit(self._compute, waiting, writers)]
                failed, unfinished = False, True
                while unfinished and not failed:
                    done, unfinished = wait(parts, _TURN, FIRST_EXCEPTION)
                    failed = any(part.exception() for part in done)
            finally:
                self.stop()  # or what is left, where one part has failed or a thread cannot start, would wait for ever
        for part in parts:
            part.result()
        return self.outcome

    def _feed(self, jobs: Iterable[Job], readers: ThreadPoolExecutor, waiting: queue.Queue) -> None:
        """Open the files one after the other, and have them read as soon as there is room for their pixels."""
        try:
            for job in jobs:
                loaded: Future
                try:
                    opened = self._open(job)
                except Exception as error:
                    self._fail(job, error)
                    continue
                if not self._room.take(opened.pixels):
                    opened.close()
                    return
                if opened.pixels > _IN_FLIGHT:  # and so alone
                    try:
                        _check_memory(opened)
                    except InputError as error:
                        opened.close()
                        self._room.give(opened.pixels)
                        self._fail(job, error)
                        continue
                loaded = readers.submit(opened.load)
                self._put(waiting, (job, opened.pixels, loaded))
        finally:
            self._put(waiting, None)

    def _open(self, job: Job) -> OpenedImage:
        source = sys.stdin.buffer.read() if job.source == STANDARD else job.source
        opened = OpenedImage(source, job.label, self._writing.max_megapixels)
        try:
            if job.target != STANDARD:
                width, height = opened.size
                writing.check_size(height, width, writing.kind_of(job.target), job.label)
        except BaseException:
            opened.close()
            raise
        return opened

    def _put(self, waiting: queue.Queue, item: object) -> None:
        while True:
            try:
                return waiting.put(item, timeout=_TURN)
            except queue.Full:
                if self._stop.is_set():
                    return None

    def _compute(self, waiting: queue.Queue, writers: ThreadPoolExecutor) -> None:
        while not self._stop.is_set():
            try:
                item = waiting.get(timeout=_TURN)
            except queue.Empty:
                continue
            if item is None:
                return
            job, pixels, loaded = item
            done = 0.0

            def advance(share: float) -> None:
                nonlocal done
                if self._stop.is_set():
                    raise Stopped
                done += share
                self._progress(share)

            try:
                image = loaded.result()
                result = self._dehazer.dehaze(image.pixels, advance)
                writers.submit(self._write, job, pixels, image, result)
            except Stopped:
                return
            except Exception as error:
                self._room.give(pixels)
                self._progress(-done)
                self._fail(job, error)
            else:
                self._progress(1 - done)
            # Or the images would be in memory until the next ones are there.
            item = loaded = image = result = None

    def _write(self, job: Job, pixels: int, image: ImageFile, result: Dehazed) -> None:
        try:
            kind = self._kind(job, image)
            content, notes = writing.encode(result.pixels, image.metadata, kind, self._writing.quality, image.lossless)
            beside = extras.contents(job.extras, image.pixels, result, image.metadata, self._writing.quality)
            for path, extra in beside.items():  # first, so that where the result is all is
                _publish(path, extra)
            if job.target == STANDARD:
                _to_standard_output(content)
            else:
                _publish(job.target, content)
        except Exception as error:
            self._fail(job, error, computed=True)
            self._note_lost(error)
            return
        finally:
            self._room.give(pixels)
        for note in (*image.notes, *notes):
            self._tell(f'{job.label}: {note}', False)
        with self._lock:
            self._lost = 0
            self.outcome.done.append(job)
            self.outcome.pixels += pixels

    def _note_lost(self, error: Exception) -> None:
        """End the work when one result after the other is lost to the disk, which would take those to come."""
        cause = error.__cause__ if isinstance(error, SaveError) else None
        with self._lock:
            self._lost = self._lost + 1 if getattr(cause, 'errno', None) in files.OF_THE_DISK else 0
            if self._lost == _MOST_LOST:
                self.outcome.is_given_up = True
                self.stop()

    def _kind(self, job: Job, image: ImageFile) -> str:
        if job.target != STANDARD:
            return writing.kind_of(job.target)
        return self._writing.kind or (image.kind if image.kind in writing.KINDS.values() else 'PNG')

    def _fail(self, job: Job, error: Exception, computed: bool = False) -> None:
        if not computed:
            self._progress(1)
        message = failure(job, error)
        with self._lock:
            self.outcome.failed.append(message)
        self._tell(message, True)


def _check_memory(opened: OpenedImage) -> None:
    """Refuse an image that would not fit: where memory is short, the system ends the process without a word."""
    need, free = opened.num_bytes * _COPIES, memory.available(torch.device('cpu'))
    if need > free:
        width, height = opened.size
        raise InputError(
            f'{opened.label} is {width}x{height}, which takes {need / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB '
            'are free; make it smaller, cut it up, or give more memory'
        )


class _Room:
    """Counts pixels that are in memory; whoever brings more waits, unless nothing else is there."""

    def __init__(self, pixels: int, stop: threading.Event):
        self._most, self._taken, self._stop = pixels, 0, stop
        self._changed = threading.Condition()

    def take(self, pixels: int) -> bool:
        """Wait for room; False if the work is to stop meanwhile."""
        with self._changed:
            while self._taken and self._taken + pixels > self._most:
                self._changed.wait(_TURN)
                if self._stop.is_set():
                    return False
            self._taken += pixels
            return not self._stop.is_set()

    def give(self, pixels: int) -> None:
        """Make room again."""
        with self._changed:
            self._taken -= pixels
            self._changed.notify()


def _publish(path: str, content: bytes) -> None:
    folder = osp.dirname(path)
    try:
        os.makedirs(folder or os.curdir, exist_ok=True)
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        raise files.save_error(path, error) from error
    files.write(path, content)


def _to_standard_output(content: bytes) -> None:
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise SaveError(f'the standard output cannot be written: {error.strerror or error}') from error
