"""Making LMDBs of images that this plugin, BasicSR and MMEngine read.

An LMDB is a folder NAME.lmdb with `data.mdb` and `meta_info.txt` as BasicSR writes them (see `image_sources`),
and `manifest.jsonl`: a line that says how it was made, then one for each record with its checksum and source file. It
is made in a folder NAME.lmdb.part, which is renamed when it is whole; a build that was interrupted goes on there.
"""

import contextlib
import errno
import json
import os
import shutil
import sys
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from os import path as osp

import cv2
import lmdb
import numpy as np
from tqdm import tqdm

from okdnet_plugin.data import options
from okdnet_plugin.data.depth import DEPTH_EXTENSIONS, decode_depth
from okdnet_plugin.data.image_sources import IMAGE_EXTENSIONS, ImageFolder, names_of_both_sides
from okdnet_plugin.data.images import cut_white_frame, decode, resized
from okdnet_plugin.data.layouts import LAYOUTS, Layout, layout_from_template, pair_names, stem
from okdnet_plugin.errors import InputError, SaveError, did_you_mean
from okdnet_plugin.files import begin, discard, flush_folder, is_left_behind, open_text, publish
from okdnet_plugin.locks import Lock
from okdnet_plugin.progress import fitting

MANIFEST = 'manifest.jsonl'
FORMAT = 1
_PNG_LEVEL = 6
# With this filter alone a PNG is read in two thirds of the time, at next to the same size; OpenCV 4.12 can write it.
_PNG_FILTER = (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP) if hasattr(cv2, 'IMWRITE_PNG_FILTER') else ()
ENCODINGS = {
    'keep': (),
    'png': (cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL, *_PNG_FILTER),
    'webp': (cv2.IMWRITE_WEBP_QUALITY, 101),
    'bmp': (),
}
"""What records may be written as, and OpenCV's parameters for it; each keeps every pixel."""

_PARTNERS = {'hazy': 'clear', 'clear': 'depth'}
_FIRST_MAP = 2**26  # bytes that the map may hold at first; it is doubled as often as need be
_BATCH = 2**26  # bytes that are written in one transaction
_SECONDS = 5  # after which what is there is written
_LONGEST_KEY = 511  # bytes, LMDB's own limit
_DISK_IS_FULL = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)))


@dataclass(frozen=True)
class Recipe:
    """How an LMDB is made; the first line of its manifest.

    Args:
        side: hazy, clear or depth.
        pairing: the option of a data set that pairs it with the other side, as {key: value}.
        resize: height and width of its images in px, or None for their own.
        encode: one of `ENCODINGS`.
        root: folder of the source files.
        partner: LMDB beside it that has an image for each of its own; None if it was made alone.
        format: of the manifest.
    """

    side: str
    pairing: dict[str, str]
    resize: list[int] | None
    encode: str
    root: str
    partner: str | None = None
    format: int = FORMAT


@dataclass(frozen=True)
class Record:
    """One image of an LMDB; a line of its manifest.

    Args:
        name: key and extension, as in meta_info.txt.
        shape: height, width and channels.
        size: bytes that are stored.
        crc32: their checksum.
        source: the file, relative to the recipe's root.
        stamp: length of that file, and when it was changed last, in ns; None if it could not be looked at.
    """

    name: str
    shape: list[int]
    size: int
    crc32: int
    source: str
    stamp: list[int] | None

    @property
    def key(self) -> str:
        return osp.splitext(self.name)[0]


