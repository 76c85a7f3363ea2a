"""What a network costs: parameters, operations, time and memory for one image."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(net: nn.Module) -> int:
    """Number of parameters, used or not."""
    return sum(parameter.numel() for parameter in net.parameters())


def gmacs(net: nn.Module, size: Sequence[int]) -> float:
    """Multiplications and additions of convolutions and matrix products for one image, in 10^9 pairs.

    Args:
        net: a registered network, in eval mode.
        size: height and width of the image in px.
    """
    device = next(net.parameters(), torch.empty(0)).device
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        net(torch.rand(1, 3, *size, device=device))
    return counter.get_total_flops() / 2 / 1e9


def milliseconds(nets: Mapping[str, nn.Module], size: Sequence[int], rounds: int, device: str) -> dict[str, float]:
    """Median time of each network for one image; the networks take turns, so that a busy machine is busy for all.

    Args:
        nets: by name, in eval mode.
        size: height and width of the image in px.
        rounds: how often each one's turn comes, after one that does not count.
        device: where they are.
    """
    image = torch.rand(1, 3, *size, device=device)
    times = {name: [] for name in nets}
    for round_ in range(rounds + 1):
        for name, net in nets.items():
            begin = time.perf_counter()
            with torch.inference_mode():
                net(image)
            if device != 'cpu':
                torch.cuda.synchronize()
            if round_:
                times[name].append(1e3 * (time.perf_counter() - begin))
    return {name: statistics.median(values) for name, values in times.items()}


def memory_mb(network: Mapping, size: Sequence[int], device: str) -> float | None:
    """Peak memory that an image takes beyond the network itself, in 10^6 bytes, measured in a process of its own.

    Args:
        network: block `network_g` of an option file.
        size: height and width of the image in px.
        device: cpu or cuda.

    Returns:
        On a CPU the growth of the process's resident memory, on a GPU that of the allocated memory; None where the
        process fails or the system does not tell.
    """
    if device != 'cpu':
        torch.cuda.empty_cache()  # what this process keeps for later would be missing in the other
    job = json.dumps({'network': dict(network), 'size': list(size), 'device': device})
    run = subprocess.run([sys.executable, '-m', __name__, job], capture_output=True, text=True)
    try:
        return float(run.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return None


def _resident_mb(peak: bool) -> float:
    key = 'VmHWM:' if peak else 'VmRSS:'
    with open('/proc/self/status', encoding='utf-8') as file:
        return next(float(line.split()[1]) * 1024 / 1e6 for line in file if line.startswith(key))


def _measure_memory(job: Mapping) -> float:
    from okdnet_plugin.plugins import load_plugins

    load_plugins()
    from basicsr.archs import build_network

    net = build_network(job['network']).eval().to(job['device'])
    with torch.inference_mode():
        net(torch.rand(1, 3, 32, 32, device=job['device']))  # what is loaded once does not count
        image = torch.rand(1, 3, *job['size'], device=job['device'])
        if job['device'] != 'cpu':
            torch.cuda.empty_cache()  # of the first image, whose blocks would be taken again
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            net(image)
            return (torch.cuda.max_memory_allocated() - before) / 1e6
        with open('/proc/self/clear_refs', 'w', encoding='utf-8') as file:
            file.write('5')  # forget the peak so far
        before = _resident_mb(peak=False)
        net(image)
        return _resident_mb(peak=True) - before


def main(arguments: Iterable[str]) -> None:
    """Measure in this process and print the figure."""
    print(_measure_memory(json.loads(next(iter(arguments)))))


if __name__ == '__main__':
    main(sys.argv[1:])
