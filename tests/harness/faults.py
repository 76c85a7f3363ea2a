"""Show that no training is lost, whatever happens to its process.

  python tests/harness/faults.py --runs 50

A small training that nothing disturbs is the reference. The same training is then killed (SIGKILL) at random moments,
in a good share of them while it writes a file, and gone on with by --auto_resume until it ends; its newest state is
damaged, malformed, holds NaN, or is a named pipe; its disk is full or read-only; signals ask it to stop; a second one
of its name is started; its workers are killed, or have no shared memory. Whatever happens, it has to go on from a state
at most one save interval old, and to end with the networks, averages, optimiser states, losses and figures of the
reference, bit for bit; nothing hangs, and no end is a traceback.

The undisturbed training is started as a user does, `python -m okdnet_plugin train`. Each of the hundreds of others
would spend far longer on its imports than on its training. They are forked by one process, the nursery, which has
imported everything and done nothing else: it has a single thread, so that a fork is safe, and a child is in the state
of a process that has just ended its imports. That a forked training equals the first one is the second case. The child
alone is what gets the signals.

Needs neither data nor a GPU nor a network. Full and read-only disks are small tmpfs and bind mounts, which need root;
without it a limit on the size of a file stands for the first, and the second is left out.
"""

import argparse
import contextlib
import ctypes
import errno
import functools
import json
import math
import os
import random
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml

NAME = 'small'
SIDES = {'lq': 'hazy', 'gt': 'clear'}
SAVE_EVERY, VALIDATE_EVERY, KEEP = 2, 4, 3
HUNG = -1  # in place of an exit code
PATIENCE = 120  # seconds for a training of a few
ALONE = {'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
FINAL_NAME = re.compile(r'net_g_\w+\.pth|\d+\.state')
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
DAMAGES = ('truncated', 'empty', 'no_checkpoint', 'with_code', 'a_network', 'truncated_network', 'missing_network')
PIPES = ('pipe', 'link_to_a_device', 'socket', 'pipe_network')
NOT_FINITE = ('nan_moments', 'inf_moments', 'nan_network', 'nan_average')
MALFORMED = (
    *('other_groups', 'no_groups', 'no_optimisers', 'text_optimiser', 'other_shapes', 'no_learning_rate'),
    *('text_schedules', 'other_random_states', 'text_best', 'no_guard', 'negative_iteration'),
)


# ------------------------------------------------------------------------------------------------------- the training


def make_pairs(folder: Path, count: int) -> None:
    """Clear images and a hazy one of each, in hazy/ and clear/ of a new folder."""
    rng = np.random.default_rng(0)
    for kind in ('hazy', 'clear'):
        (folder / kind).mkdir(parents=True)
    transmission = np.linspace(0.3, 0.7, 40)[:, None, None]
    for scene in range(count):
        clear = cv2.resize(rng.integers(0, 256, (5, 6, 3), np.uint8), (48, 40), interpolation=cv2.INTER_CUBIC)
        hazy = clear * transmission + 255 * 0.9 * (1 - transmission)
        cv2.imwrite(str(folder / 'clear' / f'{scene}.png'), clear)
        cv2.imwrite(str(folder / 'hazy' / f'{scene}.png'), hazy.round().astype(np.uint8))


def options_of(pairs: Path, total: int, workers: int, is_light: bool = False) -> dict:
    """Options of a small network with all that a state has to hold: EMA, schedule, best figures, random order."""
    losses = {} if is_light else {'distill_opt': {'type': 'OnlineDistillationLoss', 'loss_weight': 0.5}}
    network = {'type': 'OKDNet', 'num_feat': 8, 'num_blocks': [1, 1, 1], 'growth': 4}
    dataset = {
        'name': 'Pairs',
        'type': 'PairedDehazeDataset',
        'dataroot_lq': str(pairs / 'train' / 'hazy'),
        'dataroot_gt': str(pairs / 'train' / 'clear'),
        'io_backend': {'type': 'disk'},
        'num_worker_per_gpu': workers,
    }
    held = {'name': 'Held', 'dataroot_lq': str(pairs / 'val' / 'hazy'), 'dataroot_gt': str(pairs / 'val' / 'clear')}
    loader = {'batch_size_per_gpu': 2, 'use_hflip': True, 'use_rot': True, 'gt_size': 32}
    return {
        'name': NAME,
        'model_type': 'RestorationModel' if is_light else 'OKDNetModel',
        'scale': 1,
        'num_gpu': 0,
        'manual_seed': 0,
        'datasets': {'train': dataset | loader, 'val': dataset | held},
        'network_g': {'type': 'AODNet'} if is_light else network,
        'path': {'pretrain_network_g': None, 'strict_load_g': True, 'resume_state': None},
        'train': {
            'ema_decay': 0.9,
            'optim_g': {'type': 'Adam', 'lr': 1e-3, 'betas': [0.9, 0.999]},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [n for n in (3, 7) if n <= total], 'gamma': 0.5},
            'total_iter': total,
            'warmup_iter': -1,
            'pixel_opt': {'type': 'L1Loss'},
            'ssim_opt': {'type': 'SSIMLoss'},
            **losses,
        },
        'val': {
            'val_freq': VALIDATE_EVERY,
            'save_img': True,
            'metrics': {name: {'type': f'calculate_{name}', 'crop_border': 0} for name in ('psnr', 'ssim')},
        },
        'logger': {
            'print_freq': 1,
            'save_checkpoint_freq': SAVE_EVERY,
            'keep_last': KEEP,
            'save_best': 'Held/psnr',
            'use_tb_logger': False,
        },
    }


