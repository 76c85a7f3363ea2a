"""Starting processes, on GPUs and without."""

import contextlib
import datetime
import functools
import importlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing import forkserver

import torch

from okdnet_plugin.compat.devices import options_in_force
from okdnet_plugin.compat.patches import patch, replace_function, source_of, sources_of
from okdnet_plugin.errors import InputError, one_line

# For a process that does not come or answer; gloo's own is half an hour. What may take longer has a group of its own.
_PATIENCE = datetime.timedelta(minutes=10)
_GONE = re.compile(r'gloo/transport|[Cc]onnection (?:closed|reset) by peer|Timed out (?:waiting|after)|NCCL|[Ss]ocket')


def lost_process(error: RuntimeError) -> str | None:
    """What is said if another process of a run has ended or does not answer, which torch tells as it comes."""
    of_torch = getattr(torch.distributed, 'DistError', ()) or getattr(torch.distributed, 'DistBackendError', ())
    is_begun = torch.distributed.is_available() and torch.distributed.is_initialized()
    if not isinstance(error, of_torch) and not (is_begun and _GONE.search(str(error))):
        return None
    return (
        f'another process of this run has ended, or does not answer within {_PATIENCE.seconds // 60} minutes '
        f'({one_line(error, 120)}); its own last line says why. Processes of several nodes need a network that '
        'connects them, and the folder of the run on a disk that they share'
    )


@patch(lambda: 'rank % num_gpus' in source_of('basicsr.utils.dist_util:_init_dist_pytorch'))
def launch_without_gpu() -> None:
    """`--launcher pytorch` divides by the number of GPUs, and ignores `dist_params` of the option file.

    With it a process takes the GPU of its LOCAL_RANK, or none; the backend is the option file's `dist_params.backend`,
    by default nccl with GPUs. Without a GPU, and with `num_gpu: 0` under any launcher, it is gloo. Can go when
    BasicSR launches on a machine without a GPU.
    """
    dist_util = importlib.import_module('basicsr.utils.dist_util')

    def init_dist_pytorch(backend, **_):
        # `port` of dist_params is meant for SLURM; torchrun has already set MASTER_PORT.
        if 'RANK' not in os.environ:
            raise InputError(
                '--launcher pytorch: RANK is not set, so this process was not started by a launcher; start it with '
                '`torchrun --nproc_per_node=N -m okdnet_plugin train -opt FILE --launcher pytorch`'
            )
        if _uses_gpus():
            # Launchers that set no LOCAL_RANK number the processes of one machine after the other.
            count = torch.cuda.device_count()
            local_rank = int(os.environ.get('LOCAL_RANK') or int(os.environ['RANK']) % count)
            if local_rank >= count:
                raise InputError(
                    f'--launcher pytorch: LOCAL_RANK is {local_rank}, but this machine shows {count} GPU'
                    f'{"s" if count > 1 else ""}; start as many processes as GPUs (--nproc_per_node={count}), or set '
                    'num_gpu: 0 to compute on the CPU'
                )
            torch.cuda.set_device(local_rank)
        torch.distributed.init_process_group(backend=backend, timeout=_PATIENCE)

    original_init_dist = dist_util.init_dist

    @functools.wraps(original_init_dist)
    def init_dist(launcher, backend=None, **kwargs):
        if backend is None and launcher == 'pytorch':
            backend = (options_in_force().get('dist_params') or {}).get('backend')
        _prepare_workers()
        if not _uses_gpus():
            if backend not in (None, 'gloo') and not torch.cuda.is_available() and os.environ.get('RANK', '0') == '0':
                print(f'No GPU is visible: gloo is used instead of {backend}.', flush=True)
            backend = 'gloo'
        original_init_dist(launcher, backend=backend or 'nccl', **kwargs)

    replace_function('basicsr.utils.dist_util:_init_dist_pytorch', init_dist_pytorch)
    replace_function('basicsr.utils.dist_util:init_dist', init_dist)


def _uses_gpus() -> bool:
    """Whether this process computes on a GPU: there is one, and the option file does not keep to the CPU."""
    return torch.cuda.is_available() and options_in_force().get('num_gpu') != 0


