"""How the files of each public data set are named, and which hazy image belongs to which clear one.

A rule looks at the stem of a file name: the name without its folder and without its last extension, so that the stem of
`0025_0.8_0.04.jpg` is `0025_0.8_0.04`. It finds the scene of a hazy and of a clear image; equal scenes make a pair.
"""

import difflib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import path as osp
from string import Formatter

from okdnet_plugin.errors import InputError, did_you_mean


@dataclass(frozen=True)
class Layout:
    """The naming rule of a data set.

    Args:
        name: name in an option file.
        rule: the rule in words, for error messages.
        hazy: regular expression of a whole hazy stem; its one group is the scene.
        clear: the same for clear stems. A stem that it does not match is itself the scene, and so is any stem if it is
            None.
        template: the scene of a clear image is this format string, filled with what `clear` finds.
        recursive: the images lie in part folders below the root.
        white_frame: a clear image may have a white frame that its hazy one lacks.
    """

    name: str
    rule: str
    hazy: str
    clear: str | None = None
    template: str = '{}'
    recursive: bool = False
    white_frame: bool = False

    def hazy_scene(self, name: str) -> str | None:
        """Scene of a hazy image; None if the rule does not know such a name."""
        match = re.fullmatch(self.hazy, stem(name))
        return match[1] if match else None

    def clear_scene(self, name: str) -> str:
        """Scene of a clear image."""
        match = self.clear and re.fullmatch(self.clear, stem(name))
        return self.template.format((match and match[1]) or stem(name))

    def is_clear(self, name: str) -> bool:
        """Whether the rule tells by the name alone that an image is a clear one."""
        return self.clear is not None and self.clear != self.hazy and bool(re.fullmatch(self.clear, stem(name)))


def stem(name: str) -> str:
    """File name without its folder and its last extension, in NFC: a Mac writes accents as letters of their own."""
    return unicodedata.normalize('NFC', osp.splitext(osp.basename(name))[0])


_LOOKED_AT = 5000  # names, for the one that is nearest to another
_NUMBER = r'\d+(?:\.\d+)?'

_SCENE = r'(?i)(\d+)'  # copies of one data set differ in the case of GT and hazy

LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout('its', '1_1_0.90179.png -> 1.png', rf'(\d+)_\d+_{_NUMBER}'),
        Layout('ots', '0025_0.8_0.04.jpg -> 0025.jpg', rf'(\d+)_{_NUMBER}_{_NUMBER}', recursive=True),
        Layout('sots_indoor', '1400_1.png -> 1400.png', r'(\d+)_\d+', white_frame=True),
        Layout('sots_outdoor', '0001_0.8_0.2.jpg -> 0001.png', rf'(\d+)_{_NUMBER}_{_NUMBER}'),
        Layout('i_haze', '01_indoor_hazy.jpg -> 01_indoor_GT.jpg', f'{_SCENE}_indoor_hazy', f'{_SCENE}_indoor_GT'),
        Layout('o_haze', '01_outdoor_hazy.jpg -> 01_outdoor_GT.jpg', f'{_SCENE}_outdoor_hazy', f'{_SCENE}_outdoor_GT'),
        Layout('nh_haze', '01_hazy.png -> 01_GT.png', f'{_SCENE}_hazy', f'{_SCENE}_GT'),
        Layout('dense_haze', '01_hazy.png -> 01_GT.png', f'{_SCENE}_hazy', f'{_SCENE}_GT'),
        Layout('reside_6k', '1_1_0.90179.png -> 1_1_0.90179.png', r'(?s)(.*)'),
        Layout('haze4k', '1_0.75_1.24.png -> 1.png', rf'(\d+)_{_NUMBER}_{_NUMBER}'),
    )
}


def get_layout(name: str) -> Layout:
    """Layout of a public data set.

    Raises:
        InputError: there is none of this name.
    """
    if not isinstance(name, str) or name not in LAYOUTS:
        raise InputError(
            f"layout: '{name}' is not known{did_you_mean(name, LAYOUTS)}; known are {', '.join(LAYOUTS)}; "
            'for other names give `pairing: <regular expression with one group, the scene>` instead'
        )
    return LAYOUTS[name]