def with_long_iterations(options: dict, is_light: bool) -> dict:
    """The same with iterations of some seconds, made of many short steps."""
    steps = 1000 if is_light else 200
    train = options['datasets']['train'] | {'dataset_enlarge_ratio': steps // 2}
    return options | {
        'datasets': options['datasets'] | {'train': train},
        'train': options['train'] | {'accumulate': steps},
    }


# --------------------------------------------------------------------------------------------------------- processes


def be_a_nursery() -> None:
    """Fork a training for each order on the standard input; print its process id, and later its exit code."""
    import okdnet_plugin  # goes first: it patches BasicSR

    # isort: split
    import basicsr.train  # noqa: F401
    import torch._dynamo  # which the first optimiser of a process imports

    import okdnet_plugin.cli
    import okdnet_plugin.config.check

    okdnet_plugin.register()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    if len(os.listdir('/proc/self/task')) > 1:
        sys.exit('the nursery has several threads, and must not fork')
    pid = None
    for line in sys.stdin:
        # Only now: until then the number of an ended child cannot become that of another process.
        if pid is not None:
            os.waitpid(pid, 0)
        pid = os.fork()
        if pid == 0:
            _be_a_training(**json.loads(line))
        print(pid, flush=True)
        end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert end is not None  # only with WNOHANG
        print(end.si_status if end.si_code == os.CLD_EXITED else 128 + end.si_status, flush=True)


def _be_a_training(
    folder: str,
    arguments: list[str],
    output: str,
    max_file_size: int | None,
    shared_memory: int | None = None,
    cuts: str | None = None,
    flush_error: int | None = None,
) -> None:
    from okdnet_plugin.cli import main

    code = 1
    try:
        os.chdir(folder)
        for number, path in enumerate((os.devnull, output, output)):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
            os.dup2(descriptor, number)
            os.close(descriptor)
        if max_file_size is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_size, max_file_size))
        if shared_memory is not None:
            _limit_shared_memory(shared_memory)
        if flush_error is not None:
            os.fsync = functools.partial(_fail, flush_error)
        if cuts is not None:
            _record_cuts(Path(folder, 'experiments'), Path(cuts))
        code = main(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)


def _fail(number: int, *_: object) -> None:
    raise OSError(number, os.strerror(number))


def _limit_shared_memory(size: int) -> None:
    """Give this process, and nobody else, a /dev/shm of so many bytes; needs root."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_namespace, private_and_below = 0x00020000, 0x44000
    if libc.unshare(new_namespace) or libc.mount(b'none', b'/', None, private_and_below, None):
        raise OSError(ctypes.get_errno(), 'no namespace of its own')
    subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', '/dev/shm'], check=True)


def _record_cuts(experiments: Path, into: Path) -> None:
    """Keep what a power cut would leave after each change of a name: of a file that was never flushed nothing.

    A name that is changed before the last change in another folder is flushed makes the file `unordered` there.
    """
    flushed: set[int] = set()
    waiting: set[int] = set()  # folders whose names have changed since they were flushed
    fsync, replace = os.fsync, os.replace

    def flush(descriptor: int) -> None:
        fsync(descriptor)
        flushed.add(os.fstat(descriptor).st_ino)
        waiting.discard(os.fstat(descriptor).st_ino)

    def watched(change: Callable, place: int) -> Callable:
        def changed(*paths: Any, **more: Any) -> None:
            folder = os.stat(os.path.dirname(paths[place]) or os.curdir).st_ino
            # Validation images are written by several threads; a removal that is lost does no harm.
            is_ordered = change is replace and FINAL_NAME.fullmatch(os.path.basename(paths[place]))
            if is_ordered and waiting - {folder}:
                (into / 'unordered').write_text(str(paths))
            change(*paths, **more)
            if is_ordered:
                waiting.add(folder)
            cut = into / f'{len(os.listdir(into)):04}'
            shutil.copytree(experiments, cut / 'experiments')
            for path in experiments.rglob('*'):
                if FINAL_NAME.fullmatch(path.name) and path.stat().st_ino not in flushed:
                    (cut / path.relative_to(experiments.parent)).write_bytes(b'')

        return changed

    os.fsync = flush
    os.replace, os.remove = watched(replace, 1), watched(os.remove, 0)


class Child:
    """A training process of the nursery."""

    def __init__(self, nursery: subprocess.Popen, **order: Any):
        self.output = Path(order['output'])
        self.code: int | None = None
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        self._answers = nursery.stdout
        nursery.stdin.write(json.dumps(order).encode() + b'\n')
        self.pid = int(self._answers.readline())

    def has_ended(self) -> bool:
        return self._ends_within(0)

    def wait(self, seconds: float = PATIENCE) -> int:
        """The exit code, 128 and the signal's number if one has ended it; HUNG if it takes longer."""
        if not self._ends_within(seconds):
            self.send(signal.SIGKILL)
            self._ends_within(PATIENCE)
            self.code = HUNG
        assert self.code is not None
        return self.code

    def lives_for(self, seconds: float) -> bool:
        return not self._ends_within(seconds)

    def send(self, number: int) -> None:
        """Send a signal; nothing happens if the process has ended."""
        os.kill(self.pid, number)

    def printed(self) -> str:
        return self.output.read_text(errors='replace') if self.output.exists() else ''

    def lives_until(self, condition: Callable[[], object], pause: float = 5e-5) -> bool:
        """Whether the condition came true before the process ended."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if self.has_ended() or time.monotonic() > deadline:
                return False
            time.sleep(pause)
        return True

    def _ends_within(self, seconds: float) -> bool:
        if self.code is None and select.select([self._answers], [], [], seconds)[0]:
            self.code = int(self._answers.readline())
        return self.code is not None


# ------------------------------------------------------------------------------------------------ a run and its files


class Training:
    """One training with a folder of its own, and whatever processes it takes.

    Args:
        bench: what all trainings share.
        name: of its folder.
        options: its option file, by default that of all.
    """

    def __init__(self, bench: 'Bench', name: str, options: Path | None = None):
        self.name = name
        self.folder = bench.root / name
        self.folder.mkdir()
        self.experiment = self.folder / 'experiments' / NAME
        self.models, self.states = self.experiment / 'models', self.experiment / 'training_states'
        self._bench = bench
        self._options = options or bench.options
        self._starts = 0

    def start(
        self,
        *arguments: str,
        max_file_size: int | None = None,
        shared_memory: int | None = None,
        beside: bool = False,
        cuts: Path | None = None,
        flush_error: int | None = None,
    ) -> Child:
        """Start a process.

        Args:
            arguments: of `basicsr train`.
            max_file_size: bytes that a file may have.
            shared_memory: bytes of its own /dev/shm.
            beside: while another one lives.
            cuts: folder for what a power cut would leave, see `_record_cuts`.
            flush_error: number of the error with which every flush of a file fails.
        """
        self._starts += 1
        return self._bench.start(
            beside,
            folder=str(self.folder),
            arguments=['train', '-opt', str(self._options), *arguments],
            output=str(self._bench.root / f'{self.name}.{self._starts}.txt'),
            max_file_size=max_file_size,
            shared_memory=shared_memory,
            cuts=None if cuts is None else str(cuts),
            flush_error=flush_error,
        )

    def go_on(self) -> Child:
        return self.start('--auto_resume')

    def files(self) -> list[Path]:
        """Networks and states that bear their final names."""
        return [
            entry
            for folder in (self.models, self.states)
            for entry in _list(folder)
            if FINAL_NAME.fullmatch(entry.name)
        ]

    def temporaries(self) -> list[Path]:
        """Half written networks and states."""
        return [entry for folder in (self.models, self.states) for entry in _list(folder) if entry.suffix == '.tmp']

    def litter(self) -> list[Path]:
        """What the end of a process has left behind for good: temporary files, networks without a state."""
        temporary = [path for path in self.experiment.rglob('.*.tmp') if path.is_file()]
        numbers = {path.stem for path in _list(self.states)}
        labels = {path: path.stem.removeprefix('net_g_') for path in _list(self.models) if path.suffix == '.pth'}
        return temporary + [path for path, label in labels.items() if label.isdigit() and label not in numbers]

    def journal(self) -> list[dict]:
        """The whole lines of metrics.jsonl, without the timings."""
        path = self.experiment / 'metrics.jsonl'
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        entries = [json.loads(line) for line in lines if line.endswith('\n')]
        return [{key: entry[key] for key in entry if key not in ('time', 'data_time')} for entry in entries]

    def last_iteration(self) -> int:
        """The last that has been reported."""
        return max((entry['iter'] for entry in self.journal() if 'lr' in entry), default=0)

    def newest_state(self) -> int:
        """The iteration of the newest state that can be loaded, as its network can; 0 if there is none."""
        usable = {path.name for path in self.files() if _loads(path)}
        numbers = [int(name.removesuffix('.state')) for name in usable if name.endswith('.state')]
        return max((number for number in numbers if f'net_g_{number}.pth' in usable), default=0)

    def result(self) -> dict:
        """What has to be equal at the end of every training."""
        total = self._bench.total
        networks = [self.models / f'net_g_{label}.pth' for label in (total, 'latest', 'best')]
        return {
            **{path.name: _load(path) if path.exists() else None for path in networks},
            'state': _load(self.states / f'{total}.state'),
            'metrics.jsonl': self.journal(),
        }


def _list(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in os.listdir(folder)]
    except FileNotFoundError:
        return []


def _load(path: Path) -> object:
    return torch.load(path, map_location='cpu', weights_only=True)


def _loads(path: Path) -> bool:
    try:
        _load(path)
    except Exception:
        return False
    return True


def differences(one: object, other: object, where: str = '') -> Iterator[str]:
    """Where two results are not equal bit for bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        is_equal = (one.dtype, one.shape) == (other.dtype, other.shape)
        if not is_equal or one.numpy().tobytes() != other.numpy().tobytes():
            yield f'{where} differs'
    elif isinstance(one, Mapping) and isinstance(other, Mapping) and one.keys() == other.keys():
        for key in one:
            yield from differences(one[key], other[key], f'{where} {key}')
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        for number, (first, second) in enumerate(zip(one, other, strict=True)):
            yield from differences(first, second, f'{where} [{number}]')
    elif type(one) is not type(other) or one != other:
        yield f'{where}: {_short(one)} instead of {_short(other)}'


