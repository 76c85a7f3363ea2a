"""The blocks of an option file that do not depend on a registered name: what the toolbox and the engine read.

The keys are those that BasicSR 1.4.2 reads (train.py, test.py, utils/options.py, utils/logger.py,
models/base_model.py), those that its own option files have though nothing reads them, and the plugin's.
"""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Len
from pydantic import Field

from okdnet_plugin.report.published import TABLES
from okdnet_plugin.schema.keys import Keys, Typed, key
from okdnet_plugin.schema.values import (
    Count,
    File,
    FromZero,
    IterationCount,
    Iterations,
    Label,
    Name,
    Number,
    Positive,
    Says,
    Switch,
    Text,
)

Network = Annotated[dict, Typed('network')]
Loss = Annotated[dict, Typed('loss')] | None
Optimizer = Annotated[dict, Typed('optimizer')]
Metrics = dict[str, Annotated[dict, Typed('metric')]]
DataSets = dict[str, Annotated[dict, Typed('dataset')]]
_BOTH = ('train', 'test')
_BelowOne = Annotated[Number, Field(ge=0, lt=1)]
_Port = Annotated[Count, Field(le=65535)]
# NumPy takes 32 bits; rank and worker are added, for which 2 ** 16 are kept.
_Seed = Annotated[FromZero, Field(le=2**32 - 2**16)]
_Modes = Literal[True, False, 'default', 'reduce-overhead', 'max-autotune', 'max-autotune-no-cudagraphs']
_Amp = Annotated[Literal['bf16', 'fp16', 'off', False], Says('one of bf16, fp16, off')]
_Size = Annotated[list[Annotated[Count, Field(ge=16)]], Len(2, 2), Says('[height, width] in px, each from 16')]
_Gpus = Annotated[FromZero | Literal['auto'], Says('auto, or a whole number from 0')]


class Wandb(Keys):
    """`logger: wandb`."""

    reader = 'BasicSR'

    project: Text | None = key('project of Weights & Biases; ~ for none')
    resume_id: Text | None = key('run of Weights & Biases to go on with')


class Logger(Keys):
    """`logger`."""

    reader = 'BasicSR'

    print_freq: IterationCount = key('iterations from one line of the log to the next', _BOTH[:1])
    save_checkpoint_freq: IterationCount = key('iterations from one saved network and state to the next', _BOTH[:1])
    use_tb_logger: Switch | None = key('write a log for TensorBoard', _BOTH[:1])
    wandb: Wandb | None = key('Weights & Biases, which follows the log of TensorBoard')


class EngineLogger(Keys):
    """What RestorationModel reads of `logger`."""

    keep_last: Count | None = key('saved iterations to keep; ~ for all')
    save_best: Text | None = key('<data set>/<metric> whose best network is kept as net_g_best.pth')


class DistParams(Keys):
    """`dist_params`."""

    reader = 'BasicSR'

    backend: Literal['nccl', 'gloo', 'mpi', 'ucc'] | None = key('backend of torch.distributed')
    port: _Port | None = key('port of the first process; for SLURM')


class Paths(Keys):
    """`path`; the keys of each network come on top."""

    reader = 'BasicSR'

    resume_state: File | None = key('state to go on from: experiments/<name>/training_states/<iter>.state')
    ignore_resume_networks: list[Text] | Text | None = key('networks that a run that goes on does not load')


class PathsOfNetwork(Keys):
    """Keys of `path` for one network; X stands for its letter."""

    reader = 'BasicSR'

    pretrain_network_X: File | None = key('weights that the network begins with')
    param_key_X: Text | None = key('key of the weights in their file: params, params_ema, or ~ for the weights alone')
    strict_load_X: Switch | None = key('the names in the file have to be those of the network')


class Validation(Keys):
    """`val`."""

    reader = 'BasicSR'

    val_freq: IterationCount = key('iterations from one validation to the next', _BOTH[:1])
    save_img: Switch = key('save the pictures that the network makes', _BOTH)
    suffix: Label | None = key('end of the names of saved pictures; ~ for the name of the experiment')
    metrics: Metrics | None = key('metrics, each under a name of your own')
    pbar: Switch | None = key('show a progress bar')


class Training(Keys):
    """`train`; the keys of the model come on top."""

    reader = 'BasicSR'

    total_iter: IterationCount = key('iterations of the training', _BOTH[:1])
    warmup_iter: Annotated[Iterations, Field(ge=-1), Says('a whole number of iterations, or -1 for none')] = key(
        'iterations in which the rate grows from 0; -1 for none'
    )
    scheduler: Annotated[dict, Typed('scheduler')] = key('schedule of the learning rate', _BOTH[:1])


