"""Kinds of image files: which the installed libraries read, and what is said of the others."""

import importlib
import importlib.util
from collections import Counter
from collections.abc import Iterable
from functools import cache
from os import path as osp

from PIL import Image, features

_ALWAYS = {
    'PNG': ('.png',),
    'JPEG': ('.jpg', '.jpeg', '.jpe', '.jfif'),
    'WEBP': ('.webp',),
    'TIFF': ('.tif', '.tiff'),
    'BMP': ('.bmp',),
    'GIF': ('.gif',),
    'PPM': ('.ppm', '.pgm', '.pbm', '.pnm'),
    'TGA': ('.tga',),
}
# Kinds of Pillow that it is built with or not.
_FEATURES = {'AVIF': ('avif', ('.avif',)), 'JPEG2000': ('jpg_2000', ('.jp2', '.j2k', '.j2c', '.jpx', '.jpf'))}
_HEIF = ('.heic', '.heif', '.hif')
_WEAK = ('TGA',)  # have no mark of their own: anything may be taken for one
# What a person may take for an image, or a camera writes, and nothing here reads.
_OTHERS = (
    *('.jxl', '.exr', '.hdr', '.psd', '.ico', '.svg', '.pdf', '.dds', '.pcx', '.xcf', '.mng', '.eps'),
    *('.cr2', '.cr3', '.nef', '.arw', '.dng', '.raf', '.orf', '.rw2', '.pef', '.srw', '.raw'),
)


@cache
def readable() -> dict[str, tuple[str, ...]]:
    """Kinds that can be read here, with the endings of their names."""
    found = dict(_ALWAYS)
    for kind, (feature, endings) in _FEATURES.items():
        if features.check(feature):
            found[kind] = endings
    if importlib.util.find_spec('pillow_heif') is not None:
        importlib.import_module('pillow_heif').register_heif_opener()
        found['HEIF'] = _HEIF
    Image.init()
    return found


def endings() -> tuple[str, ...]:
    """Endings of the names of all images that can be read here."""
    return tuple(ending for several in readable().values() for ending in several)


def kinds_for(path: str | None) -> tuple[str, ...]:
    """Kinds that a file may be of: by its content, and those that have no mark in it by its name."""
    ending = osp.splitext(path or '')[1].lower()
    return tuple(kind for kind, several in readable().items() if kind not in _WEAK or ending in several)


def is_other(path: str) -> bool:
    """Whether the name is that of an image which cannot be read here."""
    ending = osp.splitext(path)[1].lower()
    return ending not in endings() and ending in (
        *_OTHERS,
        *_HEIF,
        *(end for _, of in _FEATURES.values() for end in of),
    )


def cure_for(path: str) -> str:
    """What is said of such a file."""
    ending = osp.splitext(path)[1].lower()
    if ending in _HEIF:
        return 'pip install okdnet_plugin[heif] reads it'
    if any(ending in of for _, of in _FEATURES.values()):
        return 'this Pillow is built without it; a newer one reads it'
    return 'save it as PNG, TIFF or JPEG'


def left_out(paths: Iterable[str]) -> str:
    """How many files of which endings are not read, and what helps, in words."""
    several = list(paths)
    counts = Counter(osp.splitext(path)[1].lower() for path in several)
    named = (f'{count} {ending} ({cure_for("x" + ending)})' for ending, count in sorted(counts.items()))
    return f'{len(several)} file{"s" * (len(several) != 1)} left out: {", ".join(named)}'