def build(
    out: str,
    hazy: str | None = None,
    clear: str | None = None,
    layout: Layout | None = None,
    *,
    depth: str | None = None,
    resize: tuple[int, int] | None = None,
    encode: str | None = None,
    workers: int | None = None,
    only: Iterable[str] | None = None,
) -> list[str]:
    """Make OUT/hazy.lmdb, OUT/clear.lmdb and OUT/depth.lmdb, one record a file; what is there is left as it is.

    Args:
        out: folder, made if need be.
        hazy: folder of hazy images, or None.
        clear: folder of clear images, or None; it may be the same one.
        depth: folder of depth files, or None; they are stored as they are.
        layout: naming rule; by default equal stems. It pairs, and says whether part folders are searched.
        resize: height and width in px to which images are brought as a data set's option `resize` does it.
        encode: one of `ENCODINGS`: the files' own bytes, the default, or png, webp or bmp without loss. With `resize`
            the default is bmp, which takes more room than png and next to no time to read.
        workers: threads that read and encode; by default one a core.
        only: hazy files that are taken, with their clear ones; by default all of both.

    Returns:
        Paths of the LMDBs.

    Raises:
        InputError: a folder, a file, a pair or an option cannot be used.
        SaveError: the disk is full or cannot be written.
    """
    layout = layout or layout_from_template('{}')
    encode = encode or ('bmp' if resize else 'keep')
    roots = {'hazy': hazy, 'clear': clear, 'depth': depth}
    _check(out, roots, resize, encode, workers)
    extensions = {'depth': DEPTH_EXTENSIONS}
    sources = {
        side: ImageFolder(root, layout.recursive, extensions.get(side, IMAGE_EXTENSIONS))
        for side, root in roots.items()
        if root
    }
    names = {side: source.names() for side, source in sources.items()}
    if hazy and clear:
        names['hazy'], names['clear'] = names_of_both_sides(sources['hazy'], sources['clear'], layout)
    if hazy and only is not None:
        names['hazy'] = sorted(set(names['hazy']) & set(only))
    hazy_of = {}
    if hazy and clear:
        pairs = pair_names(names['hazy'], names['clear'], layout)
        hazy_of = {clear_name: hazy_name for hazy_name, clear_name in pairs}
        names['clear'] = names['clear'] if only is None else sorted(hazy_of)
    if clear and depth:
        _check_depth(names['clear'], names['depth'], depth)
    targets = []
    for side, source in sources.items():
        partner = f'{_PARTNERS[side]}.lmdb' if _PARTNERS.get(side) in sources else None
        size = list(resize) if resize else None
        recipe = Recipe(side, _option_of(layout), size, encode, osp.abspath(source.root), partner)
        encoder = _Encoder(source, recipe, hazy_of if layout.white_frame else {})
        targets.append(osp.join(out, f'{side}.lmdb'))
        _Build(targets[-1], recipe, _by_key(names[side])).run(encoder, workers or cores())
    return targets


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def read_manifest(root: str) -> tuple[Recipe, dict[str, Record]] | None:
    """What the manifest of an LMDB says: how it was made, and its records by key; None if it has none.

    Lines that a build has left unfinished are passed over.

    Raises:
        InputError: it is of another format.
    """
    path = osp.join(root, MANIFEST)
    try:
        with open_text(path) as file:
            lines = [json.loads(line) for line in file if line.endswith('\n')]
        if not lines or lines[0].get('format') != FORMAT:
            raise ValueError('another format')
        records = [Record(**line) for line in lines[1:]]
        return Recipe(**lines[0]), {record.key: record for record in records}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f'{path} cannot be read ({error}); make the LMDB again') from None


def read_ahead(function: Callable, items: Iterable, workers: int) -> Iterator:
    """Results of a function in the order of its arguments, made by threads, which are never far ahead."""
    with ThreadPoolExecutor(workers) as pool:
        waiting, items = deque(), iter(items)
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class _Encoder:
    """Turns a file into what is stored of it; may be called by several threads."""

    def __init__(self, source: ImageFolder, recipe: Recipe, hazy_of: Mapping[str, str]):
        self._source = source
        self._recipe = recipe
        self._hazy_of = hazy_of  # of clear images that may have a white frame

    def __call__(self, path: str) -> tuple[Record, bytes]:
        content = self._source.read(path)
        img = decode_depth(content, path)[..., None] if self._recipe.side == 'depth' else decode(content, path)
        extension = osp.splitext(path)[1]
        if self._recipe.encode != 'keep':
            img = self._resized(img, path)
            extension = f'.{self._recipe.encode}'
            content = _encoded(extension, img, ENCODINGS[self._recipe.encode], path)
        source = osp.relpath(path, self._recipe.root)
        return Record(
            stem(path) + extension, [*img.shape], len(content), zlib.crc32(content), source, stamp(path)
        ), content

    def _resized(self, img: np.ndarray, path: str) -> np.ndarray:
        if not self._recipe.resize:
            return img
        if path in self._hazy_of:
            hazy = self._hazy_of[path]
            img = cut_white_frame(img, decode(self._source.read(hazy), hazy).shape, f'{hazy} and {path}')
        return resized(img, *self._recipe.resize)


