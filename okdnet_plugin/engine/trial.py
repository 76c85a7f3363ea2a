"""What only a try shows: whether data sets, losses, optimisers, a first batch can be made, and the network takes it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from os import path as osp
from typing import Any

import torch
from torch import nn
from torch.utils.data import default_collate

from okdnet_plugin.config.items import KeyPath
from okdnet_plugin.config.messages import Mistake, where
from okdnet_plugin.config.registered import find, is_basicsrs
from okdnet_plugin.config.walk import Phase, is_closed, model_of, nodes_of
from okdnet_plugin.engine import finetuning
from okdnet_plugin.errors import InputError

_DOWNLOADS = ('PerceptualLoss',)  # losses that read weights when they are made
_OF_THE_DEVICE = ('fused', 'foreach', 'capturable')  # ways of computing that another device may have
_MOST_SAMPLES = 2**31  # of an epoch; their order is drawn at once


def attempts(opt: Mapping, phase: Phase) -> Iterator[Mistake]:
    """What the parts of a run say when they are made, of an option file without other mistakes.

    Args:
        opt: the option file as it is written.
        phase: train or test.
    """
    sets = {}
    for label, block in opt['datasets'].items():
        scale = {'scale': opt['scale']} if 'scale' in opt else {}
        roots = {key: osp.expanduser(block[key]) for key in ('dataroot_gt', 'dataroot_lq') if block.get(key)}
        try:
            sets[label] = construct({**block, **scale, **roots, 'phase': str(label).split('_')[0]})
        except Exception as error:  # of another plugin it may be any
            yield Mistake(('datasets', label), f': {_complaint(block, error)}', 'wrong value')
    if phase == 'train':
        for node in nodes_of(opt, phase):
            if node.kind == 'loss' and is_closed(model_of(opt)):
                yield from _loss(node.path, node.value)
            elif node.kind == 'optimizer':
                yield from _optimizer(node.path, node.value)
        if 'train' in sets:
            try:
                first_batch(opt, sets['train'])
            except InputError as error:
                yield Mistake(('datasets', 'train'), f': {error}', 'wrong value')
        yield from _training(opt)


def _training(opt: Mapping) -> Iterator[Mistake]:
    """What the model says of a training, by a class method `check_training(opt)`."""
    model: Any = model_of(opt)
    try:
        if hasattr(model, 'check_training'):
            model.check_training(opt)
    except InputError as error:
        text = str(error)
        key, _, said = text.removeprefix('option ').partition(' ')
        path = tuple(key.rstrip(':').split(':')) if text.startswith('option ') else ()
        joint = ': ' if key.endswith(':') else ''
        yield Mistake(path, f'{joint}{said}' if path else text, 'wrong value')


def construct(block: Mapping) -> Any:
    """Make a data set.

    Args:
        block: its block, with the phase.

    Raises:
        InputError: it cannot be made; a data set that is not BasicSR's may raise anything.
    """
    make = find('dataset', block['type'])
    assert make is not None, 'the check has looked its name up'
    try:
        return make(deepcopy(dict(block)))
    except InputError:
        raise
    except Exception as error:  # BasicSR's data sets complain in many ways
        if not is_basicsrs(make):
            raise
        raise InputError(f'{where(block)}: {_complaint(block, error)}') from error


def _complaint(block: Mapping, error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    said = ' '.join(str(error).split())
    return f'{block["type"]} cannot be made: {type(error).__name__}{said and ": "}{said}; see its docstring'


def _loss(path: KeyPath, block: Mapping) -> Iterator[Mistake]:
    make, arguments = find('loss', block['type']), {name: one for name, one in block.items() if name != 'type'}
    if make is None or block['type'] in _DOWNLOADS:
        return
    try:
        make(**deepcopy(arguments))
    except (TypeError, ValueError, AssertionError) as error:
        yield Mistake(path, f': {_complaint(block, error)}', 'wrong value')


def _optimizer(path: KeyPath, block: Mapping) -> Iterator[Mistake]:
    make, kept = find('optimizer', block['type']), {*block} - {'type', *_OF_THE_DEVICE}
    try:
        if make is not None:
            make([nn.Parameter(torch.zeros(1))], **{name: deepcopy(block[name]) for name in kept})
    except (TypeError, ValueError) as error:
        yield Mistake(path, f': {_complaint(block, error)}', 'wrong value')


def first_batch(opt: Mapping, data_set: Any, world_size: int = 1) -> None:
    """Draw a batch of a training, and see that the network takes it.

    Args:
        opt: the option file.
        data_set: that of the training.
        world_size: processes.

    Raises:
        InputError: the data set does not fill a batch, its samples do not fit into one, or the network refuses it.
    """
    block, place = opt['datasets']['train'], where({'phase': 'train', **opt['datasets']['train']})
    accumulate = opt['train'].get('accumulate') or 1
    check_batches(block, len(data_set), block['batch_size_per_gpu'] * accumulate, world_size)
    samples = [data_set[index % len(data_set)] for index in range(block['batch_size_per_gpu'])]
    try:
        batch = default_collate([_tensors(sample) for sample in samples])
    except RuntimeError as error:
        shapes = {str(list(one.shape)) for sample in samples for one in _tensors(sample).values()}
        raise InputError(
            f'{place}: samples do not fit into one batch, as their shapes differ: {", ".join(sorted(shapes))}; crop or '
            'resize them to one size'
        ) from error
    if 'lq' not in batch or 'gt' not in batch:
        return
    lq, gt = batch['lq'], batch['gt']
    batches = [(lq, gt)]
    stages = opt['train'].get('progressive_sizes') or {}
    sizes = stages.get('gt_sizes') or ()
    for size, count in dict.fromkeys(zip(sizes, stages.get('mini_batch_sizes') or [len(lq)] * len(sizes), strict=True)):
        if size > min(gt.shape[-2:]):
            raise InputError(
                f'{place}: the images are {gt.shape[-2]}x{gt.shape[-1]} px, but train:progressive_sizes:gt_sizes takes '
                f'crops of {size} px of them; raise gt_size or resize, or lower gt_sizes'
            )
        edge = size // (gt.shape[-1] // lq.shape[-1])
        batches.append((lq[:count, ..., :edge, :edge], gt[:count, ..., :size, :size]))
    if find('network', (opt.get('network_g') or {}).get('type')) is not None and _calls_net_g_alone(opt):
        for lq, gt in batches:
            _pass_through(opt['network_g'], opt['train'].get('freeze') or (), lq, gt, place)


def check_batches(block: Mapping, length: int, batch_size: int, world_size: int) -> None:
    """See that a data set fills a batch in each process.

    Raises:
        InputError: it does not, or an epoch has more samples than can be counted.
    """
    samples = -(-int(length * (block.get('dataset_enlarge_ratio') or 1)) // world_size)
    cure = 'epoch_length' if block.get('type') == 'MixedDataset' else 'dataset_enlarge_ratio, which repeats them'
    place = where({'phase': 'train', **block})
    if samples > _MOST_SAMPLES:
        raise InputError(f'{place}: an epoch would have {samples} samples; lower {cure.split(chr(44))[0]}')
    if samples < batch_size:
        raise InputError(
            f'{place}: {length} images do not fill a batch of {batch_size} (batch_size_per_gpu x train:accumulate) '
            f'in each of {world_size} processes; raise {cure}, or lower batch_size_per_gpu'
        )


def _tensors(sample: Mapping) -> dict[str, torch.Tensor]:
    return {key: one for key, one in sample.items() if isinstance(one, torch.Tensor)}


def _calls_net_g_alone(opt: Mapping) -> bool:
    """Whether the model is known to give its network the low-quality batch alone."""
    model = model_of(opt)
    return model is not None and (is_closed(model) or model.__name__ == 'SRModel')


def _pass_through(block: Mapping, frozen: Sequence[str], lq: torch.Tensor, gt: torch.Tensor, place: str) -> None:
    """Run the network on shapes alone; what it refuses there, it has to refuse in earnest, to be refused here."""
    failure: Exception | None = None
    shape: Any = None
    for built_on, run_on in (('meta', 'meta'), ('cpu', 'meta'), ('cpu', 'cpu')):
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                arguments = {name: deepcopy(one) for name, one in block.items() if name != 'type'}
                with torch.device(built_on):
                    net: nn.Module = find('network', block['type'])(**arguments)  # type: ignore[misc]
                net.to(run_on).train()
                with contextlib.suppress(InputError):  # of which the model tells
                    for layer in finetuning.freeze(net, frozen) if frozen else ():
                        layer.eval()
                few = lq[:2] if run_on == 'cpu' else lq
                with torch.device(run_on):
                    shape = getattr(net(few.to(run_on)), 'shape', None)
        except Exception as error:  # a network may refuse in any way
            failure = error
        else:
            break
    else:
        said = ' '.join(str(failure).split())[:300].rstrip('.')
        raise InputError(
            f'{place}: {block["type"]} does not take a batch of shape {list(lq.shape)}: {said}; change its arguments, '
            'the crop, or the batch size'
        ) from failure
    if shape is not None and lq.dim() == 4 and tuple(shape[1:]) != tuple(gt.shape[1:]):
        raise InputError(
            f'{place}: {block["type"]} makes {list(shape)} of a batch of shape {list(lq.shape)}, but the clear '
            f'images are {list(gt.shape)}; make scale, its arguments and the data set agree'
        )
