"""Gives damaged files to all that reads files: each is read, or refused in one line; nothing crashes or hangs.

    python tests/harness/fuzz.py --count 1000              # of each kind
    python tests/harness/fuzz.py --kind states --seed 7    # one kind

Kinds: `options` (an option file with odd values, checked as `basicsr check` does), `states` (of a training, tried on
its optimisers), `weights` (.pth and .safetensors, built into a network), `images` (PNG, JPEG, TIFF, WebP, BMP, read to
be dehazed and to be trained on). Of a damaged file either bytes are changed or, for options, states and weights, one
or more of the values in it. What bytes do to the reading of option files is for `security.py --fuzz`.

A case is named by kind, seed and number, and can be run alone with `--first NUMBER --count 1`. The exit code is 0 if
nothing went wrong. For Linux and macOS.
"""

import argparse
import contextlib
import copy
import io
import math
import os
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import okdnet_plugin  # goes first: it patches BasicSR

# isort: split
import cv2
import numpy as np
import torch
import yaml
from basicsr.archs import build_network
from PIL import Image

from okdnet_plugin import config
from okdnet_plugin.config.check import check
from okdnet_plugin.data import images as training_images
from okdnet_plugin.engine import checkpoints, randomness, resuming, state_check
from okdnet_plugin.errors import InputError
from okdnet_plugin.inference.images.reading import OpenedImage, without_other_limits
from okdnet_plugin.weights import loading, reading

SECONDS = 20  # of processor time for a case
MEMORY = 1 << 30  # bytes that a process may take beyond what it has at its begin
_BATCH = 100  # cases a process
_LONGEST = 2000  # characters of a message
REPOSITORY = Path(__file__).resolve().parents[2]
NETWORK = {'type': 'AODNet'}
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 10**30, -(10**400), 1e308, math.inf, -math.inf, math.nan, 0.5),
    *('', 'x', '.', '/', '~', '\0', '\n', '${', 'nan', '1e999', '0x10', 'ü\u2028', 'a' * 10_000, b'\xff', '../..'),
    *([], {}, [[]], [None], {'type': 'x'}, {'': None}, {1: 2}, [0] * 1000, [[[[[[[[[[1]]]]]]]]]], {'a': {'a': {}}}),
)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Content with bytes changed, lost, doubled or put in; most often near its begin, where headers are."""
    text = bytearray(content)
    for _ in range(rng.randint(1, 5)):
        at = rng.randrange(min(len(text), rng.choice((64, 512, len(text) or 1))) + 1) if text else 0
        end = min(len(text), at + rng.choice((1, 1, 2, 4, 8, 64)))
        how = rng.randrange(6)
        if how == 0:
            text[at:end] = rng.randbytes(end - at)
        elif how == 1:
            text[at:end] = rng.choice((b'\0', b'\xff', b'\x7f')) * (end - at)
        elif how == 2:
            del text[at:end]
        elif how == 3:
            text[at:at] = text[at:end] * rng.choice((1, 3, 100))
        elif how == 4:
            del text[at:]
        elif text:
            place = min(at, len(text) - 1)
            text[place] ^= 1 << rng.randrange(8)
    return bytes(text)


def spoiled(value: Any, rng: random.Random, odd: tuple = ODD) -> Any:
    """A copy of nested dicts and lists in which one or more values are odd, missing, doubled or elsewhere."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = list(_places(value))
        if not places:
            return rng.choice(odd)
        block, key = rng.choice(places)
        how = rng.randrange(6)
        if how == 0:
            del block[key]
        elif how == 1:
            other, place = rng.choice(places)
            with contextlib.suppress(IndexError, KeyError):  # what is just being taken out
                block[key] = copy.deepcopy(other[place])
        elif how == 2 and isinstance(block[key], torch.Tensor):
            block[key] = _odd_tensor(block[key], rng)
        else:
            block[key] = copy.deepcopy(rng.choice(odd))
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, child in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield value, key
        yield from _places(child)


def _odd_tensor(tensor: torch.Tensor, rng: random.Random) -> Any:
    if tensor.layout != torch.strided:  # odd already
        return tensor
    return rng.choice(
        (
            lambda: torch.full_like(tensor, math.nan) if tensor.is_floating_point() else tensor - 1,
            lambda: tensor.to(torch.complex64),
            lambda: tensor.reshape(-1)[:1].expand(10_000),
            lambda: tensor[None],
            lambda: tensor.reshape(-1)[:0],
            lambda: tensor.bool(),
            lambda: tensor.to(torch.float16),
            lambda: tensor.to_sparse() if tensor.ndim else tensor,
            lambda: torch.empty(tensor.shape, device='meta'),
            lambda: torch.zeros(()),
        )
    )()


