"""The only place that patches the toolbox.

BasicSR 1.4.2 is the last release (August 2022); torch and torchvision have moved on since. A patch here is a function
that puts one thing right. Its docstring says what is wrong, where that is reported, and when the patch can go; the
condition in its decorator finds out whether the defect is there, so that a mended toolbox is left alone.
"""

import argparse
import contextlib
import functools
import importlib
import importlib.util
import inspect
import io
import logging
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import forkserver
from os import path as osp
from types import SimpleNamespace

import torch

from okdnet_plugin.errors import InputError, UnknownNameError, did_you_mean


@dataclass(frozen=True)
class Patch:
    """One mend of the toolbox: what it does, and whether it is needed here."""

    mend: Callable[[], None]
    is_needed: Callable[[], bool]

    @property
    def name(self) -> str:
        return self.mend.__name__

    @property
    def reason(self) -> str:
        return inspect.getdoc(self.mend)


PATCHES: list[Patch] = []
APPLIED: list[Patch] = []


def apply() -> None:
    """Apply every patch whose defect is present; may run any number of times, before or after `import basicsr`."""
    for patch in PATCHES:
        if patch not in APPLIED and patch.is_needed():
            patch.mend()
            APPLIED.append(patch)


def _patch(is_needed: Callable[[], bool]) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def decorator(mend):
        PATCHES.append(Patch(mend, is_needed))
        return mend

    return decorator


def _source_of(name: str) -> str:
    """Source text of `module:function` or `module:Class.method` of the toolbox."""
    module, _, attribute = name.partition(':')
    function = functools.reduce(getattr, attribute.split('.'), importlib.import_module(module))
    return inspect.getsource(function.__code__)  # of what runs: getsource would look through a wrapper


def _replace_function(name: str, replacement: Callable) -> None:
    """Replace `module:function` in its module and in every toolbox module that has imported it by name."""
    module, _, attribute = name.partition(':')
    original = getattr(importlib.import_module(module), attribute)
    for loaded_name, loaded in list(sys.modules.items()):
        if loaded_name.split('.')[0] == 'basicsr' and getattr(loaded, attribute, None) is original:
            setattr(loaded, attribute, replacement)


# --------------------------------------------------------------------------------------------------------- importing it


def _functional_tensor_is_missing() -> bool:
    name = 'torchvision.transforms.functional_tensor'
    return name not in sys.modules and importlib.util.find_spec(name) is None


@_patch(_functional_tensor_is_missing)
def provide_functional_tensor() -> None:
    """`import basicsr` needs torchvision.transforms.functional_tensor, which torchvision 0.17 made private.

    Reported: XPixelGroup/BasicSR issues 533 and 663; mended in its PR 650, never released. Can go with the first
    release of BasicSR that has it. Workers that a launcher starts by spawn import this package too, and so get it.
    """
    sys.modules['torchvision.transforms.functional_tensor'] = importlib.import_module(
        'torchvision.transforms._functional_tensor'
    )


# -------------------------------------------------------------------------------------------------------- option files


@_patch(lambda: 'CLoader as Loader' in _source_of('basicsr.utils.options:ordered_yaml'))
def build_option_files_on_others() -> None:
    """An option file repeats what others say, and its YAML may make objects of any class.

    With it a file may say `_base_`, see `okdnet_plugin.option_file`; the copy that a run keeps says all, and plain
    BasicSR runs it. Can go when the toolbox has inheritance and the safe loader.
    """
    options = importlib.import_module('basicsr.utils.options')
    original, copy = options.ordered_yaml, options.copy_opt_file

    @functools.wraps(original)
    def ordered_yaml():
        from okdnet_plugin.option_file import OptionLoader

        return OptionLoader, original()[1]

    @functools.wraps(copy)
    def copy_opt_file(opt_file, experiments_root):
        from okdnet_plugin.option_file import resolved_copy

        with resolved_copy(opt_file) as file:
            copy(file, experiments_root)

    _replace_function('basicsr.utils.options:ordered_yaml', ordered_yaml)
    _replace_function('basicsr.utils.options:copy_opt_file', copy_opt_file)