def layout_from_regex(pairing: str) -> Layout:
    """Layout of the option `pairing`: the one group of the expression is the scene.

    Clear images may be named like hazy ones, or by the scene alone.

    Raises:
        InputError: it is no regular expression, or has not exactly one group.
    """
    try:
        groups = re.compile(pairing).groups
    except (re.error, TypeError) as error:
        raise InputError(f"pairing: '{pairing}' is not a regular expression: {error}") from None
    if groups != 1:
        raise InputError(
            f"pairing: '{pairing}' has {groups} groups, but exactly one, the scene, is needed; put the scene in "
            r'parentheses and write other groups as (?:...), as in (\d+)_(?:hazy|foggy)'
        )
    return Layout('pairing', f"the whole stem matches '{pairing}', its group is the scene", pairing, pairing)


def layout_from_template(filename_tmpl: str) -> Layout:
    """Layout of BasicSR's option `filename_tmpl`: a hazy stem is the template, filled with the clear stem.

    Raises:
        InputError: the template has not the one place `{}` that the clear stem fills.
    """
    try:
        if any(field or spec or conversion for _, field, spec, conversion in Formatter().parse(filename_tmpl)):
            raise ValueError('a width would make names of any length')
        filled = [filename_tmpl.format(sample) for sample in ('clear', 'other')]
    except (AttributeError, IndexError, KeyError, ValueError):
        filled = []
    if len(set(filled)) != 2:
        raise InputError(
            f"filename_tmpl: '{filename_tmpl}' does not say where the clear stem goes; write {{}}, as in '{{}}_hazy'"
        )
    rule = 'equal stems' if filename_tmpl == '{}' else f"hazy stem = '{filename_tmpl}' filled with the clear stem"
    # DOTALL: a file name may hold any character.
    return Layout('filename_tmpl', rule, r'(?s)(.*)', template=filename_tmpl)


RULES = {'layout': get_layout, 'pairing': layout_from_regex, 'filename_tmpl': layout_from_template}
"""The options that say how images are paired."""


def layout_of(opt: Mapping) -> Layout:
    """Layout that the options of a data set ask for: `layout`, `pairing` or `filename_tmpl`; by default equal stems.

    Raises:
        InputError: more than one is given, or one that cannot be used.
    """
    given = [key for key in RULES if opt.get(key) is not None]
    if len(given) > 1:
        raise InputError(f'{" and ".join(given)} are given; each says how images are paired: keep one of them')
    return RULES[given[0]](opt[given[0]]) if given else layout_from_template('{}')


@dataclass(frozen=True)
class Matches:
    """What a rule finds among hazy and clear names; lists are sorted by the stems of the hazy images.

    Args:
        pairs: hazy images, each with its one clear image.
        misfits: hazy images whose names the rule does not know.
        lonely: hazy images without a clear one.
        ambiguous: hazy images with more than one clear image, and these.
    """

    pairs: list[tuple[str, str]]
    misfits: list[str]
    lonely: list[str]
    ambiguous: dict[str, list[str]]


def match_names(hazy: Iterable[str], clear: Iterable[str], layout: Layout) -> Matches:
    """Look for the clear image of every hazy image, in time proportional to the number of names.

    Args:
        hazy: file names, with or without folders.
        clear: file names; several hazy images may share one, and one may be left without any.
        layout: naming rule.
    """
    clear = list(clear)
    candidates = _by_scene(clear, layout.clear_scene)
    if layout.template == '{}':
        # A clear image that is named by the scene alone comes first, even if its name also looks like a hazy one.
        candidates |= _by_scene(clear, stem)
    matches = Matches([], [], [], {})
    for name in sorted(set(hazy), key=_sort_key):
        scene = layout.hazy_scene(name)
        partners = candidates.get(scene, [])
        if scene is None:
            matches.misfits.append(name)
        elif not partners:
            matches.lonely.append(name)
        elif len(partners) > 1:
            matches.ambiguous[name] = partners
        else:
            matches.pairs.append((name, partners[0]))
    return matches


