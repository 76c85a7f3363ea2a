"""What an option file may say, as far as it is checked before anything of an earlier run is moved."""

import inspect
import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from os import path as osp

from basicsr.utils.registry import (
    ARCH_REGISTRY,
    DATASET_REGISTRY,
    LOSS_REGISTRY,
    METRIC_REGISTRY,
    MODEL_REGISTRY,
    Registry,
)

from okdnet_plugin.data import options
from okdnet_plugin.data.dehaze_dataset import where
from okdnet_plugin.data.options import located
from okdnet_plugin.errors import InputError, UnknownNameError, did_you_mean

_NUMBER = re.compile(r'[+-]?\d+(\.\d*)?[eE][+-]?\d+')


def check_options(opt: Mapping) -> None:
    """Find the mistakes that the toolbox finds late or never.

    Every registered name is looked up, the arguments of networks and losses are held against their signatures, data
    sets are constructed once, and a model class may add its own check as a class method `check_options(opt)`.

    Args:
        opt: the option file as the toolbox's parser returns it; it is not changed.

    Raises:
        InputError: the first mistake; UnknownNameError if it is a name that is not registered.
    """
    _check_numbers(opt)
    model = MODEL_REGISTRY.get(opt['model_type'])
    _check_engine(opt, model)
    scheduler = (opt.get('train') or {}).get('scheduler')
    if scheduler:
        _check_scheduler(scheduler)
    for key, block in _typed_blocks(opt, prefix='network_'):
        _check_arguments(key, block, ARCH_REGISTRY)
    for key, block in _typed_blocks(opt.get('train') or {}, suffix='_opt'):
        _check_arguments(f'train:{key}', block, LOSS_REGISTRY)
    for key, block in _typed_blocks((opt.get('val') or {}).get('metrics') or {}):
        _look_up(f'val:metrics:{key}', block, METRIC_REGISTRY)
    for key, path in (opt.get('path') or {}).items():
        if path and key.startswith(('pretrain_network', 'resume_state')) and not osp.isfile(path):
            raise InputError(f'option path:{key}: there is no file {path}; correct the path, or leave it empty (~)')
    if hasattr(model, 'check_options'):
        model.check_options(opt)
    for phase, block in _typed_blocks(opt['datasets']):
        make = _look_up(f'datasets:{phase}', block, DATASET_REGISTRY)
        with located(where({'phase': phase, **block})):
            options.check_name(block)
        make(deepcopy(block))


def check_paths(opt: Mapping) -> None:
    """Find what the toolbox's parser would stumble over: blocks that are none, and paths that are no text.

    Args:
        opt: the option file as it is written.

    Raises:
        InputError: the first mistake.
    """
    for key in ('datasets', 'path'):
        if not isinstance(opt.get(key), Mapping):
            raise InputError(f'option {key} is {options.shown(opt.get(key))}; write a block of keys and values')
    for phase, block in opt['datasets'].items():
        if not isinstance(block, Mapping):
            raise InputError(
                f'option datasets:{phase} is {options.shown(block)}; write the block of a data set, or take it out'
            )
        with located(where({**block, 'phase': phase})):
            for key in ('dataroot_lq', 'dataroot_gt'):
                options.check_path(block, key)
    for key in opt['path']:
        if 'resume_state' in str(key) or 'pretrain_network' in str(key):
            with located('option path'):
                options.check_path(opt['path'], key)


def _check_engine(opt: Mapping, model: type) -> None:
    """Find options of the engine that are misspelt, or at a model that would not read them."""
    from okdnet_plugin.models.restoration_model import RestorationModel

    for option in RestorationModel.engine_options:
        *level, key = option.split(':')
        block = opt.get(level[0]) or {} if level else opt
        for written in block:
            if written != key and did_you_mean(written, [key], cutoff=0.8):
                raise InputError(
                    f'option {":".join([*level, str(written)])}: nothing reads it (did you mean {option}?)'
                )
        if issubclass(model, RestorationModel):
            continue
        if block.get(key):
            raise InputError(f'option {option}: {opt["model_type"]} does not read it; use model_type: RestorationModel')


def _check_numbers(block: object, place: str = '') -> None:
    """Find numbers that YAML has read as texts: it wants a point before the exponent."""
    if isinstance(block, str) and _NUMBER.fullmatch(block):
        raise InputError(
            f'option {place} is the text {block!r} to YAML; write {float(block)!r}, or a point before the exponent'
        )
    items = block.items() if isinstance(block, Mapping) else enumerate(block) if isinstance(block, list | tuple) else ()
    for key, value in items:
        _check_numbers(value, f'{place}:{key}' if place else str(key))


def _check_scheduler(block: Mapping) -> None:
    from basicsr.models.lr_scheduler import CosineAnnealingRestartLR, MultiStepRestartLR

    known = {
        'MultiStepLR': MultiStepRestartLR,
        'MultiStepRestartLR': MultiStepRestartLR,
        'CosineAnnealingRestartLR': CosineAnnealingRestartLR,
    }
    name = block.get('type')
    if name not in known:
        raise UnknownNameError(
            f"option train:scheduler:type: the toolbox has no schedule '{name}'{did_you_mean(name, known)}; "
            f'it has {", ".join(known)}'
        )
    arguments = [argument for argument in inspect.signature(known[name]).parameters if argument != 'optimizer']
    for argument in block.keys() - {'type', *arguments}:
        raise InputError(
            f'option train:scheduler:{argument}: {name} has no such argument{did_you_mean(argument, arguments)}; '
            f'it has {", ".join(arguments)}'
        )


def _typed_blocks(blocks: Mapping, prefix: str = '', suffix: str = '') -> Iterable[tuple[str, Mapping]]:
    for key, block in blocks.items():
        if key.startswith(prefix) and key.endswith(suffix) and block:
            yield key, block


def _look_up(key: str, block: Mapping, registry: Registry) -> type:
    if not isinstance(block, Mapping) or 'type' not in block:
        raise InputError(f"option {key}: 'type' is missing; add the name of a registered class or function")
    return registry.get(block['type'])


def _check_arguments(key: str, block: Mapping, registry: Registry) -> None:
    parameters = inspect.signature(_look_up(key, block, registry)).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    names = [parameter.name for parameter in parameters]
    for argument in block.keys() - {'type'} - set(names):
        raise InputError(
            f'option {key}:{argument}: {block["type"]} has no such argument{did_you_mean(argument, names)}; '
            f'it has {", ".join(names)}'
        )
    missing = [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
    for argument in missing:
        if argument not in block:
            raise InputError(f'option {key}:{argument} is missing; {block["type"]} has no default for it')