# ------------------------------------------------------------------------------------------------------------ launching


def option_file(arguments: list[str]) -> str | None:
    """Path that a command line of the toolbox gives as its option file; None if it gives none."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument('-opt', nargs='?')
    return parser.parse_known_args(arguments)[0].opt


def _backend_of_option_file() -> str | None:
    """The backend that the option file asks for, in words or by keeping the networks on the CPU."""
    from okdnet_plugin.option_file import load

    path = option_file(sys.argv[1:])
    if path is None:
        return None
    opt = load(path)
    return 'gloo' if opt.get('num_gpu') == 0 else (opt.get('dist_params') or {}).get('backend')


@_patch(lambda: 'rank % num_gpus' in _source_of('basicsr.utils.dist_util:_init_dist_pytorch'))
def launch_without_gpu() -> None:
    """`--launcher pytorch` divides by the number of GPUs, and ignores `dist_params` of the option file.

    With it a process takes the GPU of its LOCAL_RANK, or none; the backend is the option file's `dist_params.backend`,
    by default nccl with GPUs and gloo without. Can go when the toolbox launches on a machine without a GPU.
    """
    dist_util = importlib.import_module('basicsr.utils.dist_util')

    def init_dist_pytorch(backend, **_):
        # `port` of dist_params is meant for SLURM; torchrun has already set MASTER_PORT.
        if 'RANK' not in os.environ:
            raise InputError(
                '--launcher pytorch: RANK is not set, so this process was not started by a launcher; start it with '
                '`torchrun --nproc_per_node=N -m okdnet_plugin train -opt FILE --launcher pytorch`'
            )
        if torch.cuda.is_available():
            # Launchers that set no LOCAL_RANK number the processes of one machine after the other.
            local_rank = os.environ.get('LOCAL_RANK') or int(os.environ['RANK']) % torch.cuda.device_count()
            torch.cuda.set_device(int(local_rank))
        torch.distributed.init_process_group(backend=backend)

    original_init_dist = dist_util.init_dist

    @functools.wraps(original_init_dist)
    def init_dist(launcher, backend=None, **kwargs):
        if backend is None and launcher == 'pytorch':
            backend = _backend_of_option_file()
        _prepare_workers()
        if not torch.cuda.is_available():
            if backend not in (None, 'gloo') and os.environ.get('RANK', '0') == '0':
                print(f'No GPU is visible: gloo is used instead of {backend}.', flush=True)
            backend = 'gloo'
        original_init_dist(launcher, backend=backend or 'nccl', **kwargs)

    _replace_function('basicsr.utils.dist_util:_init_dist_pytorch', init_dist_pytorch)
    _replace_function('basicsr.utils.dist_util:init_dist', init_dist)


def _prepare_workers() -> None:
    """Let loaders fork their workers from a clean process that has imported everything.

    The toolbox chooses spawn where nobody has chosen, by which each worker of each epoch and each validation spends
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


@_patch(lambda: 'getoutput' in _source_of('basicsr.utils.dist_util:_init_dist_slurm'))
def launch_slurm_without_a_shell() -> None:
    """`--launcher slurm` puts the value of a variable into a command line of a shell, and divides by the GPUs.

    Reported: CVE-2024-27763. `scontrol` now gets the list of nodes as one argument; a process takes the GPU of its
    SLURM_LOCALID, or none. Can go when the toolbox starts scontrol without a shell, on machines without a GPU too.
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
        if torch.cuda.is_available():
            local_rank %= torch.cuda.device_count()
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
        torch.distributed.init_process_group(backend=backend)

    _replace_function('basicsr.utils.dist_util:_init_dist_slurm', init_dist_slurm)


def _first_node(nodes: str) -> str:
    try:
        result = subprocess.run(['scontrol', 'show', 'hostnames', nodes], capture_output=True, text=True, check=True)
        return result.stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        raise InputError(
            f'--launcher slurm: `scontrol show hostnames {nodes}` names no node ({error}); SLURM_NODELIST has to list '
            'the nodes of the job, and scontrol has to be on the PATH'
        ) from error


@_patch(
    lambda: (
        'device_ids=[torch.cuda.current_device()]' in _source_of('basicsr.models.base_model:BaseModel.model_to_device')
    )
)
def distribute_on_cpu() -> None:
    """A distributed network is always given the current GPU as its device, so that training on CPUs raises.

    Can go when the toolbox builds DistributedDataParallel without device_ids for a network on the CPU.
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


