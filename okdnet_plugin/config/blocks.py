"""The blocks of an option file that do not depend on a registered name: what BasicSR and `basicsr report` read.

Source: BasicSR 1.4.2, train.py, test.py, data/__init__.py, utils/options.py, utils/logger.py, models/base_model.py.
What a registered class reads beyond that stands in its own `Options` or signature.
"""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Len
from pydantic import Field

from okdnet_plugin.config.keys import Keys, Typed, key
from okdnet_plugin.config.types import (
    Count,
    File,
    FromZero,
    IterationCount,
    Iterations,
    Label,
    Name,
    Number,
    Pixels,
    Positive,
    Says,
    Switch,
    Text,
    Tile,
    Whole,
)

Network = Annotated[dict, Typed('network')]
Loss = Annotated[dict, Typed('loss')] | None
Optimizer = Annotated[dict, Typed('optimizer')]
Metrics = dict[str, Annotated[dict, Typed('metric')]]
DataSets = dict[str, Annotated[dict, Typed('dataset')]]
_BOTH = ('train', 'test')
_TRAIN = ('train',)
_Port = Annotated[Count, Field(le=65535)]
# NumPy takes 32 bits; rank and worker are added, for which 2 ** 16 are kept.
_Seed = Annotated[Whole, Field(ge=0, le=2**32 - 2**16)]
_Size = Annotated[list[Annotated[Pixels, Field(ge=16)]], Len(2, 2), Says('[height, width] in px, each from 16')]
_Crop = Annotated[list[Annotated[FromZero, Field(le=2**16)]], Len(4, 4)]
_Crops = Annotated[
    list[_Crop] | _Crop, Says('[x, y, width, height] in px, a list of at most four such crops, or nothing'), Len(0, 4)
]
_Few = Annotated[FromZero, Field(le=1024)]
_Gpus = Annotated[_Few | Literal['auto'], Says('auto, or a whole number from 0 to 1024')]
_Scale = Annotated[Count, Field(le=64)]


class Wandb(Keys):
    """`logger: wandb`."""

    project: Text | None = key('project of Weights & Biases; ~ for none')
    resume_id: Text | None = key('run of Weights & Biases to go on with')


class Logger(Keys):
    """`logger`."""

    print_freq: IterationCount = key('iterations from one line of the log to the next', _TRAIN)
    save_checkpoint_freq: IterationCount = key('iterations from one saved network and state to the next', _TRAIN)
    use_tb_logger: Switch | None = key('write a log for TensorBoard', _TRAIN)
    wandb: Wandb | None = key('Weights & Biases, which follows the log of TensorBoard')


class DistParams(Keys):
    """`dist_params`."""

    backend: Literal['nccl', 'gloo', 'mpi', 'ucc'] | None = key('backend of torch.distributed')
    port: _Port | None = key('port of the first process; for SLURM')


class Paths(Keys):
    """`path`; the keys of each network come on top."""

    resume_state: File | None = key('state to go on from: experiments/<name>/training_states/<iter>.state')
    ignore_resume_networks: list[Text] | Text | None = key('networks that a run that goes on does not load')


class PathsOfNetwork(Keys):
    """Keys of `path` for one network; X stands for its letter."""

    pretrain_network_X: File | None = key('weights that the network begins with')
    param_key_X: Text | None = key('key of the weights in their file: params, params_ema, or ~ for the weights alone')
    strict_load_X: Switch | None = key('the names in the file have to be those of the network')


class Validation(Keys):
    """`val`."""

    val_freq: IterationCount = key('iterations from one validation to the next', _TRAIN)
    save_img: Switch = key('save the images that the network makes', _BOTH)
    suffix: Label | None = key('end of the names of saved images; ~ for the name of the experiment')
    metrics: Metrics | None = key('metrics, each under a name of your own')
    pbar: Switch | None = key('show a progress bar')


class Training(Keys):
    """`train`."""

    total_iter: IterationCount = key('iterations of the training', _TRAIN)
    warmup_iter: Annotated[Iterations, Field(ge=-1, le=10**9), Says('a whole number of iterations, or -1 for none')] = (
        key('iterations in which the rate grows from 0; -1 for none')
    )
    optim_g: Optimizer = key('any optimiser of torch.optim with its arguments', _TRAIN)
    scheduler: Annotated[dict, Typed('scheduler')] = key('schedule of the learning rate', _TRAIN)
    resume_settings: Literal['state', 'file'] | None = key(
        "of a run that goes on: whose learning rate, optimiser settings and schedule count, the state's or the file's"
    )
    ema_decay: Annotated[Number, Field(ge=0, lt=1)] = key('decay of the averaged weights; 0 for none')


class Top(Keys):
    """The top of an option file of a training or a test."""

    name: Label = key('name of the experiment: experiments/<name>/, results/<name>/', _BOTH)
    model_type: Name = key('registered model: the training and validation loop', _BOTH)
    scale: _Scale | None = key('size of the clear images / size of the others')
    num_gpu: _Gpus = key('GPUs of this process: auto, or a number; 0 for the CPU', _BOTH)
    manual_seed: _Seed | None = key('seed of all random numbers; ~ for a new one each time')
    datasets: DataSets = key('data sets: train, val, val_2 … of a training; test, test_2 … of a test', _BOTH)
    network_g: Network = key('the network that restores', _BOTH)
    path: Paths = key('weights to begin with, state to go on from', _BOTH)
    train: Training | None = key('training: schedule, optimisers, losses', _TRAIN)
    val: Validation | None = key('validation, and what a test does with its results', _BOTH[1:])
    logger: Logger | None = key('what is logged and saved, and how often', _TRAIN)
    dist_params: DistParams | None = key('how several processes meet')
    find_unused_parameters: Switch | None = key('for networks of which parts have no gradient, on several devices')


