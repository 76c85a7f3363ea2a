"""What is to be dehazed and where it goes: decided, and checked against losses, before anything is read or written."""

import functools
import glob
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from itertools import count as count_from
from os import path as osp

from okdnet_plugin.errors import InputError, SaveError, named, one_line
from okdnet_plugin.files import shown
from okdnet_plugin.inference.images import kinds
from okdnet_plugin.inference.images.writing import KINDS
from okdnet_plugin.inference.video import FORMATS as VIDEO_FORMATS
from okdnet_plugin.inference.video import SUFFIXES as VIDEO_SUFFIXES
from okdnet_plugin.inference.video import is_video, suffix_for

STANDARD = '-'
_MOST_NAMED = 3  # clashes in a message


@dataclass(frozen=True)
class Extras:
    """What is written beside a result."""

    compare: bool = False
    transmission: bool = False
    airlight: bool = False
    depth: bool = False

    def endings(self, extension: str) -> dict[str, str]:
        """For each extra file what is put in the place of the result's extension."""
        named = {'compare': f'_compare{extension}'} if self.compare else {}
        if self.transmission:
            named |= {'transmission': '_transmission.png', 'transmission_raw': '_transmission_raw.png'}
        if self.depth:
            named |= {'depth': '_depth.png', 'depth_raw': '_depth_raw.png'}
        if self.airlight:
            named |= {'airlight': '_airlight.png', 'airlight_raw': '_airlight.json'}
        return named


@dataclass(frozen=True)
class Job:
    """A file to be dehazed."""

    source: str
    """Path, or - for the standard input."""
    target: str
    """Path, or - for the standard output."""
    extras: dict[str, str] = field(default_factory=dict)
    """Paths of what is written beside it, by their kinds."""
    is_video: bool = False

    @property
    def label(self) -> str:
        return 'the standard input' if self.source == STANDARD else shown(self.source)

    @property
    def targets(self) -> list[str]:
        return [path for path in (self.target, *self.extras.values()) if path != STANDARD]


def failure(job: Job, error: Exception) -> str:
    """One line that says of what file what has gone wrong."""
    if isinstance(error, InputError | SaveError):
        return ' '.join(str(error).splitlines())
    if isinstance(error, MemoryError):
        return f'{job.label}: not enough memory to hold it; make it smaller, or give this program more'
    return f'{job.label}: {named(error, one_line(error))}'


def jobs(
    inputs: Sequence[str],
    output: str,
    *,
    suffix: str = '',
    extension: str | None = None,
    extras: Extras | None = None,
    overwrite: bool = False,
    notify: Callable[[str], object] | None = None,
) -> list[Job]:
    """All files to be dehazed, in the order of the inputs, those of a folder in the order of their names.

    Args:
        inputs: files, folders, which are searched with their sub-folders, patterns, or - for the standard input.
        output: folder, which need not exist; for one input file also a file; - for the standard output.
        suffix: put between name and extension of the results.
        extension: of the results, with its dot; by default that of the source, or .png if it cannot be written.
        extras: what else is written.
        overwrite: results that are there are replaced. Else they, and what is beside them, are no images to be
            dehazed where a folder that holds them is searched: they are from an earlier run.
        notify: is told a line of the images in folders that are left out as nothing here reads them.

    Raises:
        InputError: there is nothing to do, or a result would be written over a source or another result.
    """
    extras = extras or Extras()
    others: list[str] = []
    found = [pair for given in inputs for pair in _found(given, output, others)]
    said = kinds.left_out(others) if others else ''
    if not found:
        raise InputError(
            f'there are no images in {", ".join(map(shown, inputs))} that can be read; '
            f'{said or "give files or folders that hold some"}'
        )
    if said and notify:
        notify(said)
    found = list(dict.fromkeys(found))
    to_file = _names_a_file(output, found, extension)
    made = []
    is_named = to_file or output == STANDARD
    targets = [output] * len(found) if is_named else _targets(found, output, suffix, extension)
    for (source, _), target in zip(found, targets, strict=True):
        of_video = source != STANDARD and is_video(source)
        stem, ending = osp.splitext(target)
        beside = {} if of_video else {kind: stem + end for kind, end in extras.endings(ending).items()}
        made.append(Job(source, target, beside, of_video))
    _tell_of_maps(made, extras, notify)
    if not overwrite:
        made = _without_results(made, inputs)
    _check_output(made, output, extras)
    _check_sources(made)
    _check_targets(made)
    return made