@_patch(lambda: '--local-rank' not in _source_of('basicsr.utils.options:parse_options'))
def accept_local_rank_with_a_dash() -> None:
    """torch.distributed.launch of torch 2 passes --local-rank; the toolbox knows only --local_rank and stops.

    Reported: XPixelGroup/BasicSR issue 626. Can go when the toolbox's parser accepts both.
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

    _replace_function('basicsr.utils.options:parse_options', parse_options)


# ------------------------------------------------------------------------------------------------------------- resuming


@_patch(lambda: 'torch.cuda.current_device()' in _source_of('basicsr.train:load_resume_state'))
def resume_without_gpu() -> None:
    """Resuming asks for the current GPU, and `--auto_resume` looks in a fixed folder instead of the run's own.

    The state is loaded to the CPU, from where optimisers move it to their parameters, and without running code. Of
    states that cannot be read, or whose networks cannot, `--auto_resume` takes the one before. Can go when the toolbox
    resumes on a machine without a GPU and looks at what it finds.
    """
    train = importlib.import_module('basicsr.train')

    def load_resume_state(opt):
        from okdnet_plugin.engine import checkpoints, run

        if opt['auto_resume']:
            state, opt['path']['resume_state'] = _newest_whole_state(opt)
        elif opt['path'].get('resume_state'):
            state = checkpoints.load_state(opt['path']['resume_state'])
            _check_networks_of(state, opt)
        else:
            state = None
        run.begin(state)
        if state is not None:
            check_quietly(opt)
            train.check_resume(opt, state['iter'])
        return state

    _replace_function('basicsr.train:load_resume_state', load_resume_state)


def _newest_whole_state(opt: dict) -> tuple[dict | None, str | None]:
    from okdnet_plugin.engine import checkpoints

    passed_over = []
    for _, path in checkpoints.states_of(opt['path']['training_states']):
        try:
            state = checkpoints.load_state(path)
            _check_networks_of(state, opt)
        except InputError as error:
            # The logger has no file before the toolbox has made the folders.
            print(f'WARNING: {error}; --auto_resume takes the state before it.', flush=True)
            passed_over.append(path)
        else:
            return state, path
    if passed_over:
        raise InputError(
            f'--auto_resume: none of the states in {opt["path"]["training_states"]} can be used; put one '
            'back, or start anew without --auto_resume, which keeps this run under another name'
        )
    return None, None


def _check_networks_of(state: dict, opt: dict) -> None:
    """See that the networks which were saved with a state can be read."""
    from okdnet_plugin.engine import checkpoints

    ignored = opt['path'].get('ignore_resume_networks') or ()
    for network in (key for key in opt if key.startswith('network_') and key not in ignored):
        name = f'net_{network.removeprefix("network_")}_{state["iter"]}.pth'
        checkpoints.load(osp.join(opt['path']['models'], name))


# ------------------------------------------------------------------------------------------------------------- training


@_patch(lambda: 'check_quietly' not in _source_of('basicsr.utils.misc:make_exp_dirs'))
def look_before_moving_an_earlier_run() -> None:
    """A mistake in an option file is found only after the earlier run of that name has been moved away.

    `--auto_resume` then starts from nothing. The options are now checked before a folder is made or renamed. Can go
    when the toolbox builds its data sets and networks before its folders.
    """
    original = importlib.import_module('basicsr.utils.misc').make_exp_dirs

    @functools.wraps(original)
    def make_exp_dirs(opt):
        check_quietly(opt)
        original(opt)

    _replace_function('basicsr.utils.misc:make_exp_dirs', make_exp_dirs)


def check_quietly(opt: dict) -> None:
    """Check the options before the toolbox's logger has its file, which its first use would settle."""
    from basicsr.utils.logger import initialized_logger

    from okdnet_plugin.schema import check_options

    fresh = 'basicsr' not in initialized_logger
    initialized_logger.setdefault('basicsr', True)
    logging.disable(logging.WARNING)
    try:
        check_options(opt)
    finally:
        logging.disable(logging.NOTSET)
        if fresh:
            del initialized_logger['basicsr']


