"""Whether this package computes right on a GPU, and how fast: at most five minutes on one card.

    python scripts/check_gpu.py                          # all steps on the GPU
    python scripts/check_gpu.py --only gradients steps   # some of them
    python scripts/check_gpu.py --json result.json       # what is printed at the end, as a file too
    python scripts/check_gpu.py --device cpu             # what a CPU can do of it, with small networks

Each step is a process of its own with a time limit. Each line is PASS, FAIL or SKIP, with the number that was measured
and the largest that passes; the lines of `speed` that have no limit are for reading. The end is one JSON object. The
exit code is 1 if a line failed. On a machine without a GPU nothing is checked, which is said, and the exit code is 0.
Nothing is downloaded, and nothing is written but to a temporary folder.
"""

import argparse
import contextlib
import copy
import itertools
import json
import math
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 300  # for everything
_GRACE = 5  # seconds between the two signals that end a step
SMALL = {'type': 'OKDNet', 'num_feat': 8, 'num_blocks': [1, 1, 1], 'growth': 4}
MARK = '@check '  # before the lines by which a step tells its results
RUNNING: set[subprocess.Popen] = set()


class Step:
    """What a step may ask, and where it notes its results.

    Args:
        device: cpu or cuda.
        folder: its own, empty.
        compiles: torch.compile is tried.
    """

    def __init__(self, device: str, folder: Path, compiles: bool):
        self.device, self.folder, self.compiles = device, folder, compiles
        self.on_gpu = device == 'cuda'

    def note(
        self, name: str, passed: bool | None, value: float | None = None, limit: float | None = None, text: str = ''
    ) -> None:
        """Tell one result; `passed` None means that nothing was checked. JSON has no values that are not finite."""
        value = value if value is not None and math.isfinite(value) else None
        result = {'name': name, 'passed': passed, 'value': value, 'limit': limit, 'text': text}
        print(MARK + json.dumps(result), flush=True)

    def below(self, name: str, value: float, limit: float, text: str = '') -> None:
        """Tell a number that has to be at most `limit`."""
        value = float(value)
        self.note(name, value <= limit, value, limit, text or f'{value:.3g}')

    def skip(self, name: str, why: str) -> None:
        self.note(name, None, text=why)

    @contextlib.contextmanager
    def case(self, name: str) -> Iterator[None]:
        """Tell an error within as a failure of `name`, and go on."""
        try:
            yield
        except Exception as error:
            text = ' '.join(str(error).split())
            self.note(name, False, text=f'{type(error).__name__}: {text[:400]}')

    def wait(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()


# --------------------------------------------------------------------------------------------------------------- doctor


def doctor(step: Step) -> None:
    """`basicsr doctor` of the GPU, and its self-test five times."""
    from okdnet_plugin.doctor import gpu, self_test

    for finding in gpu.check():
        step.note(f'doctor {finding.key}', finding.status != 'wrong', text=finding.text)
    for round_ in range(5 if step.on_gpu else 2):
        with step.case(f'self-test {round_ + 1}'):
            findings = list(self_test.check())
            wrong = [finding.text for finding in findings if finding.status == 'wrong']
            difference = next((f.values['difference'] for f in findings if 'difference' in f.values), None)
            step.note(f'self-test {round_ + 1}', not wrong, difference, text='; '.join(wrong) or findings[1].text)


# ------------------------------------------------------------------------------------------------------------ gradients


def gradients(step: Step) -> None:
    """Gradients of every network and variant, of the window of the aggregation, and of SSIM, against float64."""
    from okdnet_plugin.engine.gradient_check import (
        check_gradients,
        reference_gradients,
        registered_networks,
        small_arguments,
        steady_arguments,
        variants_of,
    )

    if step.on_gpu:  # the references are made by the CPU
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // len(LANES)))
    shape = (2, 3, 32, 48) if step.on_gpu else (2, 3, 16, 20)
    for network_name, network in sorted(registered_networks().items()):
        # On a CPU the suite has all of them already.
        variants = variants_of(network) if step.on_gpu else {'default': {}}
        for variant, arguments in variants.items():
            name = f'gradients of {network_name}' + ('' if variant == 'default' else f', {variant}')
            with step.case(name):
                torch.manual_seed(0)
                # At its real size where that is quick enough: on a GPU, and once for each network.
                whole = step.on_gpu and variant == 'default'
                sizes = steady_arguments(network) if whole else small_arguments(network)
                net = network(**{**sizes, **arguments})
                reference = reference_gradients(net, shape)
                for layout in (torch.contiguous_format, torch.channels_last):
                    errors = check_gradients(net, step.device, layout, shape=shape, reference=reference)
                    worst = max(errors, key=lambda key: errors[key])
                    told = f'{errors[worst]:.2g} at {worst}'
                    # A rounding that crosses a ReLU counts for more than itself; a wrong kernel gives 0.3 and more, and
                    # is as wrong in float64, where nothing is rounded.
                    limit = 2e-2
                    if limit < errors[worst] < 0.2:
                        exact = check_gradients(
                            net, step.device, layout, dtype=torch.float64, shape=shape, reference=reference
                        )
                        told += f', {max(exact.values()):.2g} in float64'
                        limit = 0.2 if max(exact.values()) < 1e-6 else limit
                    step.below(f'{name}, {_layout(layout)}', errors[worst], limit, told)
    _window(step)
    _ssim(step)


def _layout(layout: torch.memory_format) -> str:
    return 'NHWC' if layout is torch.channels_last else 'NCHW'


def _window(step: Step) -> None:
    from okdnet_plugin.archs.okdnet_arch import average_of_window

    images, weights = _made((2, 6, 24, 20), 0), _made((2, 3, 24, 20), 1)
    for size, compiled in itertools.product((3, 5, 7), (False, True)):
        name = f'average_of_window {size}' + (', compiled' if compiled else '')
        if compiled and not step.compiles:
            step.skip(name, 'torch.compile is not tried')
            continue

        def gradient(device: str, dtype: torch.dtype, function: Callable, size: int = size) -> torch.Tensor:
            x = images.to(device, dtype).to(memory_format=torch.channels_last).requires_grad_()
            # A part of channels, as the network has it: such a tensor goes other ways than a whole one.
            (function(x.chunk(2, 1)[0], size) * weights.to(device, dtype)).sum().backward()
            return _plain(x.grad)

        with step.case(name):
            tried = torch.compile(average_of_window) if compiled else average_of_window
            found = gradient(step.device, torch.float32, tried)
            step.below(name, _relative(found, gradient('cpu', torch.float64, average_of_window)), 1e-4)


def _ssim(step: Step) -> None:
    from okdnet_plugin.losses.ssim_loss import SSIMLoss

    hazy, clear = (0.5 + 0.05 * _made((2, 3, 48, 64), seed) for seed in (0, 1))

    def value_and_gradient(device: str) -> tuple[torch.Tensor, torch.Tensor]:
        x = hazy.float().to(device).requires_grad_()
        loss = SSIMLoss()(x, clear.float().to(device))
        loss.backward()
        return _plain(loss), _plain(x.grad)

    with step.case('SSIM'):
        for part, found, expected in zip(
            ('value', 'gradient'), value_and_gradient(step.device), value_and_gradient('cpu'), strict=True
        ):
            step.below(f'SSIM, {part}', _relative(found, expected), 1e-3)


def _made(shape: Sequence[int], seed: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _plain(tensor: torch.Tensor | None) -> torch.Tensor:
    assert tensor is not None
    return tensor.detach().to('cpu', torch.float64)


def _relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


# ---------------------------------------------------------------------------------------------------------------- steps


def steps(step: Step) -> None:
    """Training steps in every precision, images that are not finite, and states that go from one setting to another."""
    os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')  # which cuBLAS reads once
    batch = _batch(4, 64 if step.on_gpu else 32)
    with step.case('a step on the CPU'):
        expected = _step(_model(step, device='cpu'), batch)
    precisions = ('off', 'bf16', 'fp16') if step.on_gpu else ('off', 'bf16')
    settings = itertools.product(precisions, (False, True), (False, True))
    for amp, fused, channels_last in settings:
        words = f'a step, {amp}' + ', fused' * fused + ', channels_last' * channels_last
        with step.case(words):
            model = _model(step, amp=amp, fused=fused, channels_last=channels_last, accumulate=2, grad_clip=0.1)
            losses = _step(model, batch)
            # Two halves of a batch have other statistics of BatchNorm than the whole.
            step.below(words, abs(losses['l_pix'] / expected['l_pix'] - 1), 0.2, f'l_pix {losses["l_pix"]:.4f}')
            if step.on_gpu and fused:
                _step_without_waiting(step, f'{words}, without waiting for the GPU', model, batch)
    _momentum(step, batch)
    _bad_image(step, batch)
    _states(step, batch)
    _deterministic(step, batch)


def _batch(count: int, size: int, seed: int = 0) -> dict:
    clear = _made((count, 3, size, size), seed).float()
    return {'lq': 0.5 * clear + 0.4, 'gt': clear, 'lq_path': [f'{number}.png' for number in range(count)]}


def _model(
    step: Step,
    network: Mapping | None = None,
    *,
    device: str | None = None,
    amp: str = 'off',
    fused: bool = False,
    channels_last: bool = False,
    compiled: bool = False,
    optimizer: Mapping | None = None,
    tf32: bool | None = False,
    deterministic: bool = False,
    **train: Any,
) -> Any:
    from okdnet_plugin.models.okdnet_model import OKDNetModel

    on_gpu = (device or step.device) == 'cuda'
    fused_kernels = {'fused': True} if fused else {}
    torch.manual_seed(0)
    return OKDNetModel(
        {
            'name': 'check',
            'model_type': 'OKDNetModel',
            'scale': 1,
            'is_train': True,
            'dist': False,
            'rank': 0,
            'world_size': 1,
            'num_gpu': int(on_gpu),
            'amp': amp,
            'channels_last': channels_last,
            'compile': compiled,
            'deterministic': deterministic,
            **({} if tf32 is None else {'tf32': tf32}),
            'datasets': {'train': {'phase': 'train', 'batch_size_per_gpu': 4}},
            'network_g': dict(network or SMALL),
            'path': {'models': str(step.folder), 'training_states': str(step.folder)},
            'train': {
                'ema_decay': 0.9,
                'optim_g': dict(optimizer or {'type': 'Adam', 'lr': 1e-3, **fused_kernels}),
                'scheduler': {'type': 'MultiStepLR', 'milestones': [1000], 'gamma': 0.5},
                'total_iter': 1000,
                'warmup_iter': -1,
                'pixel_opt': {'type': 'L1Loss'},
                'ssim_opt': {'type': 'SSIMLoss'},
                'distill_opt': {'type': 'OnlineDistillationLoss', 'loss_weight': 0.5},
                **train,
            },
            'val': {},
            'logger': {},
        }
    )


def _step(model: Any, batch: dict, iteration: int = 1) -> dict[str, float]:
    _silence_dropout(model)
    model.feed_data(batch)
    model.optimize_parameters(iteration)
    return {name: float(value) for name, value in model.get_current_log().items()}


def _silence_dropout(model: Any) -> None:
    """Devices draw different numbers."""
    for module in model.net_g.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0


def _weights(model: Any) -> torch.Tensor:
    return torch.cat([_plain(parameter).flatten() for parameter in model.net_g.parameters()])


def _step_without_waiting(step: Step, name: str, model: Any, batch: dict) -> None:
    with step.case(name):
        model.feed_data(batch)
        step.wait()
        torch.cuda.set_sync_debug_mode('error')
        try:
            model.optimize_parameters(2)
        finally:
            torch.cuda.set_sync_debug_mode('default')
        step.note(name, True, text='no value was taken from the GPU')


def _momentum(step: Step, batch: dict) -> None:
    """A first step that is left out must not begin the momentum with what lies in memory."""
    name = 'SGD with momentum, fp16, fused, after a first step that is left out'
    with step.case(name):
        sgd = {'type': 'SGD', 'lr': 0.01, 'momentum': 0.9}
        model = _model(step, amp='fp16', optimizer=sgd | {'fused': True})
        before = _weights(model)
        _step(model, batch | {'lq': batch['lq'] * float('nan')}, 1)
        is_left_out = bool(torch.equal(before, _weights(model)))
        alone = _model(step, amp='off', optimizer=sgd)
        _step(alone, batch, 1)
        for iteration in range(2, 20):  # the scale of the loss is lowered until a step is made
            _step(model, batch, iteration)
            if not torch.equal(before, _weights(model)):
                break
        moved = _relative(_weights(model) - before, _weights(alone) - before)
        step.note(f'{name}: weights stay', is_left_out)
        step.below(f'{name}: the next step', moved, 0.2)


def _bad_image(step: Step, batch: dict) -> None:
    for amp, fused in (('off', False), ('bf16', True)):
        name = f'an image of NaN is left out, {amp}' + ', fused' * fused
        with step.case(name):
            model = _model(step, amp=amp, fused=fused)
            _step(model, batch, 1)
            before = copy.deepcopy(model.net_g.state_dict())
            bad = batch | {'lq': batch['lq'].clone()}
            bad['lq'][1, 0, 0, 0] = float('nan')
            _step(model, bad, 2)
            same = all(torch.equal(value, before[key]) for key, value in model.net_g.state_dict().items())
            _step(model, batch, 3)
            moved = not torch.equal(model.net_g.state_dict()['to_image.weight'], before['to_image.weight'])
            text = f'weights {"stay" if same else "change"}, the next step {"goes on" if moved else "does nothing"}'
            step.note(name, same and moved, text=text)


def _states(step: Step, batch: dict) -> None:
    """Save after two steps, take the third in another setting; compare with three steps in one go."""
    other = 'cuda' if step.on_gpu else 'cpu'
    cases = {
        'in the same setting': ({}, {}),
        'channels_last and fused switched on': ({}, {'channels_last': True, 'fused': True}),
        'channels_last and fused switched off': ({'channels_last': True, 'fused': True}, {}),
        'from the CPU': ({'device': 'cpu'}, {'device': other}),
        'to the CPU': ({'device': other}, {'device': 'cpu'}),
    }
    for words, (first, second) in cases.items():
        name = f'a state goes on {words}'
        with step.case(name):
            whole = _model(step, **first)
            for iteration in (1, 2):
                _step(whole, batch, iteration)
                whole.current_iter = iteration
            before = _weights(whole)
            whole.save(0, 2)
            again = _model(step, **second)
            again.load_network(again.net_g, str(step.folder / 'net_g_2.pth'), True, 'params')
            from okdnet_plugin.engine import checkpoints

            again.resume_training(checkpoints.load_state(str(step.folder / '2.state')))
            for model in (whole, again):
                _step(model, batch, 3)
            step.below(name, _relative(_weights(again) - before, _weights(whole) - before), 0.1)


def _deterministic(step: Step, batch: dict) -> None:
    """`deterministic: true` gives the same weights twice, and refuses nothing that OKDNet does."""
    name = 'deterministic: true, three steps twice'
    settings: dict[str, Any] = (
        {'amp': 'bf16', 'fused': True, 'channels_last': True} if step.on_gpu else {'channels_last': True}
    )
    with step.case(name):
        try:
            found = []
            for _ in range(2):
                model = _model(step, deterministic=True, **settings)
                for iteration in (1, 2, 3):
                    _step(model, batch, iteration)
                found.append(_weights(model))
        finally:
            torch.use_deterministic_algorithms(False)
            torch.backends.cudnn.deterministic = False
        step.note(name, torch.equal(*found), text=f'the weights differ by {(found[0] - found[1]).abs().max():.2g}')


# ---------------------------------------------------------------------------------------------------------------- train


def train(step: Step) -> None:
    """`basicsr train` until it is told to stop, `--auto_resume`, `basicsr test`, `basicsr report`, validation sizes."""
    options = _options(step, step.folder)
    with step.case('basicsr train, stopped by SIGTERM'):
        code = _train_and_stop(step, options)
        states = list((step.folder / 'experiments/check/training_states').glob('*.state'))
        step.note('basicsr train, stopped by SIGTERM', code == 143 and bool(states), code, text=f'exit code {code}')
    with step.case('basicsr train --auto_resume'):
        total = options['train']['total_iter']
        run = _basicsr(step, 'train', '-opt', 'train.yml', '--auto_resume')
        network = step.folder / f'experiments/check/models/net_g_{total}.pth'
        step.note('basicsr train --auto_resume', run.returncode == 0 and network.is_file(), text=_last_line(run))
        lines = _journal(step.folder)
        psnr = [line['psnr'] for line in lines if 'psnr' in line]
        step.note('validation', bool(psnr), psnr[-1] if psnr else None, text=f'PSNR {psnr}')
    with step.case('basicsr test'):
        test = {key: options[key] for key in ('name', 'model_type', 'scale', 'num_gpu', 'network_g', 'channels_last')}
        test['datasets'] = {'test': options['datasets']['val']}
        test['path'] = {'pretrain_network_g': str(network), 'strict_load_g': True, 'param_key_g': 'params_ema'}
        test['val'] = {'save_img': True, 'suffix': None, 'metrics': options['val']['metrics']}
        _write(step.folder / 'test.yml', test)
        run = _basicsr(step, 'test', '-opt', 'test.yml')
        images = list((step.folder / 'results/check').rglob('*.png'))
        step.note('basicsr test', run.returncode == 0 and len(images) == 6, len(images), text=_last_line(run))
    with step.case('basicsr report'):
        _report(step, options, network)
    _sizes(step)


def _options(step: Step, folder: Path, iterations: int = 40) -> dict:
    """Write pairs, and an option file that trains a small OKDNet on them; returns what it says."""
    import cv2

    generator = np.random.default_rng(0)
    sizes = [(64, 96), (80, 112), (96, 64), (72, 72), (112, 80), (88, 104)]
    for kind in ('hazy', 'clear'):
        (folder / kind).mkdir(parents=True)
    for number, (height, width) in enumerate(sizes, 1):
        clear = cv2.resize(generator.integers(0, 256, (6, 8, 3), np.uint8), (width, height))
        cv2.imwrite(str(folder / f'clear/{number}.png'), clear)
        cv2.imwrite(str(folder / f'hazy/{number}_1_0.9.png'), (0.5 * clear + 110).round().astype(np.uint8))
    pairs = {
        'name': 'Pairs',
        'type': 'PairedDehazeDataset',
        'dataroot_lq': str(folder / 'hazy'),
        'dataroot_gt': str(folder / 'clear'),
        'layout': 'its',
        'io_backend': {'type': 'disk'},
    }
    loader = {'num_worker_per_gpu': 2, 'batch_size_per_gpu': 2, 'gt_size': 32, 'prefetch_mode': 'cuda'}
    options = {
        'name': 'check',
        'model_type': 'OKDNetModel',
        'scale': 1,
        'num_gpu': int(step.on_gpu),
        'manual_seed': 0,
        'channels_last': True,
        'amp': 'bf16' if step.on_gpu else 'off',
        'datasets': {
            'train': pairs | loader | {'pin_memory': True, 'dataset_enlarge_ratio': 20},
            'val': pairs | {'name': 'Held'},
        },
        'network_g': SMALL,
        'path': {'pretrain_network_g': None, 'strict_load_g': True, 'resume_state': None},
        'train': {
            'ema_decay': 0.9,
            'optim_g': {'type': 'Adam', 'lr': 1e-3, 'fused': step.on_gpu},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [iterations - 1], 'gamma': 0.5},
            'total_iter': iterations,
            'warmup_iter': -1,
            'pixel_opt': {'type': 'L1Loss'},
            'ssim_opt': {'type': 'SSIMLoss'},
            'distill_opt': {'type': 'OnlineDistillationLoss', 'loss_weight': 0.5},
        },
        'val': {
            'val_freq': iterations // 2,
            'save_img': False,
            'metrics': {
                'psnr': {'type': 'calculate_psnr', 'crop_border': 0, 'test_y_channel': False},
                'ssim': {'type': 'calculate_fast_ssim', 'crop_border': 0},
            },
        },
        'logger': {'print_freq': 1, 'save_checkpoint_freq': iterations, 'use_tb_logger': False},
    }
    _write(folder / 'train.yml', options)
    return options


def _write(path: Path, options: Mapping) -> None:
    path.write_text(json.dumps(options), encoding='utf-8')  # which is YAML, too


def _environment(**variables: str) -> dict[str, str]:
    """That of the processes of a step: this working copy, and none of a launcher's variables."""
    launchers = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')
    known = {key: value for key, value in os.environ.items() if key not in launchers and 'SLURM' not in key}
    paths = os.pathsep.join(filter(None, (str(ROOT), known.get('PYTHONPATH'))))
    return known | {'PYTHONPATH': paths, 'OMP_NUM_THREADS': known.get('OMP_NUM_THREADS', '2')} | variables


def _basicsr(step: Step, *arguments: str) -> subprocess.CompletedProcess:
    return _run(step, [sys.executable, '-m', 'okdnet_plugin', *arguments], step.folder)


def _run(step: Step, command: Sequence[str], folder: Path, **variables: str) -> subprocess.CompletedProcess:
    hidden = {} if step.on_gpu else {'CUDA_VISIBLE_DEVICES': ''}
    environment = _environment(**hidden, **variables)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def _last_line(run: subprocess.CompletedProcess) -> str:
    lines = (run.stderr if run.returncode else run.stdout).strip().splitlines()
    return f'exit code {run.returncode}' + (f': {lines[-1][:300]}' if lines and run.returncode else '')


def _journal(folder: Path) -> list[dict]:
    lines: list[dict] = []
    for path in folder.glob('experiments/check/**/metrics.jsonl'):
        for line in path.read_text(encoding='utf-8').splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                lines.append(json.loads(line))
    return lines


def _train_and_stop(step: Step, options: Mapping) -> int:
    hidden = {} if step.on_gpu else {'CUDA_VISIBLE_DEVICES': ''}
    command = [sys.executable, '-m', 'okdnet_plugin', 'train', '-opt', 'train.yml']
    with open(step.folder / 'train.log', 'w', encoding='utf-8') as log:
        process = subprocess.Popen(command, cwd=step.folder, env=_environment(**hidden), stdout=log, stderr=log)
        try:
            while process.poll() is None and not _journal(step.folder):
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            code = process.wait()
        finally:
            process.kill()
    if code != 143:
        text = (step.folder / 'train.log').read_text(encoding='utf-8').strip().splitlines()
        raise RuntimeError(f'exit code {code}: {text[-1] if text else "nothing was printed"}')
    return code


def _report(step: Step, options: Mapping, network: Path) -> None:
    pairs = {key: value for key, value in options['datasets']['val'].items() if key != 'name'}
    weights = {'pretrain_network_g': str(network), 'param_key_g': 'params_ema'}
    _write(
        step.folder / 'report.yml',
        {
            'name': 'check',
            'num_gpu': options['num_gpu'],
            'channels_last': True,
            'methods': {'OKDNet': {'network_g': SMALL, 'path': weights}},
            'datasets': {'Held': pairs},
            'metrics': {'psnr': {'type': 'calculate_psnr'}},
            'report': {'cost_size': [64, 96], 'cost_rounds': 2, 'num_worker': 1, 'tables': []},
        },
    )
    run = _basicsr(step, 'report', '-opt', 'report.yml')
    if run.returncode:
        step.note('basicsr report', False, text=_last_line(run))
        return
    found = json.loads((step.folder / 'reports/check/report.json').read_text(encoding='utf-8'))
    [method] = found['methods']
    cost = method.get('cost') or {key: method.get(key) for key in ('milliseconds', 'memory_mb')}
    [result] = found['results']
    seconds = result['seconds']['network']
    text = f'{cost["milliseconds"]} ms, {cost["memory_mb"]} MB, {seconds:.3f} s in the network'
    is_known = cost['milliseconds'] is not None and cost['memory_mb'] is not None and seconds > 0
    step.note('basicsr report: cost and memory', is_known, cost['milliseconds'], text=text)


def _sizes(step: Step) -> None:
    """Seconds of images of sizes that come for the first time and again: no search for kernels may hide there."""
    from okdnet_plugin.engine.validation import without_kernel_search

    name = 'validation of six sizes, first visit over the second'
    with step.case(name):
        edge = 100 if step.on_gpu else 16
        model = _model(step)
        visits = []
        with without_kernel_search():
            _restore(model, edge + 1, edge + 1)  # what is loaded once
            for _ in range(2):
                step.wait()
                begin = time.perf_counter()
                for number in range(6):
                    _restore(model, edge + 8 * number, edge + 40 - 8 * number)
                step.wait()
                visits.append(time.perf_counter() - begin)
        text = f'{visits[0]:.3f} s, then {visits[1]:.3f} s'
        step.below(name, visits[0] / visits[1], 5 if step.on_gpu else 50, text)


def _restore(model: Any, height: int, width: int) -> None:
    lq = torch.rand(1, 3, height, width)
    model.restore_image({'lq': lq, 'gt': lq, 'lq_path': ['made.png']})


# ---------------------------------------------------------------------------------------------------------- distributed


def distributed(step: Step) -> None:
    """Launchers: torchrun with NCCL, two processes on one card, SLURM imitated, more processes than GPUs, MMEngine."""
    cases = [_one_rank, _two_ranks, _slurm, _mmengine] + ([_too_many, _no_gpu] if step.on_gpu else [])
    if not step.on_gpu:
        step.skip('LOCAL_RANK beyond the GPUs', 'there is no GPU')
    with ThreadPoolExecutor(3 if step.on_gpu else 1) as pool:
        list(pool.map(lambda case: case(step), cases))


def _launched(step: Step, name: str, **changed: Any) -> Path:
    """A folder of its own with pairs and an option file."""
    folder = step.folder / name
    options = _options(step, folder, iterations=4)
    options['train'] |= changed.pop('train', {})
    options['datasets']['train'] |= {'num_worker_per_gpu': 0, 'dataset_enlarge_ratio': 4}
    _write(folder / 'train.yml', options | changed)
    return folder


def _torchrun(count: int, *arguments: str) -> list[str]:
    launcher = [sys.executable, '-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={count}']
    return [*launcher, '-m', *arguments, '--launcher', 'pytorch']


def _one_rank(step: Step) -> None:
    name = f'torchrun, one process, {"NCCL" if step.on_gpu else "gloo"}, sync_bn, accumulate'
    name += ', compile' * (step.compiles and step.on_gpu)
    with step.case(name):
        compiled = {'compile': True} if step.compiles and step.on_gpu else {}
        folder = _launched(step, 'one', train={'accumulate': 2}, sync_bn=True, **compiled)
        run = _run(step, _torchrun(1, 'okdnet_plugin', 'train', '-opt', 'train.yml'), folder)
        step.note(name, run.returncode == 0 and _is_trained(folder), text=_last_line(run))


def _is_trained(folder: Path) -> bool:
    return (folder / 'experiments/check/models/net_g_4.pth').is_file()


def _two_ranks(step: Step) -> None:
    """Started by hand: NCCL takes no card twice, gloo does."""
    name = 'two processes on one device, gloo'
    with step.case(name):
        folder = _launched(step, 'two', dist_params={'backend': 'gloo'}, sync_bn=True)
        runs = _together(step, folder, 2, 'pytorch', lambda rank: {'RANK': str(rank), 'LOCAL_RANK': '0'})
        codes = [run.returncode for run in runs]
        step.note(name, codes == [0, 0] and _is_trained(folder), text='; '.join(map(_last_line, runs)))


def _together(
    step: Step, folder: Path, count: int, launcher: str, variables: Callable[[int], dict[str, str]]
) -> list[subprocess.CompletedProcess]:
    command = [sys.executable, '-m', 'okdnet_plugin', 'train', '-opt', 'train.yml', '--launcher', launcher]
    shared = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(_free_port()), 'WORLD_SIZE': str(count)}
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda rank: _run(step, command, folder, **shared, **variables(rank)), range(count)))


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]


