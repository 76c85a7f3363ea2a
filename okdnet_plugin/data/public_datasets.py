"""Public data sets in the folders that their downloads unpack to: which are there, and what they lack.

A folder is recognised by its path, whatever its case, spaces and signs, and then by the names of its images; if its
path says nothing, by these names alone. `/x/ITS_v2/hazy` has the home `/x/ITS_v2`, and the side hazy.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from os import path as osp
from typing import NamedTuple

from okdnet_plugin.data.image_sources import IMAGE_EXTENSIONS
from okdnet_plugin.data.layouts import LAYOUTS, Layout, Matches, match_names, stem
from okdnet_plugin.errors import InputError

_ARCHIVES = ('.zip', '.rar', '.7z', '.tar', '.tgz', '.tar.gz')

# Parts of paths, of which only letters and digits are left. What may stand before and after the name of a data set:
_BEFORE = r'(?:reside|ntire|dataset|\d{4})*'
_AFTER = r'(?:v\d|alpha|beta|standard|reside|ntire|dataset|(?:training|testing)?set|images?|\d{2}(?:\d\d)?)*'
_WITHIN = r'/(?:.*/)?'
# Names of the folders of one side, perhaps with the part of the data set that they are of.
_PART_OF = r'(?:its|ots|sots|indoor|outdoor|train(?:ing)?|test(?:ing)?|val)*'
_SIDES = {
    'hazy': rf'{_PART_OF}(?:haz[ey]|foggy|input|lq)(?:images?)?\d*',
    'clear': rf'{_PART_OF}(?:clear|clean|gt|groundtruth|target)(?:images?)?\d*',
}
_OTHER_MAPS = rf'{_PART_OF}(?:trans|transmission|depth|airlight)(?:maps?|images?)?\d*'

_OTS_NAME = r'\d{4,}_(?:0\.[89]5?|1)_0\.[0-2]\d?'
_FITS = 0.9  # share of the names that tell a data set by themselves


class Release(NamedTuple):
    """How many images of each kind a release of a data set has."""

    hazy: int
    clear: int


@dataclass(frozen=True)
class PublicDataset:
    """A public data set.

    Args:
        key: name in commands.
        name: name in option files and results.
        layout: name of its layout; None if there are no clear images.
        releases: what is known to exist.
        home: regular expression of the end of the path to its folder, in letters and digits.
        names: regular expression of its hazy stems; None if they do not tell it from others.
        example: where it lies when it is unpacked.
    """

    key: str
    name: str
    layout: str | None
    releases: tuple[Release, ...]
    home: str
    names: str | None
    example: str

    @property
    def rule(self) -> Layout | None:
        return LAYOUTS[self.layout] if self.layout else None


_SOTS = rf'sots{_AFTER}'

DATASETS = {
    dataset.key: dataset
    for dataset in (
        PublicDataset(
            'its',
            'ITS',
            'its',
            (Release(13_990, 1_399),),
            'its',
            r'\d+_(?:[1-9]|10)_(?:0\.\d+|1)',
            'ITS_v2/{hazy,clear}',
        ),
        PublicDataset(
            'ots',
            'OTS',
            'ots',
            (Release(72_135, 2_061), Release(313_950, 8_970)),
            'ots',
            _OTS_NAME,
            'OTS_BETA/{haze/part1,...,clear}',
        ),
        PublicDataset(
            'sots_indoor',
            'SOTS-indoor',
            'sots_indoor',
            (Release(500, 50),),
            rf'(?:{_SOTS}{_WITHIN}|sots)indoor|(?:indoor)?nyuhaze500',
            r'14\d\d_(?:[1-9]|10)',
            'SOTS/indoor/{hazy,gt}',
        ),
        PublicDataset(
            'sots_outdoor',
            'SOTS-outdoor',
            'sots_outdoor',
            (Release(500, 492),),
            rf'(?:{_SOTS}{_WITHIN}|sots)outdoor',
            _OTS_NAME,
            'SOTS/outdoor/{hazy,gt}',
        ),
        PublicDataset(
            'i_haze',
            'I-HAZE',
            'i_haze',
            (Release(35, 35),),
            'ihaz[ey]',
            LAYOUTS['i_haze'].hazy,
            '# I-HAZY NTIRE 2018/{hazy,GT}',
        ),
        PublicDataset(
            'o_haze',
            'O-HAZE',
            'o_haze',
            (Release(45, 45),),
            'ohaz[ey]',
            LAYOUTS['o_haze'].hazy,
            '# O-HAZY NTIRE 2018/{hazy,GT}',
        ),
        PublicDataset(
            'nh_haze', 'NH-HAZE', 'nh_haze', (Release(55, 55),), 'nhhaz[ey]', LAYOUTS['nh_haze'].hazy, 'NH-HAZE'
        ),
        PublicDataset(
            'dense_haze',
            'Dense-Haze',
            'dense_haze',
            (Release(55, 55),),
            'densehaz[ey]',
            LAYOUTS['dense_haze'].hazy,
            'Dense_Haze_NTIRE19/{hazy,GT}',
        ),
        *(
            PublicDataset(
                f'reside_6k_{split}',
                f'RESIDE-6K-{split}',
                'reside_6k',
                (Release(count, count),),
                rf'reside6k(?:{_WITHIN})?{split}',
                None,
                f'RESIDE-6K/{split}/{{hazy,GT}}',
            )
            for split, count in (('train', 6_000), ('test', 1_000))
        ),
        *(
            PublicDataset(
                f'haze4k_{split}',
                f'Haze4K-{split}',
                'haze4k',
                (Release(count, count),),
                rf'haze4k(?:{_WITHIN})?{split}',
                r'\d+_(?:0\.\d+|1)_(?:0\.[5-9]\d*|[12](?:\.\d+)?)',
                f'Haze4K/{split}/{{haze,gt}}',
            )
            for split, count in (('train', 3_000), ('test', 1_000))
        ),
        PublicDataset(
            'urhi',
            'URHI',
            None,
            (Release(4_809, 0),),
            'urhi|unannotated(?:real)?hazyimages?',
            None,
            'UnannotatedHazyImages',
        ),
    )
}


@dataclass(frozen=True)
class Found:
    """A data set that was found; what is wrong with it is a finding, not an error.

    Args:
        dataset: which one.
        hazy_root: folder for `dataroot_lq`; None if there is none.
        clear_root: folder for `dataroot_gt`; None if there is none.
        hazy: files of hazy images.
        clear: files of clear images.
        pairs: hazy and clear file of each pair that can be used.
        misfits: hazy files whose names the rule does not know.
        unpaired: hazy files that have no clear one that can be used.
        ambiguous: hazy files that have several clear ones.
        unused: clear files without a hazy one.
        duplicates: files of which another one of the same side has the stem.
        empty: files of zero bytes, or links to nothing.
        problem: why the folders cannot be used as they lie.
    """

    dataset: PublicDataset
    hazy_root: str | None = None
    clear_root: str | None = None
    hazy: list[str] = field(default_factory=list)
    clear: list[str] = field(default_factory=list)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    misfits: list[str] = field(default_factory=list)
    unpaired: list[str] = field(default_factory=list)
    ambiguous: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    problem: str | None = None

    @cached_property
    def usable(self) -> list[str]:
        """Hazy files that can be used."""
        if self.dataset.rule:
            return [hazy for hazy, _ in self.pairs]
        useless = {*self.empty, *self.duplicates}
        return [name for name in self.hazy if name not in useless]

    @property
    def useless(self) -> list[str]:
        """Hazy files that cannot be used."""
        usable = set(self.usable)
        return [name for name in self.hazy if name not in usable]

    @property
    def bad_clear(self) -> list[str]:
        """Clear files that are empty, or share a stem."""
        clear = set(self.clear)
        return [name for name in (*self.empty, *self.duplicates) if name in clear]

    @cached_property
    def release(self) -> Release:
        """The release that it comes nearest to, by the number of scenes."""
        scenes = len(self._variants) or len(self.clear)
        return min(self.dataset.releases, key=lambda release: abs(release.clear - scenes))

    @property
    def is_complete(self) -> bool:
        used = {clear for _, clear in self.pairs}
        return (len(self.usable), len(used)) == self.release

    @property
    def short_scenes(self) -> dict[str, int]:
        """How many hazy images are missing of a scene; scenes without any are not known here."""
        hazy, clear = self.release
        if not clear or hazy % clear:
            return {}
        return {scene: hazy // clear - count for scene, count in self._variants.items() if count < hazy // clear}

    @cached_property
    def _variants(self) -> Counter[str]:
        layout = self.dataset.rule
        useless = {*self.empty, *self.duplicates, *self.misfits}
        if layout is None:
            return Counter()
        scenes = (layout.hazy_scene(name) for name in self.hazy if name not in useless)
        return Counter(scene for scene in scenes if scene is not None)


@dataclass(frozen=True)
class Unknown:
    """A folder with images that are of no known data set.

    Args:
        folder: its path.
        count: how many images lie in it.
        example: one of them.
        remark: what can be said about it; may be empty.
    """

    folder: str
    count: int
    example: str
    remark: str = ''


@dataclass(frozen=True)
class Survey:
    """What lies below a folder.

    Args:
        found: data sets; of several copies of one, that with the most images comes first.
        unknown: other folders with images.
        unreadable: folders that cannot be looked into, and why.
        archives: files that are not unpacked.
    """

    found: list[Found]
    unknown: list[Unknown]
    unreadable: dict[str, str]
    archives: list[str]


def find(root: str) -> list[Found]:
    """The public data sets below a folder, or in it.

    Raises:
        InputError: there is no such folder.
    """
    return survey(root).found


def survey(root: str) -> Survey:
    """What lies below a folder: public data sets, and what else has images.

    Raises:
        InputError: there is no such folder.
    """
    if not osp.isdir(root):
        raise InputError(f'the folder {root} does not exist; give the folder that the downloads were unpacked into')
    tree = _Tree(osp.normpath(root))
    found, unknown = [], []
    for dataset, sides in _groups(tree.folders):
        result = _examine(dataset, sides, tree.folders) if dataset else ''
        if isinstance(result, str):
            result = _examine_by_names(sides, tree.folders) or result
        if isinstance(result, str):
            unknown += [_unknown(folder, result, sides) for folders in sides.values() for folder in folders]
        else:
            found.append(result)
            unknown += _left_over(result, sides)
    order = list(DATASETS)
    found.sort(key=lambda one: (order.index(one.dataset.key), -len(one.usable), -len(one.hazy), one.hazy_root or ''))
    return Survey(found, sorted(unknown, key=lambda one: one.folder), tree.unreadable, sorted(tree.archives))


# ------------------------------------------------------------------------------------------------------------ the tree


@dataclass(frozen=True)
class _Folder:
    """A folder that has images.

    Args:
        path: from the current folder.
        trail: names of the folders that lead to it; the first are the parent of the root and the root itself.
        images: files.
        empty: those of them that have no content.
    """

    path: str
    trail: tuple[str, ...]
    images: list[str]
    empty: list[str]

    def top(self, length: int) -> str:
        """Path of the folder to which so many names of the trail lead."""
        path = self.path
        for _ in self.trail[length:]:
            path = osp.dirname(path)
        return path or os.curdir


class _Tree:
    """The folders with images below a root, of one walk; what is hidden counts as not there."""

    def __init__(self, root: str):
        self.folders: list[_Folder] = []
        self.archives: list[str] = []
        self.unreadable: dict[str, str] = {}
        top = osp.realpath(root)
        self._walk(root, (osp.basename(osp.dirname(top)), osp.basename(top)), frozenset())

    def _walk(self, path: str, trail: tuple[str, ...], above: frozenset[str]) -> None:
        real = osp.realpath(path)
        if real in above:  # a link to where it comes from
            return
        images, empty, below = [], [], []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    name, lower = entry.name, entry.name.lower()
                    if name.startswith('.') or lower == '__macosx' or lower.endswith(('.lmdb', '.lmdb.part')):
                        continue
                    if entry.is_dir():
                        below.append(name)
                    elif lower.endswith(IMAGE_EXTENSIONS):
                        images.append(osp.join(path, name))
                        if not _has_content(entry):
                            empty.append(images[-1])
                    elif lower.endswith(_ARCHIVES):
                        self.archives.append(osp.normpath(entry.path))
        except OSError as error:
            self.unreadable[path] = error.strerror or str(error)
            return
        if images:
            self.folders.append(_Folder(path, trail, sorted(images), sorted(empty)))
        for name in sorted(below):
            self._walk(osp.normpath(osp.join(path, name)), (*trail, name), above | {real})


def _has_content(entry: os.DirEntry) -> bool:
    try:
        return entry.stat().st_size > 0
    except OSError:
        return False


# --------------------------------------------------------------------------------------------- by the names of folders


def _groups(folders: Iterable[_Folder]) -> list[tuple[PublicDataset | None, dict[str, list[_Folder]]]]:
    """The folders of each copy of a data set, by side: hazy, clear, or both for a folder that holds both."""
    groups = defaultdict(lambda: defaultdict(list))
    for folder in folders:
        words = [_plain(name) for name in folder.trail]
        if not any(re.fullmatch(_OTHER_MAPS, word) for word in words[2:]):
            dataset, side, length = _place(words)
            # A folder of both sides stands for itself, whatever lies in it or above.
            groups[dataset, folder.trail[:length], side == 'both'][side].append(folder)
    halves = defaultdict(list)
    for key, sides in groups.items():
        if key[0] and len(sides) == 1 and 'both' not in sides:
            halves[key[0]].append((next(iter(sides)), key))
    for places in halves.values():
        # Archives that were unpacked each into a folder of its own.
        if sorted(side for side, _ in places) == ['clear', 'hazy']:
            (_, first), (side, second) = places
            groups[first][side] = groups.pop(second)[side]
    return [(dataset, dict(sides)) for (dataset, *_), sides in groups.items()]


def _place(words: Sequence[str]) -> tuple[PublicDataset | None, str, int]:
    """Data set and side of a folder, and how much of its path it has in common with the other side."""
    # The innermost data set, but its outermost folder: OTS/haze/OTS lies beside OTS/clear.
    for inner in range(len(words), 0, -1):
        for dataset in DATASETS.values():
            if not _home(dataset, words[:inner]):
                continue
            length, home = next((n, home) for n in range(1, inner + 1) if (home := _home(dataset, words[:n])))
            if home['hazy'] or home['clear']:
                return dataset, 'hazy' if home['hazy'] else 'clear', length - 1
            side, above = _side(words, length)
            if not dataset.rule:
                return dataset, 'hazy', length
            if dataset.rule.recursive and side == 'both' and len(words) > length:
                return dataset, 'hazy', length  # part folders, which lie beside the clear images
            return dataset, side, above
    return None, *_side(words, 1)


def _home(dataset: PublicDataset, words: Sequence[str]) -> re.Match | None:
    """Whether a path ends in the folder of a data set, or in one that is named by data set and side."""
    sides = '|'.join(f'(?P<{side}>{pattern})' for side, pattern in _SIDES.items())
    return re.fullmatch(rf'(?:.*/)?{_BEFORE}(?:{dataset.home}){_AFTER}(?:{sides})?', '/'.join(words))


def _side(words: Sequence[str], start: int) -> tuple[str, int]:
    """The last side that names after `start` tell, and how many names stand before it."""
    for end in range(len(words), start, -1):
        side = _side_of(words[end - 1])
        if side:
            # hazy/hazy, as an archive makes it that is unpacked into a folder of its own name
            while end - 1 > start and _side_of(words[end - 2]) == side:
                end -= 1
            return side, end - 1
    return 'both', len(words)


def _side_of(word: str) -> str | None:
    return next((side for side, pattern in _SIDES.items() if re.fullmatch(pattern, word)), None)


def _plain(name: str) -> str:
    return re.sub('[^a-z0-9]', '', name.lower())


# -------------------------------------------------------------------------------------------- by the names of images


def _examine(dataset: PublicDataset, sides: dict[str, list[_Folder]], folders: Sequence[_Folder]) -> Found | str:
    """What a data set has and lacks; or why it is not that data set."""
    layout = dataset.rule
    if 'both' in sides and (layout is None or layout.clear is None):
        return f'looks like {dataset.name}, but hazy and clear images do not lie in folders of their own'
    chosen = {side: _chosen(sides.get(side) or sides.get('both') or [], layout) for side in _SIDES}
    hazy, clear = (_images(chosen[side]) for side in _SIDES)
    if 'both' in sides:
        clear = [name for name in clear if layout and layout.is_clear(name)]
        hazy = sorted({*hazy} - {*clear})
    if layout and sum(layout.hazy_scene(name) is not None for name in hazy) < len(hazy) / 2:
        return _complaint(dataset, layout, hazy)
    empty = {name for folder in (*chosen['hazy'], *chosen['clear']) for name in folder.empty}
    again = {*_same_stems(hazy, empty), *_same_stems(clear, empty)}
    hazy_once = [name for name in hazy if name not in empty and name not in again]
    clear_full = [name for name in clear if name not in empty]
    matches = match_names(hazy_once, clear_full, layout) if layout else Matches([], [], [], {})
    if (
        layout
        and clear
        and matches.lonely
        and len(matches.lonely) + len(matches.misfits) == len(hazy_once)
        and clear == clear_full
    ):
        return f'looks like {dataset.name}, but by its rule ({layout.rule}) no hazy image has a clear one'
    used = {name for _, name in matches.pairs} | {name for names in matches.ambiguous.values() for name in names}
    roots = {side: _root(chosen[side]) for side in _SIDES}
    return Found(
        dataset=dataset,
        hazy_root=roots['hazy'],
        clear_root=roots['clear'],
        hazy=hazy,
        clear=clear,
        pairs=matches.pairs,
        misfits=matches.misfits,
        unpaired=matches.lonely,
        ambiguous=list(matches.ambiguous),
        unused=[name for name in clear_full if name not in used],
        duplicates=sorted(again),
        empty=sorted(empty & {*hazy, *clear}),
        problem=_problem(roots, chosen, folders) if layout and layout.recursive else None,
    )


def _examine_by_names(sides: dict[str, list[_Folder]], folders: Sequence[_Folder]) -> Found | str | None:
    """The one data set whose names these are; a remark if there are several, None if there is none."""
    results = {}
    for dataset in DATASETS.values():
        if not dataset.names or not _fits(_hazy_of(sides, dataset.rule), dataset.names):
            continue
        result = _examine(dataset, sides, folders)
        if isinstance(result, Found) and len(result.hazy) <= max(dataset.releases).hazy:
            results[dataset.name] = result
    if len(results) > 1:
        return f'has the names of {" or ".join(results)}: give one of these names to the folder above'
    return next(iter(results.values()), None)


def _hazy_of(sides: dict[str, list[_Folder]], layout: Layout | None) -> list[str]:
    return _images(sides.get('hazy', [])) or [
        name for name in _images(sides.get('both', [])) if not (layout and layout.is_clear(name))
    ]


def _complaint(dataset: PublicDataset, layout: Layout, hazy: Sequence[str]) -> str:
    misfits = [name for name in hazy if layout.hazy_scene(name) is None]
    return (
        f'looks like {dataset.name}, but {len(misfits):,} of {len(hazy):,} names do not fit its rule ({layout.rule}), '
        f'as {osp.basename(misfits[0])}'
    )


def _fits(names: Sequence[str], pattern: str) -> bool:
    return bool(names) and sum(bool(re.fullmatch(pattern, stem(name))) for name in names) >= _FITS * len(names)


def _chosen(folders: list[_Folder], layout: Layout | None) -> list[_Folder]:
    """All folders of a side, if the data set reads part folders; else that with the most images."""
    if layout and layout.recursive:
        return folders
    return sorted(folders, key=lambda folder: (-len(folder.images), folder.path))[:1]


def _images(folders: Iterable[_Folder]) -> list[str]:
    return [name for folder in folders for name in folder.images]


def _same_stems(names: Iterable[str], empty: set[str]) -> list[str]:
    """Files whose stem an earlier one has; an empty file counts as a later one."""
    seen, again = set(), []
    for name in sorted(names, key=lambda name: (name in empty, name)):
        if stem(name) in seen:
            again.append(name)
        seen.add(stem(name))
    return again


def _root(folders: Sequence[_Folder]) -> str | None:
    """The folder that all of them lie in, or are."""
    if not folders:
        return None
    steps = takewhile(lambda names: len(set(names)) == 1, zip(*(folder.trail for folder in folders), strict=False))
    return folders[0].top(len(list(steps)))


def _problem(roots: dict[str, str | None], chosen: dict[str, list[_Folder]], folders: Iterable[_Folder]) -> str | None:
    """Whether a folder that is searched with all that lies below has anything else in it."""
    for side, root in roots.items():
        own = {folder.path for folder in chosen[side]}
        for folder in folders:
            if root and folder.path not in own and _is_within(folder.path, root):
                return (
                    f'{folder.path} lies among the {side} part folders in {root}; move these into one folder of their '
                    f'own, as {osp.join(root, side)}'
                )
    return None


def _is_within(path: str, root: str) -> bool:
    path, root = osp.abspath(path), osp.abspath(root)
    return osp.commonpath([path, root]) == root


def _unknown(folder: _Folder, remark: str, sides: dict[str, list[_Folder]]) -> Unknown:
    hazy, clear = ({stem(name) for name in _images(sides.get(side, []))} for side in _SIDES)
    if hazy and len(hazy & clear) >= _FITS * len(hazy):
        remark = '; '.join(filter(None, [remark, 'hazy and clear names are equal, which needs no layout']))
    if not remark:
        names = [dataset.name for dataset in DATASETS.values() if dataset.names and _fits(folder.images, dataset.names)]
        remark = f'hazy images with the names of {" or ".join(names)}' if names else ''
    return Unknown(folder.path, len(folder.images), osp.basename(folder.images[0]), remark)


def _left_over(found: Found, sides: dict[str, list[_Folder]]) -> list[Unknown]:
    """Folders of a data set that are not the ones it is read from."""
    if found.dataset.rule and found.dataset.rule.recursive:
        return []
    return [
        _unknown(folder, f'a further folder of {found.dataset.name}', {})
        for folders in sides.values()
        for folder in folders
        if folder.path not in (found.hazy_root, found.clear_root)
    ]