# ---------------------------------------------------------------------------------------------------------- the kinds


def options(folder: Path) -> Callable[[random.Random], None]:
    """Option files of the repository."""
    files = sorted((REPOSITORY / 'options').rglob('*.yml'))
    read = {file: config.load(str(file)) for file in files}
    odd = tuple(one for one in ODD if not isinstance(one, bytes))

    def case(rng: random.Random) -> None:
        file = rng.choice(files)
        opt = spoiled(read[file], rng, odd)
        found = check(opt if isinstance(opt, dict) else {}, phase=rng.choice(('train', 'test', 'report')), look=False)
        text = '\n'.join(map(str, found))
        assert all(len(str(mistake).splitlines()) == 1 for mistake in found), f'several lines: {text!r:.300}'
        if any(not mistake.is_warning for mistake in found):
            raise InputError('refused')

    return case


def _made(net: torch.nn.Module) -> tuple[torch.optim.Adam, torch.optim.lr_scheduler.MultiStepLR]:
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    return optimizer, torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 7])


def states(folder: Path) -> Callable[[random.Random], None]:
    """A state of a small training."""
    net, path = build_network(NETWORK), str(folder / '4.state')
    optimizer, scheduler = _made(net)
    for _ in range(2):
        net(torch.rand(1, 3, 16, 16)).mean().backward()
        optimizer.step()
        scheduler.step()
    state = {
        'epoch': 1,
        'iter': 4,
        'optimizers': [optimizer.state_dict()],
        'schedulers': [scheduler.state_dict()],
        'seed': 0,
        'optimizer': 'Adam',
        'facts': {'amp': 'off', 'train:ema_decay': 0.9},
        'random_states': [randomness.get_state()],
        'scaler': {},
        'guard': {'skipped': 0, 'in_a_row': 0},
        'is_validated': True,
        'best_metric_results': {'Held': {'psnr': {'better': 'higher', 'val': 20.0, 'iter': 4}}},
    }
    opt = {'path': {}, 'train': {'total_iter': 8}}
    content = _serialised(state)

    def case(rng: random.Random) -> None:
        if rng.random() < 0.4:
            Path(path).write_bytes(damaged(content, rng))
        else:
            torch.save(spoiled(state, rng), path)
        read = checkpoints.load_state(path)
        optimizer, scheduler = _made(net)
        state_check.refuse_what_does_not_fit(read, path, [optimizer], 0, 1)
        optimizer, scheduler = _made(net)
        resuming.tell_changes(read, opt, {'amp': 'bf16'}, 0)
        resuming.take_up([optimizer], [scheduler], read, opt['train'])

    return case


def weights(folder: Path) -> Callable[[random.Random], None]:
    """Weights of a small network, as a training and as safetensors hold them."""
    from safetensors.torch import save

    state = build_network(NETWORK).state_dict()
    opt = folder / 'net.yml'
    opt.write_text(yaml.safe_dump({'name': 'x', 'network_g': NETWORK}))
    saved = {'params': state, 'params_ema': copy.deepcopy(state)}
    told = {'network': '{"type": "AODNet"}', 'parameters': '1761', 'sha256': reading.digest(state)}
    contents = {'.pth': _serialised(saved), '.safetensors': save(state, {'network': told['network']})}

    def case(rng: random.Random) -> None:
        ending = rng.choice(list(contents))
        path = folder / f'net{ending}'
        if rng.random() < 0.5:
            path.write_bytes(damaged(contents[ending], rng))
        elif ending == '.pth':
            torch.save(spoiled(rng.choice((saved, {'params': dict(state)}, dict(state))), rng), path)
        else:
            odd = [str(one) for one in ODD if not isinstance(one, bytes)]
            texts = {
                key: rng.choice((text, rng.choice(odd), f'{{"type": {rng.choice(odd)!r}}}'))
                for key, text in told.items()
            }
            path.write_bytes(save(dict(state), texts))
        loading.build(loading.load(str(path), str(opt) if rng.random() < 0.5 else None))

    return case


def images(folder: Path) -> Callable[[random.Random], None]:
    """Small images of each kind, with EXIF, a profile, alpha, a palette, 16 bits."""
    rng = np.random.default_rng(0)
    contents = []
    for mode in ('RGB', 'RGBA', 'L', 'P', '1', 'LA'):
        image = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).convert(mode)
        for kind in ('PNG', 'JPEG', 'TIFF', 'WEBP', 'BMP', 'GIF'):
            exif = Image.Exif()
            exif[0x0112] = 6
            with contextlib.suppress(OSError, ValueError), io.BytesIO() as file:
                image.save(file, kind, exif=exif, icc_profile=b'x' * 200)
                contents.append(file.getvalue())
    deep = rng.integers(0, 65536, (24, 32, 3), np.uint16)
    contents += [cv2.imencode(ending, deep)[1].tobytes() for ending in ('.png', '.tiff')]
    path = folder / 'image'

    def case(rng: random.Random) -> None:
        content = damaged(rng.choice(contents), rng)
        path.write_bytes(content)
        refused = None
        for read in (
            lambda: OpenedImage(str(path), 'image', 50).load(),
            lambda: training_images.decode(content, 'image', rng.random() < 0.5),
        ):
            try:
                with without_other_limits():
                    read()
            except InputError as error:
                refused = error
        if refused is not None:
            raise refused

    return case