def _slurm(step: Step) -> None:
    name = 'SLURM imitated, one process'
    with step.case(name):
        folder = _launched(step, 'slurm', dist_params={'backend': 'nccl', 'port': _free_port()})
        scontrol = folder / 'scontrol'
        scontrol.write_text('#!/bin/sh\necho 127.0.0.1\n', encoding='utf-8')
        scontrol.chmod(0o755)
        of_job = {'SLURM_PROCID': '0', 'SLURM_LOCALID': '0', 'SLURM_NTASKS': '1', 'SLURM_NODELIST': 'node1'}
        path = f'{folder}{os.pathsep}{os.environ["PATH"]}'
        [run] = _together(step, folder, 1, 'slurm', lambda _: of_job | {'PATH': path})
        step.note(name, run.returncode == 0 and _is_trained(folder), text=_last_line(run))


def _too_many(step: Step) -> None:
    name = 'LOCAL_RANK beyond the GPUs is one line'
    with step.case(name):
        folder = _launched(step, 'many', dist_params={'backend': 'nccl'})
        beyond = str(torch.cuda.device_count() + 2)
        [run] = _together(step, folder, 1, 'pytorch', lambda _: {'RANK': '0', 'LOCAL_RANK': beyond})
        lines = [line for line in run.stderr.splitlines() if 'LOCAL_RANK' in line]
        step.note(name, run.returncode == 2 and len(lines) == 1, run.returncode, text=_last_line(run))