def _found(given: str, output: str, others: list[str]) -> Iterator[tuple[str, str]]:
    """Each file that is meant, with its path below the output folder."""
    if given == STANDARD:
        yield given, 'stdin.png'
    elif osp.isdir(given):
        yield from _in_folder(given, output, others)
    elif osp.lexists(given) or not any(sign in given for sign in '*?['):
        if not osp.exists(given):
            raise InputError(
                f'there is no {shown(given)}; give a file, a folder, a pattern, or - for the standard input'
            )
        yield given, osp.basename(given)
    else:
        matches = sorted(glob.glob(given, recursive=True) or glob.glob(_below_folders(given), recursive=True))
        if not matches:
            raise InputError(f'no file matches {shown(given)}; correct the pattern')
        for path in matches:
            if osp.isdir(path):
                yield from _in_folder(path, output, others)
            else:
                yield path, osp.basename(path)


def _below_folders(pattern: str) -> str:
    """A pattern in which the names of folders that are there stand for themselves, brackets and all."""
    folder, name = osp.split(pattern)
    if not folder or folder == pattern:
        return pattern
    return osp.join(glob.escape(folder) if osp.isdir(folder) else _below_folders(folder), name)


def _in_folder(folder: str, output: str, others: list[str]) -> Iterator[tuple[str, str]]:
    """Images and videos below a folder, not those of the output folder in it; what nothing reads goes to `others`."""

    def refuse(error: OSError) -> None:
        raise InputError(f'{shown(str(error.filename))} cannot be read: {error.strerror}') from error

    results, endings = osp.realpath(output), (*kinds.endings(), *VIDEO_SUFFIXES)
    for root, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if osp.realpath(osp.join(root, name)) != results)
        for name in sorted(files):
            path = osp.join(root, name)
            if name.startswith('.'):
                continue
            if osp.splitext(name)[1].lower() in endings:
                yield path, osp.relpath(path, folder)
            elif kinds.is_other(name):
                others.append(path)


def _names_a_file(output: str, found: Sequence[tuple[str, str]], extension: str | None) -> bool:
    """Whether the output is the name of the one result, which its extension tells; else it is a folder."""
    ending = osp.splitext(output)[1].lower()
    if osp.isdir(output) or ending not in (*KINDS, *VIDEO_FORMATS):
        if (
            len(found) == 1
            and not osp.isdir(output)
            and (ending in VIDEO_SUFFIXES or ending in kinds.endings() or kinds.is_other(output))
        ):
            known = VIDEO_FORMATS if ending in VIDEO_SUFFIXES else KINDS
            raise InputError(
                f'output {shown(output)}: {ending} is not written; end it in one of {", ".join(known)}, or make the '
                'folder first if it is one'
            )
        return False
    if len(found) > 1:
        raise InputError(f'output {shown(output)} names one file, but there are {len(found)} inputs; give a folder')
    source = found[0][0]
    if (source != STANDARD and is_video(source)) != (ending in VIDEO_FORMATS):
        raise InputError(f'output {shown(output)} is no name for what {shown(source)} becomes; give another extension')
    if extension and KINDS.get(ending) != KINDS[extension]:
        raise InputError(f'output {shown(output)} and --format {extension[1:]} contradict each other; drop one of them')
    return True


def _targets(found: Sequence[tuple[str, str]], output: str, suffix: str, extension: str | None) -> list[str]:
    """A path for each result, of its own.

    Files that would get one name, as photo.jpg and photo.png with one `extension`, are told apart by the endings of the
    sources, photo_jpg and photo_png, and those that are still the same by numbers.
    """

    def path(relative: str, stem: str, of_video: bool) -> str:
        own = osp.splitext(relative)[1]
        end = suffix_for(relative) if of_video else extension or (own if own.lower() in KINDS else '.png')
        return osp.join(output, f'{stem}{suffix}{end}')

    def key(target: str) -> str:
        place = _place(target)
        return place.casefold() if _ignores_case(osp.dirname(osp.abspath(target))) else place

    made = []
    for source, relative in found:
        stem, own = osp.splitext(relative)
        of_video = source != STANDARD and is_video(source)
        made.append((relative, of_video, path(relative, stem, of_video), f'{stem}_{own[1:].lower()}'))
    wanted = Counter(key(target) for _, _, target, _ in made)
    taken = {name for name, count in wanted.items() if count == 1}
    targets = []
    for relative, of_video, target, other in made:
        if wanted[key(target)] > 1:
            stems = chain([other], (f'{other}_{number}' for number in count_from(2)))
            target = next(one for one in (path(relative, stem, of_video) for stem in stems) if key(one) not in taken)
            taken.add(key(target))
        targets.append(target)
    return targets


