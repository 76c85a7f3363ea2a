"""Where the images of a data set lie: files in a folder, or records of an LMDB of BasicSR's form.

Both kinds have the same methods. A name stands for one image; both can be pickled, and hold nothing open. An LMDB of
BasicSR's form is a folder NAME.lmdb: `data.mdb` has the content of each file under its stem, and `meta_info.txt` a
line `STEM.ext (h,w,c) level` for each of them.
"""

import csv
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from os import path as osp

import lmdb

from okdnet_plugin.data.layouts import Layout, stem
from okdnet_plugin.errors import InputError, StoreError
from okdnet_plugin.files import check_regular_file, open_regular_file, open_text

# A name may hold brackets itself: the shape is the last pair of them, at the end of the line.
_LINE = re.compile(r'(.+?)(?:\s+\((\d+(?:,\s*\d+){1,2})\)(?:\s+\S+)?)?')

_HEADS = (['hazy', 'clear'], ['lq', 'gt'])  # of a table of pairs
IMAGE_EXTENSIONS = ('.png', '.jpg', '.jpeg', '.bmp', '.webp', '.tif', '.tiff', '.ppm')


class ImageFolder:
    """Images as files; a name is a path.

    Args:
        root: the folder.
        recursive: look into its folders.
        extensions: of files that count, in lower case.
        pattern: of the places below the root that count, as the shell has it; all by default.
    """

    def __init__(
        self,
        root: str,
        recursive: bool,
        extensions: Sequence[str] = IMAGE_EXTENSIONS,
        pattern: str | None = None,
    ):
        if not osp.isdir(root):
            raise InputError(f'the folder {root} does not exist; correct the path (relative: from {os.getcwd()})')
        self.root = root
        self._recursive = recursive
        self._extensions = tuple(extensions)
        self._pattern = pattern
        self._renamed: dict[str, str] = {}

    def names(self) -> list[str]:
        names, seen = [], set()
        for folder, folders, files in os.walk(self.root, onerror=_refuse_folder, followlinks=True):
            folders[:] = sorted(name for name in folders if self._recursive and not name.startswith('.'))
            if osp.realpath(folder) in seen:  # a link has led back
                folders.clear()
                continue
            seen.add(osp.realpath(folder))
            names += [osp.join(folder, name) for name in sorted(files) if self._is_image(name, folder)]
        if not names:
            raise self._empty()
        self.name_results(names)
        return names

    def name_results(self, names: Sequence[str]) -> None:
        """Choose what `path` gives for these images."""
        self._renamed = self._names_of_results(names)

    def refuse_if_empty(self) -> None:
        """Look for a first image, which `names` would look through all folders for.

        Raises:
            InputError: there is none.
        """
        for folder, folders, files in os.walk(self.root, onerror=_refuse_folder):
            if any(self._is_image(name, folder) for name in files):
                return
            folders[:] = folders if self._recursive else []
        raise self._empty()

    def _empty(self) -> InputError:
        kinds = ' '.join(self._extensions)
        what = f'image ({kinds})' if self._pattern is None else f'image that fits {self._pattern}'
        return InputError(f'the folder {self.root} holds no {what}; give the folder that the files lie in')

    def names_in(self, list_file: str) -> list[str]:
        """Names in a list of BasicSR's form, in its order."""
        names = [osp.join(self.root, line.name) for line in read_lines(list_file)]
        missing = [name for name in names if not osp.isfile(name)]
        if missing:
            raise InputError(
                f'{missing[0]}, listed in {list_file}, does not exist ({len(missing)} of {len(names)} such); correct '
                'the list or dataroot_gt'
            )
        return names

    def read(self, name: str) -> bytes:
        try:
            with open_regular_file(name) as file:
                return file.read()
        except OSError as error:
            raise InputError(
                f'{name} cannot be read ({error.strerror}); restore it or take it out, then go on'
            ) from None

    def label(self, name: str) -> str:
        return name

    def path(self, name: str) -> str:
        """What result files are named by: the file, or, where several have its stem, its whole place below the root."""
        return self._renamed.get(name, name)

    def _names_of_results(self, names: Sequence[str]) -> dict[str, str]:
        """A name of its own for each image whose stem others have too."""
        stems = Counter(map(stem, names))
        taken, renamed = set(stems), {}
        for name in names:
            if stems[stem(name)] > 1:
                place, extension = osp.splitext(osp.relpath(name, self.root))
                own = f'{place.replace(os.sep, "_")}_{extension[1:]}'
                while own in taken:
                    own += '_'
                taken.add(own)
                renamed[name] = osp.join(self.root, own + extension)
        return renamed

    def _is_image(self, name: str, folder: str) -> bool:
        if name.startswith('.') or not name.lower().endswith(self._extensions):
            return False
        return self._pattern is None or fnmatch(osp.relpath(osp.join(folder, name), self.root), self._pattern)