def _no_gpu(step: Step) -> None:
    name = 'num_gpu: 0 under a launcher keeps to the CPU'
    with step.case(name):
        optimizer = {'optim_g': {'type': 'Adam', 'lr': 1e-3}}
        folder = _launched(step, 'none', num_gpu=0, amp='off', dist_params={'backend': 'nccl'}, train=optimizer)
        runs = _together(step, folder, 2, 'pytorch', lambda rank: {'RANK': str(rank), 'LOCAL_RANK': str(rank + 5)})
        codes = [run.returncode for run in runs]
        step.note(name, codes == [0, 0] and _is_trained(folder), text='; '.join(map(_last_line, runs)))


def _mmengine(step: Step) -> None:
    name = f'MMEngine, one process, {"NCCL" if step.on_gpu else "gloo"}, EMAHook, a validation, bfloat16'
    try:
        import mmengine  # noqa: F401
    except ImportError as error:
        step.skip(name, f'{error}; pip install mmengine mmcv-lite')
        return
    with step.case(name):
        folder = _launched(step, 'mm')
        (folder / 'config.py').write_text(_mm_config(step, folder), encoding='utf-8')
        command = _torchrun(1, 'okdnet_plugin.mm', 'train', 'config.py', '--work-dir', 'work')
        run = _run(step, command, folder)
        is_trained = (folder / 'work/iter_4.pth').is_file()
        step.note(name, run.returncode == 0 and is_trained, text=_last_line(run))