class DataSet(Keys):
    """What BasicSR's parser, models and log read of a data set."""

    name: Label = key('name, by which results, figures and messages go', _BOTH)
    phase: Literal['train', 'val', 'test'] | None = key('what the images are for; the key of the block says it')
    scale: _Scale | None = key('size of the clear images / size of the others; the top of the file says it')
    dataroot_lq: Text | None = key('folder or LMDB of hazy images')
    dataroot_gt: Text | None = key('folder or LMDB of clear images')


class Loader(Keys):
    """What BasicSR's loader, sampler and prefetcher read of the same block, or is customary there."""

    batch_size_per_gpu: Annotated[Count, Field(le=2**16)] = key('images of a batch, for each process or GPU', _TRAIN)
    num_worker_per_gpu: _Few = key('processes that read images', _TRAIN)
    dataset_enlarge_ratio: Annotated[Positive, Field(le=10**6)] | None = key('how often an epoch repeats the data set')
    prefetch_mode: Literal['cpu', 'cuda'] | None = key('how the next batch is fetched meanwhile: cuda, cpu or ~')
    num_prefetch_queue: Annotated[Count, Field(le=1024)] | None = key('batches that prefetch_mode: cpu holds')
    pin_memory: Switch | None = key('page-locked memory, from which a GPU copies faster')
    persistent_workers: Switch | None = key('keep the workers from one epoch to the next')
    use_shuffle: Switch | None = key('customary; the order is shuffled in any case')


# -------------------------------------------------------------------------------------------------------------- reports


class MethodPaths(Keys):
    """Weights of a method of a report; they may be missing."""

    pretrain_network_g: Text | None = key('file of weights')
    param_key_g: Text | None = key('key of the weights in the file; by default params_ema, or else params')


class Method(Keys):
    """A method of a report."""

    network_g: Network | None = key('the network')
    path: MethodPaths | None = key('its weights')
    self_ensemble: Switch | None = key('mean over the eight orientations of an image')
    missing: Text | None = key('why there are no figures')


class ReportSettings(Keys):
    """`report`."""

    tables: list[Annotated[Count, Field(le=4)]] | None = key("the paper's tables to be set beside, as [1, 2, 3]")
    cost_size: _Size | None = key('size of the image that cost is measured with')
    cost_rounds: Annotated[Count, Field(le=10**4)] | None = key('how often cost is measured')
    examples: Annotated[FromZero, Field(le=10**4)] | None = key(
        'best and worst images of each method, and as many of both of a test set that no metric can measure'
    )
    images: dict[str, dict[str, _Crops | None] | None] | None = key(
        'images that all methods are shown of, and the crops that are enlarged below, as {SOTS-indoor: '
        '{"1400_1": [120, 80, 96, 72]}}'
    )
    num_worker: _Few | None = key('workers that read images')
    limit: Annotated[Count, Field(le=10**9)] | None = key(
        'samples of a test set that are measured at most, spread evenly'
    )
    tile: Tile | None = key(
        'restore large images in overlapping tiles that share one airlight: auto for images that need more than half '
        'of the free memory, a number for the largest side of a tile in px, 0 for never'
    )


class Detection(Keys):
    """`detection` of a report."""

    model: Annotated[File, Says('one ONNX file of a NanoDet or a YOLOX')] = key(
        'ONNX file of the detector', ('report',)
    )
    format: Literal['nanodet', 'yolox'] | None = key('what its outputs are; by default as they look')
    classes: File | None = key('file with the name of a class in each line; needed with annotations')
    annotations: dict[str, Text] | None = key(
        'by test set: a folder of .xml of PASCAL VOC, or a .json of COCO; without, what is found in clear images counts'
    )
    score: Annotated[Number, Field(gt=0, lt=1)] | None = key('of boxes that count in clear images, and are drawn')


class ReportTop(Keys):
    """The top of an option file of `basicsr report`."""

    name: Label = key('name of the report: reports/<name>/', ('report',))
    scale: _Scale | None = key('size of the clear images / size of the hazy ones')
    num_gpu: _Gpus | None = key('GPUs: auto, or a number; 0 for the CPU')
    channels_last: Switch | None = key('channels innermost, which is faster but on a CPU with AVX2 alone')
    methods: dict[str, Method | None] = key('methods, each under its name', ('report',))
    datasets: DataSets = key('test sets, each under its name', ('report',))
    metrics: Metrics = key('metrics, each under a name of your own', ('report',))
    protocol: Literal['rgb', 'y', 'resize256'] | None = key('what is measured of an image')
    detection: Detection | None = key('a detector that is run on what each method makes')
    report: ReportSettings | None = key('what is set beside the figures, and how much is measured')