class ImageLmdb:
    """Images in an LMDB of BasicSR's form; a name is a key with the extension that meta_info.txt gives it."""

    def __init__(self, root: str, options: dict):
        root = osp.normpath(root)
        if not root.endswith('.lmdb'):
            raise InputError(f'{root} does not end in .lmdb; for io_backend lmdb give an LMDB, or set type: disk')
        for file in ('data.mdb', 'meta_info.txt'):
            if not osp.isfile(osp.join(root, file)):
                raise InputError(f'{osp.join(root, file)} does not exist; correct the path, or make the LMDB again')
        self.root = root
        self._options = options

    def names(self) -> list[str]:
        return [line.name for line in read_lines(osp.join(self.root, 'meta_info.txt'))]

    def read(self, name: str) -> bytes:
        try:
            with open_lmdb(self.root, self._options).begin() as transaction:
                content = transaction.get(_key(name).encode())
        except (lmdb.Error, OSError) as error:
            raise StoreError(
                f'{self.label(name)} cannot be read ({error}); make the LMDB again, or end its other user'
            ) from None
        if content is None:
            raise InputError(f'{self.label(name)} is in meta_info.txt, but not in data.mdb; make the LMDB again')
        return content

    def label(self, name: str) -> str:
        return f"key '{_key(name)}' in {self.root}"

    def path(self, name: str) -> str:
        # Result files are named by this path less its extension, and a dot inside the key must not be taken for one.
        return name if '.' in _key(name) else _key(name)


def _refuse_folder(error: OSError) -> None:
    raise InputError(f'the folder {error.filename} cannot be read ({error.strerror}); correct its permissions')


_environments: dict[tuple[int, str, int, int], lmdb.Environment] = {}


def open_lmdb(root: str, options: Mapping) -> lmdb.Environment:
    """The one environment of an LMDB in this process; the options of the first who opens it hold.

    py-lmdb >= 2 refuses to open an environment twice in one process, but training and validation may share the clear
    images. One that a forked worker has inherited counts as open and must not be used: it is dropped, which closes
    the worker's copy alone.

    Raises:
        StoreError: its file is shorter than it says, which would kill the process that reads the missing part.
        lmdb.Error: it cannot be opened.
    """
    for key in [key for key in _environments if key[0] != os.getpid()]:
        del _environments[key]
    _check_length(root, 1)
    path, file = osp.realpath(root), os.stat(osp.join(root, 'data.mdb'))
    key = os.getpid(), path, file.st_ino, file.st_mtime_ns
    for old in [old for old in _environments if old[1] == path and old != key]:
        _environments.pop(old).close()  # another LMDB has taken its place
    if key not in _environments:
        # As BasicSR opens them: on read-only media too, and without reading more than is asked for.
        environment = lmdb.open(root, **{'readonly': True, 'lock': False, 'readahead': False, **options})
        try:
            _check_length(root, (environment.info()['last_pgno'] + 1) * environment.stat()['psize'])
        except StoreError:
            environment.close()
            raise
        _environments[key] = environment
    return _environments[key]


def _check_length(root: str, expected: int) -> None:
    file = osp.join(root, 'data.mdb')
    try:
        check_regular_file(file)
    except InputError as error:
        raise StoreError(str(error)) from None
    size = osp.getsize(file)
    if size < expected:
        raise StoreError(f'{file} is cut short: it has {size} of {expected} bytes; copy it again, or make it again')