class EngineTraining(Keys):
    """What RestorationModel reads of `train`, beside its losses."""

    ema_decay: _BelowOne = key('decay of the averaged weights; 0 for none')
    optim_g: Optimizer = key('any optimiser of torch.optim with its arguments', _BOTH[:1])
    accumulate: Count | None = key('parts of batch_size_per_gpu pictures each, whose gradients make one update')
    grad_clip: Annotated[Positive, Says('the largest L2 norm of the gradient, as 0.01')] | None = key(
        'largest L2 norm of the gradient'
    )
    recalibrate_bn: FromZero | None = key('whole training images for new BatchNorm statistics at the end; 0 for none')
    max_bad_steps: FromZero | None = key('updates in a row that may be left out as they are not finite')


class Top(Keys):
    """The top of an option file of a training or a test."""

    reader = 'BasicSR'

    name: Label = key('name of the experiment: experiments/<name>/, results/<name>/', _BOTH)
    model_type: Name = key('registered model: who trains and tests', _BOTH)
    scale: Count | None = key('size of the clear pictures / size of the others')
    num_gpu: _Gpus = key('GPUs of this process: auto, or a number; 0 for the CPU', _BOTH)
    manual_seed: _Seed | None = key('seed of all random numbers; ~ for a new one each time')
    datasets: DataSets = key('data sets: train, val, val_2 … of a training; test, test_2 … of a test', _BOTH)
    path: Paths = key('weights to begin with, state to go on from', _BOTH)
    train: Training | None = key('training: schedule, optimisers, losses', _BOTH[:1])
    val: Validation | None = key('validation, and what a test does with its results', _BOTH[1:])
    logger: Logger | None = key('what is logged and saved, and how often', _BOTH[:1])
    dist_params: DistParams | None = key('how several processes meet')
    find_unused_parameters: Switch | None = key('for networks of which parts have no gradient, on several devices')


class EngineTop(Keys):
    """What RestorationModel reads at the top of an option file."""

    amp: _Amp | None = key('autocast of the network in training: bf16, fp16 or off')
    channels_last: Switch | None = key('channels innermost, which is faster')
    compile: _Modes | None = key('torch.compile of the training: true, or a mode by name')
    tf32: Switch | None = key('TensorFloat-32 on a GPU')
    sync_bn: Switch | None = key('BatchNorm over the pictures of all processes')


class MethodPaths(Keys):
    """Weights of a method of a report; they may be missing."""

    reader = 'a report'

    pretrain_network_g: Text | None = key('file of weights')
    param_key_g: Text | None = key('key of the weights in the file; by default params_ema, or else params')


class Method(Keys):
    """A method of a report."""

    reader = 'a report'

    network_g: Network | None = key('the network')
    path: MethodPaths | None = key('its weights')
    missing: Text | None = key('why there are no figures')


class ReportSettings(Keys):
    """`report`."""

    reader = 'a report'

    tables: list[Literal[tuple(TABLES)]] | None = key(  # type: ignore[valid-type]
        "the paper's tables to be set beside, as [1, 2, 3]"
    )
    cost_size: _Size | None = key('size of the picture that cost is measured with')
    cost_rounds: Count | None = key('how often cost is measured')
    examples: FromZero | None = key('best and worst pictures of each method')
    num_worker: FromZero | None = key('workers that read pictures')
    limit: Count | None = key('samples of a test set that are measured at most, at equal distances')


class ReportTop(Keys):
    """The top of an option file of `basicsr report`."""

    reader = 'a report'

    name: Label = key('name of the report: reports/<name>/', ('report',))
    scale: Count | None = key('size of the clear pictures / size of the hazy ones')
    num_gpu: _Gpus | None = key('GPUs: auto, or a number; 0 for the CPU')
    channels_last: Switch | None = key('channels innermost, which is faster')
    methods: dict[str, Method | None] = key('methods, each under its name', ('report',))
    datasets: DataSets = key('test sets, each under its name', ('report',))
    metrics: Metrics = key('metrics, each under a name of your own', ('report',))
    protocol: Literal['rgb', 'y', 'resize256'] | None = key('what is measured of a picture')
    report: ReportSettings | None = key('what is set beside the figures, and how much is measured')
