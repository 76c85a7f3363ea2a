"""How fast a training is: BasicSR as it was released beside this engine, with each of its switches added in turn.

    python scripts/benchmark/training.py                        # OKDNet, 4 x 256 x 256
    python scripts/benchmark/training.py --sizes 16x256 --json training.json
    python scripts/benchmark/training.py --compile --profile    # compiling takes minutes; the costliest operators

Every figure comes from a process of its own, and the processes of all rows take turns for several rounds, so that a
busy machine is busy for all of them. The table gives medians over the rounds, `times stock` the median of the ratios
within a round. All rows train the same network with the same L1 loss, EMA and Adam on the same random images in
memory; nothing is read, so that the figures are those of the step.
"""

import argparse
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from common import in_turns, ratio, table, versions

# What a row adds to the one above it: option keys, with colons between levels. The first row is the released BasicSR.
STOCK = 'BasicSR as released: SRModel, float32'
SWITCHES = {
    'this engine': {'model_type': 'RestorationModel'},
    '+ channels_last': {'channels_last': True},
    '+ fused Adam': {'train:optim_g:fused': True},
    '+ tf32': {'tf32': True},
    '+ amp: bf16': {'amp': 'bf16'},
    '+ compile': {'compile': True},
}
NETWORKS = {
    'OKDNet': {'type': 'OKDNet'},
    'RIDNet': {'type': 'RIDNet', 'in_channels': 3, 'mid_channels': 64, 'out_channels': 3, 'img_range': 1},
    'SwinIR': {
        'type': 'SwinIR', 'upscale': 1, 'img_size': 64, 'window_size': 8, 'depths': [6, 6, 6, 6], 'embed_dim': 60,
        'num_heads': [6, 6, 6, 6], 'mlp_ratio': 2, 'upsampler': '', 'in_chans': 3,
    },
}  # fmt: skip


# ----------------------------------------------------------------------------------------------- one row in one process


def load_basicsr(row: dict) -> None:
    """Import BasicSR with this package, or as it was released with nothing but what lets it be imported."""
    if row['name'] != STOCK:
        import okdnet_plugin

        okdnet_plugin.register()
        return
    name = 'torchvision.transforms.functional_tensor'
    if importlib.util.find_spec(name) is None:
        sys.modules[name] = importlib.import_module('torchvision.transforms._functional_tensor')
    # The network imports its package, which would patch BasicSR.
    without_patches = ModuleType('okdnet_plugin.compat')
    setattr(without_patches, 'apply_on_import', lambda: None)  # noqa: B010
    sys.modules[without_patches.__name__] = without_patches
    importlib.import_module('okdnet_plugin.archs.okdnet_arch')


def build_model(row: dict):
    """The model of a row, through BasicSR's own builder."""
    from basicsr.models import build_model

    options = {
        'name': 'benchmark',
        'model_type': 'SRModel',
        'scale': 1,
        'num_gpu': torch.cuda.device_count() and 1,
        'is_train': True,
        'dist': False,
        'rank': 0,
        'world_size': 1,
        'network_g': dict(NETWORKS[row['network']]),
        'datasets': {'train': {'batch_size_per_gpu': row['batch']}},
        'path': {},
        'logger': {},
        'train': {
            'ema_decay': 0.999,
            'optim_g': {'type': 'Adam', 'lr': 1e-4},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [], 'gamma': 0.5},
            'pixel_opt': {'type': 'L1Loss'},
        },
    }
    for key, value in row['options'].items():
        *levels, last = key.split(':')
        block = options
        for level in levels:
            block = block[level]
        block[last] = value
    torch.manual_seed(0)
    return build_model(options)


