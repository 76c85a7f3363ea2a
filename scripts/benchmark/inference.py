"""How fast networks run: OKDNet by each back end and precision, beside the other registered networks.

    python scripts/benchmark/inference.py                    # photographs inside scikit-image, at 620x460
    python scripts/benchmark/inference.py --images DIR     # images of a folder as they are
    python scripts/benchmark/inference.py --quick            # fewer rounds and sizes
    python scripts/benchmark/inference.py --weights FILE     # OKDNet with these weights, for the PSNR
    python scripts/benchmark/inference.py --profile bf16     # what each part of OKDNet costs in OpenVINO

Each row runs in a process of its own, so that its memory and its threads are its own; they take turns on each image,
and one works while all others wait. The first row, the network as it was trained, in eager PyTorch, is the base:
`times` is the median of the ratios within a turn, `PSNR` that of the 8-bit result against the base's. `peak` is the
most memory of the whole process. TFLOP/s counts the operations of the network as it was trained; `share` is of the
fastest large matrix product or convolution of this machine in that precision.

Then OKDNet's cost is measured against the size of square images; what would not fit in memory is left out.
"""

import argparse
import json
import math
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import hazy_of, images_in, photographs, ratio, table, versions

from okdnet_plugin.engine.torch_versions import cpu_has_bf16

OTHERS = ('DCP', 'AODNet', 'GCANet', 'GridDehazeNet', 'FFANet', 'MSBDN')
BACK_ENDS = ('eager fp32', 'eager bf16', 'onnx fp32', 'openvino fp32', 'openvino bf16', 'compile fp32', 'compile bf16')
BASE = 'OKDNet, as trained'
KEPT = 'OKDNet, as trained, freed memory kept'
MARK = 'benchmark: '


class Row(NamedTuple):
    """Seconds, ratios and results of one method."""

    seconds: list[float]
    """For each turn, and so in the same order for all methods."""
    psnr: float
    peak_mb: float
    gflop: float
    precision: str


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse_arguments(arguments)
    if args.worker:
        work(json.loads(args.worker))
        return 0
    with tempfile.TemporaryDirectory(prefix='benchmark_inference_') as folder:
        files = store(images(args), Path(folder))
        if args.profile:
            print(profile(args, files[0]))
            return 0
        precisions = sorted({'fp32', *(entry.split()[1] for entry in args.back_ends)})
        peaks = peak_rates(precisions)
        rows = measure(methods(args), files, args.rounds, Path(folder))
        sizes = measure_sizes(args, Path(folder))
        peaks = {precision: max(rate, peaks[precision]) for precision, rate in peak_rates(precisions).items()}
    text = f'{versions()}\n{len(files)} images, {args.rounds} rounds\n\n{as_table(rows, peaks)}\n'
    if sizes:
        text += f'\n{size_table(sizes)}\n'
    print(text)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / 'inference.md').write_text(text, encoding='utf-8')
        figures = {'rows': {name: row._asdict() for name, row in rows.items()}, 'sizes': sizes, 'peaks': peaks}
        (args.out / 'inference.json').write_text(json.dumps(figures, indent=1) + '\n', encoding='utf-8')
        if sizes:
            (args.out / 'inference_sizes.svg').write_text(plot(sizes), encoding='utf-8')
    return 0


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=Path, metavar='DIR', help='hazy images instead of photographs')
    parser.add_argument('--rounds', type=int, help='turns on each image (default: 5, with --quick 2)')
    parser.add_argument('--networks', nargs='*', metavar='NAME', help=f'beside OKDNet (default: {" ".join(OTHERS)})')
    parser.add_argument(
        '--back-ends',
        nargs='*',
        choices=BACK_ENDS,
        metavar='"NAME PRECISION"',
        help='(default: all but compile, and bf16 where the CPU has it)',
    )
    parser.add_argument(
        '--sizes', type=int, nargs='*', help='(default: 256 512 1024 2048 4096, with --quick 128 to 512)'
    )
    parser.add_argument('--weights', metavar='FILE', help='of OKDNet; without it they are random')
    parser.add_argument('--out', type=Path, metavar='DIR', help='write tables, figures and the plot there')
    parser.add_argument(
        '--profile', choices=('fp32', 'bf16'), help='by parts and operators in OpenVINO; no other table is made'
    )
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--worker', help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    args.rounds = args.rounds if args.rounds is not None else 2 if args.quick else 5
    args.networks = OTHERS if args.networks is None else args.networks
    if args.back_ends is None:
        args.back_ends = [entry for entry in BACK_ENDS[:5] if cpu_has_bf16() or not entry.endswith('bf16')]
    if args.sizes is None:
        args.sizes = [128, 256, 512] if args.quick else [256, 512, 1024, 2048, 4096]
    if args.rounds < 1:
        parser.error(f'--rounds is {args.rounds}; write a whole number from 1')
    if args.sizes and min(args.sizes) < 16:
        parser.error(f'--sizes has {min(args.sizes)}; the networks take images from 16 px')
    if args.images and not images(args):
        parser.error(f'--images {args.images}: no image in it can be read')
    return args


