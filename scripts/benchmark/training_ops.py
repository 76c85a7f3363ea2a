"""How many operations one training step dispatches, by its parts: what bounds a step on a GPU that waits for its host.

    python scripts/benchmark/training_ops.py                # OKDNet in bfloat16 with all three losses, as a table
    python scripts/benchmark/training_ops.py --amp off --names 20 --json ops.json

Each operation costs the host a few microseconds, whatever the size of the images, so the count needs no GPU and no
quiet machine. Operations that only make a view of a tensor are not counted: they launch nothing.
"""

import argparse
import contextlib
import functools
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

PARTS = ('forward', 'losses', 'backward', 'optimiser', 'average', 'guard')
LOSSES = {
    'pixel_opt': {'type': 'L1Loss'},
    'ssim_opt': {'type': 'SSIMLoss'},
    'distill_opt': {'type': 'OnlineDistillationLoss', 'loss_weight': 0.5},
}


class OperationCounter(TorchDispatchMode):
    """Counts dispatched operations by the part of the step that is running; `guard` is what no other part claims."""

    def __init__(self):
        super().__init__()
        self.counts = {part: Counter() for part in PARTS}
        self._part = 'guard'

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:  # signature of torch
        if not _only_views(function):
            self.counts[self._part][str(function)] += 1
        return function(*args, **(kwargs or {}))

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count for a part of the step, until the block ends."""
        before, self._part = self._part, name
        try:
            yield
        finally:
            self._part = before

    def claim(self, owner: Any, method: str, name: str) -> None:
        """Let what a method of an object dispatches count for a part."""
        original: Callable = getattr(owner, method)

        @functools.wraps(original)
        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return original(*args, **kwargs)

        setattr(owner, method, counted)


@functools.cache
def _only_views(function: Any) -> bool:
    if function.namespace == 'profiler':
        return True
    aliases = [argument.alias_info for argument in function._schema.arguments if argument.alias_info is not None]
    return bool(aliases) and not any(alias.is_write for alias in aliases)


def model_of(network: dict, amp: str = 'bf16', size: int = 64, **options: Any) -> tuple[Any, dict]:
    """A model with everything that a training of OKDNet uses, on the CPU, and a batch of two random images.

    Args:
        network: block `network_g`.
        amp: as in an option file.
        size: side of the images in px, which changes no count.
        options: further keys of the top of an option file.
    """
    import okdnet_plugin

    okdnet_plugin.register()
    from basicsr.models import build_model

    logging.getLogger('basicsr').setLevel('ERROR')
    opt = {
        'name': 'training_ops',
        'model_type': 'OKDNetModel',
        'scale': 1,
        'num_gpu': 0,
        'is_train': True,
        'dist': False,
        'rank': 0,
        'world_size': 1,
        'amp': amp,
        'channels_last': True,
        'network_g': dict(network),
        'datasets': {'train': {'batch_size_per_gpu': 2}},
        'path': {},
        'logger': {},
        'train': {
            'ema_decay': 0.999,
            'optim_g': {'type': 'Adam', 'lr': 1e-4, 'fused': True},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [], 'gamma': 0.5},
            'total_iter': 1000000,
            **{key: dict(block) for key, block in LOSSES.items()},
        },
        **options,
    }
    torch.manual_seed(0)
    return build_model(opt), {key: torch.rand(2, 3, size, size) for key in ('lq', 'gt')}


def count_step(model: Any, batch: dict, warm_up: int = 1) -> dict[str, Counter]:
    """Operations of one training step by part and name.

    Args:
        model: a RestorationModel in training.
        batch: as a loader gives it.
        warm_up: steps before the one that is counted, by which optimiser and gradients have their tensors.
    """
    for iteration in range(1, warm_up + 1):
        model.update_learning_rate(iteration)
        model.feed_data(batch)
        model.optimize_parameters(iteration)
    counter = OperationCounter()
    model.update_learning_rate(warm_up + 1)
    model.feed_data(batch)
    counter.claim(model, 'compute_losses', 'losses')
    counter.claim(model, 'restore', 'forward')
    counter.claim(model, 'model_ema', 'average')
    counter.claim(model.optimizer_g, 'step', 'optimiser')
    backward = torch.Tensor.backward
    counter.claim(torch.Tensor, 'backward', 'backward')
    try:
        with counter:
            model.optimize_parameters(warm_up + 1)
    finally:
        torch.Tensor.backward = backward
    return counter.counts


def main(argv: list[str] | None = None) -> int:
    """Print the counts of a step of OKDNet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--amp', choices=('bf16', 'fp16', 'off'), default='bf16', help='precision of the network')
    parser.add_argument('--names', type=int, default=0, metavar='N', help='the N most frequent operations of each part')
    parser.add_argument('--json', type=Path, help='file for the counts by part and name')
    arguments = parser.parse_args(argv)
    counts = count_step(*model_of({'type': 'OKDNet'}, arguments.amp))
    for part, names in counts.items():
        print(f'{part:<10} {sum(names.values()):>6}')
        for name, count in names.most_common(arguments.names):
            print(f'           {count:>6}  {name}')
    print(f'{"step":<10} {sum(sum(names.values()) for names in counts.values()):>6}')
    if arguments.json:
        arguments.json.write_text(json.dumps(counts, indent=1), encoding='utf-8')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
