"""Whether the LMDBs of a data set are whole, and what is in them."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import path as osp

import lmdb

from okdnet_plugin.data.depth import decode_depth
from okdnet_plugin.data.layouts import Layout, layout_of
from okdnet_plugin.data.lmdb_store import Recipe, Record, cores, is_intact, read_ahead, read_manifest
from okdnet_plugin.data.picture_sources import Line, PictureLmdb, open_lmdb, read_lines
from okdnet_plugin.data.pictures import decode
from okdnet_plugin.errors import InputError

_FRAME = 20  # px that a clear picture with a white frame is larger than its hazy one


@dataclass(frozen=True)
class Content:
    """What an LMDB says of itself.

    Args:
        root: its path.
        lines: of meta_info.txt, by key.
        recipe, records: its manifest; None and empty for one that the toolbox made.
    """

    root: str
    lines: Mapping[str, Line]
    recipe: Recipe | None
    records: Mapping[str, Record]


def find(paths: Sequence[str]) -> list[str]:
    """The LMDBs among some paths, and in folders among them.

    Raises:
        InputError: a path is neither an LMDB nor a folder that holds one.
    """
    roots = []
    for path in paths:
        found = [path] if path.rstrip('/').endswith('.lmdb') else []
        if not found and osp.isdir(path):
            found = [
                osp.join(folder, name)
                for folder, folders, _ in os.walk(path)
                for name in sorted(folders)
                if name.endswith('.lmdb')
            ]
        if not found:
            raise InputError(f'{path} is no LMDB and holds none (*.lmdb); correct the path')
        roots += sorted(found)
    return roots


def read(root: str) -> Content:
    """What an LMDB says of itself, without a look at its pictures.

    Raises:
        InputError: a file of it is missing or cannot be read.
    """
    root = PictureLmdb(root, {}).root
    manifest = read_manifest(root)
    lines = {line.key: line for line in read_lines(osp.join(root, 'meta_info.txt'))}
    return Content(root, lines, *(manifest or (None, {})))


def verify(
    root: str, layout: Layout | None = None, workers: int | None = None, on_record: Callable[[], None] = lambda: None
) -> Iterator[str]:
    """What is wrong with an LMDB, a line each.

    Every record has to be there once, to decode, to be of the size that meta_info.txt gives, and, if there is a
    manifest, to have its checksum. Each hazy picture needs a clear one of a fitting size in the LMDB `clear` beside it.

    Args:
        root: path of the LMDB.
        layout: naming rule that pairs it; by default the one in its manifest.
        workers: threads; by default one a core.
        on_record: called after each record.
    """
    try:
        content = read(root)
        environment = open_lmdb(content.root, {})
        stored = _stored_keys(environment)
    except InputError as error:
        yield str(error)
        return
    except lmdb.Error as error:
        yield f'{root} cannot be opened ({error}); make it again'
        return
    yield from _differences(content, stored)

    def problems(key):
        with environment.begin() as transaction:
            return [*_problems_of(content, key, transaction.get(key.encode()))]

    for found in read_ahead(problems, sorted(stored & content.lines.keys()), workers or cores()):
        yield from found
        on_record()
    yield from _pairing_problems(content, layout)


def _stored_keys(environment: lmdb.Environment) -> set[str]:
    with environment.begin() as transaction:
        return {bytes(key).decode() for key in transaction.cursor().iternext(values=False)}


def _differences(content: Content, stored: set[str]) -> Iterator[str]:
    listed = content.lines.keys()
    for key in sorted(listed - stored):
        yield f"key '{key}' in {content.root} is in meta_info.txt, but not in data.mdb"
    for key in sorted(stored - listed):
        yield f"key '{key}' in {content.root} is in data.mdb, but not in meta_info.txt"
    for key in sorted(listed ^ content.records.keys()) if content.recipe else ():
        yield f"key '{key}' in {content.root} is only in one of meta_info.txt and the manifest"


def _problems_of(content: Content, key: str, stored: bytes) -> Iterator[str]:
    label = f"key '{key}' in {content.root}"
    record = content.records.get(key)
    if record and not is_intact(record, stored):
        yield f'{label} is not what was written: its checksum or length differs'
    try:
        is_depth = content.recipe is not None and content.recipe.side == 'depth'
        shape = (decode_depth if is_depth else decode)(stored, label).shape
    except InputError as error:
        yield str(error).split(';')[0]
        return
    height_width = content.lines[key].shape[:2]
    if height_width and tuple(height_width) != shape[:2]:
        yield f'{label} is {shape[0]}x{shape[1]}, but meta_info.txt says {height_width[0]}x{height_width[1]}'


def _pairing_problems(content: Content, layout: Layout | None) -> Iterator[str]:
    beside = osp.join(osp.dirname(osp.abspath(content.root)), 'clear.lmdb')
    is_hazy = content.recipe.side == 'hazy' if content.recipe else osp.basename(content.root) == 'hazy.lmdb'
    if not (is_hazy and osp.isdir(beside) and (layout or content.recipe)):
        return
    layout = layout or layout_of(content.recipe.pairing)
    try:
        clear = read(beside).lines
    except InputError as error:
        yield str(error)
        return
    by_scene = {layout.clear_scene(line.name): line for line in clear.values()} | (
        dict(clear) if layout.template == '{}' else {}
    )
    for key, line in content.lines.items():
        scene = layout.hazy_scene(line.name)
        if scene not in by_scene:
            cause = f"no clear picture of the scene '{scene}'" if scene else f'no hazy name of {layout.rule}'
            yield f"key '{key}' in {content.root} has no partner in {beside}: {cause}"
        elif not _fits(line.shape, by_scene[scene].shape, layout):
            sizes = ['x'.join(map(str, part.shape[:2])) for part in (line, by_scene[scene])]
            yield (
                f"key '{key}' in {content.root} is {sizes[0]}, but its clear picture "
                f"'{by_scene[scene].key}' is {sizes[1]}"
            )


def _fits(hazy: Sequence[int], clear: Sequence[int], layout: Layout) -> bool:
    grown = [edge + _FRAME for edge in hazy[:2]] if layout.white_frame else hazy[:2]
    return not hazy or not clear or list(clear[:2]) in (list(hazy[:2]), list(grown))


def summary(root: str) -> str:
    """One line: how many pictures of which sizes, in how many bytes, made of what."""
    content = read(root)
    sizes = sorted({'x'.join(map(str, line.shape[:2])) for line in content.lines.values() if line.shape})
    shapes = sizes[0] if len(sizes) == 1 else f'{len(sizes)} sizes' if sizes else 'unknown sizes'
    parts = [f'{len(content.lines):,} pictures', shapes, f'{osp.getsize(osp.join(root, "data.mdb")) / 1e6:,.1f} MB']
    if content.recipe:
        pairing = ' '.join(f'{key} {value}' for key, value in content.recipe.pairing.items())
        parts += [content.recipe.encode, content.recipe.side, pairing, f'from {content.recipe.root}']
    else:
        parts.append('without manifest (not made by this command)')
    return f'{root}: {", ".join(parts)}'


def verdict(root: str) -> str:
    """What has been seen of an LMDB in which `verify` finds nothing."""
    content = read(root)
    checked = 'checksum, decoding and size' if content.recipe else 'decoding and size (it has no checksums)'
    return f'{len(content.lines):,} pictures are whole: {checked}'


def option_lines(roots: Sequence[str]) -> str:
    """Lines of a data set's block that read some LMDBs of one `build`."""
    recipes = {recipe.side: (root, recipe) for root in roots for recipe in [read(root).recipe]}
    lines = [
        f'    {key}: {json.dumps(recipes[side][0], ensure_ascii=False)}'
        for side, key in {'hazy': 'dataroot_lq', 'clear': 'dataroot_gt', 'depth': 'dataroot_depth'}.items()
        if side in recipes
    ]
    lines += ['    io_backend:', '      type: lmdb']
    if {'hazy', 'clear'} <= recipes.keys():
        pairing = recipes['hazy'][1].pairing.items()
        lines += [f'    {key}: {json.dumps(value, ensure_ascii=False)}' for key, value in pairing if value != '{}']
    return '\n'.join(lines)