# ------------------------------------------------------------------------------------------------------------- images


def images(args: argparse.Namespace) -> list[np.ndarray]:
    """Hazy images, uint8 RGB."""
    clear = [] if args.images else photographs()[: 1 if args.quick else None]
    return [one[..., ::-1] for one in (images_in(args.images) if args.images else map(hazy_of, clear))]


def store(images: Sequence[np.ndarray], folder: Path) -> list[Path]:
    files = [folder / f'image_{number}.npy' for number in range(len(images))]
    for file, image in zip(files, images, strict=True):
        np.save(file, np.ascontiguousarray(image))
    return files


# -------------------------------------------------------------------------------------------------- processes that work


def methods(args: argparse.Namespace) -> dict[str, dict]:
    """What each row's process is told, by the row's name."""
    okdnet = {'network': 'OKDNet', 'weights': args.weights}
    rows = {BASE: okdnet, KEPT: okdnet | {'keep': True}}
    for entry in args.back_ends:
        name, precision = entry.split()
        rows[f'OKDNet, {name} {precision}'] = okdnet | {'back_end': name, 'precision': precision}
    return rows | {name: {'network': name} for name in args.networks}


class Worker:
    """A process that runs one method on the images it is told."""

    def __init__(self, job: Mapping):
        command = [sys.executable, __file__, '--worker', json.dumps(job)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ready = self._answer()

    def ask(self, file: Path, save: Path | None = None) -> dict:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({'file': str(file), 'save': save and str(save)}) + '\n')
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _answer(self) -> dict:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(MARK):
                return json.loads(line[len(MARK) :])
        return {'error': f'its process ended with code {self.process.wait()}'}