def measure(row: dict) -> dict:
    """Time the steps of a row, in this process."""
    load_basicsr(row)
    import logging

    logging.getLogger('basicsr').setLevel('ERROR')
    model = build_model(row)
    shape = (row['batch'], 3, row['size'], row['size'])
    batch = {'lq': torch.rand(shape), 'gt': torch.rand(shape)}
    before = memory()

    def step(number: int) -> None:
        model.update_learning_rate(number)
        model.feed_data(batch)
        model.optimize_parameters(number)

    started = time.perf_counter()
    step(1)
    wait()
    first = time.perf_counter() - started
    times = []
    for number in range(2, 2 + row['steps']):
        started = time.perf_counter()
        step(number)
        wait()
        times.append(time.perf_counter() - started)
    result = {'seconds': statistics.median(times), 'first': first, 'memory': memory(peak=True) - before}
    if row.get('profile'):
        result['profile'] = profile(lambda: step(100))
    return result


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def memory(peak: bool = False) -> float:
    """GiB of the GPU, or of the process on a CPU; the peak of its life, or (on a CPU too) what it has had so far."""
    if torch.cuda.is_available():
        return (torch.cuda.max_memory_allocated() if peak else 0) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def profile(step: Callable[[], None], rows: int = 12) -> list[tuple[str, float]]:
    """The operators that take most of a step, with their share in per cent."""
    on_gpu = torch.cuda.is_available()
    activities = [torch.profiler.ProfilerActivity.CPU] + ([torch.profiler.ProfilerActivity.CUDA] if on_gpu else [])
    with torch.profiler.profile(activities=activities) as profiler:
        step()
        wait()
    key = 'self_device_time_total' if on_gpu else 'self_cpu_time_total'
    events = sorted(profiler.key_averages(), key=lambda event: -getattr(event, key))
    total = sum(getattr(event, key) for event in events)
    return [(event.key, 100 * getattr(event, key) / total) for event in events[:rows]]


def flops_of_step(row: dict) -> float:
    """Floating-point operations of a step's forward and backward pass, by torch's own counter, for one image."""
    from torch.utils.flop_counter import FlopCounterMode

    load_basicsr(row)
    from basicsr.archs import build_network

    net = build_network(dict(NETWORKS[row['network']])).train()
    images = torch.rand(2, 3, row['size'], row['size'])
    with FlopCounterMode(display=False) as counter:
        net(images).mean().backward()
    return counter.get_total_flops() / len(images)