KINDS = {kind.__name__: kind for kind in (options, states, weights, images)}


def _serialised(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


# ---------------------------------------------------------------------------------------------------------- processes


def fuzz(kind: str, first: int, count: int, seed: int) -> list[str]:
    """Try cases of a kind; what went wrong, a line each."""
    since, outcomes, problems = time.monotonic(), Counter(), []
    for begin in range(first, first + count, _BATCH):
        numbers = range(begin, min(begin + _BATCH, first + count))
        while numbers:
            lines = _in_a_fork(kind, numbers, seed)
            outcomes.update(line.partition(' ')[2].partition(':')[0] for line in lines if not line.startswith('case'))
            problems += [f'{kind}, seed {seed}, {line}' for line in lines if ' FAILED' in line]
            last = int(lines[-1].removeprefix('case ').split()[0]) if lines else numbers[-1]
            if lines and lines[-1].startswith('case'):  # what it was at when it died
                problems.append(f'{kind}, seed {seed}, {last} FAILED: the process died')
                outcomes['FAILED'] += 1
            numbers = range(last + 1, numbers.stop)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(
        f'{kind}: {count} inputs (seed {seed}), {outcomes["read"]} read, {outcomes["refused"]} refused, '
        f'{outcomes["FAILED"]} crashes, hangs or messages of several lines; '
        f'{1000 * (time.monotonic() - since) / max(1, count):.0f} ms each',
        flush=True,
    )
    return problems


def _in_a_fork(kind: str, numbers: range, seed: int) -> list[str]:
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile('w+') as said:
        process = os.fork()
        if process == 0:
            _try(kind, numbers, seed, Path(folder), said.fileno())
        os.waitpid(process, 0)
        said.seek(0)
        return said.read().splitlines()


def _try(kind: str, numbers: range, seed: int, folder: Path, said: int) -> None:
    """The forked process: a line `case N` before each case, and one with its outcome after it."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    warnings.simplefilter('ignore')
    with contextlib.suppress(OSError, ValueError):
        own = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (own + MEMORY, own + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    case = KINDS[kind](folder)
    for number in numbers:
        os.write(said, f'case {number}\n'.encode())
        used = sum(os.times()[:2])
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            case(random.Random(f'{kind} {seed} {number}'))
            word = 'read'
        except InputError as error:
            text = str(error)
            is_right = len(text.splitlines()) == 1 and len(text) < _LONGEST
            word = 'refused' if is_right else f'FAILED: a message of several lines, or a long one: {text!r:.300}'
        except MemoryError as error:
            word = f'FAILED: takes more than {MEMORY >> 30} GiB ({error})'
        except BaseException as error:
            word = f'FAILED: {type(error).__name__}: {" ".join(str(error).split()):.300} {_where(error)}'
        signal.setitimer(signal.ITIMER_PROF, 0)
        if sum(os.times()[:2]) - used > SECONDS / 4 and 'FAILED' not in word:
            word = f'FAILED: takes {sum(os.times()[:2]) - used:.1f} s'
        os.write(said, f'{number} {word}\n'.encode('utf-8', 'replace'))
    os._exit(0)


def _where(error: BaseException) -> str:
    traceback, places = error.__traceback__, []
    while traceback is not None:
        places.append(f'{Path(traceback.tb_frame.f_code.co_filename).name}:{traceback.tb_lineno}')
        traceback = traceback.tb_next
    return '(' + ' '.join(places[-4:]) + ')'


def main(argv: list[str] | None = None) -> int:
    """Try the kinds; 0 if nothing went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kind', nargs='+', choices=list(KINDS), default=list(KINDS), help='by default all')
    parser.add_argument('--count', type=int, default=1000, help='inputs of each kind (default: %(default)s)')
    parser.add_argument('--first', type=int, default=0, help='number of the first (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the damage (default: %(default)s)')
    args = parser.parse_args(argv)
    okdnet_plugin.register()
    torch.set_num_threads(1)  # a fork keeps no threads
    cv2.setNumThreads(0)
    problems = [problem for kind in args.kind for problem in fuzz(kind, args.first, args.count, args.seed)]
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
