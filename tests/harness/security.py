#!/usr/bin/env python
"""Tries the known holes of BasicSR against it as it was released, and against it with this plugin.

    python tests/harness/security.py                   # a table: hole, BasicSR as released, with the plugin
    python tests/harness/security.py --fuzz 10000      # damaged option files as well

An attack is harmless: it makes an empty file in a temporary folder, or needs time or memory without end, which it is
not given. Files of weights are read as torch did before 2.6 (TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD), which this package
supports. The exit code is 0 if all holes are closed with the plugin, else 1. For Linux and macOS.
"""

import argparse
import contextlib
import importlib
import itertools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

SECONDS = 20  # of processor time for an attack, in which it is refused a hundred times over
MEMORY = 1 << 30  # bytes that an attack may ask for
REPOSITORY = Path(__file__).resolve().parents[2]
MADE = 'made-by-the-attack'
# What an option file has no business to do while it is read; `open` to write is refused as well.
FORBIDDEN = ('exec', 'compile', 'os.', 'subprocess.', 'socket.', 'shutil.', 'pickle.', 'ctypes.', 'webbrowser.')
HARMLESS = ('os.listdir', 'os.scandir')
SCRAPS = (
    *(
        b'${name}',
        b'${',
        b'$${',
        b'${train.optim_g}',
        b'&a ',
        b'*a',
        b'<<: *a',
        b'!!',
        b'!!binary ',
        b'!!set ',
        b'!!int ',
    ),
    *(b'[', b']', b'{', b'}', b'- ', b': ', b'? ', b'\n', b'\t', b'    ', b'"', b"'", b'|', b'>', b'~', b'0x', b'.inf'),
    *(b'%YAML 1.2\n', b'---\n', b'\0', b'\xff', b'\xe2\x80\xa8', b'1e-4', b'2020-13-45', b'9' * 5000, b'1:2:3'),
    *(b'_base_: okdnet.yml', b'_base_: [', b'_delete_: true', b'_delete_: 3', b'[' * 200),
    b'!!python/object/apply:os.mkdir [x]',
)

# ------------------------------------------------------------------------------------------------------------- attacks


class RunsCode:
    """Whoever unpickles it makes a file."""

    def __reduce__(self):
        return Path.touch, (Path(MADE),)


def command_line_is_run() -> None:
    """`--force_yml` is run by exec"""
    parse('--force_yml', f'name"]; __import__("pathlib").Path("{MADE}").touch(); opt["name=x')


def abbreviation_is_run() -> None:
    """`--force`, which means the same, is run by exec"""
    parse('--force', f'name"]; __import__("pathlib").Path("{MADE}").touch(); opt["name=x')


def list_of_the_command_line_is_run() -> None:
    """a list in `--force_yml` is run by eval"""
    parse('--force_yml', f'name=[__import__("pathlib").Path("{MADE}").touch()]')


def option_file_makes_objects() -> None:
    """a tag of an option file, !!python/object/apply, calls any function"""
    Path('o.yml').write_text(f'name: !!python/object/apply:os.mkdir [{MADE}]\n')
    parse()


def shell_runs_the_list_of_nodes() -> None:
    """the SLURM launcher gives a variable to a shell (CVE-2024-27763)"""
    import torch
    from basicsr.utils.dist_util import init_dist

    os.environ.update(SLURM_PROCID='0', SLURM_NTASKS='1', SLURM_NODELIST=f'node; touch {MADE}')
    torch.cuda.device_count, torch.cuda.set_device = (lambda: 1), (lambda device: None)
    torch.distributed.init_process_group = lambda **_: None
    init_dist('slurm', 'gloo')


def weights_run_code() -> None:
    """pickled code in pretrained weights (path: pretrain_network_g)"""
    import torch
    from basicsr.models.base_model import BaseModel

    model: Any = SimpleNamespace(get_bare_model=lambda net: net)
    BaseModel.load_network(model, torch.nn.Linear(1, 1), weights())