def _mm_config(step: Step, folder: Path) -> str:
    def loader(phase: str, batch: int, sampler: dict, **more: Any) -> dict:
        roots = {'dataroot_lq': str(folder / 'hazy'), 'dataroot_gt': str(folder / 'clear'), 'layout': 'its'}
        dataset = {'type': 'PairedDehazeDataset', 'opt': {'phase': phase, 'name': 'Pairs', **roots, **more}}
        return {
            'batch_size': batch,
            'num_workers': 1,
            'pin_memory': step.on_gpu,
            'sampler': sampler,
            'dataset': dataset,
        }

    config = {
        'custom_imports': {'imports': ['okdnet_plugin.mm'], 'allow_failed_imports': False},
        'default_scope': 'mmengine',
        'model': {
            'type': 'OKDNetRestorer',
            'generator': SMALL,
            'pixel_loss': {'type': 'BasicSRL1Loss'},
            'ssim_loss': {'type': 'SSIMLoss'},
            'distill_loss': {'type': 'OnlineDistillationLoss', 'loss_weight': 0.5},
            'channels_last': True,
        },
        'train_dataloader': loader('train', 2, {'type': 'InfiniteSampler', 'shuffle': True}, gt_size=32),
        'val_dataloader': loader('val', 1, {'type': 'DefaultSampler', 'shuffle': False}),
        'val_evaluator': [{'type': 'RestorationMetric', 'function': 'calculate_psnr', 'crop_border': 0}],
        'optim_wrapper': {
            'type': 'AmpOptimWrapper' if step.on_gpu else 'OptimWrapper',
            'optimizer': {'type': 'Adam', 'lr': 1e-3},
            **({'dtype': 'bfloat16'} if step.on_gpu else {}),
        },
        'train_cfg': {'type': 'IterBasedTrainLoop', 'max_iters': 4, 'val_interval': 2},
        'val_cfg': {'type': 'ValLoop'},
        'default_hooks': {'checkpoint': {'type': 'CheckpointHook', 'by_epoch': False, 'interval': 4}},
        'custom_hooks': [
            {'type': 'ShareBuffersHook'},
            {'type': 'EMAHook', 'ema_type': 'ExponentialMovingAverage', 'momentum': 0.1, 'update_buffers': True},
        ],
        'log_processor': {'by_epoch': False},
        'env_cfg': {'dist_cfg': {'backend': 'nccl'}},
    }
    return ''.join(f'{key} = {value!r}\n' for key, value in config.items())


