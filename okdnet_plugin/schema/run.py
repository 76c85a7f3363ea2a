"""The check where a run begins: of options as the toolbox's parser has made them, up to the data sets themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from os import path as osp

from okdnet_plugin.data import options
from okdnet_plugin.data.dehaze_dataset import where
from okdnet_plugin.data.options import located
from okdnet_plugin.errors import InputError
from okdnet_plugin.schema.check import check
from okdnet_plugin.schema.mistakes import Mistake, Places, error_of
from okdnet_plugin.schema.registered import find, is_the_toolboxs
from okdnet_plugin.schema.tree import Phase, model_of

# What the toolbox's parser and pipelines add to the options.
_OF_THE_PARSER = ('dist', 'rank', 'world_size', 'auto_resume', 'is_train', 'root_path')
_PATHS_OF_THE_PARSER = ('experiments_root', 'models', 'training_states', 'log', 'visualization', 'results_root')


def refuse(opt: Mapping, places: Places | None = None, phase: Phase = 'train', look: bool = True) -> None:
    """Raise one error that names all mistakes of an option file, if it has any; see `check`.

    Raises:
        InputError: it has; UnknownNameError if a name that is not registered is among them.
    """
    mistakes = check(opt, places, phase, look)
    if mistakes:
        raise error_of(mistakes)


def check_options(opt: Mapping) -> None:
    """Find the mistakes that the toolbox finds late or never, before anything of an earlier run is moved.

    When everything else is right, data sets are constructed once, and a model class may add its own check as a class
    method `check_options(opt)`.

    Args:
        opt: the option file as the toolbox's parser returns it; it is not changed.

    Raises:
        InputError: all mistakes that the option file shows by itself, or the first one of a data set or of the model.
    """
    refuse(as_written(opt), phase='train' if opt['is_train'] else 'test')
    model = model_of(opt)
    if hasattr(model, 'check_options'):
        model.check_options(opt)  # type: ignore[union-attr]
    for phase, block in opt['datasets'].items():
        construct({'phase': phase, **block})


def construct(block: Mapping) -> None:
    """Make a data set, to see whether it can be made.

    Args:
        block: its block, with the phase.

    Raises:
        InputError: it cannot; a data set that is not the toolbox's may raise anything.
    """
    with located(where(block)):
        options.check_name(block)
    make = find('dataset', block['type'])
    assert make is not None, 'the check has looked its name up'
    try:
        make(deepcopy(dict(block)))
    except InputError:
        raise
    except Exception as error:  # the toolbox's data sets complain in many ways
        if not is_the_toolboxs(make):
            raise
        raise InputError(f'{where(block)}: {_complaint(block, error)}') from error


def _complaint(block: Mapping, error: Exception) -> str:
    said = ' '.join(str(error).split())
    return f'{block["type"]} cannot be made: {type(error).__name__}{said and ": "}{said}; see its docstring'


def unmade(opt: Mapping, phase: Phase) -> Iterator[Mistake]:
    """What the data sets of an option file without other mistakes say when they are made.

    Args:
        opt: the option file as it is written.
        phase: train or test.
    """
    for label, block in opt['datasets'].items():
        scale = {'scale': opt['scale']} if 'scale' in opt else {}
        roots = {key: osp.expanduser(block[key]) for key in ('dataroot_gt', 'dataroot_lq') if block.get(key)}
        try:
            construct({**block, **scale, **roots, 'phase': str(label).split('_')[0]})
        except InputError as error:
            yield Mistake(('datasets', label), f': {error}', 'wrong value')
        except Exception as error:  # of another plugin
            yield Mistake(('datasets', label), f': {_complaint(block, error)}', 'wrong value')


def refuse_of_model(opt: Mapping) -> None:
    """As `refuse`, for what a model reads alone: who builds one by hand may do without the rest of an option file.

    Args:
        opt: the options that a model is made of.

    Raises:
        InputError: they have mistakes.
    """
    mistakes = check(as_written(opt), phase='train' if opt['is_train'] else 'test', look=False)
    mistakes = [mistake for mistake in mistakes if _is_read_by_models(mistake)]
    if mistakes:
        raise error_of(mistakes)


def _is_read_by_models(mistake: Mistake) -> bool:
    level = mistake.path[0]
    if mistake.kind == 'missing key':
        return level == 'train' and mistake.path[-1] != 'total_iter'
    if level == 'datasets':
        return mistake.path[-1] == 'batch_size_per_gpu'
    return mistake.path != ('val',)


def as_written(opt: Mapping) -> dict:
    """Options without what the toolbox's parser has added to them."""
    written = {key: value for key, value in opt.items() if key not in _OF_THE_PARSER}
    path = opt.get('path')
    if isinstance(path, Mapping):
        written['path'] = {key: value for key, value in path.items() if key not in _PATHS_OF_THE_PARSER}
    return written