class _Build:
    """One LMDB in the making.

    Args:
        target: its path.
        recipe: how it is made.
        files: path of the image of each key.
    """

    def __init__(self, target: str, recipe: Recipe, files: Mapping[str, str]):
        self.target, self.part = target, f'{target}.part'
        self.recipe, self.files = recipe, files
        self._errors: list[InputError] = []

    def run(self, encode: Callable[[str], tuple[Record, bytes]], workers: int) -> None:
        with self._saving():
            lock = Lock(self.target, 'is being made', 'wait for it, or end it')
        try:
            with self._saving():
                self._run(encode, workers)
        finally:
            lock.release()

    def _run(self, encode: Callable[[str], tuple[Record, bytes]], workers: int) -> None:
        if osp.exists(self.target):
            self._check_up_to_date()
            return
        done = self._begin()
        self._check_room(done)
        used = osp.getsize(osp.join(self.part, 'data.mdb')) if done else 0
        environment = lmdb.open(self.part, map_size=max(_FIRST_MAP, 2 * used))
        with contextlib.closing(environment), _one_thread_in_opencv(), self._bar() as bar:
            done = self._drop_damaged(environment, done, bar)
            todo = [self.files[key] for key in sorted(self.files.keys() - done.keys())]
            for batch in self._batches(read_ahead(_caught(encode), todo, workers), bar):
                self._commit(environment, batch)
                done |= {record.key: record for record, _ in batch}
        self._refuse_bad_files(len(done))
        self._finish(done)

    def _check_up_to_date(self) -> None:
        recipe, records = read_manifest(self.target) or (None, {})
        changed = sorted(
            key
            for key in self.files.keys() | records.keys()
            if key not in records or key not in self.files or records[key].stamp != stamp(self.files[key])
        )
        if recipe != self.recipe:
            there, here = asdict(recipe) if recipe else {}, asdict(self.recipe)
            other = next(key for key in here if there.get(key) != here[key])
            cause = f'{other}: {there.get(other)}, not {here[other]}'
        else:
            cause = f"{len(changed)} files, as '{changed[0]}', differ" if changed else None
        if cause:
            raise InputError(
                f'{self.target} was made from something else ({cause}); remove it, or choose another folder'
            )
        print(f'{self.target} is there already, with these {len(records)} images')

    def _begin(self) -> dict[str, Record]:
        """Make the folder, or take up an earlier one: its records that are still those of the files."""
        recipe, records = _read_what_is_whole(self.part)
        if recipe != self.recipe:
            shutil.rmtree(self.part, ignore_errors=True)
            os.makedirs(self.part)
            self._note(asdict(self.recipe))
            return {}
        # Without the half line that a process which was killed may have left.
        self._write(MANIFEST, [_as_line(asdict(part)) for part in (self.recipe, *records.values())])
        return {
            key: record
            for key, record in records.items()
            if key in self.files and record.stamp == stamp(self.files[key])
        }

    def _check_room(self, done: Mapping[str, Record]) -> None:
        """Refuse at once what cannot fit."""
        if self.recipe.encode == 'keep':
            stamps = (stamp(path) for key, path in self.files.items() if key not in done)
            needed = sum(known[0] for known in stamps if known)
        elif self.recipe.encode == 'bmp' and self.recipe.resize:
            needed = 3 * self.recipe.resize[0] * self.recipe.resize[1] * (len(self.files) - len(done))
        else:
            return
        free = shutil.disk_usage(self.part).free
        if needed > free:
            if not done:
                shutil.rmtree(self.part)
            raise SaveError(
                f'{self.target} needs about {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free there; make room, '
                'or choose another folder'
            )

    def _drop_damaged(self, environment: lmdb.Environment, done: Mapping[str, Record], bar: tqdm) -> dict[str, Record]:
        """Of an earlier, interrupted build, keep the records that are whole and still asked for."""
        whole, other = {}, []
        with environment.begin() as transaction:
            for key, content in transaction.cursor():
                record = done.get(key.decode())
                if record and is_intact(record, content):
                    whole[record.key] = record
                    bar.update()
                else:
                    other.append(key)
        self._change(environment, lambda transaction: [transaction.delete(key) for key in other])
        return whole

    def _batches(
        self, results: Iterable[tuple[Record, bytes] | InputError], bar: tqdm
    ) -> Iterator[list[tuple[Record, bytes]]]:
        """What is written at once; little is lost if the process is killed, and nothing if it is interrupted."""
        batch, size, begin = [], 0, time.monotonic()
        try:
            for result in results:
                bar.update()
                if isinstance(result, InputError):
                    bar.write(f'{osp.basename(self.target)}: {result}', file=sys.stderr)
                    self._errors.append(result)
                    continue
                batch.append(result)
                size += result[0].size
                if size >= _BATCH or time.monotonic() - begin > _SECONDS:
                    yield batch
                    batch, size, begin = [], 0, time.monotonic()
        except KeyboardInterrupt:
            yield batch
            raise
        yield batch

    def _refuse_bad_files(self, done: int) -> None:
        if self._errors:
            raise InputError(
                f'{self.target} is not made: {len(self._errors)} of {len(self.files)} images cannot be used, the '
                f'first: {self._errors[0]}; {done} are ready in {self.part}, and the same command goes on there'
            )

    def _commit(self, environment: lmdb.Environment, batch: Sequence[tuple[Record, bytes]]) -> None:
        self._change(
            environment,
            lambda transaction: [transaction.put(record.key.encode(), content) for record, content in batch],
        )
        self._note(*(asdict(record) for record, _ in batch))

    def _change(self, environment: lmdb.Environment, change: Callable[[lmdb.Transaction], object]) -> None:
        """Make a change in one transaction, in as large a map as it takes."""
        while True:
            try:
                with environment.begin(write=True) as transaction:
                    change(transaction)
                return
            except lmdb.MapFullError:
                environment.set_mapsize(2 * environment.info()['map_size'])

    def _note(self, *lines: Mapping) -> None:
        with open(osp.join(self.part, MANIFEST), 'a', encoding='utf-8') as file:
            file.writelines(map(_as_line, lines))
            file.flush()
            os.fsync(file.fileno())

    def _finish(self, done: Mapping[str, Record]) -> None:
        level = _PNG_LEVEL if self.recipe.encode == 'png' else 0
        records = [done[key] for key in sorted(done)]
        lines = [f'{record.name} ({",".join(map(str, record.shape))}) {level}\n' for record in records]
        self._write('meta_info.txt', lines)
        self._write(MANIFEST, [_as_line(asdict(part)) for part in (self.recipe, *records)])
        for name in os.listdir(self.part):
            if name == 'lock.mdb' or is_left_behind(osp.join(self.part, name)):  # of a build that was killed
                os.remove(osp.join(self.part, name))
        os.rename(self.part, self.target)
        flush_folder(osp.dirname(self.target))

    def _write(self, name: str, lines: Iterable[str]) -> None:
        path = osp.join(self.part, name)
        temporary = begin(path)
        try:
            with open(temporary, 'w', encoding='utf-8') as file:
                file.writelines(lines)
            publish(temporary, path)  # what stood there, of which a build goes on, is there until then
        finally:
            discard(temporary)

    @contextlib.contextmanager
    def _saving(self) -> Iterator[None]:
        """Say in one line what keeps it from being written; a full disk gets its room back."""
        try:
            yield
        except SaveError:
            raise
        except (lmdb.Error, OSError) as error:
            is_full = any(cause in str(error) for cause in _DISK_IS_FULL) or self._has_no_room()
            if is_full:
                shutil.rmtree(self.part, ignore_errors=True)
            cure = 'it is removed: make room, then begin again' if is_full else 'remove the cause, then go on'
            raise SaveError(f'{self.part} cannot be written ({error}); {cure} with the same command') from error

    def _has_no_room(self) -> bool:
        """LMDB calls it an input/output error when only a part could be written."""
        with contextlib.suppress(OSError):
            return shutil.disk_usage(self.part).free < _BATCH
        return False

    def _bar(self) -> tqdm:
        folder = osp.basename(osp.dirname(osp.abspath(self.target)))
        title = osp.join(folder, osp.basename(self.target))
        return tqdm(total=len(self.files), desc=title, unit='image', **fitting(), disable=None)