def _without_results(made: Sequence[Job], inputs: Sequence[str]) -> list[Job]:
    """The jobs but those for what other jobs have made before, found in a searched folder.

    Only of jobs that are passed over as their result is there: so nothing is ever written to a file left out here.
    """
    given = {_place(path) for path in inputs}
    makers: dict[str, list[Job]] = {}
    for job in made:
        if job.target != STANDARD and osp.lexists(job.target):
            for target in job.targets:
                makers.setdefault(_place(target), []).append(job)

    def is_result(job: Job, above: tuple[Job, ...] = ()) -> bool:
        if job.source == STANDARD or (place := _place(job.source)) in given:
            return False
        chain = (*above, job)
        others = (maker for maker in makers.get(place, ()) if all(maker is not one for one in chain))
        return any(not is_result(maker, chain) for maker in others)

    return [job for job in made if not is_result(job)]


def _place(path: str) -> str:
    """A file by its name in its folder; a link is another file than what it leads to."""
    folder, name = osp.split(osp.abspath(path))
    return osp.join(osp.realpath(folder), name)


def _tell_of_maps(made: Sequence[Job], extras: Extras, notify: Callable[[str], object] | None) -> None:
    wanted = {
        '--save-transmission': extras.transmission,
        '--save-airlight': extras.airlight,
        '--save-depth': extras.depth,
    }
    asked, videos = ', '.join(name for name, is_wanted in wanted.items() if is_wanted), [j for j in made if j.is_video]
    if asked and len(videos) == len(made):
        raise InputError(f'{asked}: maps are of images, not of videos; leave that out')
    if asked and videos and notify:
        notify(f'{asked}: maps are of images, not of videos as {videos[0].label}')


def _check_output(made: Sequence[Job], output: str, extras: Extras) -> None:
    if output == STANDARD:
        if len(made) > 1 or extras != Extras() or made[0].is_video:
            raise InputError('the standard output takes one image and nothing beside it; give a folder as output')
        return
    if output != made[0].target and osp.exists(output) and not osp.isdir(output):
        raise InputError(f'output {shown(output)} is a file; give a folder')


def _check_sources(made: Sequence[Job]) -> None:
    """No result may take the place of a source, under whatever name the system knows it."""
    sources = {}
    for job in made:
        if job.source != STANDARD and (identity := _identity(job.source)):
            sources[identity] = job.source
    for job in made:
        for target in job.targets:
            source = sources.get(_identity(target))
            if source is not None:
                raise InputError(
                    f'{shown(target)} would be written over the input {shown(source)}; give another output folder, or '
                    '--suffix'
                )


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def _check_targets(made: Sequence[Job]) -> None:
    """No two results may have one name, nor names that the file system takes for one."""
    first: dict[str, Job] = {}
    clashes = []
    for job in made:
        for target in job.targets:
            folder, name = osp.dirname(osp.abspath(target)), _place(target)
            other = first.setdefault(name.casefold() if _ignores_case(folder) else name, job)
            if other is not job:
                clashes.append(f'{other.label} and {job.label} -> {shown(target)}')
    if clashes:
        more = f', and {len(clashes) - _MOST_NAMED} more' if len(clashes) > _MOST_NAMED else ''
        raise InputError(
            f'results would be written over one another: {"; ".join(clashes[:_MOST_NAMED])}{more}; give the '
            'folder that holds them all as the input, or run them into several outputs'
        )


@functools.cache
def _ignores_case(folder: str) -> bool:
    """Whether the file system of a folder, or of the nearest above it that exists, takes x and X for one name."""
    parent, name = osp.split(folder)
    if osp.exists(folder) and name.swapcase() != name:
        other = osp.join(parent, name.swapcase())
        return osp.exists(other) and osp.samefile(folder, other)
    return parent != folder and _ignores_case(parent)
