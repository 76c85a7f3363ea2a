"""Which images are drawn, and how many make an epoch."""

import functools
import importlib
import math

import torch

from okdnet_plugin.compat.patches import patch, replace_function, source_of


def _order_ignores_the_seed() -> bool:
    makes_the_sampler = 'EnlargedSampler(' in source_of('basicsr.train:create_train_val_dataloader')
    return makes_the_sampler and 'manual_seed(self.epoch)' in source_of(
        'basicsr.data.data_sampler:EnlargedSampler.__iter__'
    )


@patch(_order_ignores_the_seed)
def draw_images_by_the_seed() -> None:
    """The order of the images ignores `manual_seed`, their augmentation depends on the number of workers.

    A run that goes on begins its epoch again, so that some images are seen twice and others not at all. Order and
    augmentation now follow from (seed, epoch, number) alone, see `okdnet_plugin.data.seeded_order`; without
    `manual_seed`, processes agree on the seed of the first. Can go when BasicSR's sampler takes the seed and a
    place to begin at.
    """
    original = importlib.import_module('basicsr.train').create_train_val_dataloader

    @functools.wraps(original)
    def create_train_val_dataloader(opt, logger):
        from okdnet_plugin.data.seeded_order import in_seeded_order
        from okdnet_plugin.engine import resuming
        from okdnet_plugin.engine.run import Run

        train_loader, sampler, val_loaders, *totals = original(opt, logger)
        seed = [opt['manual_seed']]
        if opt['dist']:
            torch.distributed.broadcast_object_list(seed)
        this = Run.of(opt)
        this.facts = resuming.facts_of(opt, len(train_loader.dataset))
        if this.state is not None:
            resuming.tell_changes(this.state, opt, this.facts, seed[0])
        state = this.state or {'iter': 0}
        this.seed = chosen = seed[0] if state.get('seed') is None else state['seed']
        this.val_loaders = val_loaders
        this.is_begun = True
        accumulate = opt['train'].get('accumulate') or 1
        train_loader, sampler = in_seeded_order(train_loader, sampler, chosen, state['iter'], accumulate)
        state['epoch'] = sampler.epoch  # where BasicSR's loop begins
        return train_loader, sampler, val_loaders, *totals

    replace_function('basicsr.train:create_train_val_dataloader', create_train_val_dataloader)


@patch(lambda: 'len(train_loader)' not in source_of('basicsr.train:create_train_val_dataloader'))
def count_the_iterations_of_an_epoch() -> None:
    """An epoch is counted with its last, smaller batch, which the loader drops, so that a run ends too early.

    With fewer images than a batch it makes no step at all, and succeeds. Can go when BasicSR counts what its
    loader gives.
    """
    original = importlib.import_module('basicsr.train').create_train_val_dataloader

    @functools.wraps(original)
    def create_train_val_dataloader(opt, logger):
        from okdnet_plugin.engine.trial import check_batches

        train_loader, sampler, val_loaders, _, total_iters = original(opt, logger)
        if len(train_loader) == 0:
            block, length = opt['datasets']['train'], len(train_loader.dataset)
            check_batches(block, length, train_loader.batch_size, opt['world_size'])
        logger.info(f'An epoch has {len(train_loader)} iterations of {train_loader.batch_size} images a process.')
        return train_loader, sampler, val_loaders, math.ceil(total_iters / len(train_loader)), total_iters

    replace_function('basicsr.train:create_train_val_dataloader', create_train_val_dataloader)