@_patch(lambda: not hasattr(importlib.import_module('basicsr.train').create_train_val_dataloader, 'takes_the_seed'))
def draw_pictures_by_the_seed() -> None:
    """The order of the pictures ignores `manual_seed`, their augmentation depends on the number of workers.

    A run that goes on begins its epoch again, so that some pictures are seen twice and others not at all. Order and
    augmentation now follow from (seed, epoch, number) alone, see `okdnet_plugin.data.seeded_order`; without
    `manual_seed`, processes agree on the seed of the first. Can go when the toolbox's sampler takes the seed and a
    place to begin at.
    """
    original = importlib.import_module('basicsr.train').create_train_val_dataloader

    @functools.wraps(original)
    def create_train_val_dataloader(opt, logger):
        from okdnet_plugin.data.seeded_order import in_seeded_order
        from okdnet_plugin.engine import run

        train_loader, sampler, val_loaders, *totals = original(opt, logger)
        seed = [opt['manual_seed']]
        if opt['dist']:
            torch.distributed.broadcast_object_list(seed)
        this, state = run.current, run.current.state or {'iter': 0}
        this.seed = seed[0] if state.get('seed') is None else state['seed']
        this.val_loaders = val_loaders
        this.is_begun = True
        accumulate = opt['train'].get('accumulate') or 1
        train_loader, sampler = in_seeded_order(train_loader, sampler, this.seed, state['iter'], accumulate)
        state['epoch'] = sampler.epoch  # where the toolbox's loop begins
        return train_loader, sampler, val_loaders, *totals

    create_train_val_dataloader.takes_the_seed = True  # wrappers around it hand that on
    _replace_function('basicsr.train:create_train_val_dataloader', create_train_val_dataloader)


@_patch(lambda: 'len(train_loader)' not in _source_of('basicsr.train:create_train_val_dataloader'))
def count_the_iterations_of_an_epoch() -> None:
    """An epoch is counted with its last, smaller batch, which the loader drops, so that a run ends too early.

    With fewer pictures than a batch it makes no step at all, and succeeds. Can go when the toolbox counts what its
    loader gives.
    """
    original = importlib.import_module('basicsr.train').create_train_val_dataloader

    @functools.wraps(original)
    def create_train_val_dataloader(opt, logger):
        train_loader, sampler, val_loaders, _, total_iters = original(opt, logger)
        if len(train_loader) == 0:
            block = opt['datasets']['train']
            is_mixed = block.get('type') == 'MixedDataset'
            raise InputError(
                f'phase train, data set {block.get("name")}: {len(train_loader.dataset)} pictures do not fill a batch '
                f'of {train_loader.batch_size} (batch_size_per_gpu x train:accumulate) in each of {opt["world_size"]} '
                f'processes; raise {"epoch_length" if is_mixed else "dataset_enlarge_ratio, which repeats them"}, or '
                'lower batch_size_per_gpu'
            )
        logger.info(f'An epoch has {len(train_loader)} iterations of {train_loader.batch_size} pictures a process.')
        return train_loader, sampler, val_loaders, math.ceil(total_iters / len(train_loader)), total_iters

    _replace_function('basicsr.train:create_train_val_dataloader', create_train_val_dataloader)


@_patch(lambda: 'get_bare_model' not in _source_of('basicsr.models.sr_model:SRModel.test'))
def evaluate_the_bare_network() -> None:
    """Only the first process validates, but through DistributedDataParallel, which waits for the others' buffers.

    A network with BatchNorm and without EMA then breaks off or hangs. Can go when the toolbox evaluates the bare
    network.
    """
    from basicsr.models.sr_model import SRModel

    original = SRModel.test

    @functools.wraps(original)
    def test(self):
        wrapped, self.net_g = self.net_g, self.get_bare_model(self.net_g)
        try:
            original(self)
        finally:
            self.net_g = wrapped

    SRModel.test = test


