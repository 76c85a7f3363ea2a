"""Which pictures are drawn, and how many make an epoch."""

import functools
import importlib
import math

import torch

from okdnet_plugin.compat.patches import patch, replace_function, source_of
from okdnet_plugin.errors import InputError


@patch(lambda: not hasattr(importlib.import_module('basicsr.train').create_train_val_dataloader, 'takes_the_seed'))
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
        this.seed = chosen = seed[0] if state.get('seed') is None else state['seed']
        this.val_loaders = val_loaders
        this.is_begun = True
        accumulate = opt['train'].get('accumulate') or 1
        train_loader, sampler = in_seeded_order(train_loader, sampler, chosen, state['iter'], accumulate)
        state['epoch'] = sampler.epoch  # where the toolbox's loop begins
        return train_loader, sampler, val_loaders, *totals

    setattr(create_train_val_dataloader, 'takes_the_seed', True)  # noqa: B010  wrappers around it hand that on
    replace_function('basicsr.train:create_train_val_dataloader', create_train_val_dataloader)


@patch(lambda: 'len(train_loader)' not in source_of('basicsr.train:create_train_val_dataloader'))
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

    replace_function('basicsr.train:create_train_val_dataloader', create_train_val_dataloader)
