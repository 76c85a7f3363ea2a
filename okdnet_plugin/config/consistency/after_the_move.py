"""What BasicSR and torch refuse only after an earlier run of the name has been moved aside."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

from basicsr.models.base_model import BaseModel
from basicsr.models.sr_model import SRModel

from okdnet_plugin.config.consistency.seen import Given, contradiction
from okdnet_plugin.config.messages import Mistake
from okdnet_plugin.config.registered import is_basicsrs

_TRAIN = ('datasets', 'train')
_PROJECT = ('logger', 'wandb', 'project')


def the_loader_can_be_made(given: Given) -> Iterator[Mistake]:
    if given.at(*_TRAIN, 'prefetch_mode') == 'cuda' and given.at(*_TRAIN, 'pin_memory') is not True:
        yield contradiction((*_TRAIN, 'prefetch_mode'), 'is cuda, which needs pin_memory: true; add it')
    if given.at(*_TRAIN, 'persistent_workers') is True and given.number(*_TRAIN, 'num_worker_per_gpu') == 0:
        yield contradiction((*_TRAIN, 'persistent_workers'), 'is true, but num_worker_per_gpu is 0; write false')


def weights_and_biases_can_be_used(given: Given) -> Iterator[Mistake]:
    project = given.at(*_PROJECT)
    if project is None or 'debug' in str(given.at('name')):
        return
    if given.at('logger', 'use_tb_logger') is False:
        yield contradiction(_PROJECT, f'is {project}, but use_tb_logger is false, which it follows; write true there')
    elif importlib.util.find_spec('wandb') is None:
        yield contradiction(_PROJECT, f'is {project}, but wandb is not installed; pip install wandb, or write ~')


def basicsrs_models_know_optimiser_and_schedule(given: Given) -> Iterator[Mistake]:
    model = given.model
    if model is None:
        return
    named = [('optim_g', 'get_optimizer'), ('optim_d', 'get_optimizer'), ('scheduler', 'setup_schedulers')]
    optimisers = [one for one in BaseModel.get_optimizer.__code__.co_consts if isinstance(one, str) and one.isalpha()]
    schedules = ['MultiStepLR', 'MultiStepRestartLR', 'CosineAnnealingRestartLR']
    for key, method in named:
        known = schedules if key == 'scheduler' else optimisers
        name = given.at('train', key, 'type', kind=str)
        if getattr(model, method) is getattr(BaseModel, method) and name is not None and name not in known:
            text = f'is {name}, but {model.__name__} knows {", ".join(known)} alone; write one of them, or use '
            yield contradiction(('train', key, 'type'), f'{text}model_type: RestorationModel')


def an_srmodel_has_a_loss(given: Given) -> Iterator[Mistake]:
    losses = ('pixel_opt', 'perceptual_opt')
    if given.model is SRModel and given.block('train') and not any(given.block('train').get(key) for key in losses):
        yield Mistake(('train',), f': no loss is given; add one of {", ".join(losses)}', 'missing key')


def saved_images_have_their_suffix(given: Given) -> Iterator[Mistake]:
    model, block = given.model, given.block('val')
    reads_it = is_basicsrs(model) and getattr(model, 'nondist_validation', None) is SRModel.nondist_validation
    if reads_it and block.get('save_img') is True and 'suffix' not in block:
        text = 'is missing; BasicSR asks for it where images are saved: add suffix: ~'
        yield Mistake(('val', 'suffix'), text, 'missing key')
