"""Many files and several processes, on one machine or many: each takes its share of them."""

import os
import unicodedata
import zlib
from collections.abc import Sequence
from datetime import timedelta
from os import path as osp
from typing import Any, NamedTuple

import torch
import torch.distributed as distributed

from okdnet_plugin.errors import InputError
from okdnet_plugin.inference.jobs import STANDARD, Job

_PATIENCE = timedelta(days=30)  # shares end at times of their own


class Share(NamedTuple):
    """Which of several equal processes this one is."""

    index: int = 0
    count: int = 1
    local: int = 0
    """Its place among those of its machine."""
    group: Any = None
    """By which they talk to one another, where torchrun has started them."""

    def of(self, jobs: Sequence[Job], output: str) -> list[Job]:
        """The jobs of this process; each belongs to one process, by its name alone.

        So it does not matter that a process sees results of the others, or that a machine has the files elsewhere.
        """
        return [job for job in jobs if _number(job, output) % self.count == self.index]

    def device(self, wanted: str) -> str:
        """The device that `auto` stands for: each process of a machine takes the next of its GPUs."""
        if wanted != 'auto' or self.count == 1 or not torch.cuda.is_available():
            return wanted
        return f'cuda:{self.local % torch.cuda.device_count()}'

    def gathered(self, what: Any) -> list[Any] | None:
        """What all processes of a group give, in the first one; None in the others.

        By itself, or if another has ended before, a process has what it gives itself.
        """
        if self.group is None:
            return [what]
        found: list[Any] | None = [None] * self.count if self.index == 0 else None
        try:
            distributed.gather_object(what, found, group=self.group)
        except RuntimeError:  # torch's only word for a process that is gone
            return [what]
        return found


def launched(launcher: str) -> Share:
    """The share of this process.

    Args:
        launcher: `none`; `pytorch`, for torchrun; `slurm`, for srun, an array of jobs, or both.

    Raises:
        InputError: this process was not started so.
    """
    if launcher == 'pytorch':
        rank, count, local = _numbers(launcher, 'torchrun --nproc_per_node=N', 'RANK', 'WORLD_SIZE', 'LOCAL_RANK')
        if count == 1:
            return Share()
        distributed.init_process_group('gloo')
        return Share(rank, count, local, distributed.new_group(timeout=_PATIENCE))
    if launcher == 'slurm':
        task, first, tasks = 0, 0, 1
        is_array = 'SLURM_ARRAY_TASK_ID' in os.environ
        if is_array:
            names = [f'SLURM_ARRAY_TASK_{name}' for name in ('ID', 'MIN', 'COUNT')]
            task, first, tasks = _numbers(launcher, 'sbatch --array=0-9', *names)
            step = int(os.environ.get('SLURM_ARRAY_TASK_STEP', 1))
            task = (task - first) // step
        rank, count, local = 0, 1, 0
        if not is_array or 'SLURM_PROCID' in os.environ:
            names = ['SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID']
            rank, count, local = _numbers(launcher, 'srun --ntasks=N', *names)
        return Share(task * count + rank, tasks * count, local)
    return Share()


def _numbers(launcher: str, start: str, *names: str) -> list[int]:
    missing = [name for name in names if not os.environ.get(name, '').isdigit()]
    if missing:
        raise InputError(
            f'--launcher {launcher}: {missing[0]} is not set, so this process was not started by a launcher; start it '
            f'by `{start}`, as docs/dehazing.md shows'
        )
    return [int(os.environ[name]) for name in names]


def _number(job: Job, output: str) -> int:
    """A number that all processes give a job: of its result's path below the output folder."""
    name = job.source if job.target == STANDARD else osp.relpath(job.target, output)
    return zlib.crc32(unicodedata.normalize('NFC', name.replace(os.sep, '/')).encode('utf-8', 'surrogateescape'))
