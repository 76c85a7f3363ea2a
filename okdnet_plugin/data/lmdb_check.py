"""Whether the LMDBs of a data set are whole, and what is in them."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import path as osp
from typing import Any

import lmdb
import yaml

from okdnet_plugin.data.depth import decode_depth
from okdnet_plugin.data.image_sources import ImageLmdb, Line, open_lmdb, read_lines
from okdnet_plugin.data.images import decode
from okdnet_plugin.data.layouts import Layout, layout_from_template, layout_of, match_names
from okdnet_plugin.data.lmdb_store import Recipe, Record, cores, is_intact, read_ahead, read_manifest
from okdnet_plugin.errors import InputError

_FRAME = 20  # px that a clear image with a white frame is larger than its hazy one


@dataclass(frozen=True)
class Content:
    """What an LMDB says of itself.

    Args:
        root: its path.
        lines: of meta_info.txt, by key.
        repeated: keys that stand there more than once.
        recipe, records: its manifest; None and empty for one that BasicSR made.
    """

    root: str
    lines: Mapping[str, Line]
    repeated: Sequence[str]
    recipe: Recipe | None
    records: Mapping[str, Record]


def find(paths: Sequence[str]) -> list[str]:
    """The LMDBs among some paths, and in folders among them.

    Raises:
        InputError: a path is neither an LMDB nor a folder that holds one.
    """
    roots = []
    for path in paths:
        path = osp.normpath(path)
        found = [path] if path.endswith('.lmdb') else []
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
    """What an LMDB says of itself, without a look at its images.

    Raises:
        InputError: a file of it is missing or cannot be read.
    """
    root = ImageLmdb(root, {}).root
    manifest = read_manifest(root)
    lines = read_lines(osp.join(root, 'meta_info.txt'))
    repeated = sorted(key for key, count in Counter(line.key for line in lines).items() if count > 1)
    return Content(root, {line.key: line for line in lines}, repeated, *(manifest or (None, {})))


def verify(
    root: str, layout: Layout | None = None, workers: int | None = None, on_record: Callable[[], object] = lambda: None
) -> Iterator[str]:
    """What is wrong with an LMDB, a line each.

    Every record has to be there once, to decode, to be of the size that meta_info.txt gives, and, if there is a
    manifest, to have its checksum. LMDBs that were made together are held against one another: each hazy image needs
    one clear image of a fitting size, and each clear image its depth.

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
            return [*_problems_of(content, key, bytes(transaction.get(key.encode()) or b''))]

    for found in read_ahead(problems, sorted(stored & content.lines.keys()), workers or cores()):
        yield from found
        on_record()
    yield from _pairing_problems(content, layout)


def _stored_keys(environment: lmdb.Environment) -> set[str]:
    with environment.begin() as transaction:
        return {bytes(key).decode(errors='backslashreplace') for key in transaction.cursor().iternext(values=False)}


def _differences(content: Content, stored: set[str]) -> Iterator[str]:
    listed = content.lines.keys()
    for key in content.repeated:
        yield f"key '{key}' in {content.root} stands in meta_info.txt more than once"
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
    said = content.lines[key].shape[:2]
    if said and tuple(said) != shape[:2]:
        yield f'{label} is {_as_text(shape)}, but meta_info.txt says {_as_text(said)}'


def _pairing_problems(content: Content, layout: Layout | None) -> Iterator[str]:
    found = _partner(content, layout)
    if found is None:
        return
    partner, layout = found
    beside = osp.join(osp.dirname(osp.abspath(content.root)), partner)
    try:
        other = {line.name: line for line in read(beside).lines.values()}
    except InputError as error:
        yield f'{content.root} was made with {partner}: {error}'
        return
    own = {line.name: line for line in content.lines.values()}
    matches = match_names(own, other, layout)
    for name in (*matches.misfits, *matches.lonely):
        cause = f'is no name of the rule {layout.rule}' if name in matches.misfits else f'has no image in {beside}'
        yield f"key '{own[name].key}' in {content.root} {cause}"
    for name, several in matches.ambiguous.items():
        yield f"key '{own[name].key}' in {content.root} has several images in {beside}: {', '.join(several)}"
    for name, partner_name in matches.pairs:
        sizes = own[name].shape, other[partner_name].shape
        if not _fits(*sizes, layout):
            yield (
                f"key '{own[name].key}' in {content.root} is {_as_text(sizes[0])}, but '{other[partner_name].key}' in "
                f'{beside} is {_as_text(sizes[1])}'
            )


def _partner(content: Content, layout: Layout | None) -> tuple[str, Layout] | None:
    """Name of the LMDB that an LMDB goes with, and the rule that pairs them."""
    recipe = content.recipe
    if recipe and recipe.partner:
        by_stem = layout_from_template('{}')
        return recipe.partner, by_stem if recipe.side != 'hazy' else layout or layout_of(recipe.pairing)
    is_basicsrs = recipe is None and osp.basename(content.root) == 'hazy.lmdb'
    return ('clear.lmdb', layout) if is_basicsrs and layout else None


def _fits(one: Sequence[int], other: Sequence[int], layout: Layout) -> bool:
    grown = [edge + _FRAME for edge in one[:2]] if layout.white_frame else one[:2]
    return not one or not other or list(other[:2]) in (list(one[:2]), list(grown))


def _as_text(shape: Sequence[int]) -> str:
    return 'x'.join(map(str, shape[:2]))


def summary(root: str) -> str:
    """One line: how many images of which sizes, in how many bytes, made of what."""
    content = read(root)
    sizes = sorted({'x'.join(map(str, line.shape[:2])) for line in content.lines.values() if line.shape})
    shapes = sizes[0] if len(sizes) == 1 else f'{len(sizes)} sizes' if sizes else 'unknown sizes'
    parts = [f'{len(content.lines):,} images', shapes, f'{osp.getsize(osp.join(root, "data.mdb")) / 1e6:,.1f} MB']
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
    partner = content.recipe and content.recipe.partner
    return f'{counted(len(content.lines), "image")} whole: {checked}' + (f'; each fits {partner}' if partner else '')


def counted(number: int, noun: str) -> str:
    """`1 image is`, `2 images are`."""
    return f'{number:,} {noun} is' if number == 1 else f'{number:,} {noun}s are'


_SETS = {
    ('hazy', 'clear'): 'PairedDehazeDataset',
    ('clear', 'depth'): 'SyntheticHazeDataset',
    ('hazy',): 'SingleDehazeDataset',
}
_KEYS = {'hazy': 'dataroot_lq', 'clear': 'dataroot_gt', 'depth': 'dataroot_depth'}


def option_lines(roots: Sequence[str]) -> str:
    """A data set's block that reads some LMDBs of one `build`."""
    recipes = {recipe.side: (root, recipe) for root in roots if (recipe := read(root).recipe)}
    block: dict[str, Any] = {'name': osp.basename(osp.dirname(osp.abspath(roots[0])))}
    if tuple(recipes) in _SETS:
        block['type'] = _SETS[tuple(recipes)]
    block |= {_KEYS[side]: root for side, (root, _) in recipes.items()}
    block['io_backend'] = {'type': 'lmdb'}
    if {'hazy', 'clear'} <= recipes.keys() and recipes['hazy'][1].pairing != {'filename_tmpl': '{}'}:
        block |= recipes['hazy'][1].pairing
    size = recipes[next(iter(recipes))][1].resize
    if size:
        block['resize'] = size[0] if size[0] == size[1] else size
    text = yaml.safe_dump(block, sort_keys=False, allow_unicode=True, width=10_000)
    return ''.join(f'    {line}\n' for line in text.splitlines())