def open_source(
    root: str,
    io_backend: Mapping,
    recursive: bool = False,
    extensions: Sequence[str] = IMAGE_EXTENSIONS,
    pattern: str | None = None,
) -> ImageFolder | ImageLmdb:
    """The images below a path of an option file.

    Args:
        root: folder or LMDB.
        io_backend: `{type: disk}`, or `{type: lmdb}` with further options of BasicSR's LMDB reader.
        recursive: look into the folders of a folder.
        extensions: of the files of a folder that count, in lower case.
        pattern: of the places below a folder that count, see `ImageFolder`.

    Raises:
        InputError: there is no such folder or LMDB.
    """
    options = dict(io_backend)
    if options.pop('type') == 'disk':
        return ImageFolder(os.fspath(root), recursive, extensions, pattern)
    return ImageLmdb(os.fspath(root), options)


def names_of_both_sides(
    lq: ImageFolder | ImageLmdb, gt: ImageFolder | ImageLmdb, layout: Layout, are_apart: bool = False
) -> tuple[list[str], list[str]]:
    """Names of the hazy and of the clear images; of one folder for both, as NH-HAZE comes, the names tell which.

    Args:
        lq, gt: the two sides.
        layout: naming rule.
        are_apart: a side has a pattern of its own, or both have.
    """
    clear = gt.names()
    if osp.realpath(lq.root) != osp.realpath(gt.root):
        return lq.names(), clear
    if not are_apart:
        hazy = [name for name in clear if not layout.is_clear(name)]
        return hazy, [name for name in clear if layout.is_clear(name)] or clear
    hazy = lq.names()
    both = {*hazy} & {*clear}
    if len(both) < max(len(hazy), len(clear)):  # of one pattern alone the other side is the rest
        if len(both) == len(clear):
            hazy = [name for name in hazy if name not in both]
        elif len(both) == len(hazy):
            clear = [name for name in clear if name not in both]
    return hazy, clear


@dataclass(frozen=True)
class Line:
    """A line of meta_info.txt: `NAME.ext (h,w,c) level`.

    Args:
        name: file name; it may hold spaces.
        shape: height, width and channels; empty if the line has none.
    """

    name: str
    shape: tuple[int, ...]

    @property
    def key(self) -> str:
        return _key(self.name)


def read_lines(path: str) -> list[Line]:
    """Lines of a list of BasicSR's form; all after the name may be missing.

    Raises:
        InputError: it cannot be read, or is empty.
    """
    try:
        with open_text(path, 'utf-8-sig') as file:
            lines = [line.strip() for line in file if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'{path} cannot be read ({error}); correct the path or the file') from None
    if not lines:
        raise InputError(f'{path} names no image; write one NAME.ext (h,w,c) a line')
    return [_line(line) for line in lines]


def read_pairs(path: str, lq_root: str, gt_root: str, is_once: bool = False) -> list[tuple[str, str]]:
    """Files of a table of pairs: two columns, hazy and clear, below the two folders; a first line may name them.

    Raises:
        InputError: it cannot be read, a line has not two columns, a file is not there, or a hazy one is listed twice
            with `is_once`.
    """
    try:
        with open_text(path, 'utf-8-sig') as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), 1) if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f'{path} cannot be read ({error}); write a CSV in UTF-8') from None
    if rows and [cell.strip().lower() for cell in rows[0][1]] in _HEADS:
        del rows[0]
    if not rows:
        raise InputError(f'{path} names no pair; write `hazy,clear` a line')
    pairs, lines = [], {}
    for number, row in rows:
        if len(row) != 2:
            raise InputError(f'{path}:{number} has {len(row)} columns; write two, the hazy and the clear file')
        pair = osp.join(lq_root, row[0].strip()), osp.join(gt_root, row[1].strip())
        for name in pair:
            if not osp.isfile(name):
                raise InputError(
                    f'{path}:{number}: {name} does not exist; correct the line, or dataroot_lq or dataroot_gt'
                )
        first = lines.setdefault(osp.normpath(pair[0]), number)
        if is_once and first != number:  # one result would take the name of the other
            raise InputError(f'{path}:{number}: {pair[0]} is the hazy image of line {first} too; take one out')
        pairs.append(pair)
    return pairs


def _line(line: str) -> Line:
    match = _LINE.fullmatch(line)
    name, shape = match.groups() if match else (line, None)
    return Line(name, tuple(map(int, shape.split(','))) if shape else ())


def _key(name: str) -> str:
    return osp.splitext(name)[0]