def peak(dtype: torch.dtype, size: int = 4096, rounds: int = 8) -> float:
    """FLOP/s of the fastest of some products of square matrices."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    first, second = (torch.rand(size, size, device=device).to(dtype) for _ in range(2))
    best = float('inf')
    for _ in range(rounds):
        started = time.perf_counter()
        torch.matmul(first, second)
        wait()
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


# --------------------------------------------------------------------------------------------------- all rows, in turns


def in_a_process(task: str, row: dict) -> dict:
    """Run a task of this file in a fresh process; what it prints last is the answer."""
    command = [sys.executable, __file__, '--task', task, '--row', json.dumps(row)]
    # Threads that wait by spinning take the cores from those of another process.
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env={'OMP_WAIT_POLICY': 'passive', **os.environ}
    )
    if result.returncode:
        cause = (result.stderr.strip().splitlines() or [f'ended by signal {-result.returncode}'])[-1]
        return {'error': cause}
    return json.loads(result.stdout.splitlines()[-1])


def has_bf16() -> bool:
    """Whether bfloat16 is more than emulated here, which takes minutes for a step."""
    from okdnet_plugin.engine.torch_versions import cpu_has_bf16

    return torch.cuda.is_available() or cpu_has_bf16()


def rows_of(arguments: argparse.Namespace) -> list[dict]:
    options: dict = {}
    rows = [{'name': STOCK, 'options': {}}]
    for name, added in SWITCHES.items():
        missing = {
            'tf32': not torch.cuda.is_available(),
            'bf16': not has_bf16(),
            'compile': not arguments.compile,
        }
        if any(is_missing for what, is_missing in missing.items() if what in name):
            continue
        options = options | added
        rows.append({'name': name, 'options': options})
    return [row | {'network': arguments.network, 'steps': arguments.steps} for row in rows]


def run_size(arguments: argparse.Namespace, batch: int, size: int, peaks: dict[str, float]) -> dict:
    """Measure all rows at one size, and say how it goes."""
    rows: list[dict[str, Any]] = [row | {'batch': batch, 'size': size} for row in rows_of(arguments)]
    flops = batch * in_a_process('flops', rows[1])['flops']
    failed: dict[str, dict] = {}
    turns = Counter()

    def turn(row: dict) -> dict:
        name = row['name']
        if name in failed:
            return failed[name]
        turns[name] += 1
        last = turns[name] == arguments.rounds and row is rows[-1] and arguments.profile
        answer = in_a_process('measure', row | {'profile': last})
        if 'error' in answer:
            failed[name] = answer
        said = answer.get('error') or f'{answer["seconds"]:.3f} s a step'
        print(f'{batch} x {size}, round {turns[name]}, {name}: {said}', file=sys.stderr, flush=True)
        return answer

    rounds = in_turns({row['name']: partial(turn, row) for row in rows}, arguments.rounds, warm_up=0)
    results = []
    for row in rows:
        answers = rounds[row['name']]
        result = {'name': row['name'], 'options': row['options'], 'rounds': answers}
        if not any('error' in answer for answer in answers):
            kind = 'bfloat16' if row['options'].get('amp') == 'bf16' else 'float32'
            seconds = statistics.median(answer['seconds'] for answer in answers)
            stock = rounds[STOCK]
            of_stock = None if STOCK in failed else [answer['seconds'] for answer in stock]
            own = [answer['seconds'] for answer in answers]
            result |= {
                'seconds': seconds,
                'steps_per_second': 1 / seconds,
                'times_stock': ratio(of_stock, own) if of_stock else None,
                'memory': max(answer['memory'] for answer in answers),
                'first': statistics.median(answer['first'] for answer in answers),
                'share_of_peak': flops / seconds / peaks[kind],
            }
        results.append(result)
    return {'batch': batch, 'size': size, 'flops': flops, 'rows': results}


def as_table(result: dict, network: str) -> str:
    """A result as Markdown."""
    shape = f'{result["batch"]} x {result["size"]} x {result["size"]}'
    rows = []
    for row in result['rows']:
        if 'seconds' not in row:
            rows.append([row['name'], f'failed: {row["rounds"][0]["error"]}', *[''] * 5])
            continue
        rows.append(
            [
                row['name'],
                f'{row["steps_per_second"]:.3f}',
                f'{row["seconds"]:.3f}',
                '' if row['times_stock'] is None else f'{row["times_stock"]:.2f}',
                f'{row["memory"]:.1f}',
                f'{100 * row["share_of_peak"]:.0f} %',
                f'{row["first"]:.1f}',
            ]
        )
    head = ['', 'steps/s', 's/step', 'times stock', 'peak memory, GiB', 'of the matrix peak', 'first step, s']
    lines = [f'{network}, {shape}, {result["flops"] / 1e12:.2f} TFLOP a step', '', table(head, rows)]
    answers = [answer for row in result['rows'] for answer in row['rounds']]
    operators = next((answer['profile'] for answer in answers if 'profile' in answer), ())
    if operators:
        lines += ['', f'Of a step of the last row: {", ".join(f"{name} {share:.0f} %" for name, share in operators)}.']
    return '\n'.join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--network', default='OKDNet', choices=NETWORKS)
    parser.add_argument('--sizes', nargs='+', default=['4x256'], metavar='BATCHxEDGE')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--steps', type=int, default=3, help='timed steps of a process, after a first one')
    parser.add_argument('--compile', action='store_true', help='the row with torch.compile too')
    parser.add_argument('--profile', action='store_true', help='the costliest operators of the last row')
    parser.add_argument('--json', type=Path, help='write all figures to this file')
    parser.add_argument('--task', choices=['measure', 'flops', 'peak'], help=argparse.SUPPRESS)
    parser.add_argument('--row', type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task == 'measure':
        print(json.dumps(measure(arguments.row)))
        return 0
    if arguments.task == 'flops':
        print(json.dumps({'flops': flops_of_step(arguments.row)}))
        return 0
    if arguments.task == 'peak':
        kinds = ['float32', *['bfloat16'] * has_bf16()]
        print(json.dumps({name: peak(getattr(torch, name)) for name in kinds}))
        return 0

    peaks = in_a_process('peak', {})
    machine = {'versions': versions(), 'peak_flops': peaks}
    print(
        f'{versions()}; matrix product: '
        + ', '.join(f'{value / 1e12:.2f} TFLOP/s in {name}' for name, value in peaks.items())
    )
    results = []
    for size in arguments.sizes:
        batch, edge = map(int, size.split('x'))
        results.append(run_size(arguments, batch, edge, peaks))
        print('\n' + as_table(results[-1], arguments.network), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({'machine': machine, 'sizes': results}, indent=1), encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(main())