def is_intact(record: Record, content: bytes | None) -> bool:
    """Whether what is stored is what was written."""
    return content is not None and len(content) == record.size and zlib.crc32(content) == record.crc32


def stamp(path: str) -> list[int] | None:
    """Length of a file, and when it was changed last, in ns; None if it cannot be looked at."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _encoded(extension: str, img: np.ndarray, parameters: Sequence[int], path: str) -> bytes:
    try:
        is_done, content = cv2.imencode(extension, img, parameters)
    except cv2.error:
        is_done = False
    if not is_done:
        height, width = img.shape[:2]
        raise InputError(
            f'{path} cannot be stored as {extension[1:]}, being {height}x{width}; webp holds edges up to 16383 px: '
            'choose png or bmp'
        )
    return content.tobytes()


def _check_depth(clear: Sequence[str], depth: Sequence[str], root: str) -> None:
    stems = set(map(stem, depth))
    lonely = [name for name in clear if stem(name) not in stems]
    if lonely:
        raise InputError(
            f'{lonely[0]} has no depth of equal stem in {root} ({len(lonely)} of {len(clear)} such); add it, or take '
            'these images out'
        )


def _check(out: str, sources: Mapping[str, str | None], resize: object, encode: str, workers: object) -> None:
    options.require(
        bool(out) and not osp.normpath(out).endswith('.lmdb'),
        f"OUT is '{out}', but it is the folder that the LMDBs are made in; give another name",
    )
    options.require(any(sources.values()), 'no folder is given; give --hazy, --clear or --depth')
    options.require(
        encode in ENCODINGS, f"encode is '{encode}'{did_you_mean(encode, ENCODINGS)}; write {', '.join(ENCODINGS)}"
    )
    options.require(
        not (resize and encode == 'keep'),
        'encode keep stores the bytes of the files, which resize changes; write bmp, png or webp',
    )
    options.require(
        not sources['depth'] or encode == 'keep',
        'depth is stored as it is, because haze has to be made of images of full size; leave resize and encode out',
    )
    options.size_of(resize)
    options.require(workers is None or options.is_count(workers), f'workers is {workers}; write a whole number from 1')


def _option_of(layout: Layout) -> dict[str, str]:
    """The option of a data set that stands for a layout."""
    if layout.name in LAYOUTS:
        return {'layout': layout.name}
    return {layout.name: layout.hazy if layout.name == 'pairing' else layout.template}


def _by_key(names: Iterable[str]) -> dict[str, str]:
    files = {}
    for name in names:
        key = stem(name)
        if key in files:
            raise InputError(f"{name} and {files[key]} have the same key '{key}'; rename or remove one of them")
        if not key.isprintable():  # nor are the bytes of another encoding, which Python carries along
            raise InputError(f'{name!r} has signs in its name that no list can hold; give the file another name')
        if not 0 < len(key.encode()) <= _LONGEST_KEY:
            raise InputError(f'{name}: a key has at most {_LONGEST_KEY} bytes; give the file a shorter name')
        files[key] = name
    return files


def _caught(encode: Callable[[str], tuple[Record, bytes]]) -> Callable[[str], tuple[Record, bytes] | InputError]:
    def encode_or_complain(path):
        try:
            return encode(path)
        except InputError as error:
            return error

    return encode_or_complain


def _read_what_is_whole(part: str) -> tuple[Recipe | None, dict[str, Record]]:
    """The manifest of an unfinished build; a line that was not written to its end counts as not there."""
    lines = []
    with contextlib.suppress(OSError, InputError), open_text(osp.join(part, MANIFEST), errors='replace') as file:
        for line in file:
            with contextlib.suppress(json.JSONDecodeError):
                lines.append(json.loads(line))
    try:
        recipe, *records = lines
        records = [Record(**line) for line in records]
        return Recipe(**recipe), {record.key: record for record in records}
    except (ValueError, TypeError):
        return None, {}


def _as_line(part: Mapping) -> str:
    return json.dumps(part, ensure_ascii=False) + '\n'


@contextlib.contextmanager
def _one_thread_in_opencv() -> Iterator[None]:
    """Each of the threads here has an image of its own, and OpenCV need not part one among more of them."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