def weights_of_a_part_run_code() -> None:
    """pickled code in the weights of a part (network_g: spynet_path)"""
    from basicsr.archs.spynet_arch import SpyNet

    SpyNet(weights())


def state_runs_code() -> None:
    """pickled code in a training state (path: resume_state)"""
    import torch
    from basicsr.train import load_resume_state

    torch.cuda.current_device = lambda: 0  # BasicSR looks for a GPU first
    torch.save({'epoch': 0, 'iter': 1, 'optimizers': [RunsCode()], 'schedulers': []}, '1.state')
    load_resume_state({'auto_resume': False, 'path': {'resume_state': '1.state', 'models': '.'}})


def weights_of_a_test_run_code() -> None:
    """pickled code in weights that `test` and `dehaze` are given"""
    network = {'type': 'MSRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1, 'upscale': 4}
    photos = {'name': 'photos', 'type': 'SingleImageDataset', 'dataroot_lq': '.', 'io_backend': {'type': 'disk'}}
    opt = {'name': 'x', 'model_type': 'SRModel', 'scale': 4, 'num_gpu': 0, 'manual_seed': 0, 'network_g': network}
    opt |= {'datasets': {'test': photos}, 'path': {'pretrain_network_g': weights()}, 'val': {'save_img': False}}
    Path('o.yml').write_text(json.dumps(opt))
    if 'okdnet_plugin' in sys.modules:
        from okdnet_plugin.weights import loading as inference

        with contextlib.suppress(ValueError):
            inference.load('weights.pth', 'o.yml')
    from basicsr.test import test_pipeline

    sys.argv = ['basicsr', '-opt', 'o.yml']
    test_pipeline(os.getcwd())


def aliases_make_a_file_endless() -> None:
    """aliases make 500 bytes of YAML stand for 10^9 values, which the log writes out"""
    from basicsr.utils.options import dict2str

    levels = itertools.pairwise('abcdefghij')
    bomb = 'a: &a [x, x]\n' + ''.join(f'{b}: &{b} [{", ".join([f"*{a}"] * 9)}]\n' for a, b in levels)
    dict2str(parse(bomb))


def nesting_is_endless() -> None:
    """100,000 brackets in an option file"""
    parse(f'x: {"[" * 100_000}\n')


ATTACKS: tuple[Callable[[], None], ...] = (
    command_line_is_run,
    abbreviation_is_run,
    list_of_the_command_line_is_run,
    option_file_makes_objects,
    shell_runs_the_list_of_nodes,
    weights_run_code,
    weights_of_a_part_run_code,
    state_runs_code,
    weights_of_a_test_run_code,
    aliases_make_a_file_endless,
    nesting_is_endless,
)


def parse(*arguments: str) -> dict:
    """Options as BasicSR's parser returns them; one argument alone is the beginning of the option file."""
    from basicsr.utils.options import parse_options

    more = arguments if len(arguments) == 1 else ()
    if not Path('o.yml').exists():
        Path('o.yml').write_text(''.join(more) + 'name: x\nnum_gpu: 0\ndatasets: {}\npath: {}\n')
    sys.argv = ['basicsr', '-opt', 'o.yml', *(() if more else arguments)]
    return parse_options(os.getcwd())[0]


def weights() -> str:
    import torch

    torch.save({'params': RunsCode()}, 'weights.pth')
    return 'weights.pth'


# ----------------------------------------------------------------------------------------------------------- processes


def outcome(attack: Callable[[], None], seconds: int) -> tuple[bool, str]:
    """Run one attack in a process of its own.

    Returns:
        Whether the hole is closed, and what happened in words.
    """
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile('w+') as said:
        process = os.fork()
        if process == 0:
            _attack(attack, folder, said.fileno(), seconds)
        _, status = os.waitpid(process, 0)
        said.seek(0)
        words = said.read().strip()
        if (Path(folder) / MADE).exists():
            return False, 'RUNS CODE'
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return False, {'SIGXCPU': f'NO END in {seconds} s', 'SIGSEGV': 'CRASHES (SIGSEGV)'}.get(name, f'DIES ({name})')
    return not words.startswith('NEEDS'), words


def _attack(attack: Callable[[], None], folder: str, said: int, seconds: int) -> None:
    """The forked process: limits, the attack, and one line of what came of it."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError, StopIteration):  # where the system tells its own size
        sizes = Path('/proc/self/status').read_text().splitlines()
        most = 1024 * next(int(line.split()[1]) for line in sizes if line.startswith('VmSize')) + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    os.chdir(folder)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    try:
        attack()
        words = 'taken as a text'
    except MemoryError:
        words = f'NEEDS more than {MEMORY >> 30} GiB'
    except BaseException as error:
        is_ours = any(kind.__name__ == 'InputError' for kind in type(error).__mro__)  # its module may not be there
        words = f'{"refused" if is_ours else type(error).__name__}: {error}'
    os.write(said, ' '.join(words.split())[:200].encode())
    os._exit(0)


def attack_all(is_released: bool, seconds: int = SECONDS) -> list[tuple[bool, str]]:
    """Import BasicSR, with the plugin or with no more than today's torchvision asks for, and try all attacks."""
    os.environ['TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'] = '1'
    if is_released:
        name = 'torchvision.transforms.functional_tensor'
        sys.modules[name] = importlib.import_module('torchvision.transforms._functional_tensor')
    else:
        importlib.import_module('okdnet_plugin').register()
        importlib.import_module('okdnet_plugin.config.check')
    importlib.import_module('basicsr.train')
    importlib.import_module('torch').set_num_threads(1)  # a fork keeps no threads
    return [outcome(attack, seconds) for attack in ATTACKS]


def compare() -> int:
    """Print the table; the number of holes that are open with the plugin."""
    sides = []
    for side in ('--released', '--plugin'):
        result = subprocess.run([sys.executable, __file__, side], capture_output=True, text=True)
        if result.returncode:
            sys.exit(f'security.py {side} failed:\n{result.stderr}')
        sides.append(json.loads(result.stdout.splitlines()[-1]))
    print(f'| hole | BasicSR {version("basicsr")} as released | with the plugin |\n|---|---|---|')
    for attack, released, plugin in zip(ATTACKS, *sides, strict=True):
        cells = [f'{"closed" if is_closed else "**open**"}: {words[:70]}' for is_closed, words in (released, plugin)]
        print(f'| {attack.__doc__} | {" | ".join(cell.replace("|", "/") for cell in cells)} |')
    still_open = sum(not is_closed for is_closed, _ in sides[1])
    was_open = sum(not is_closed for is_closed, _ in sides[0])
    print(f'\n{was_open} of {len(ATTACKS)} holes are open as released, {still_open} with the plugin.')
    return still_open


# ---------------------------------------------------------------------------------------------------------------- fuzz


def fuzz(count: int, seed: int) -> int:
    """Read damaged option files; the number of crashes, hangs and forbidden doings."""
    import shutil

    from okdnet_plugin.config import load_with_places

    started, failures, refused = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(REPOSITORY / 'options', folder, dirs_exist_ok=True)
        files = sorted(Path(folder).rglob('*.yml'))
        originals = {file: file.read_bytes() for file in files}
        for file in files:  # imports what reading imports
            load_with_places(str(file))
        batch = 500
        for first in range(0, count, batch):
            numbers = range(first, min(first + batch, count))
            failed, of_batch = _in_a_fork(numbers, seed, originals)
            failures += failed
            refused += of_batch
    seconds = time.monotonic() - started
    print(
        f'{count} damaged option files (seed {seed}): {refused} refused, {count - refused - failures} read, '
        f'{failures} crashes, hangs or forbidden doings; {1000 * seconds / max(count, 1):.1f} ms each'
    )
    return failures


def _in_a_fork(numbers: range, seed: int, originals: dict[Path, bytes]) -> tuple[int, int]:
    """Failures and refusals of some cases. A process that dies is named by the case that it wrote down last."""
    with tempfile.TemporaryFile('w+') as said:
        process = os.fork()
        if process == 0:
            _fuzz(numbers, seed, originals, said.fileno())
        _, status = os.waitpid(process, 0)
        said.seek(0)
        lines = said.read().splitlines()
    problems = [line for line in lines if line.startswith('FAILED')]
    if status:
        problems.append(f'FAILED {lines[-1] if lines else "at once"}: the process ended with status {status}')
    for problem in problems:
        print(problem, file=sys.stderr)
    return len(problems), lines.count('refused')


def _fuzz(numbers: range, seed: int, originals: dict[Path, bytes], said: int) -> None:
    from okdnet_plugin.config import load_with_places
    from okdnet_plugin.errors import InputError

    done: list[str] = []
    watching = False

    def watch(event: str, arguments: tuple) -> None:
        writes = event == 'open' and set(str(arguments[1])) & set('wax+')
        if watching and (writes or (event.startswith(FORBIDDEN) and event not in HARMLESS)):
            done.append(f'{event} {arguments!r:.80}')

    sys.addaudithook(watch)
    for number in numbers:
        rng = random.Random(f'{seed} {number}')
        file = rng.choice(list(originals))
        file.write_bytes(damaged(originals[file], rng))
        os.write(said, f'case {number}\n'.encode())
        signal.alarm(SECONDS)
        problem = word = ''
        try:
            watching = True
            opt, places = load_with_places(str(file))
            assert all(':' in places.of(path) for path in _paths(opt))
            word = 'read'
        except InputError as error:
            word = 'refused'
            problem = 'a message of several lines' if '\n' in str(error) else ''
        except BaseException as error:
            problem = f'{type(error).__name__}: {error}'
        finally:
            watching = False
        signal.alarm(0)
        if problem or done:
            word = f'FAILED case {number}, seed {seed}, {file.name}: {problem} {done}'
        os.write(said, f'{word}\n'.encode('utf-8', 'replace'))
        done.clear()
        file.write_bytes(originals[file])
    os._exit(0)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """An option file with a few bytes changed, lost, doubled or put in, or random bytes in its place."""
    if rng.random() < 0.1:
        return rng.randbytes(rng.randrange(2000))
    text = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(text) + 1)
        end = min(len(text), at + rng.choice((1, 1, 4, 40, 400)))
        how = rng.randrange(5)
        if how == 0:
            text[at:end] = rng.randbytes(end - at)
        elif how == 1:
            del text[at:end]
        elif how == 2:
            text[at:at] = text[at:end] * rng.choice((1, 2, 50))
        else:
            text[at:at] = rng.choice(SCRAPS)
    return bytes(text)


def _paths(value: object, path: tuple = ()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield from _paths(child, (*path, key))


def main(argv: list[str] | None = None) -> int:
    """Run the check; 0 if all holes are closed and nothing went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--fuzz', type=int, default=0, metavar='N', help='read N damaged option files as well')
    parser.add_argument('--seed', type=int, default=0, help='of the damage (default: 0)')
    one_side = parser.add_mutually_exclusive_group()
    one_side.add_argument('--released', action='store_true', help='only BasicSR as released, as JSON')
    one_side.add_argument('--plugin', action='store_true', help='only with the plugin, as JSON')
    parser.add_argument('--seconds', type=int, default=SECONDS, help='for an attack of one side (default: %(default)s)')
    args = parser.parse_args(argv)
    if args.released or args.plugin:
        print(json.dumps(attack_all(args.released, args.seconds)))
        return 0
    failures = compare()
    if args.fuzz:
        failures += fuzz(args.fuzz, args.seed)
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