def _prepare_workers() -> None:
    """Let loaders fork their workers from a clean process that has imported everything.

    BasicSR chooses spawn where nobody has chosen, by which each worker of each epoch and each validation spends
    seconds on its imports.
    """
    multiprocessing = torch.multiprocessing
    is_chosen = multiprocessing.get_start_method(allow_none=True) is not None
    if not is_chosen and 'forkserver' in multiprocessing.get_all_start_methods():
        multiprocessing.set_start_method('forkserver')
        multiprocessing.set_forkserver_preload(['okdnet_plugin', 'basicsr.data'])
        # That process heeds them no more than this one: a training saves before it ends.
        with _ignored(signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            forkserver.ensure_running()  # it imports while this process does other things


@contextlib.contextmanager
def _ignored(*numbers: int) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@patch(lambda: 'getoutput' in source_of('basicsr.utils.dist_util:_init_dist_slurm'))
def launch_slurm_without_a_shell() -> None:
    """`--launcher slurm` puts the value of a variable into a command line of a shell, and divides by the GPUs.

    Reported: CVE-2024-27763. `scontrol` now gets the list of nodes as one argument; a process takes the GPU of its
    SLURM_LOCALID, or none. Can go when BasicSR starts scontrol without a shell, on machines without a GPU too.
    """

    def init_dist_slurm(backend, port=None):
        missing = [name for name in ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST') if name not in os.environ]
        if missing:
            raise InputError(
                f'--launcher slurm: {missing[0]} is not set, so this process was not started by SLURM; start it with '
                '`srun --ntasks=N basicsr train -opt FILE --launcher slurm`'
            )
        rank = int(os.environ['SLURM_PROCID'])
        local_rank = int(os.environ.get('SLURM_LOCALID', rank))
        if _uses_gpus():
            local_rank %= torch.cuda.device_count()  # SLURM may show each process its own GPU alone
            torch.cuda.set_device(local_rank)
        # torch's own default is 29500 too.
        port = port or os.environ.get('MASTER_PORT', 29500)
        os.environ |= {
            'MASTER_ADDR': _first_node(os.environ['SLURM_NODELIST']),
            'MASTER_PORT': str(port),
            'WORLD_SIZE': os.environ['SLURM_NTASKS'],
            'RANK': str(rank),
            'LOCAL_RANK': str(local_rank),
        }
        torch.distributed.init_process_group(backend=backend, timeout=_PATIENCE)

    replace_function('basicsr.utils.dist_util:_init_dist_slurm', init_dist_slurm)


def _first_node(nodes: str) -> str:
    try:
        result = subprocess.run(['scontrol', 'show', 'hostnames', nodes], capture_output=True, text=True, check=True)
        return result.stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        raise InputError(
            f'--launcher slurm: `scontrol show hostnames {nodes}` names no node ({error}); SLURM_NODELIST has to list '
            'the nodes of the job, and scontrol has to be on the PATH'
        ) from error


@patch(
    lambda: (
        'device_ids=[torch.cuda.current_device()]' in source_of('basicsr.models.base_model:BaseModel.model_to_device')
    )
)
def distribute_on_cpu() -> None:
    """A distributed network is always given the current GPU as its device, so that training on CPUs raises.

    Can go when BasicSR builds DistributedDataParallel without device_ids for a network on the CPU.
    """
    from basicsr.models.base_model import BaseModel

    original = BaseModel.model_to_device

    @functools.wraps(original)
    def model_to_device(self, net):
        if self.opt['dist'] and self.device.type == 'cpu':
            return torch.nn.parallel.DistributedDataParallel(
                net.to(self.device), find_unused_parameters=self.opt.get('find_unused_parameters', False)
            )
        return original(self, net)

    BaseModel.model_to_device = model_to_device


@patch(lambda: '--local-rank' not in sources_of('basicsr.utils.options:parse_options'))
def accept_local_rank_with_a_dash() -> None:
    """torch.distributed.launch of torch 2 passes --local-rank; BasicSR knows only --local_rank and stops.

    Reported: XPixelGroup/BasicSR issue 626. Can go when BasicSR's parser accepts both.
    """
    options = importlib.import_module('basicsr.utils.options')
    original = options.parse_options

    @functools.wraps(original)
    def parse_options(root_path, is_train=True):
        sys.argv = [
            argument.replace('--local-rank', '--local_rank', 1) if argument.startswith('--local-rank') else argument
            for argument in sys.argv
        ]
        return original(root_path, is_train)

    replace_function('basicsr.utils.options:parse_options', parse_options)