# --------------------------------------------------------------------------------------------------------------- dehaze


def dehaze(step: Step) -> None:
    """Dehazer with a network that is on the device, in three precisions, and out of memory."""
    from okdnet_plugin import Dehazer

    net = _network(step)
    generator = np.random.default_rng(0)
    image = generator.integers(60, 200, (96, 128, 3), np.uint8)
    # Of 255. TF32, which torch takes for convolutions in float32 unless it is told otherwise, rounds as float16 does.
    cases = (('fp32', False, 1), ('fp32', True, 6), ('bf16', True, 12), ('fp16', True, 6))
    with step.case('Dehazer on the CPU'):
        expected = Dehazer(copy.deepcopy(net).cpu(), device='cpu')(image).astype(int)
    for precision, tf32, limit in cases:
        words = precision + ', TF32' * (tf32 and precision == 'fp32')
        if not step.on_gpu and ('TF32' in words or precision == 'fp16'):
            step.skip(f'Dehazer, {words}', 'for GPUs')
            continue
        name = f'Dehazer, {words}, of a network that is on {step.device}'
        torch.backends.cudnn.allow_tf32 = tf32
        with step.case(name):
            was_training, device = net.training, next(net.parameters()).device
            found = Dehazer(net, device=step.device, precision=precision)(image).astype(int)
            step.below(name, np.abs(found - expected).max(), limit, f'{np.abs(found - expected).max()} of 255')
            same = net.training == was_training and next(net.parameters()).device == device
            trains = all(parameter.requires_grad for parameter in net.parameters())
            step.note(f'{name}: the network stays as it was', same and trains)
    _out_of_memory(step)