@_patch(lambda: 'more_of_training_state' not in _source_of('basicsr.models.base_model:BaseModel.save_training_state'))
def save_whole_files() -> None:
    """Networks and states are written in place, and a run goes on when that fails three times.

    A process that is killed meanwhile leaves half a file, which `--auto_resume` then picks. They are now written beside
    and renamed, a failure stops the run, and a model may add to its state by a method `more_of_training_state()`.
    Can go when the toolbox does so.
    """
    from basicsr.models.base_model import BaseModel

    from okdnet_plugin.engine import checkpoints, run

    def save_network(self, net, net_label, current_iter, param_key='params'):
        if self.opt['rank'] != 0:
            return
        nets, keys = (value if isinstance(value, list) else [value] for value in (net, param_key))
        content = {
            key: {name.removeprefix('module.'): value.cpu() for name, value in state.items()}
            for key, state in zip(keys, (self.get_bare_model(net).state_dict() for net in nets), strict=True)
        }
        name = f'{net_label}_{"latest" if current_iter == -1 else current_iter}.pth'
        checkpoints.save(content, osp.join(self.opt['path']['models'], name))

    def save_training_state(self, epoch, current_iter):
        if current_iter == -1:
            return
        more = self.more_of_training_state() if hasattr(self, 'more_of_training_state') else {}
        if self.opt['rank'] != 0:
            return
        state = {
            'epoch': epoch,
            'iter': current_iter,
            'seed': run.current.seed,
            'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
            'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
        }
        checkpoints.save(state | more, osp.join(self.opt['path']['training_states'], f'{current_iter}.state'))

    BaseModel.save_network = save_network
    BaseModel.save_training_state = save_training_state


@_patch(lambda: 'journal' not in _source_of('basicsr.train:MessageLogger.__call__'))
def keep_a_journal() -> None:
    """The log of a training is made for the eye alone, and a terminal shows no progress.

    What it reports now goes to `metrics.jsonl` beside it as well, see `okdnet_plugin.engine.journal`. Can go when the
    toolbox writes such a file.
    """
    train = importlib.import_module('basicsr.train')

    class JournalLogger(train.MessageLogger):
        def __init__(self, opt, start_iter=1, tb_logger=None):
            from okdnet_plugin.engine import run

            super().__init__(opt, start_iter, tb_logger)
            self.is_master = opt['rank'] == 0
            run.current.tb_logger = tb_logger
            self.journal = run.current.journal
            if self.is_master:
                is_validated = (run.current.state or {}).get('is_validated', True)
                self.journal.open(opt['path']['log'], start_iter, int(self.max_iters), self.logger, is_validated)

        def __call__(self, log_vars):
            if not self.is_master:
                return
            timings = {key: log_vars[key] for key in ('epoch', 'time', 'data_time') if key in log_vars}
            losses = {key: value for key, value in log_vars.items() if key not in (*timings, 'iter', 'lrs')}
            self.journal.report({'iter': log_vars['iter'], **timings, 'lr': log_vars['lrs'], **losses})
            self.journal.show(log_vars['iter'], losses)
            with self.journal.only_to_file(self.logger):
                super().__call__(log_vars)

    _replace_function('basicsr.train:MessageLogger', JournalLogger)


@_patch(
    lambda: 'except' not in _source_of('basicsr.data.prefetch_dataloader:PrefetchGenerator.run'),
)
def end_prefetching_with_its_error() -> None:
    """With `prefetch_mode: cpu` an error in a data set ends the thread that reads, and the training waits for ever.

    The error is now raised where the batch is asked for. Can go when the toolbox hands it on.
    """
    from basicsr.data.prefetch_dataloader import PrefetchGenerator

    def run(self):
        try:
            for item in self.generator:
                self.queue.put(item)
            self.queue.put(None)
        except BaseException as error:
            self.queue.put(error)

    def get_next(self):
        item = self.queue.get()
        if item is None:
            raise StopIteration
        if isinstance(item, BaseException):
            raise item
        return item

    PrefetchGenerator.run = run
    PrefetchGenerator.__next__ = get_next