def _short(value: object) -> str:
    text = f'{len(value)} entries' if isinstance(value, list | tuple | Mapping) else str(value)
    return text[:60]


# ----------------------------------------------------------------------------------------------------------- the bench


class Bench:
    """The folder, the images, the nursery and the reference that all cases share; a context manager.

    Args:
        root: an empty folder.
        total: iterations of a training.
        workers: of the data loaders.
        is_light: train AODNet, which takes a fifth of the time of OKDNet.
    """

    def __init__(self, root: Path, total: int = 8, workers: int = 0, is_light: bool = False):
        self.root, self.total = root, total
        self.options, self.slow_options = root / 'options.yml', root / 'slow.yml'
        self.worker_options = root / 'worker.yml'
        options = options_of(root / 'pairs', total, workers, is_light)
        self.options.write_text(yaml.safe_dump(options))
        self.slow_options.write_text(yaml.safe_dump(with_long_iterations(options, is_light)))
        self.worker_options.write_text(yaml.safe_dump(options_of(root / 'pairs', total, 1, is_light)))
        make_pairs(root / 'pairs' / 'train', 8)
        make_pairs(root / 'pairs' / 'val', 3)
        self.reference: dict | None = None
        self.seconds = math.nan  # a whole training takes
        self._half: Training | None = None
        self._children: dict[bool, Child] = {}
        self.nurseries: dict[bool, subprocess.Popen] = {}

    def __enter__(self) -> 'Bench':
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children.values():
            child.wait(0)  # or is killed
        for nursery in self.nurseries.values():
            nursery.kill()
            nursery.wait()

    def start(self, beside: bool = False, **order: object) -> Child:
        """Have a nursery fork a training, see `_be_a_training`; one at a time, and one `beside` it."""
        if beside not in self.nurseries:
            command = [sys.executable, str(Path(__file__).resolve()), '--be-a-nursery']
            # Without a buffer, so that `select` sees all that is there.
            self.nurseries[beside] = subprocess.Popen(
                command, bufsize=0, env=os.environ | ALONE, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        self._children[beside] = Child(self.nurseries[beside], **order)
        return self._children[beside]

    def make_reference(self) -> str:
        """Train undisturbed as a user does; returns what went wrong."""
        training = Training(self, 'reference')
        command = [sys.executable, '-m', 'okdnet_plugin', 'train', '-opt', str(self.options)]
        done = subprocess.run(command, cwd=training.folder, env=os.environ | ALONE, capture_output=True, text=True)
        if done.returncode == 0:
            self.reference = training.result()
        return done.stderr if done.returncode else ''

    def interrupted(self, name: str, into: Callable[[Path], None] = lambda folder: None) -> Training:
        """A training that was killed after its second third, copied to a folder of its own.

        Args:
            name: of its folder.
            into: is called with the folder before the copy is made.
        """
        if self._half is None:
            self._half = self._make_half()
        training = Training(self, name)
        into(training.folder)
        # Links stay links, as which the newest network was saved.
        subprocess.run(['cp', '-a', str(self._half.folder / 'experiments'), str(training.folder)], check=True)
        return training

    def _make_half(self) -> Training:
        printed = ''
        for attempt in range(3):  # a busy machine may kill too late
            half = Training(self, f'half_{attempt}')
            child = half.start()
            child.lives_until(lambda half=half: half.last_iteration() > self.total * 2 // 3, pause=0.002)
            child.send(signal.SIGKILL)
            child.wait()
            if SAVE_EVERY < half.newest_state() < self.total:
                return half
            printed = child.printed()
        raise RuntimeError(f'a training could not be killed between its last two states:\n{printed}')


@dataclass
class Case:
    """What one case has shown."""

    group: str
    name: str
    kills: int = 0
    kills_in_a_write: int = 0
    resumed: list[int] = field(default_factory=list)
    """Iterations that it went on from."""
    states_lost: int = 0
    is_equal: bool = False
    litter: int = 0
    hangs: int = 0
    tracebacks: int = 0
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    printed: str = ''
    """What the process said that met the first problem."""

    def expect(self, is_so: bool, problem: str, child: Child | None = None) -> None:
        if is_so:
            return
        self.problems.append(problem)
        if child is not None and not self.printed:
            self.printed = child.printed()

    def expect_code(self, child: Child, wanted: int) -> bool:
        """Wait for the end of a process, and look at how it has ended."""
        code = child.wait()
        self.hangs += code == HUNG
        if 'Traceback' in child.printed():
            self.tracebacks += 1
            self.expect(False, 'a traceback', child)
        self.expect(code == wanted, f'exit code {code} instead of {wanted}', child)
        return code == wanted

    def expect_whole_files(self, training: Training) -> None:
        """Every final name stands for a whole file, and the newest state is at most one save interval old."""
        self.problems += [f'{path.name} cannot be loaded' for path in training.files() if not _loads(path)]
        reached, newest = training.last_iteration(), training.newest_state()
        if reached - newest > SAVE_EVERY:
            self.states_lost += 1
            self.problems.append(f'ended after iteration {reached}, but the newest state is that of {newest}')

    def expect_start(self, child: Child, newest: int) -> None:
        """The process went on from the state that it should have taken, or ended before."""
        found = re.search(r'Start training from epoch: \d+, iter: (\d+)', child.printed())
        if found is None:
            return
        self.resumed.append(int(found[1]))
        if int(found[1]) != newest:
            self.states_lost += 1
            self.expect(False, f'went on from {found[1]} instead of {newest}', child)

    def expect_end(self, bench: Bench, training: Training, child: Child, newest: int) -> None:
        """The process brings the training to its end, which equals the reference."""
        has_ended = self.expect_code(child, 0)
        self.expect_start(child, newest)
        if not has_ended:
            return
        self.expect_whole_files(training)
        self.expect(not training.temporaries(), 'half written files are left at the end')
        self.litter = len(training.litter())
        found = list(differences(training.result(), bench.reference))
        self.is_equal = not found
        self.problems += found[:3] + [f'and {len(found) - 3} more'] * (len(found) > 3)


# ------------------------------------------------------------------------------------------------------------- SIGKILL


def undisturbed(bench: Bench) -> Case:
    """A forked training equals that of a process of its own; it also tells how long one takes."""
    case = Case('undisturbed', 'forked')
    training = Training(bench, case.name)
    child = training.start()  # waits for the imports of the nursery
    since = time.monotonic()
    child.wait()
    bench.seconds = time.monotonic() - since
    if bench.reference is None and child.code == 0:
        bench.reference = training.result()
    case.expect_end(bench, training, child, 0)
    case.resumed.clear()
    return case


def strike_at_any_time(child: Child, training: Training, bench: Bench, rng: random.Random) -> None:
    """Kill at a moment of the process's life."""
    child.lives_for(rng.uniform(0, bench.seconds))
    child.send(signal.SIGKILL)


def strike_in_a_write(child: Child, training: Training, bench: Bench, rng: random.Random) -> None:
    """Kill just after one of the temporary files has appeared."""
    _await_writes(child, training, rng.randint(1, 2 * bench.total // SAVE_EVERY))
    _idle(rng.uniform(0, 8e-4))
    child.send(signal.SIGKILL)


def strike_after_a_write(child: Child, training: Training, bench: Bench, rng: random.Random) -> None:
    """Kill just after one of the temporary files has got its final name, when others are due."""
    if _await_writes(child, training, rng.randint(1, 2 * bench.total // SAVE_EVERY)):
        child.lives_until(lambda: not training.temporaries())
    _idle(rng.uniform(0, 8e-4))
    child.send(signal.SIGKILL)


def strike_after_the_last_state(child: Child, training: Training, bench: Bench, rng: random.Random) -> None:
    """Kill when all iterations are made and saved, but not what comes after the state."""
    child.lives_until((training.states / f'{bench.total}.state').exists)
    _idle(rng.uniform(0, 3e-4))
    child.send(signal.SIGKILL)


def _await_writes(child: Child, training: Training, count: int) -> bool:
    old = set(training.temporaries())  # of the process before
    for number in range(count):
        if number and not child.lives_until(lambda: not set(training.temporaries()) - old):
            return False
        if not child.lives_until(lambda: set(training.temporaries()) - old):
            return False
    return True


def _idle(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:  # a sleep would take longer
        pass


# Where it hurts most, more often than by chance.
STRIKES = (strike_at_any_time, strike_at_any_time, strike_in_a_write, strike_in_a_write, strike_after_a_write)


def killed(bench: Bench, name: str, rng: random.Random, strikes: Sequence[Callable] = STRIKES, most: int = 3) -> Case:
    """A training that is killed once or several times, and goes on each time.

    Args:
        bench: what all cases share.
        name: of the case.
        rng: chooses the moments.
        strikes: the kinds of moments.
        most: kills at most.
    """
    case = Case('SIGKILL', name)
    training = Training(bench, name)
    child, newest = training.start(), 0
    for _ in range(rng.randint(1, most)):
        rng.choice(strikes)(child, training, bench, rng)
        if child.wait() != 128 + signal.SIGKILL:  # it has ended before
            break
        case.kills += 1
        case.kills_in_a_write += any(f'-{child.pid}-' in path.name for path in training.temporaries())
        case.expect_start(child, newest)
        case.expect_whole_files(training)
        _remove_first_tries(case, training)
        newest = training.newest_state()
        child = training.go_on()
    case.expect_end(bench, training, child, newest)
    # A process may end before its moment comes; a run without a kill shows nothing.
    return case if case.kills or case.problems else killed(bench, f'{name}_again', rng, strikes, most)


def _remove_first_tries(case: Case, training: Training) -> None:
    """Begun anew, BasicSR keeps what was there under another name, which changes once a second only."""
    for folder in _list(training.folder / 'experiments'):
        if '_archived_' in folder.name:
            case.expect(not any(path.suffix == '.state' for path in folder.rglob('*')), 'a state was moved away')
            shutil.rmtree(folder)


def power_cuts(bench: Bench, runs: int, rng: random.Random) -> Iterator[Case]:
    """After every prefix of what is written a run goes on; all are looked at, and so many gone on with as `runs`."""
    case = Case('power cuts', 'order_of_writes')
    training, cuts = Training(bench, case.name), bench.root / 'cuts'
    cuts.mkdir()
    case.expect_end(bench, training, training.start(cuts=cuts), 0)
    unordered = cuts / 'unordered'
    case.expect(not unordered.exists(), f'not flushed before: {unordered.read_text() if unordered.exists() else ""}')
    reached, places = 0, sorted(path for path in cuts.iterdir() if path.is_dir())
    for place in places:
        newest = max((int(path.stem) for path in place.rglob('*.state') if _loads(path)), default=0)
        case.expect(newest >= reached, f'after {place.name} the newest state is that of {newest}, not {reached}')
        reached = max(reached, newest)
    case.remarks.append(f'{len(places)} prefixes')
    yield case
    for place in sorted(rng.sample(places, min(runs, len(places)))):
        case = Case('power cuts', f'cut_{place.name}')
        training = Training(bench, case.name)
        shutil.move(place / 'experiments', training.folder / 'experiments')
        newest = training.newest_state()
        case.expect_end(bench, training, training.go_on(), newest)
        yield case
    shutil.rmtree(cuts)


# --------------------------------------------------------------------------------------------------------- bad files


def damaged(bench: Bench, kind: str) -> Case:
    """The newest state or its network is not what it should be: the state before it is taken."""
    groups = {'pipes': PIPES, 'not finite': NOT_FINITE, 'malformed': MALFORMED}
    case = Case(next((group for group, kinds in groups.items() if kind in kinds), 'damaged state'), kind)
    training = bench.interrupted(kind)
    newest = training.newest_state()
    state, network = training.states / f'{newest}.state', training.models / f'net_g_{newest}.pth'
    victim = network if kind.endswith(('_network', '_average')) and kind != 'a_network' else state
    trace = training.folder / 'has_run'
    if kind in PIPES:
        _replace_by_no_file(victim, kind)
    elif kind in (*NOT_FINITE, *MALFORMED):
        _spoil(victim, kind)
    else:
        _damage(victim, kind, network, trace)
    child = training.go_on()
    case.expect_end(bench, training, child, newest - SAVE_EVERY)
    warnings = [line for line in child.printed().splitlines() if 'WARNING' in line and victim.name in line]
    case.expect(len(warnings) == 1, f'{len(warnings)} warnings instead of one', child)
    case.expect(not trace.exists(), 'code in the file was run')
    return case


class _RunsCode:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path):
        self._path = path

    def __reduce__(self):
        return open, (str(self._path), 'w')


def _damage(victim: Path, kind: str, network: Path, trace: Path) -> None:
    content = victim.read_bytes()
    victim.unlink()  # its other names keep their content
    if kind.startswith('truncated'):
        victim.write_bytes(content[: len(content) * 2 // 3])
    elif kind == 'empty':
        victim.touch()
    elif kind == 'no_checkpoint':
        victim.write_text('These are the notes of somebody else.\n' * 100)
    elif kind == 'with_code':
        torch.save({'iter': 0, 'epoch': 0, 'optimizers': [_RunsCode(trace)], 'schedulers': []}, victim)
    elif kind == 'a_network':
        shutil.copyfile(network, victim)


def _replace_by_no_file(victim: Path, kind: str) -> None:
    victim.unlink()
    if kind.startswith('pipe'):
        os.mkfifo(victim)
    elif kind == 'link_to_a_device':
        victim.symlink_to('/dev/zero')
    else:
        short = Path(tempfile.mkdtemp()) / 's'  # as paths of sockets have to be
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(short))
        shutil.move(short, victim)
        short.parent.rmdir()


def _spoil(victim: Path, kind: str) -> None:
    """Write a file again with one thing in it changed."""
    content: Any = _load(victim)
    optimizer: Any = (content.get('optimizers') or [None])[0]
    moments = optimizer['state'][0] if optimizer else {}
    changes: dict[str, Callable[[], object]] = {
        'nan_moments': lambda: moments['exp_avg_sq'].view(-1)[0].fill_(math.nan),
        'inf_moments': lambda: moments['exp_avg'].view(-1)[0].fill_(math.inf),
        'nan_network': lambda: next(iter(content['params'].values())).view(-1)[0].fill_(math.nan),
        'nan_average': lambda: next(iter(content['params_ema'].values())).view(-1)[0].fill_(math.nan),
        'other_groups': lambda: optimizer['param_groups'][0]['params'].pop(),
        'no_groups': lambda: optimizer['param_groups'].clear(),
        'no_optimisers': lambda: content['optimizers'].clear(),
        'text_optimiser': lambda: content['optimizers'].__setitem__(0, 'Adam'),
        'other_shapes': lambda: moments.update(exp_avg=torch.zeros(3)),
        'no_learning_rate': lambda: optimizer['param_groups'][0].pop('betas'),
        'text_schedules': lambda: content['schedulers'].__setitem__(0, 'MultiStepLR'),
        'other_random_states': lambda: content['random_states'][0].update(torch=torch.zeros(3)),
        'text_best': lambda: content['best_metric_results']['Held'].update(psnr='33 dB'),
        'no_guard': lambda: content.update(guard=7),
        'negative_iteration': lambda: content.update(iter=-4),
    }
    changes[kind]()
    victim.unlink()  # its other names keep their content
    torch.save(content, victim)


def no_file_to_train_on(bench: Bench, kind: str) -> Case:
    """An image of the data, or the option file, is a pipe: one line, whatever reads it."""
    case = Case('pipes', f'{kind}_is_a_pipe')
    options = yaml.safe_load(bench.options.read_text())
    pairs = bench.root / f'{case.name}_pairs'
    make_pairs(pairs, 8)
    options['datasets']['train'] |= {f'dataroot_{side}': str(pairs / name) for side, name in SIDES.items()}
    path = bench.root / f'{case.name}.yml'
    path.write_text(yaml.safe_dump(options))
    victim = path if kind == 'options' else pairs / SIDES[kind] / '0.png'
    _replace_by_no_file(victim, 'pipe')
    training = Training(bench, case.name, path)
    child = training.start()
    case.expect_code(child, 2)
    errors = [line for line in child.printed().splitlines() if line.startswith('basicsr: error: ')]
    is_clear = len(errors) == 1 and str(victim) in errors[0] and 'pipe' in errors[0]
    case.expect(is_clear, 'not one line that names the pipe', child)
    case.expect(not training.experiment.exists(), 'a folder was made', child)
    return case


def journal_is_a_folder(bench: Bench) -> Case:
    """What a run writes to cannot be written to: one line, and the training goes on when it can."""
    case = Case('pipes', 'metrics.jsonl_is_a_folder')
    training = bench.interrupted(case.name)
    newest, path = training.newest_state(), training.experiment / 'metrics.jsonl'
    lines = path.read_text()
    path.unlink()
    path.mkdir()
    child = training.go_on()
    case.expect_code(child, 2)
    case.expect('metrics.jsonl is a folder' in child.printed(), 'does not name it', child)
    path.rmdir()
    path.write_text(lines)
    case.expect_end(bench, training, training.go_on(), newest)
    return case


# ---------------------------------------------------------------------------------------------------------- two runs


def two_runs(bench: Bench, name: str, arguments: Sequence[str], moment: str) -> Case:
    """A second training of a name is refused in one line, and the first ends as if nothing had been.

    Args:
        bench: what all cases share.
        name: of the case.
        arguments: of both.
        moment: of the second start: `together`, `begin`, `training`, or `killed`, when the first has just been killed.
    """
    case = Case('two runs', name)
    training = Training(bench, name)
    if True not in bench.nurseries:  # whose imports take longer than a training
        idle = bench.start(True, folder=str(bench.root), arguments=['-h'], output=os.devnull, max_file_size=None)
        idle.wait()
    first = training.start(*arguments)
    if moment == 'killed':
        first.lives_until(lambda: training.last_iteration() > SAVE_EVERY)
        first.send(signal.SIGKILL)
        newest = training.newest_state()
        case.kills += 1
        case.expect_end(bench, training, training.start('--auto_resume', beside=True), newest)
        first.wait()
        return case
    conditions = {'together': lambda: True, 'begin': training.experiment.exists, 'training': training.last_iteration}
    first.lives_until(conditions[moment], pause=0.001)
    second = training.start(*arguments, beside=True)
    refused, kept = (first, second) if moment == 'together' and second.wait() == 0 else (second, first)
    case.expect_code(refused, 2)
    errors = [line for line in refused.printed().splitlines() if line.startswith('basicsr: error: ')]
    wanted = f'is being trained by process {kept.pid} on {socket.gethostname()} since '
    case.expect(len(errors) == 1 and wanted in errors[0], 'not one line that names process, host and begin', refused)
    case.expect_end(bench, training, kept, 0)
    folders = os.listdir(training.folder / 'experiments')
    case.expect(folders == [NAME], f'there are {folders}')
    return case


# ----------------------------------------------------------------------------------------------------------- workers


def worker_killed(bench: Bench, name: str, rng: random.Random) -> Case:
    """A worker of the data loader is killed, as the system does where memory is short: all iterations are saved."""
    case = Case('workers', name)
    training = Training(bench, name, bench.worker_options)
    child = training.start()
    wanted = rng.randint(1, bench.total - 2)
    child.lives_until(lambda: training.last_iteration() >= wanted)
    workers = Path(f'/proc/{child.pid}/task/{child.pid}/children').read_text().split()
    for worker in workers:
        os.kill(int(worker), signal.SIGKILL)
        case.kills += 1
    _expect_explained_end(case, child, training, 'worker', bench.total)
    case.expect_end(bench, training, training.go_on(), training.newest_state())
    return case


def no_shared_memory(bench: Bench, size: int) -> Case:
    """The workers have too little shared memory: one line with the cure, by which it goes on."""
    case = Case('workers', f'shared_memory_{size}')
    training = Training(bench, case.name, bench.worker_options)
    child = training.start(shared_memory=size)
    _expect_explained_end(case, child, training, 'shared memory', bench.total)
    case.expect_end(bench, training, training.go_on(), training.newest_state())
    return case


def _expect_explained_end(case: Case, child: Child, training: Training, word: str, total: int) -> None:
    if child.wait() == 0 and training.newest_state() == total:
        case.remarks.append('came after the last batch')
        return
    case.expect_code(child, 2)
    errors = [line for line in child.printed().splitlines() if line.startswith('basicsr: error: ')]
    case.expect(len(errors) == 1 and word in errors[0], f'not one line that names the {word}', child)
    reached, newest = training.last_iteration(), training.newest_state()
    case.remarks.append(f'after {reached}')
    if newest != reached:
        case.states_lost += 1
        case.expect(False, f'ended after {reached}, but the newest state is that of {newest}', child)


# ---------------------------------------------------------------------------------------------------------- bad disks


class Disk:
    """Where a training writes; a context manager that leaves nothing mounted.

    Args:
        name: what happens to it.
    """

    cause = ''
    """What the system says of a write that fails."""
    max_file_size: int | None = None
    flush_error: int | None = None

    def __init__(self, name: str):
        self.name = name
        self._mounts: list[Path] = []

    def __enter__(self) -> 'Disk':
        return self

    def __exit__(self, *_: object) -> None:
        for mount in reversed(self._mounts):
            subprocess.run(['umount', '--lazy', str(mount)], check=False)

    def prepare(self, folder: Path) -> None:
        """Before a training has its first file there."""

    def close(self, training: Training) -> None:
        """Make it unwritable."""

    def open(self, training: Training) -> None:
        """Make it writable again."""

    def _mount(self, folder: Path, *arguments: str) -> None:
        subprocess.run(['mount', *arguments, str(folder)], check=True)
        self._mounts.append(folder)


class FileLimit(Disk):
    """No file may be larger than `size`, as the limits of a user may have it."""

    cause = 'File too large'

    def __init__(self, size: int):
        super().__init__('file_limit')
        self.max_file_size = size


class NoFlush(Disk):
    """What was written cannot be flushed, as quotas, network drives and failing disks say it at last."""

    def __init__(self, number: int):
        super().__init__(f'flush_{errno.errorcode[number]}')
        self.flush_error, self.cause = number, os.strerror(number)


class FullDisk(Disk):
    """A tmpfs of which `free` bytes are left."""

    cause = 'No space left on device'

    def __init__(self, free: int):
        super().__init__(f'full_disk_{free}')
        self._free = free

    def prepare(self, folder: Path) -> None:
        self._mount(folder, '-t', 'tmpfs', '-o', 'size=128m', 'tmpfs')

    def close(self, training: Training) -> None:
        disk = os.statvfs(training.folder)
        (training.folder / 'ballast').write_bytes(bytes(max(0, disk.f_bavail * disk.f_frsize - self._free)))

    def open(self, training: Training) -> None:
        (training.folder / 'ballast').unlink()


class ReadOnly(Disk):
    """A bind mount of the folder `models`, or of all of `experiments`."""

    cause = 'Read-only file system'

    def __init__(self, part: str):
        super().__init__(f'read_only_{part}')
        self._part = part

    def close(self, training: Training) -> None:
        folder = training.models if self._part == 'models' else training.experiment.parent
        self._mount(folder, '--bind', str(folder))
        subprocess.run(['mount', '-o', 'remount,bind,ro', str(folder)], check=True)

    def open(self, training: Training) -> None:
        subprocess.run(['umount', str(self._mounts[-1])], check=True)
        self._mounts.pop()


def unwritable(bench: Bench, disk: Disk, is_new: bool = False) -> Case:
    """A training that cannot write, until it can again.

    Args:
        bench: what all cases share.
        disk: on which it is.
        is_new: begin without a state.
    """
    case = Case('unwritable', disk.name + ('_from_the_start' if is_new else ''))
    with disk:
        if is_new:
            training = Training(bench, case.name)
            disk.prepare(training.folder)
        else:
            training = bench.interrupted(case.name, disk.prepare)
        before = {path: path.read_bytes() for path in training.files()}
        disk.close(training)
        arguments = [] if is_new else ['--auto_resume']
        child = training.start(*arguments, max_file_size=disk.max_file_size, flush_error=disk.flush_error)
        _expect_failure(case, child, training, disk.cause)
        after = {path: path.read_bytes() for path in training.files()}
        case.expect(all(after.get(path) == content for path, content in before.items()), 'older files have changed')
        case.expect(not training.temporaries(), 'half written files are left')
        case.expect_whole_files(training)
        disk.open(training)
        newest = training.newest_state()
        case.expect_end(bench, training, training.go_on(), newest)
    return case


def _expect_failure(case: Case, child: Child, training: Training, cause: str) -> None:
    """Exit code 1, and one line that names the file and the cause."""
    case.expect_code(child, 1)
    printed = child.printed()
    errors = [line for line in printed.splitlines() if line.startswith('basicsr: error: ')]
    place = f'{training.experiment.parent}/'
    is_clear = len(errors) == 1 and place in errors[0] and cause in errors[0]
    case.expect(is_clear, f'not one line that names the file and the cause ({cause})', child)
    case.remarks += [error.replace(place, '').removeprefix('basicsr: error: ').split('. ')[0] for error in errors]


def can_mount(folder: Path) -> bool:
    """Whether a tmpfs can be mounted here, which takes root and a system that lets it."""
    target = folder / 'probe'
    target.mkdir()
    try:
        subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', str(target)], check=True, capture_output=True)
        subprocess.run(['umount', str(target)], check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        target.rmdir()
    return True


# ------------------------------------------------------------------------------------------------------------ signals


def stopped(bench: Bench, name: str, number: signal.Signals, moment: float | str) -> Case:
    """A training that a signal asks to stop.

    Args:
        bench: what all cases share.
        name: of the case.
        number: the signal.
        moment: iterations, or `begin` (before the first iteration), `write`, `validation`.
    """
    case = Case('signals', name)
    training = Training(bench, name)
    child = training.start()
    conditions: dict[Any, Callable[[], object]] = {
        'begin': lambda: 'Start training' in child.printed(),
        'write': lambda: training.last_iteration() > SAVE_EVERY and training.temporaries(),
        'validation': lambda: any((training.experiment / 'visualization').rglob('*.png')),
    }
    child.lives_until(conditions.get(moment, lambda: training.last_iteration() >= int(moment)))
    if isinstance(moment, float):
        child.lives_for(moment % 1 * bench.seconds / bench.total)
    child.send(number)
    reached, newest = _expect_stop(case, child, training, 128 + number, bench.total)
    case.remarks.append(f'after {reached}')
    if newest != reached:
        case.states_lost += 1
        case.problems.append(f'stopped after {reached}, but the newest state is that of {newest}')
    case.expect_whole_files(training)
    case.expect_end(bench, training, training.go_on(), newest)
    return case


def _expect_stop(case: Case, child: Child, training: Training, code: int, total: int) -> tuple[int, int]:
    if child.wait() == 0 and training.newest_state() == total:
        case.remarks.append('came after the last iteration')
    else:
        case.expect_code(child, code)
    return training.last_iteration(), training.newest_state()


def stopped_twice(bench: Bench, number: signal.Signals) -> Case:
    """A second signal ends a process that is within a long iteration."""
    case = Case('signals', f'{number.name}_twice')
    training = Training(bench, case.name, bench.slow_options)
    child = training.start()
    child.lives_until(lambda: 'Start training' in child.printed(), pause=0.01)
    child.lives_for(1)
    child.send(number)
    is_noted = child.lives_until(lambda: 'saved first' in child.printed(), pause=0.01)
    case.expect(is_noted and child.lives_for(0.7), 'the first signal was not noted, or the iteration was short', child)
    since = time.monotonic()
    child.send(number)
    case.expect_code(child, 128 + number)
    took = time.monotonic() - since
    case.remarks.append(f'{took:.2f} s')
    case.expect(took < 1, f'ended {took:.1f} s after the second signal', child)
    case.expect('ended at once' in child.printed(), 'does not say that it ended at once', child)
    case.expect(training.newest_state() == 0, 'has saved')
    return case


# ----------------------------------------------------------------------------------------------------------- all of it


def cases(bench: Bench, runs: int, rng: random.Random, only: Sequence[str] = ()) -> Iterator[Case]:
    """All cases, or those of some kinds, each worked out when it is asked for."""
    yield undisturbed(bench)
    kinds = {
        'SIGKILL': kills,
        'power cuts': power_cuts,
        'damaged state': lambda bench, *_: (damaged(bench, kind) for kind in DAMAGES),
        'not finite': lambda bench, *_: (damaged(bench, kind) for kind in NOT_FINITE),
        'malformed': lambda bench, *_: (damaged(bench, kind) for kind in MALFORMED),
        'pipes': pipes,
        'two runs': pairs_of_runs,
        'workers': failing_workers,
        'unwritable': unwritable_cases,
        'signals': signals,
    }
    for kind, some in kinds.items():
        if not only or kind in only:
            yield from some(bench, runs, rng)


def kills(bench: Bench, runs: int, rng: random.Random) -> Iterator[Case]:
    """At any moment, and after the last state."""
    for number in range(1, runs + 1):
        yield killed(bench, f'kill_{number}', rng)
    for number in range(1, max(1, runs // 10) + 1):
        yield killed(bench, f'kill_at_the_end_{number}', rng, [strike_after_the_last_state], most=1)


def pipes(bench: Bench, runs: int, rng: random.Random) -> Iterator[Case]:
    """What is read, or written to, is no regular file."""
    for kind in PIPES:
        yield damaged(bench, kind)
    for kind in (*SIDES, 'options'):
        yield no_file_to_train_on(bench, kind)
    yield journal_is_a_folder(bench)


def pairs_of_runs(bench: Bench, runs: int, rng: random.Random) -> Iterator[Case]:
    """Started at the same time, or while the first begins, trains, or has been killed."""
    for number in range(max(1, runs // 20)):
        for moment in ('together', 'begin', 'training'):
            for arguments in ([], ['--auto_resume']):
                name = '_'.join(['two', moment, *(word.strip('-') for word in arguments), str(number)])
                yield two_runs(bench, name, arguments, moment)
        yield two_runs(bench, f'two_killed_{number}', [], 'killed')


def failing_workers(bench: Bench, runs: int, rng: random.Random) -> Iterator[Case]:
    """Killed, or without shared memory."""
    for number in range(max(2, runs // 10)):
        yield worker_killed(bench, f'worker_{number}', rng)
    for size in (4096, 100_000) if can_mount(bench.root) else ():
        yield no_shared_memory(bench, size)


def signals(bench: Bench, runs: int, rng: random.Random) -> Iterator[Case]:
    """Each at chosen moments, at any, and twice."""
    for number in STOPPING:
        for moment in ('begin', 'write', 'validation'):
            yield stopped(bench, f'{number.name}_{moment}', number, moment)
        for place in range(max(2, runs // 10)):
            yield stopped(bench, f'{number.name}_{place}', number, rng.uniform(0, bench.total))
        yield stopped_twice(bench, number)


def unwritable_cases(bench: Bench, runs: int, rng: random.Random) -> Iterator[Case]:
    """Disks that have room for other parts of what is written, and folders that must not be written to."""
    half = bench.interrupted('sizes')
    network, state = (max(path.stat().st_size for path in _list(folder)) for folder in (half.models, half.states))
    for is_new in (False, True):
        yield unwritable(bench, FileLimit(min(network, state) // 2), is_new)
        for number in (errno.EDQUOT, errno.EIO, errno.EROFS):
            yield unwritable(bench, NoFlush(number), is_new)
    if not can_mount(bench.root):
        print('nothing can be mounted here: the file limit stands for full disks, read-only folders are left out')
        return
    for free in (0, 4096, 16384, int(network * 0.9), network + state // 2, int(rng.uniform(0, network + state))):
        yield unwritable(bench, FullDisk(free))
    for free in (8192, *(int((network + state) * rng.uniform(*shares)) for shares in ((1, 2), (2, 3)))):
        yield unwritable(bench, FullDisk(free), is_new=True)
    for part in ('models', 'experiments'):
        yield unwritable(bench, ReadOnly(part))


def describe(case: Case) -> str:
    """The line of a case, and what went wrong below it."""
    parts = [f'{case.kills} kills, {case.kills_in_a_write} in a write'] if case.kills else []
    parts += case.remarks
    parts += [f'went on from {", ".join(map(str, case.resumed))}'] if case.resumed else []
    parts += ['end equal'] if case.is_equal else []
    verdict = 'FAILED' if case.problems else 'ok'
    lines = [f'{verdict:<7}{case.group:<14}{case.name:<36}{"; ".join(parts)}']
    lines += [f'       - {problem.strip()}' for problem in case.problems]
    lines += [f'         | {line}' for line in case.printed.splitlines()[-30:]]
    return '\n'.join(lines)


def table_of(results: list[Case]) -> str:
    """Counts by group."""
    columns = (
        'cases',
        'kills',
        'in a write',
        'resumed',
        'end equal',
        'lost',
        'hangs',
        'tracebacks',
        'litter',
        'failed',
    )
    rows = [f'{"":<14}' + ''.join(f'{column:>11}' for column in columns)]
    for group in [*dict.fromkeys(case.group for case in results), 'all']:
        of_group = [case for case in results if group in (case.group, 'all')]
        counts = (
            len(of_group),
            sum(case.kills for case in of_group),
            sum(case.kills_in_a_write for case in of_group),
            sum(len(case.resumed) for case in of_group),
            sum(case.is_equal for case in of_group),
            sum(case.states_lost for case in of_group),
            sum(case.hangs for case in of_group),
            sum(case.tracebacks for case in of_group),
            sum(case.litter for case in of_group),
            sum(bool(case.problems) for case in of_group),
        )
        rows.append(f'{group:<14}' + ''.join(f'{count:>11}' for count in counts))
    return '\n'.join(rows)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--runs', type=int, default=50, help='trainings that are killed (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the random moments (default: %(default)s)')
    parser.add_argument('--workers', type=int, default=0, help='of the data loaders (default: %(default)s)')
    parser.add_argument('--light', action='store_true', help='train AODNet, in a fifth of the time that OKDNet takes')
    parser.add_argument('--keep', action='store_true', help='keep the folder of the trainings')
    parser.add_argument('--only', nargs='+', default=(), metavar='GROUP', help='of the table, as "two runs" workers')
    parser.add_argument('--be-a-nursery', action='store_true', help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.be_a_nursery:
        be_a_nursery()
        return 0
    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that mounts and folders go
    root = Path(tempfile.mkdtemp(prefix='faults_'))
    since = time.monotonic()
    results = []
    try:
        with Bench(root, workers=args.workers, is_light=args.light) as bench:
            error = bench.make_reference()
            if error:
                print(f'the undisturbed training fails:\n{error}')
                return 1
            for case in cases(bench, args.runs, random.Random(args.seed), args.only):
                results.append(case)
                print(describe(case), flush=True)
                if not args.keep:
                    shutil.rmtree(root / case.name, ignore_errors=True)
    finally:
        print(f'kept: {root}') if args.keep else shutil.rmtree(root, ignore_errors=True)
    print(f'\n{table_of(results)}\n{time.monotonic() - since:.0f} s; a training takes {bench.seconds:.1f} s')
    return int(any(case.problems for case in results))


if __name__ == '__main__':
    sys.exit(main())