def _network(step: Step) -> torch.nn.Module:
    from okdnet_plugin.archs.okdnet_arch import OKDNet

    torch.manual_seed(0)
    arguments = {} if step.on_gpu else {key: value for key, value in SMALL.items() if key != 'type'}
    return OKDNet(**arguments).to(step.device)  # type: ignore[arg-type]


def _out_of_memory(step: Step) -> None:
    from okdnet_plugin import Dehazer

    if not step.on_gpu:
        step.skip('12 megapixels in little memory end in tiles', 'for GPUs')
        return
    name = '12 megapixels in little memory end in tiles'
    with step.case(name):
        said: list[str] = []
        dehazer = Dehazer(_network(step), device='cuda', notify=said.append)
        image = np.random.default_rng(0).integers(60, 200, (3000, 4000, 3), np.uint8)
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.set_per_process_memory_fraction(max(0.03, min(0.9, 2.5e9 / total)))
        try:
            result = dehazer(image)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        peak = torch.cuda.max_memory_allocated() / 2**30
        step.note(name, result.shape == image.shape, peak, text=f'{peak:.1f} GiB; {"; ".join(said)[:200]}')


# ---------------------------------------------------------------------------------------------------------------- speed


def speed(step: Step) -> None:
    """Time of a step and of a frame, memory, kernels, pairs a loader reads, and what bounds a training."""
    on_gpu = step.on_gpu
    network = {'type': 'OKDNet'} if on_gpu else SMALL
    sizes = ((4, 256), (16, 256)) if on_gpu else ((2, 32),)
    rows: dict[str, dict] = {
        'off': {},
        'bf16': {'amp': 'bf16'},
        'bf16, fused': {'amp': 'bf16', 'fused': True},
    }
    milliseconds: dict[tuple[int, str], float] = {}
    bound: dict[str, float] = {}

    def timed(count: int, size: int, row: str, settings: dict) -> None:
        nonlocal bound
        name = f'ms a step, {count} x {size} x {size}, {row}'
        with step.case(name):
            model = _model(step, network, channels_last=True, tf32=None, **settings)
            batch = _batch(count, size)
            took, peak = _timed_steps(step, model, batch, 10 if on_gpu else 2)
            milliseconds[count, row] = took
            step.note(name, True, took, text=f'{took:.1f} ms, {1e3 * count / took:.0f} pairs/s, {peak:.1f} GiB')
            if row == 'bf16, fused':
                bound = _kernels(step, model, batch, f'{count} x {size}')

    for (count, size), (row, settings) in itertools.product(sizes, rows.items()):
        timed(count, size, row, settings)
    with step.case('loader'):
        pairs = {workers: _loader(step, workers) for workers in ((4, 8, 16) if on_gpu else (1,))}
        for workers, rate in pairs.items():
            step.note(f'pairs/s of a loader with {workers} workers', True, rate, text=f'{rate:.0f} pairs/s from PNG')
        count = sizes[-1][0]
        fastest = min(value for (of, _), value in milliseconds.items() if of == count)
        wanted = 1e3 * count / fastest
        share = bound.get('gpu', 0) / bound['wall'] if bound else 0
        verdict = 'data' if max(pairs.values()) < wanted else ('GPU' if share > 0.8 else 'host')
        text = (
            f'bound by {verdict}: {wanted:.0f} pairs/s of steps of {count}, {max(pairs.values()):.0f} of the loader, '
            f'the GPU is busy for {share:.0%} of a step'
        )
        step.note('verdict', True, share, text=text)
    _video(step, network)
    if step.compiles:  # last, as it may take all the time that is left
        timed(*sizes[0], 'bf16, fused, compile', rows['bf16, fused'] | {'compiled': True})


