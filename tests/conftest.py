"""What several test files share: the registered plugin, small hazy images, the command in its own process."""

import atexit
import datetime
import functools
import importlib.util
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.distributed
import yaml

import okdnet_plugin  # goes first: it patches BasicSR

# isort: split
from basicsr.utils import set_random_seed

from okdnet_plugin.engine.torch_versions import leave_process_group

okdnet_plugin.register()

REPOSITORY = Path(__file__).parent.parent


LONG = pytest.StashKey[int]()


@pytest.hookimpl(trylast=True)  # after -k
def pytest_collection_modifyitems(config, items):
    """Leave the long tests out, unless -m says which tests are wanted."""
    long = [] if config.option.markexpr else [item for item in items if item.get_closest_marker('long')]
    if long:
        items[:] = [item for item in items if not item.get_closest_marker('long')]
        config.hook.pytest_deselected(items=long)
    config.stash[LONG] = len(long)


def pytest_sessionfinish(session):
    if hasattr(session.config, 'workeroutput'):
        session.config.workeroutput['long'] = session.config.stash.get(LONG, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Each worker of pytest-xdist has collected the same tests, and the process that prints has collected none."""
    node.config.stash[LONG] = getattr(node, 'workeroutput', {}).get('long', 0)


def pytest_unconfigure(config):
    """The last line says what was left out, and why."""
    reporter = config.pluginmanager.getplugin('terminalreporter')
    if not reporter:
        return
    left_out = []
    if skipped := reporter.stats.get('skipped', []):
        reasons = Counter(str(report.longrepr[2]).removeprefix('Skipped: ') for report in skipped)
        listed = '; '.join(f'{count} x {reason}' for reason, count in reasons.most_common())
        left_out.append(f'{len(skipped)} tests: {listed}')
    if long := config.stash.get(LONG, 0):
        left_out.append(f'{long} long tests, which `pytest -m long` runs')
    if left_out:
        reporter.write_line(f'left out: {"; ".join(left_out)}')


@pytest.fixture(autouse=True)
def _seeded():
    set_random_seed(0)


@pytest.fixture(scope='session')
def pairs(tmp_path_factory) -> Path:
    """Four clear images of 48x64 and two hazy ones of each, named like RESIDE ITS, in hazy/ and clear/."""
    root = tmp_path_factory.mktemp('pairs')
    rng = np.random.default_rng(0)
    for folder in ('hazy', 'clear'):
        (root / folder).mkdir()
    for scene in range(1, 5):
        clear = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (64, 48), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(root / 'clear' / f'{scene}.png'), clear)
        for variant, airlight in enumerate((0.8, 0.95), 1):
            transmission = np.linspace(0.3, 0.7, 48)[:, None, None]
            hazy = clear * transmission + 255 * airlight * (1 - transmission)
            cv2.imwrite(str(root / 'hazy' / f'{scene}_{variant}_{airlight}.png'), hazy.round().astype(np.uint8))
    return root


@pytest.fixture
def train_options(pairs) -> dict:
    """Options that train a small OKDNet on `pairs` for four iterations, with EMA, validation and a saved state."""
    dataset = {
        'name': 'Pairs',
        'type': 'PairedDehazeDataset',
        'dataroot_lq': str(pairs / 'hazy'),
        'dataroot_gt': str(pairs / 'clear'),
        'layout': 'its',
        'io_backend': {'type': 'disk'},
    }
    loader = {'num_worker_per_gpu': 0, 'batch_size_per_gpu': 2, 'use_hflip': True, 'use_rot': True, 'gt_size': 32}
    return {
        'name': 'small',
        'model_type': 'OKDNetModel',
        'scale': 1,
        'num_gpu': 'auto',
        'manual_seed': 0,
        'datasets': {'train': dataset | loader, 'val': dataset | {'name': 'Held'}},
        'network_g': {'type': 'OKDNet', 'num_feat': 8, 'num_blocks': [1, 1, 1], 'growth': 4},
        'path': {'pretrain_network_g': None, 'strict_load_g': True, 'resume_state': None},
        'train': {
            'ema_decay': 0.9,
            'optim_g': {'type': 'Adam', 'lr': 1e-3, 'betas': [0.9, 0.999]},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [3], 'gamma': 0.5},
            'total_iter': 4,
            'warmup_iter': -1,
            'pixel_opt': {'type': 'L1Loss'},
            'ssim_opt': {'type': 'SSIMLoss'},
            'distill_opt': {'type': 'OnlineDistillationLoss', 'loss_weight': 0.5},
        },
        'val': {
            'val_freq': 4,
            'save_img': True,
            'metrics': {name: {'type': f'calculate_{name}', 'crop_border': 0} for name in ('psnr', 'ssim')},
        },
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': False},
        'dist_params': {'backend': 'gloo'},
    }


@pytest.fixture
def model_options(train_options) -> dict:
    """`train_options` as BasicSR's parser hands them to a model, for a model built in this process."""
    options = train_options | {'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1, 'num_gpu': 0}
    for phase, dataset in options['datasets'].items():
        dataset.update(phase=phase, scale=1)
    return options


def mm_dataset(pairs: Path, phase: str = 'train', **more) -> dict:
    """Config of `pairs` as a PairedDehazeDataset."""
    options = {'dataroot_lq': str(pairs / 'hazy'), 'dataroot_gt': str(pairs / 'clear'), 'layout': 'its'}
    training = {'gt_size': 32, 'use_hflip': True, 'use_rot': True} if phase == 'train' else {}
    return {'type': 'PairedDehazeDataset', 'opt': {'phase': phase, 'name': 'Pairs', **options, **training, **more}}


@pytest.fixture
def model_config() -> dict:
    """Config of a small OKDNetRestorer with the three losses."""
    return {
        'type': 'OKDNetRestorer',
        'generator': {'type': 'OKDNet', 'num_feat': 8, 'num_blocks': [1, 1, 1], 'growth': 4},
        'pixel_loss': {'type': 'BasicSRL1Loss'},
        'ssim_loss': {'type': 'SSIMLoss'},
        'distill_loss': {'type': 'OnlineDistillationLoss', 'loss_weight': 0.5},
    }


@pytest.fixture
def runner_config(pairs, model_config, tmp_path) -> dict:
    """Config that trains it for four iterations on `pairs`, with EMA, validation and checkpoints."""
    return {
        'custom_imports': {'imports': ['okdnet_plugin.mm'], 'allow_failed_imports': False},
        'default_scope': 'mmengine',
        'experiment_name': tmp_path.name,  # MMEngine keeps visualisers and loggers by it
        'work_dir': str(tmp_path / 'work'),
        'model': model_config,
        'train_dataloader': {
            'batch_size': 2,
            'num_workers': 0,
            'sampler': {'type': 'InfiniteSampler', 'shuffle': True},
            'dataset': mm_dataset(pairs),
        },
        'val_dataloader': {
            'batch_size': 1,
            'num_workers': 0,
            'sampler': {'type': 'DefaultSampler', 'shuffle': False},
            'dataset': mm_dataset(pairs, 'val'),
        },
        'val_evaluator': [
            {'type': 'RestorationMetric', 'function': f'calculate_{name}', 'crop_border': 0}
            for name in ('psnr', 'ssim')
        ],
        'optim_wrapper': {'type': 'OptimWrapper', 'optimizer': {'type': 'Adam', 'lr': 1e-3}},
        'param_scheduler': {'type': 'MultiStepLR', 'by_epoch': False, 'milestones': [3], 'gamma': 0.5, 'end': 4},
        'train_cfg': {'type': 'IterBasedTrainLoop', 'max_iters': 4, 'val_interval': 4},
        'val_cfg': {'type': 'ValLoop'},
        'default_hooks': {
            'logger': {'type': 'LoggerHook', 'interval': 1},
            'checkpoint': {
                'type': 'CheckpointHook',
                'by_epoch': False,
                'interval': 2,
                'save_best': 'psnr',
                'rule': 'greater',
            },
        },
        'custom_hooks': [
            {'type': 'ShareBuffersHook'},
            {'type': 'EMAHook', 'ema_type': 'ExponentialMovingAverage', 'momentum': 0.1, 'update_buffers': True},
            {'type': 'BranchVisualizationHook', 'pictures': 1},
        ],
        'vis_backends': [{'type': 'LocalVisBackend'}],
        'visualizer': {'type': 'Visualizer', 'vis_backends': [{'type': 'LocalVisBackend'}], 'name': tmp_path.name},
        'log_processor': {'by_epoch': False},
        'randomness': {'seed': 0},
        'env_cfg': {'dist_cfg': {'backend': 'gloo'}},
    }


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a file of an option file's kind into the test's own folder, where it runs; returns the name."""
    monkeypatch.chdir(tmp_path)

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return name

    return write


def load_script(path: str):
    """A script of the repository as a module, which finds its neighbours."""
    file = REPOSITORY / path
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    spec = importlib.util.spec_from_file_location(f'{file.parent.name}_{file.stem}', file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where a dataclass looks its module up
    spec.loader.exec_module(module)
    return module


def write_options(path: Path, options: dict) -> str:
    path.write_text(yaml.safe_dump(options), encoding='utf-8')
    return str(path)


ALONE = {'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1'}


def run(*command: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run a command without a GPU, on one thread, and hold what it prints."""
    environment = os.environ | ALONE | environment
    return subprocess.run([str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True)


def basicsr(*arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    """`basicsr ARGUMENTS` in a process of its own, which has not to import everything again."""
    return basicsr_of_ranks(*arguments, cwd=cwd, environments=[{}])


def two_of_basicsr(*arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    """`basicsr ARGUMENTS` in two processes that know of one another as torchrun's do."""
    return basicsr_of_ranks(*arguments, '--launcher', 'pytorch', cwd=cwd, environments=two_ranks())


def two_ranks() -> list[dict]:
    """What torchrun tells two processes by their environments."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    shared = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port, 'WORLD_SIZE': '2', 'LOCAL_WORLD_SIZE': '2'}
    return [shared | {'RANK': str(rank), 'LOCAL_RANK': str(rank)} for rank in range(2)]


@functools.cache
def _nursery() -> subprocess.Popen:
    command = [sys.executable, str(Path(__file__).with_name('nursery.py'))]
    nursery = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | ALONE
    )
    atexit.register(nursery.stdin.close)  # by which it ends
    while (line := nursery.stdout.readline()) != 'ready\n':  # packages may greet
        assert line, 'the nursery has ended'
    return nursery


def run_code(code: str, *arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """`python -c CODE ARGUMENTS` in a process of its own that has imported everything."""
    return basicsr_of_ranks(*arguments, cwd=cwd, environments=[environment], program=code)


def basicsr_of_ranks(
    *arguments: object, cwd: Path, environments: list[dict], program: str | None = None
) -> subprocess.CompletedProcess:
    """`basicsr ARGUMENTS` in several processes at once.

    Args:
        arguments: what follows `basicsr`, of all processes.
        cwd: where they start.
        environments: what the environment of each process has besides.
        program: Python code that they run in the place of `basicsr`.

    Returns:
        The worst exit code, and what all of them have printed.
    """
    nursery = _nursery()
    with tempfile.TemporaryDirectory() as folder:
        orders = [
            {
                'arguments': list(map(str, arguments)),
                'cwd': str(cwd),
                'environment': {key: value for key, value in os.environ.items() if key != 'PYTEST_CURRENT_TEST'}
                | ALONE
                | environment,
                'stdout': f'{folder}/out',
                'stderr': f'{folder}/err',
                'program': program,
            }
            for environment in environments
        ]
        nursery.stdin.write(json.dumps(orders) + '\n')
        nursery.stdin.flush()
        answer = nursery.stdout.readline()
        assert answer, 'the nursery has ended'
        out, err = (Path(folder, name).read_text(encoding='utf-8', errors='replace') for name in ('out', 'err'))
        return subprocess.CompletedProcess(arguments, max(json.loads(answer), key=abs), out, err)


def in_two_processes(function, folder):
    """Results of `function(rank)` in two processes that share a process group; `function` is one of a module."""
    # Forked from a process that has never used torch: threads of autograd do not outlive a fork.
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['torch', 'okdnet_plugin', 'basicsr'])
    with ProcessPoolExecutor(2, context) as pool:
        tasks = [pool.submit(_in_a_group, function, rank, str(folder)) for rank in range(2)]
        return [task.result(timeout=60) for task in tasks]


def _in_a_group(function, rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo',
        init_method=f'file://{folder}/meeting',
        rank=rank,
        world_size=2,
        timeout=datetime.timedelta(seconds=20),
    )
    try:
        return function(rank)
    finally:
        leave_process_group()