def pair_names(hazy: Sequence[str], clear: Sequence[str], layout: Layout) -> list[tuple[str, str]]:
    """The clear image of every hazy image, in time proportional to the number of names.

    Args:
        hazy: file names, with or without folders.
        clear: file names; several hazy images may share one, and one may be left without any.
        layout: naming rule.

    Returns:
        Pairs (hazy, clear), sorted by the stems of the hazy images.

    Raises:
        InputError: the rule does not match a hazy name, or finds no clear image for it, or more than one.
    """
    matches = match_names(hazy, clear, layout)
    strangers = matches.misfits or matches.lonely
    if strangers:
        scene = layout.hazy_scene(strangers[0])
        complaint = 'is not a hazy name of this rule' if scene is None else f"has no clear image of the scene '{scene}'"
        _refuse(strangers, complaint, layout, hazy, _advice(strangers[0], hazy, clear))
    if matches.ambiguous:
        twice = list(matches.ambiguous)
        _refuse(twice, f'has several clear images ({", ".join(matches.ambiguous[twice[0]])})', layout, hazy)
    return matches.pairs


def pair_listed(hazy: Sequence[str], clear: Sequence[str], layout: Layout) -> list[tuple[str, str]]:
    """Every hazy image of the listed clear ones, in the order of the list; other hazy images are left out.

    Args:
        hazy: file names, with or without folders.
        clear: file names, perhaps some of them more than once.
        layout: naming rule.

    Returns:
        Pairs (hazy, clear).

    Raises:
        InputError: a clear image has no hazy one.
    """
    partners = _by_scene(sorted(hazy, key=_sort_key), layout.hazy_scene)
    scenes = [layout.clear_scene(name) for name in clear]
    lonely = [name for name, scene in zip(clear, scenes, strict=True) if scene not in partners]
    _refuse(lonely, 'is listed, but has no hazy image', layout, clear)
    return [(partner, name) for name, scene in zip(clear, scenes, strict=True) for partner in partners[scene]]


def _advice(lonely: str, hazy: Sequence[str], clear: Sequence[str]) -> str:
    """The clear image whose name is nearest to that of a hazy one, and a rule by which all of them pair."""
    by_stem = {stem(name): name for name in clear[:_LOOKED_AT]}
    inside = sorted((name for name in by_stem if name in stem(lonely)), key=len)
    near = inside[-1:] or difflib.get_close_matches(stem(lonely), by_stem, n=1, cutoff=0.3)
    partner = f'; the clear image with the nearest name is {by_stem[near[0]]}' if near else ''
    for key, value in _likely_rules(stem(lonely), near[0] if near else ''):
        found = match_names(hazy, clear, RULES[key](value))
        if len(found.pairs) == len(set(hazy)):
            return f"{partner}; `{key}: '{value}'` pairs all {len(found.pairs)}"
    return partner


def _likely_rules(hazy: str, clear: str) -> Iterator[tuple[str, str]]:
    """Values of `pairing` and `layout` that are worth a try.

    Args:
        hazy, clear: stems, likely of one scene.
    """
    yield from (('pairing', pattern) for pattern in (r'(\d+)_.*', '([^_]+)_.*', '(.+)_[^_]*'))
    common = _shared(hazy, clear)
    if common:
        ends = '|'.join(sorted({re.escape(name[common:]) for name in (hazy, clear)} - {''}, reverse=True))
        yield 'pairing', f'(.+)(?:{ends})'
    common = _shared(hazy[::-1], clear[::-1])
    if common:
        starts = '|'.join(sorted({re.escape(name[: len(name) - common]) for name in (hazy, clear)} - {''}))
        yield 'pairing', f'(?:{starts})(.+)'
    yield from (('layout', name) for name in LAYOUTS)


def _shared(one: str, other: str) -> int:
    """Letters with which both begin."""
    return next(
        (place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        min(len(one), len(other)),
    )


def _by_scene(names: Iterable[str], scene_of: Callable[[str], str | None]) -> dict[str | None, list[str]]:
    scenes = defaultdict(list)
    for name in names:
        scenes[scene_of(name)].append(name)
    return dict(scenes)


def _sort_key(name: str) -> tuple[str, str]:
    # By stems, which are BasicSR's LMDB keys: 'a.png' comes before 'a-1.png'.
    return osp.splitext(name)[0], name


def _refuse(offending: Sequence[str], complaint: str, layout: Layout, names: Sequence[str], advice: str = '') -> None:
    if offending:
        raise InputError(
            f'{offending[0]} {complaint} ({len(offending)} of {len(names)} such); rule {layout.name}: {layout.rule}'
            f'{advice}; add, rename or remove these files, or give another rule (layout, pairing or filename_tmpl)'
        )