@_patch(lambda: inspect.isclass(importlib.import_module('basicsr.data.prefetch_dataloader').CUDAPrefetcher))
def prefetch_without_gpu() -> None:
    """`prefetch_mode: cuda` fails on a machine without a GPU, so that an option file fits one kind of machine only.

    There is nothing to prefetch to then, and batches are handed on as they are. Can go when the toolbox does so.
    """
    prefetch = importlib.import_module('basicsr.data.prefetch_dataloader')
    original = prefetch.CUDAPrefetcher

    def prefetcher(loader, opt):
        on_gpu = torch.cuda.is_available() and opt['num_gpu'] != 0
        return original(loader, opt) if on_gpu else prefetch.CPUPrefetcher(loader)

    _replace_function('basicsr.data.prefetch_dataloader:CUDAPrefetcher', prefetcher)


def _ema_forgets_buffers() -> bool:
    from basicsr.models.base_model import BaseModel

    net, net_ema = torch.nn.BatchNorm1d(1), torch.nn.BatchNorm1d(1)
    net.running_mean.fill_(1)
    BaseModel.model_ema(SimpleNamespace(net_g=net, net_g_ema=net_ema, get_bare_model=lambda net: net), decay=0)
    return not torch.equal(net.running_mean, net_ema.running_mean)


@_patch(_ema_forgets_buffers)
def average_buffers_in_ema() -> None:
    """The EMA copy of a network never gets its buffers, so BatchNorm evaluates with its initial statistics.

    Running means and variances are averaged like the weights that they belong to, but with a decay of at most
    (1 + n) / (10 + n) after n batches: unlike weights they begin far from their values, and an average over a thousand
    steps would hold a variance of 1 for ten thousand. Any other buffer (a counter, a mask, an index) is copied.
    Validation and `params_ema` use that copy. Can go when the toolbox's model_ema handles buffers.
    """
    from basicsr.models.base_model import BaseModel

    original = BaseModel.model_ema

    @functools.wraps(original)
    def model_ema(self, decay=0.999):
        original(self, decay)
        modules_ema = dict(self.net_g_ema.named_modules())
        for prefix, module in self.get_bare_model(self.net_g).named_modules():
            share = {}
            if isinstance(module, torch.nn.modules.batchnorm._NormBase) and module.num_batches_tracked is not None:
                # On the device of the network: to look at the number would wait for it.
                new = (9 / (10 + module.num_batches_tracked)).clamp(min=1 - decay)
                share = {'running_mean': new, 'running_var': new}
            for name, buffer in module.named_buffers(recurse=False):
                buffer_ema = getattr(modules_ema[prefix], name)
                buffer_ema.copy_(buffer_ema.lerp(buffer, share[name]) if name in share else buffer)

    BaseModel.model_ema = model_ema


# ---------------------------------------------------------------------------------------------------------- looking up


def _registry_hides_the_mistake() -> bool:
    from basicsr.utils.registry import Registry

    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(KeyError):
        Registry('probe').get('Missing')
    return 'use name' in printed.getvalue()


@_patch(_registry_hides_the_mistake)
def suggest_registered_names() -> None:
    """For an unknown name a registry prints "use name: X_basicsr!" and then says only that X was not found.

    Reported: XPixelGroup/BasicSR issues 419, 506 and 723. The error now gives the near names. Can go when the toolbox's
    own error does.
    """
    from basicsr.utils.registry import Registry

    def get(self, name, suffix='basicsr'):
        for candidate in (name, f'{name}_{suffix}'):
            if candidate in self:
                return self._obj_map[candidate]
        hint = did_you_mean(name, self.keys(), cutoff=0.75)
        raise UnknownNameError(f"No object named '{name}' found in '{self._name}' registry{hint}")

    Registry.get = get