def _timed_steps(step: Step, model: Any, batch: dict, rounds: int) -> tuple[float, float]:
    """Median milliseconds of a step, and GiB at most on the GPU."""
    if step.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    times = []
    for number in range(1, rounds + 4):
        step.wait()
        begin = time.perf_counter()
        model.feed_data(batch)
        model.optimize_parameters(number)
        step.wait()
        times.append(1e3 * (time.perf_counter() - begin))
    peak = torch.cuda.max_memory_allocated() / 2**30 if step.on_gpu else 0.0
    return statistics.median(times[3:]), peak


def _kernels(step: Step, model: Any, batch: dict, words: str) -> dict[str, float]:
    """Tell the kernels that take most of a step; returns milliseconds of the GPU (or CPU) and of the wall."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    activities += [torch.profiler.ProfilerActivity.CUDA] if step.on_gpu else []
    took, _ = _timed_steps(step, model, batch, 3)
    with torch.profiler.profile(activities=activities) as profiler:
        model.feed_data(batch)
        model.optimize_parameters(100)
        step.wait()
    key = 'self_device_time_total' if step.on_gpu else 'self_cpu_time_total'
    events = [event for event in profiler.key_averages() if getattr(event, key) > 0]
    if step.on_gpu:  # operators repeat the time of their kernels
        events = [event for event in events if str(event.device_type).endswith('CUDA')]
    events.sort(key=lambda event: -getattr(event, key))
    total = sum(getattr(event, key) for event in events)
    for place, event in enumerate(events[:12], 1):
        share = getattr(event, key) / total
        step.note(f'kernel {place}, {words}', True, share, text=f'{share:.1%} {event.key[:120]} ({event.count} times)')
    return {'gpu': total / 1e3 if step.on_gpu else 0.0, 'wall': took}


def _loader(step: Step, workers: int) -> float:
    """Pairs of 620x460 a second that workers read from PNG and crop to 256."""
    import cv2
    from basicsr.data import build_dataset
    from torch.utils.data import DataLoader

    from okdnet_plugin.engine.signals import leave_signals_to_the_parent

    folder = step.folder / 'loader'
    if not folder.exists():
        generator = np.random.default_rng(0)
        for kind in ('hazy', 'clear'):
            (folder / kind).mkdir(parents=True)
        for number in range(1, 17):
            small = generator.integers(0, 256, (115, 155, 3), np.uint8)
            clear = cv2.resize(small, (620, 460), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(folder / f'clear/{number}.png'), clear)
            cv2.imwrite(str(folder / f'hazy/{number}_1_0.9.png'), (0.5 * clear + 100).astype(np.uint8))
    roots = {'dataroot_lq': str(folder / 'hazy'), 'dataroot_gt': str(folder / 'clear'), 'layout': 'its'}
    augment = {'gt_size': 256, 'use_hflip': True, 'use_rot': False, 'io_backend': {'type': 'disk'}}
    dataset = build_dataset(
        {'name': 'Pairs', 'type': 'PairedDehazeDataset', 'phase': 'train', 'scale': 1, **roots, **augment}
    )
    count = 64 * workers if step.on_gpu else 16
    many = torch.utils.data.Subset(dataset, [number % len(dataset) for number in range(count)])
    batches = iter(DataLoader(many, 4, num_workers=workers, worker_init_fn=leave_signals_to_the_parent))
    for _ in range(workers):  # workers have begun
        next(batches)
    begin, read = time.perf_counter(), 0
    for batch in batches:
        read += len(batch['lq'])
    return read / max(1e-9, time.perf_counter() - begin)


def _video(step: Step, network: Mapping) -> None:
    from okdnet_plugin import Dehazer

    frames, (height, width) = (60, (1080, 1920)) if step.on_gpu else (3, (72, 128))
    for precision in ('fp32', 'bf16') if step.on_gpu else ('fp32',):
        name = f'{frames} frames of {width}x{height}, {precision}'
        with step.case(name):
            dehazer = Dehazer(_network(step), device=step.device, precision=precision)
            frame = np.random.default_rng(0).integers(60, 200, (height, width, 3), np.uint8)
            dehazer(frame)
            begin = time.perf_counter()
            for _ in range(frames):
                dehazer(frame)
            rate = frames / (time.perf_counter() - begin)
            step.note(name, True, rate, text=f'{rate:.1f} frames/s')


# ------------------------------------------------------------------------------------------------------------ all steps

# Name -> what is done, and seconds that it may take. Those of a lane follow one another, the lanes run side by side;
# what is timed comes last and alone.
STEPS: dict[str, tuple[Callable[[Step], None], float]] = {
    'doctor': (doctor, 60),
    'gradients': (gradients, 100),
    'steps': (steps, 90),
    'dehaze': (dehaze, 60),
    'train': (train, 100),
    'distributed': (distributed, 120),
    'speed': (speed, 110),
}
LANES = (('doctor', 'gradients', 'steps', 'dehaze'), ('train', 'distributed'))


def in_this_process(name: str, device: str, compiles: bool) -> None:
    """Run one step and print its results."""
    import logging

    import okdnet_plugin

    logging.getLogger('basicsr').setLevel('ERROR')
    okdnet_plugin.register()
    from basicsr.utils import get_root_logger

    get_root_logger().setLevel('ERROR')
    if device == 'cpu':
        torch.cuda.is_available = lambda: False
    with tempfile.TemporaryDirectory(prefix='check_gpu_') as folder:
        STEPS[name][0](Step(device, Path(folder), compiles))


class Results:
    """Lines of all steps, printed as they come."""

    def __init__(self) -> None:
        self.rows: list[dict] = []
        self._lock = threading.Lock()

    def add(self, step: str, row: dict) -> None:
        status = {True: 'PASS', False: 'FAIL', None: 'SKIP'}[row['passed']]
        number = '' if row['value'] is None else f'{row["value"]:.4g}'
        number += '' if row['limit'] is None else f' (at most {row["limit"]:g})'
        with self._lock:
            self.rows.append({'step': step, **row})
            print('  '.join(filter(None, (status, step, row['name'], number, row['text']))), flush=True)

    def count(self, passed: bool | None) -> int:
        return sum(row['passed'] is passed for row in self.rows)


def run_step(name: str, arguments: argparse.Namespace, deadline: float, results: Results) -> None:
    """Run a step in a process of its own, and end it with all its children when its time is over."""
    limit = min(STEPS[name][1] * arguments.patience, max(1.0, deadline - time.monotonic()))
    command = [sys.executable, __file__, '--device', arguments.device, '--step', name]
    command += [] if arguments.compile else ['--no-compile']
    begin, why, errors = time.perf_counter(), '', []
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(),
        start_new_session=True,  # its children end with it
    )
    RUNNING.add(process)

    def read() -> None:
        for line in process.stdout or ():
            if line.startswith(MARK):
                results.add(name, json.loads(line.removeprefix(MARK)))

    readers = [
        threading.Thread(target=target, daemon=True) for target in (read, lambda: errors.extend(process.stderr or ()))
    ]
    for reader in readers:
        reader.start()
    try:
        code = process.wait(limit)
    except subprocess.TimeoutExpired:
        why = f'no end after {limit:.0f} s'
        code = _end(process)
    RUNNING.remove(process)
    for reader in readers:
        reader.join(_GRACE)  # a process that has left the group, as a pool of compilers, may keep the pipe open
    seconds = time.perf_counter() - begin
    if code or why:
        told = [line.strip() for line in errors if line.strip()]
        results.add(name, _row('the step itself', False, why or (told[-1] if told else f'exit code {code}')))
    results.add(name, _row('seconds', True, f'{seconds:.1f} s of {limit:.0f}') | {'value': round(seconds, 1)})


def _row(name: str, passed: bool, text: str) -> dict:
    return {'name': name, 'passed': passed, 'value': None, 'limit': None, 'text': text}


def _end(process: subprocess.Popen) -> int:
    """End a step: first by the signal on which torchrun ends its own children, which are in other sessions."""
    with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(_GRACE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


@contextlib.contextmanager
def _ended_by_ctrl_c() -> Iterator[threading.Event]:
    """Let Ctrl-C end what runs, and nothing more begin; a second one ends at once."""
    stopped = threading.Event()

    def stop(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        stopped.set()
        for process in list(RUNNING):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)


def main() -> int:
    arguments = parse()
    if arguments.step:
        in_this_process(arguments.step, arguments.device, arguments.compile)
        return 0
    if arguments.device == 'cuda' and not torch.cuda.is_available():
        print('No GPU that torch can use: nothing was checked. `basicsr doctor` says why; --device cpu tries a part.')
        print(json.dumps({'device': None, 'checked': 0, 'results': []}))
        return 0
    begin, results = time.monotonic(), Results()
    deadline = begin + SECONDS * arguments.patience
    lanes = [[name for name in lane if name in arguments.only] for lane in LANES]
    if arguments.device == 'cpu':
        lanes = [list(itertools.chain(*lanes))]  # one after the other: a CPU is one device with few cores

    with _ended_by_ctrl_c() as stopped:

        def run_lane(names: Sequence[str]) -> None:
            for name in names:
                if not stopped.is_set():
                    run_step(name, arguments, deadline, results)

        with ThreadPoolExecutor(len(lanes)) as pool:
            list(pool.map(run_lane, lanes))
        run_lane([name for name in arguments.only if name not in itertools.chain(*LANES)])
    seconds = time.monotonic() - begin
    passed, failed, skipped = (results.count(value) for value in (True, False, None))
    summary = {
        'device': torch.cuda.get_device_name() if arguments.device == 'cuda' else 'cpu',
        'torch': torch.__version__,
        'cuda': torch.version.cuda,
        'seconds': round(seconds, 1),
        'checked': passed + failed,
        'passed': passed,
        'failed': failed,
        'skipped': skipped,
        'results': results.rows,
    }
    print(f'{passed} passed, {failed} failed, {skipped} skipped, in {seconds:.0f} s on {summary["device"]}')
    print(json.dumps(summary))
    if arguments.json:
        arguments.json.write_text(json.dumps(summary, indent=1), encoding='utf-8')
    return int(failed > 0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', choices=('cuda', 'cpu'), default='cuda')
    parser.add_argument('--only', nargs='+', choices=STEPS, default=list(STEPS), metavar='STEP', help=', '.join(STEPS))
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the JSON of the end to a file too')
    parser.add_argument('--no-compile', dest='compile', action='store_false', help='leave torch.compile out')
    parser.add_argument('--patience', type=float, default=1.0, metavar='TIMES', help='lengthen all time limits')
    parser.add_argument('--step', choices=STEPS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.device == 'cpu':
        arguments.compile = False
    return arguments


if __name__ == '__main__':
    sys.exit(main())