def work(job: Mapping) -> None:
    """Run a method on each image that a line of the standard input names."""
    import torch

    try:
        run, gflop_of = prepare(job)
    except Exception as error:  # told by the process that asked
        print(MARK + json.dumps({'error': f'{type(error).__name__}: {error}'}), flush=True)
        return
    print(MARK + json.dumps({}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        image = torch.from_numpy(np.load(request['file'])).permute(2, 0, 1)[None].float() / 255
        begin = time.perf_counter()
        with torch.inference_mode():
            output = run(image)
        answer = {'seconds': time.perf_counter() - begin, 'peak_mb': peak_memory()}
        if request['save']:
            np.save(request['save'], (output[0].clamp(0, 1) * 255).round().byte().numpy())
            answer['gflop'] = gflop_of(image.shape[-2:])
        print(MARK + json.dumps(answer), flush=True)


def prepare(job: Mapping) -> tuple[Callable, Callable]:
    """What runs an image, and what counts the 10^9 operations of the network as it was trained."""
    import torch

    import okdnet_plugin

    okdnet_plugin.register()
    from basicsr.archs import build_network

    from okdnet_plugin.engine.memory import keep_freed_memory
    from okdnet_plugin.inference import backends
    from okdnet_plugin.weights.loading import build, load

    torch.manual_seed(0)
    net = build(load(job['weights'])) if job.get('weights') else build_network({'type': job['network']})
    net.eval().requires_grad_(False)
    if job.get('keep'):
        keep_freed_memory()
    if not job.get('back_end'):
        return net, lambda size: gflop(net, size)
    back_end = backends.make(net, job['back_end'], job['precision'], 'cpu')
    return lambda image: back_end(image).output, lambda size: gflop(net, size)


def gflop(net, size: Sequence[int]) -> float:
    from okdnet_plugin.report.cost import gmacs

    return 2 * gmacs(net, size)


def peak_memory() -> float:
    """Of this process, in 10^6 bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def peak_rates(precisions: Sequence[str]) -> dict[str, float]:
    """TFLOP/s of the fastest large matrix product or convolution, by precision (fp32, bf16)."""
    import torch
    from torch.nn import functional as F

    def rate(run: Callable, operations: float) -> float:
        best = math.inf
        for _ in range(8):
            begin = time.perf_counter()
            run()
            best = min(best, time.perf_counter() - begin)
        return operations / best / 1e12

    rates = {}
    for precision in precisions:
        dtype = {'fp32': torch.float32, 'bf16': torch.bfloat16}[precision]
        with torch.inference_mode():
            matrix = torch.rand(2048, 2048).to(dtype)
            found = [rate(lambda matrix=matrix: matrix @ matrix, 2 * 2048**3)]
            for num in (64, 128, 256):
                x = torch.rand(1, num, 128, 160).to(dtype, memory_format=torch.channels_last)
                weight = torch.rand(num, num, 3, 3).to(dtype, memory_format=torch.channels_last)
                operations = 2 * 9 * num**2 * 128 * 160
                found.append(rate(lambda x=x, weight=weight: F.conv2d(x, weight, padding=1), operations))
        rates[precision] = max(found)
    return rates


# -------------------------------------------------------------------------------------------------------------- profile


def profile(args: argparse.Namespace, file: Path) -> str:
    """What OKDNet's parts and OpenVINO's operators cost in one image: medians of --rounds runs, as two tables."""
    import torch

    import okdnet_plugin

    okdnet_plugin.register()
    from okdnet_plugin.inference.backends import make, open_vino
    from okdnet_plugin.weights.loading import build, load

    open_vino.runtime().set_property('CPU', {'PERF_COUNT': True})
    back_end = make(build(load(args.weights or 'okdnet')).eval(), 'openvino', args.profile, 'cpu')
    open_vino.runtime().set_property('CPU', {'PERF_COUNT': False})
    assert isinstance(back_end, open_vino.OpenVino)
    image = torch.from_numpy(np.load(file)).permute(2, 0, 1)[None].float() / 255
    runs = []
    for _ in range(args.rounds + 1):
        back_end(image)
        runs.append({node.node_name: node for node in back_end.request.get_profiling_info()})
    parts: Counter[str] = Counter()
    operators: Counter[str] = Counter()
    layers: Counter[str] = Counter()
    for name, node in runs[0].items():
        ms = 1e3 * statistics.median(run[name].real_time.total_seconds() for run in runs[1:])
        if ms > 0:
            found = re.match(r'__module\.net\.(shared\.\w+(?:\.\d(?=\.))?|\w+)', name)
            parts[found[1] if found else 'between them'] += ms
            operator = f'{node.node_type}, {"1x1" if "1x1" in node.exec_type else "larger"}'
            operator = operator if node.node_type == 'Convolution' else node.node_type
            operators[operator] += ms
            layers[operator] += 1
    whole = parts.total()

    def lines(costs: Counter[str]) -> list[list[str]]:
        return [[name, f'{ms:.1f}', f'{ms / whole:.1%}'] for name, ms in costs.most_common() if ms >= whole / 200]

    shown = [[f'{name} ({layers[name]})', *rest] for name, *rest in lines(operators)]
    height, width = image.shape[-2:]
    return (
        f'{versions()}\nopenvino {args.profile}, {width}x{height}: {whole:.0f} ms in all operators\n\n'
        f'{table(["part", "ms", "share"], lines(parts))}\n\n{table(["operator (number)", "ms", "share"], shown)}'
    )


# ---------------------------------------------------------------------------------------------------------- measurement


def measure(jobs: Mapping[str, dict], files: Sequence[Path], rounds: int, folder: Path) -> dict[str, Row]:
    """Let the methods take turns; those that cannot run are named and left out."""
    workers = started(jobs)
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    errors: dict[str, list[float]] = {name: [] for name in workers}
    last: dict[str, dict] = {}
    operations: dict[str, list[float]] = {name: [] for name in workers}
    for round_ in range(rounds + 1):  # the first makes what is made once for a size, the last stores the results
        for number, file in enumerate(files):
            for name, worker in workers.items():
                result = folder / f'result_{number}_{list(jobs).index(name)}.npy'
                answer = worker.ask(file, result if round_ == rounds else None)
                if 'error' in answer:
                    raise SystemExit(f'{name}: {answer["error"]}')
                if round_:
                    seconds[name].append(answer['seconds'])
                if round_ == rounds:
                    base = np.load(folder / f'result_{number}_0.npy').astype(float)
                    errors[name].append(float(((np.load(result) - base) ** 2).mean()))
                    operations[name].append(answer['gflop'])
                last[name] = answer
    for worker in workers.values():
        worker.close()
    return {
        name: Row(
            seconds[name],
            10 * math.log10(255**2 / max(statistics.mean(errors[name]), 1e-12)),
            last[name]['peak_mb'],
            statistics.mean(operations[name]),
            jobs[name].get('precision', 'fp32'),
        )
        for name in workers
    }


def started(jobs: Mapping[str, dict]) -> dict[str, Worker]:
    workers = {}
    for name, job in jobs.items():
        worker = Worker(job)
        if 'error' in worker.ready:
            print(f'{name} is left out: {worker.ready["error"]}', file=sys.stderr)
        else:
            workers[name] = worker
    if BASE in jobs and BASE not in workers:
        raise SystemExit(1)
    return workers


def measure_sizes(args: argparse.Namespace, folder: Path) -> dict[str, list[tuple[int, float, float]]]:
    """For OKDNet as trained, eager and by the fastest back end: edge in px, seconds and peak memory in MB."""
    jobs = {name: job for name, job in methods(args).items() if name == BASE or job.get('back_end')}
    if not args.sizes:
        return {}
    found: dict[str, list[tuple[int, float, float]]] = {}
    for name, job in jobs.items():
        for edge in sorted(args.sizes):
            if not fits(found.get(name, []), edge):
                print(f'{name}: {edge} px would not fit in memory', file=sys.stderr)
                break
            # a process for each size: what is kept from one would be counted in the next
            worker = Worker(job)
            if 'error' in worker.ready:
                break
            rng = np.random.default_rng(0)
            file = store([rng.integers(0, 256, (edge, edge, 3), np.uint8)], folder)[0]
            answers = [worker.ask(file) for _ in range(2 if edge > 1500 else 1 + args.rounds)]
            worker.close()
            if any('error' in answer for answer in answers):
                print(f'{name}: {edge} px: {answers[-1].get("error")}', file=sys.stderr)
                break
            times = [answer['seconds'] for answer in answers[1:]]
            found.setdefault(name, []).append((edge, statistics.median(times), answers[-1]['peak_mb']))
    return found


def fits(smaller: Sequence[tuple[int, float, float]], edge: int) -> bool:
    """Whether a size will fit in what memory is free, judged by the growth from the smaller sizes."""
    if len(smaller) < 2:
        return True
    (edge_1, _, peak_1), (edge_2, _, peak_2) = smaller[-2:]
    expected = peak_2 + (peak_2 - peak_1) * (edge**2 - edge_2**2) / (edge_2**2 - edge_1**2)
    with open('/proc/meminfo', encoding='utf-8') as file:
        free = next(int(line.split()[1]) * 1024 / 1e6 for line in file if line.startswith('MemAvailable'))
    return expected < 0.8 * free


# --------------------------------------------------------------------------------------------------------------- output


def as_table(rows: Mapping[str, Row], peaks: Mapping[str, float]) -> str:
    rates = ', '.join(f'{precision} {rate:.2f}' for precision, rate in peaks.items()) + ' TFLOP/s'
    lines = []
    for name, row in rows.items():
        same = name.startswith('OKDNet') and name != BASE
        psnr = ('equal' if row.psnr > 150 else f'{row.psnr:.1f}') if same else ''
        rate = row.gflop / min(row.seconds) / 1e3
        lines.append(
            [
                name,
                f'{1e3 * statistics.median(row.seconds):.0f}',
                f'{1e3 * min(row.seconds):.0f}',
                f'{ratio(rows[BASE].seconds, row.seconds):.2f}',
                psnr,
                f'{row.peak_mb:.0f}',
                f'{row.gflop:.1f}',
                f'{rate:.3f}',
                f'{rate / peaks[row.precision]:.0%}',
            ]
        )
    head = ['', 'ms, median', 'ms, least', 'times', 'PSNR, dB', 'peak, MB', 'GFLOP', 'TFLOP/s', 'share']
    return f'largest rate of a matrix product or convolution: {rates}\n\n{table(head, lines)}'


def exponent(points: Sequence[tuple[int, float, float]]) -> float:
    """Of the number of pixels, in the power law that fits the times best."""
    pixels = [edge**2 for edge, _, _ in points]
    seconds = [seconds for _, seconds, _ in points]
    return float(np.polyfit(np.log(pixels), np.log(seconds), 1)[0])


def size_table(sizes: Mapping[str, Sequence[tuple[int, float, float]]]) -> str:
    edges = sorted({edge for points in sizes.values() for edge, _, _ in points})
    rows = []
    for name, points in sizes.items():
        known = {edge: f'{seconds:.3g} ({peak:.0f})' for edge, seconds, peak in points}
        power = f'{exponent(points):.2f}' if len(points) > 1 else ''
        rows.append([name, *(known.get(edge, '') for edge in edges), power])
    edges_in_px = (f'{edge} px' for edge in edges)
    return table(['seconds (MB) at', *edges_in_px, 'time grows as pixels to the'], rows)


def plot(sizes: Mapping[str, Sequence[tuple[int, float, float]]]) -> str:
    """Time against pixels, both by logarithm, as an SVG that stands alone; dashes grow linearly with the pixels."""
    from html import escape

    from okdnet_plugin.report.charts import Axis

    points = [(edge**2 / 1e6, seconds) for row in sizes.values() for edge, seconds, _ in row]
    x_axis = Axis(min(x for x, _ in points) / 1.3, max(x for x, _ in points) * 1.3, 70, 500, log=True)
    y_axis = Axis(min(y for _, y in points) / 1.5, max(y for _, y in points) * 1.5, 380, 20, log=True)
    colours = ('#1b1f24', '#0a58b8', '#b3590a', '#1a7f4b', '#8a3ab9', '#b8264b', '#5b6770', '#087e8b')
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 430" font-family="sans-serif" font-size="13">',
        '<title>Seconds for an image against its pixels</title><rect width="800" height="430" fill="#fff"/>',
    ]
    for tick in x_axis.ticks(6):
        x = x_axis.place(tick)
        parts.append(f'<path d="M{x:.1f} 20V380" stroke="#d5dae0"/>')
        parts.append(f'<text x="{x:.1f}" y="398" text-anchor="middle">{tick:g}</text>')
    for tick in y_axis.ticks(8):
        y = y_axis.place(tick)
        parts.append(f'<path d="M70 {y:.1f}H500" stroke="#d5dae0"/>')
        parts.append(f'<text x="62" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    parts.append('<text x="500" y="420" text-anchor="end">megapixels</text><text x="8" y="14">seconds</text>')
    for number, (name, row) in enumerate(sizes.items()):
        colour = colours[number % len(colours)]
        spots = [(x_axis.place(edge**2 / 1e6), y_axis.place(seconds)) for edge, seconds, _ in row]
        line = 'L'.join(f'{x:.1f} {y:.1f}' for x, y in spots)
        parts.append(f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in spots]
        parts.append(f'<text x="515" y="{40 + 22 * number}" fill="{colour}">{escape(name)}</text>')
    edge, seconds, _ = next(iter(sizes.values()))[0]
    slope = seconds / (edge**2 / 1e6)
    ends = [x for x in (x_axis.low, min(x_axis.high, y_axis.high / slope)) if y_axis.low <= x * slope * 1.001]
    if len(ends) == 2:
        line = 'L'.join(f'{x_axis.place(x):.1f} {y_axis.place(x * slope):.1f}' for x in ends)
        parts.append(f'<path d="M{line}" stroke="#57606a" stroke-dasharray="4 4"/>')
    return ''.join([*parts, '</svg>\n'])


if __name__ == '__main__':
    sys.exit(main())
