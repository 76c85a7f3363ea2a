"""What goes with exported weights, as texts by name: JSON where it is more than one word."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from os import path as osp

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor

from okdnet_plugin.engine import journal
from okdnet_plugin.redaction import redacted
from okdnet_plugin.version import __version__
from okdnet_plugin.weights import reading
from okdnet_plugin.weights.loading import Weights

_OPTIONS = ('name', 'model_type', 'manual_seed', 'amp', 'train')


def describe(weights: Weights, state: Mapping[str, Tensor], more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What is known of weights.

    Args:
        weights: as they were loaded. What their own metadata tell is kept where nothing newer is known.
        state: the tensors that are exported, for their checksum.
        more: texts by name that the user adds, such as `licence`.

    Returns:
        - network: block `network_g`; package: the one that registers it, and its version;
        - options: of the training, as far as its option file is known, with names of files in place of paths;
        - training_data: blocks of its training sets;
        - metrics: iteration, and the last figures of each validation set at it;
        - parameters: how many; source: file and key; version: of this package;
        - sha256: over the tensors, see `reading.digest`.
    """
    told = {name: text for name, text in weights.metadata.items() if name not in ('sha256', 'source')}
    described = told | {
        'network': _json(weights.network),
        'package': _package_of(str(weights.network['type'])),
        'parameters': str(sum(tensor.numel() for name, tensor in state.items() if _is_parameter(name))),
        'version': f'okdnet_plugin {__version__}',
    }
    if weights.path is not None:
        described['source'] = ' '.join(filter(None, [osp.basename(weights.path), weights.param_key]))
    if state:
        described['sha256'] = reading.digest(state)
    if weights.opt is not None:
        described |= _of_options(weights.opt)
    metrics = _metrics_of_run(weights.path, weights.opt or {}) if _is_validated(weights) else None
    if metrics:
        described['metrics'] = _json(metrics)
    return redacted(described) | dict(more or {})


def _of_options(opt: Mapping) -> dict[str, str]:
    datasets = opt.get('datasets')
    blocks = datasets.items() if isinstance(datasets, Mapping) else ()
    training = [block for phase, block in blocks if str(phase).split('_')[0] == 'train']
    if not training:
        return {}  # an option file of a test tells nothing of the training
    options = {key: opt[key] for key in _OPTIONS if key in opt}
    return {'options': _json(_without_folders(options)), 'training_data': _json(_without_folders(training))}


def _is_validated(weights: Weights) -> bool:
    """Whether figures of the run are of these weights: with an average, it is what was validated."""
    train = (weights.opt or {}).get('train')
    has_average = isinstance(train, Mapping) and bool(train.get('ema_decay'))
    return weights.param_key == 'params_ema' or not has_average


def _metrics_of_run(path: str | None, opt: Mapping) -> dict | None:
    """Iteration and validation figures of a network that lies in models/ of its run, from the journal beside it."""
    match = re.fullmatch(r'net_g_(\d+|latest|best)\.pth', osp.basename(path or ''))
    file = osp.join(osp.dirname(osp.dirname(osp.abspath(path or ''))), journal.NAME)
    if match is None or not osp.isfile(file):
        return None
    entries = []
    with open(file, encoding='utf-8', errors='replace') as lines:
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:  # of a process that was killed
                continue
            if isinstance(entry, dict) and isinstance(entry.get('iter'), int):
                entries.append(entry)
    last = max((entry['iter'] for entry in entries), default=None)
    wanted = last if match[1] == 'latest' else _best(entries, opt) if match[1] == 'best' else int(match[1])
    figures = {
        str(entry['dataset']): {key: value for key, value in entry.items() if key not in ('iter', 'dataset')}
        for entry in entries
        if entry['iter'] == wanted and 'dataset' in entry
    }
    return {'iter': wanted, **figures} if figures else None


def _best(entries: Sequence[Mapping], opt: Mapping) -> int | None:
    """The iteration that the training has kept as the best; None if its option file or the journal do not tell."""
    logger, val = (opt.get(key) if isinstance(opt.get(key), Mapping) else {} for key in ('logger', 'val'))
    dataset, _, metric = str((logger or {}).get('save_best') or '').rpartition('/')
    settings = ((val or {}).get('metrics') or {}).get(metric)
    if not isinstance(settings, Mapping):
        return None
    sign = -1 if settings.get('better') == 'lower' else 1
    values = [
        (sign * entry[metric], entry['iter'])
        for entry in entries
        if entry.get('dataset') == dataset and isinstance(entry.get(metric), int | float)
    ]
    return max(values)[1] if values else None  # of equals the last, as BasicSR keeps it


def _without_folders(value: object) -> object:
    """Options with the last part of each path: where data lay is nobody else's affair."""
    if isinstance(value, Mapping):
        return {str(key): _without_folders(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(item) for item in value]
    if isinstance(value, str) and os.sep in value:
        return osp.basename(value.rstrip(os.sep))
    return value


def _package_of(network: str) -> str:
    package = ARCH_REGISTRY.get(network).__module__.partition('.')[0]
    distribution = (packages_distributions().get(package) or [package])[0]
    try:
        return f'{distribution} {version(distribution)}'
    except PackageNotFoundError:
        return distribution


def _is_parameter(name: str) -> bool:
    return name.rpartition('.')[2] not in ('running_mean', 'running_var', 'num_batches_tracked')


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
