"""What is to be dehazed and where it goes: decided, and checked against losses, before anything is read or written."""

import functools
import glob
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from os import path as osp

from okdnet_plugin.errors import InputError, SaveError, one_line
from okdnet_plugin.files import shown
from okdnet_plugin.inference.images import reading
from okdnet_plugin.inference.images.writing import KINDS
from okdnet_plugin.inference.video import FORMATS as VIDEO_FORMATS
from okdnet_plugin.inference.video import SUFFIXES as VIDEO_SUFFIXES
from okdnet_plugin.inference.video import is_video, suffix_for

STANDARD = '-'
# Kinds of pictures that no result is written as; a folder is seldom called so.
_ONLY_READ = (
    *('.gif', '.ppm', '.pgm', '.pbm', '.pnm', '.jp2', '.jxl', '.avif', '.heic', '.heif', '.exr', '.hdr', '.psd'),
    *('.dng', '.tga', '.ico', '.pdf', '.svg'),
)
_MOST_NAMED = 3  # clashes in a message


@dataclass(frozen=True)
class Extras:
    """What is written beside a result."""

    compare: bool = False
    transmission: bool = False
    airlight: bool = False

    def endings(self, extension: str) -> dict[str, str]:
        """For each extra file what is put in the place of the result's extension."""
        named = {'compare': f'_compare{extension}'} if self.compare else {}
        if self.transmission:
            named |= {'transmission': '_transmission.png', 'transmission_raw': '_transmission_raw.png'}
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
        return f'{job.label}: not enough memory to hold it'
    return f'{job.label}: {type(error).__name__}: {one_line(error)}'


def jobs(
    inputs: Sequence[str],
    output: str,
    *,
    suffix: str = '',
    extension: str | None = None,
    extras: Extras | None = None,
    overwrite: bool = False,
) -> list[Job]:
    """All files to be dehazed, in the order of the inputs, those of a folder in the order of their names.

    Args:
        inputs: files, folders, which are searched with their sub-folders, patterns, or - for the standard input.
        output: folder, which need not exist; for one input file also a file; - for the standard output.
        suffix: put between name and extension of the results.
        extension: of the results, with its dot; by default that of the source, or .png if it cannot be written.
        extras: what else is written.
        overwrite: results that are there are replaced. Else they, and what is beside them, are no pictures to be
            dehazed where a folder that holds them is searched: they are from an earlier run.

    Raises:
        InputError: there is nothing to do, or a result would be written over a source or another result.
    """
    extras = extras or Extras()
    found = [pair for given in inputs for pair in _found(given, output)]
    if not found:
        raise InputError(
            f'there are no pictures in {", ".join(map(shown, inputs))}; give files or folders that hold some'
        )
    found = list(dict.fromkeys(found))
    to_file = _names_a_file(output, found, extension)
    made = []
    for source, relative in found:
        of_video = source != STANDARD and is_video(source)
        target = output if to_file or output == STANDARD else _target(relative, output, suffix, extension, of_video)
        stem, ending = osp.splitext(target)
        beside = {} if of_video else {kind: stem + end for kind, end in extras.endings(ending).items()}
        made.append(Job(source, target, beside, of_video))
    if not overwrite:
        made = _without_results(made, inputs)
    _check_output(made, output, extras)
    _check_sources(made)
    _check_targets(made)
    return made


def _found(given: str, output: str) -> Iterator[tuple[str, str]]:
    """Each file that is meant, with its path below the output folder."""
    if given == STANDARD:
        yield given, 'stdin.png'
    elif osp.isdir(given):
        yield from _in_folder(given, output)
    elif osp.lexists(given) or not any(sign in given for sign in '*?['):
        if not osp.exists(given):
            raise InputError(
                f'there is no {shown(given)}; give a file, a folder, a pattern, or - for the standard input'
            )
        yield given, osp.basename(given)
    else:
        matches = sorted(glob.glob(given, recursive=True))
        if not matches:
            raise InputError(f'no file matches {shown(given)}; correct the pattern')
        for path in matches:
            if osp.isdir(path):
                yield from _in_folder(path, output)
            else:
                yield path, osp.basename(path)


def _in_folder(folder: str, output: str) -> Iterator[tuple[str, str]]:
    """Pictures and videos below a folder; not those of the output folder, if it lies in there."""

    def refuse(error: OSError) -> None:
        raise InputError(f'{shown(str(error.filename))} cannot be read: {error.strerror}') from error

    results, endings = osp.realpath(output), (*reading.EXTENSIONS, *VIDEO_SUFFIXES)
    for root, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if osp.realpath(osp.join(root, name)) != results)
        for name in sorted(files):
            if osp.splitext(name)[1].lower() in endings and not name.startswith('.'):
                path = osp.join(root, name)
                yield path, osp.relpath(path, folder)


def _names_a_file(output: str, found: Sequence[tuple[str, str]], extension: str | None) -> bool:
    """Whether the output is the name of the one result, which its extension tells; else it is a folder."""
    ending = osp.splitext(output)[1].lower()
    if osp.isdir(output) or ending not in (*KINDS, *VIDEO_FORMATS):
        if len(found) == 1 and not osp.isdir(output) and ending in (*_ONLY_READ, *VIDEO_SUFFIXES):
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


def _target(relative: str, output: str, suffix: str, extension: str | None, of_video: bool) -> str:
    stem, own = osp.splitext(relative)
    own = suffix_for(relative) if of_video else extension or (own if own.lower() in KINDS else '.png')
    return osp.join(output, f'{stem}{suffix}{own}')


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


def _check_output(made: Sequence[Job], output: str, extras: Extras) -> None:
    if output == STANDARD:
        if len(made) > 1 or extras != Extras() or made[0].is_video:
            raise InputError('the standard output takes one picture and nothing beside it; give a folder as output')
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
