"""Find public dehazing data sets in a folder of unpacked downloads, and make LMDBs and option lines of them.

  prepare_reside.py ROOT --dry-run     say what is there and what is missing; nothing is written
  prepare_reside.py ROOT               make datasets/lmdb/its/hazy.lmdb and so on of all that is found
  prepare_reside.py ROOT --files       option lines for the files as they lie, without LMDBs

It knows ITS, OTS, SOTS, I-HAZE, O-HAZE, NH-HAZE, Dense-Haze, RESIDE-6K, Haze4K and URHI, by the names of folders and of
images. ROOT may be the folder of a single data set too. Nothing in it is changed. A run that was interrupted goes on
with the same command.

Exit code 0: all that was found, or asked for, is ready, even if images of it are missing. 1: something of it is not.
2: nothing was found, or the command is wrong.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from os import path as osp

import yaml

from okdnet_plugin.data.lmdb_store import ENCODINGS, build
from okdnet_plugin.data.public_datasets import DATASETS, Found, Survey, survey
from okdnet_plugin.errors import InputError, SaveError, did_you_mean

SHOWN = 3  # files of each kind of finding
SHOWN_SCENES = 8
SHOWN_FOLDERS = 20


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    try:
        keys = chosen_keys(args.only)
        seen = survey(args.root)
    except InputError as error:
        return complain(error, 2)
    chosen, copies = first_copies(found for found in seen.found if found.dataset.key in keys)
    for found in chosen:
        print(describe(found))
    print_others(seen, copies)
    if not chosen:
        return complain(expectation(args.root, args.only, keys, seen), 2)

    ready, code = [], 0
    for key in missing_keys(args.only, chosen):
        code = complain(f'{key}: not found below {args.root}', 1)
    for found in chosen:
        try:
            ready.append(option_lines(found, args))
        except (InputError, SaveError) as error:
            code = complain(f'{found.dataset.key}: {error}', 1)
    if ready:
        print_options(ready, args)
    return code


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('root', metavar='ROOT', help='folder that the downloads were unpacked into')
    parser.add_argument('--out', metavar='DIR', default='datasets/lmdb', help='for the LMDBs (default: %(default)s)')
    parser.add_argument('--only', metavar='NAMES', help=f'some of these, with commas between: {", ".join(DATASETS)}')
    parser.add_argument(
        '--resize', type=int, metavar='PX', help='make all images PX x PX, for training; tests want the full size'
    )
    parser.add_argument(
        '--encode', choices=ENCODINGS, help='what is stored (default: keep, the bytes of the files; with --resize bmp)'
    )
    parser.add_argument('--workers', type=int, metavar='N', help='threads that read and encode (default: one a core)')
    parser.add_argument(
        '--skip-unpaired',
        action='store_true',
        help='leave out hazy images that cannot be used: without a clear one, with a name that does not fit, empty, '
        'or second ones of a name',
    )
    parser.add_argument('--files', action='store_true', help='option lines for the files as they lie; make no LMDBs')
    parser.add_argument('--dry-run', action='store_true', help='write nothing')
    args = parser.parse_args(argv)
    if args.files and args.skip_unpaired:
        parser.error('--skip-unpaired is for LMDBs; with --files move the images away that cannot be used')
    if args.resize and args.encode == 'keep':
        parser.error('--encode keep stores the files as they are: give --resize another one, or none')
    if any(number is not None and number < 1 for number in (args.resize, args.workers)):
        parser.error('--resize and --workers must be positive')
    return args


def chosen_keys(only: str | None) -> list[str]:
    """Keys of the data sets that `--only` asks for; `sots` stands for sots_indoor and sots_outdoor.

    Raises:
        InputError: one is not known.
    """
    if only is None:
        return list(DATASETS)
    keys = []
    for word in words_of(only):
        named = keys_of(word)
        if not named:
            raise InputError(
                f"--only: '{word}' is not known{did_you_mean(word, DATASETS)}; known are {', '.join(DATASETS)}"
            )
        keys += named
    return keys


def words_of(only: str | None) -> list[str]:
    return [word.strip().lower() for word in (only or '').split(',') if word.strip()]


def keys_of(word: str) -> list[str]:
    return [key for key in DATASETS if key == word or key.startswith(f'{word}_')]


def missing_keys(only: str | None, chosen: Iterable[Found]) -> list[str]:
    """What was asked for and is not there."""
    there = {found.dataset.key for found in chosen}
    return [word for word in words_of(only) if not there & set(keys_of(word))]


def first_copies(found: Iterable[Found]) -> tuple[list[Found], list[Found]]:
    """Of several copies of a data set the first; and the others."""
    first, others = {}, []
    for one in found:
        if first.setdefault(one.dataset.key, one) is not one:
            others.append(one)
    return list(first.values()), others


# What is there


def describe(found: Found) -> str:
    """What a data set has and lacks, in lines."""
    release, dataset = found.release, found.dataset
    lines = [f'{dataset.name}: {" -> ".join(folders_of(found))}']
    lines.append(f'  {counts(found)}: {"complete" if found.is_complete else "not complete"}')
    if not found.is_complete and len(dataset.releases) > 1:
        known = '; '.join(f'{hazy:,} of {clear:,}' for hazy, clear in dataset.releases)
        lines.append(f'  known releases, hazy images of scenes: {known}')
    if found.hazy_root is None:
        lines.append(f'  there is no folder of hazy images; expected is {dataset.example}')
    if found.clear_root is None and dataset.rule:
        lines.append(f'  there is no folder of clear images; expected is {dataset.example}')
    if found.hazy and found.short_scenes:
        scenes = list(found.short_scenes)
        shown = ', '.join(scenes[:SHOWN_SCENES]) + (', ...' if len(scenes) > SHOWN_SCENES else '')
        lines.append(f'  missing hazy images: {sum(found.short_scenes.values()):,}, of the scenes {shown}')
    if found.pairs and len(found.clear) < release.clear:
        lines.append(f'  missing clear images: {release.clear - len(found.clear):,}')
    findings = {
        'hazy images without a clear one': found.unpaired if found.clear_root else [],
        'hazy images with several clear ones': found.ambiguous,
        f'names that do not fit the rule {dataset.rule.rule if dataset.rule else ""}': found.misfits,
        'files with the stem of another one': found.duplicates,
        'empty files (0 bytes, or links to nothing)': found.empty,
        'clear images without a hazy one, which are not used': found.unused if found.hazy_root else [],
    }
    lines += [f'  {what}: {len(files):,}, as {examples(files)}' for what, files in findings.items() if files]
    if found.problem:
        lines.append(f'  {found.problem}')
    return '\n'.join(lines)


def folders_of(found: Found) -> list[str]:
    roots = [found.hazy_root or '(no hazy folder)']
    if found.dataset.rule and found.clear_root != found.hazy_root:
        roots.append(found.clear_root or '(no clear folder)')
    return roots


def counts(found: Found) -> str:
    release = found.release
    hazy = len({*found.hazy} - {*found.misfits, *found.duplicates, *found.empty})
    clear = len(found.clear)
    if clear > release.clear:  # clear images of another release, say
        clear = len({name for _, name in found.pairs})
    shown = [f'{hazy:,} of {release.hazy:,} hazy']
    if found.dataset.rule:
        shown.append(f'{clear:,} of {release.clear:,} clear')
    return ', '.join(shown)


def examples(files: Sequence[str]) -> str:
    names = [osp.basename(file) for file in files[:SHOWN]]
    return ', '.join(names) + (', ...' if len(files) > SHOWN else '')


def number(count: int, noun: str) -> str:
    return f'{count:,} {noun}' + ('' if count == 1 else 's')


def print_others(seen: Survey, copies: Sequence[Found]) -> None:
    """Tell what is not used."""
    for found in copies:
        print(f'{found.dataset.name}, another copy, not used: {" -> ".join(folders_of(found))}: {counts(found)}')
        print('  give its folder as ROOT to use it')
    if seen.unknown:
        print('not recognised (with `pairing:` a data set reads any names, see README):')
        for folder in seen.unknown[:SHOWN_FOLDERS]:
            remark = f'; {folder.remark}' if folder.remark else ''
            print(f'  {folder.folder}: {number(folder.count, "image")}, as {folder.example}{remark}')
        if len(seen.unknown) > SHOWN_FOLDERS:
            print(f'  and {len(seen.unknown) - SHOWN_FOLDERS:,} more folders')
    if seen.archives:
        print(f'not unpacked: {examples(seen.archives)}')
    for folder, cause in seen.unreadable.items():
        print(f'cannot be read: {folder} ({cause})')


def expectation(root: str, only: str | None, keys: Sequence[str], seen: Survey) -> str:
    wanted = ', '.join(DATASETS[key].example for key in keys)
    others = f'; there: {number(len(seen.unknown), "folder")} with other images' if seen.unknown else ''
    return f'nothing of {only or "any known data set"} found below {root}; expected is one of {wanted}{others}'


# What is made of it


def option_lines(found: Found, args: argparse.Namespace) -> str:
    """Option lines of a data set, whose LMDBs are made if they are asked for.

    Raises:
        InputError: it cannot be used as it is.
        SaveError: an LMDB cannot be written.
    """
    check_usable(found, args.skip_unpaired)
    dataset, roots = found.dataset, {'hazy': found.hazy_root}
    if dataset.rule:
        roots['clear'] = found.clear_root
    if not args.files:
        out = osp.join(args.out, dataset.key)
        if not args.dry_run:
            make_lmdbs(found, out, args)
        roots = {side: osp.join(out, f'{side}.lmdb') for side in roots}
    lines = {
        'name': dataset.name,
        'type': 'PairedDehazeDataset' if dataset.rule else 'SingleDehazeDataset',
        'dataroot_lq': roots['hazy'],
    }
    if dataset.rule:
        lines['dataroot_gt'] = roots['clear']
    lines['io_backend'] = {'type': 'disk' if args.files else 'lmdb'}
    if dataset.rule:
        lines['layout'] = dataset.layout
    if args.resize and dataset.rule:
        lines['resize'] = args.resize
    return yaml.safe_dump(lines, sort_keys=False, allow_unicode=True, width=10_000)


def check_usable(found: Found, skip_unpaired: bool) -> None:
    """Refuse what would fail, or do less than is expected.

    Raises:
        InputError: it would.
    """
    if found.problem:
        raise InputError(found.problem)
    if not found.hazy_root or (found.dataset.rule and not found.clear_root):
        side = 'clear' if found.hazy_root else 'hazy'
        raise InputError(f'there is no folder of {side} images; unpack it too, beside the other one')
    if found.bad_clear and not skip_unpaired:
        raise InputError(
            f'{found.bad_clear[0]} is empty, or another clear image has its stem ({len(found.bad_clear)} such); get '
            'it again or remove it'
        )
    if not found.usable:
        raise InputError(f'no image in {found.hazy_root} can be used; see above')
    if found.useless and not skip_unpaired:
        raise InputError(
            f'{len(found.useless):,} of {len(found.hazy):,} hazy images cannot be used, as {found.useless[0]}; get '
            'what is missing, move them away, or leave them out with --skip-unpaired'
        )


def make_lmdbs(found: Found, out: str, args: argparse.Namespace) -> None:
    # As the store finds them below the folder that it is given.
    assert found.hazy_root is not None  # as there are usable images
    files = [osp.join(found.hazy_root, osp.relpath(file, found.hazy_root)) for file in found.usable]
    if found.useless:
        print(f'{found.dataset.key}: {len(found.useless):,} hazy images are left out, as {found.useless[0]}')
    build(
        out,
        hazy=found.hazy_root,
        clear=found.clear_root if found.dataset.rule else None,
        layout=found.dataset.rule,
        resize=(args.resize, args.resize) if args.resize else None,
        encode=args.encode,
        workers=args.workers,
        only=files if found.useless or found.bad_clear else None,
    )


def print_options(blocks: Sequence[str], args: argparse.Namespace) -> None:
    when = ', once the LMDBs are made' if args.dry_run and not args.files else ''
    print(f'option lines for `datasets:`, each below train:, val: or test_1:{when}')
    print('(a training also wants gt_size or resize)')
    for block in blocks:
        print()
        print(''.join(f'    {line}\n' for line in block.splitlines()), end='')


def complain(message: object, code: int) -> int:
    print(f'{osp.basename(__file__)}: error: {message}', file=sys.stderr)
    return code


if __name__ == '__main__':
    sys.exit(main())
