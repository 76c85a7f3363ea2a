"""Weights of a network, and which network they are of: by file, by option file and the run it describes, or by name."""

import glob
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import path as osp

from torch import Tensor, nn

from okdnet_plugin import config, shipped_weights
from okdnet_plugin.errors import InputError, UnknownNameError
from okdnet_plugin.plugins import load_plugins, whose
from okdnet_plugin.weights import arch_detection, reading

_METADATA = 'the metadata of the weights'
_SAVED = re.compile(r'net_g_(\d+)\.pth')


@dataclass(frozen=True)
class Weights:
    """What a file of weights and the option file beside it say."""

    network: Mapping
    """Block `network_g`: `type` and the arguments of a registered network."""
    state: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the file itself tells: options, training data, metrics, licence, version."""
    path: str | None = None
    param_key: str | None = None
    """Which of the file's sets of weights this is: `params_ema`, `params`; None if it holds them alone."""
    origin: str = ''
    """How the network is known, in words."""
    opt: Mapping | None = None
    """The option file that names the network, if one does."""

    def __str__(self) -> str:
        parts = [str(self.network.get('type')), f'weights {self.path}' if self.path else 'without weights']
        parts += [f'{self.param_key}'] if self.param_key else []
        return f'{", ".join(parts)} (network from {self.origin})' if self.origin else ', '.join(parts)


def load(path: str | None, opt: str | None = None, param_key: str | None = None) -> Weights:
    """Weights of a file, with the network that they belong to.

    The network is that of the option file; else that of the file's metadata; else that of the option file which
    BasicSR keeps in the folder of the run that the weights lie in; else the only one of the plugins' networks that
    they fit.

    Args:
        path: .pth of BasicSR or as published, .safetensors, or a name of `shipped_weights`; by default what the
            option file has as `path: pretrain_network_g`, and no weights at all for a network that has none.
        opt: option file with a block `network_g`.
        param_key: which of the file's sets of weights is taken; by default `params_ema`, else `params`, else what
            the file holds.

    Raises:
        InputError: the file or the option file cannot be read, the weights are not of this network or not finite, or
            no network is known; UnknownNameError if its name is not registered.
    """
    load_plugins()
    options = None if opt is None else config.load(opt)
    if options is not None and not isinstance(options.get('network_g'), Mapping):
        raise InputError(f'option file {opt} has no block network_g, which names the network; give another')
    if path is None:
        path, param_key = _weights_of(options, opt, param_key)
    if path is None:
        assert options is not None
        return Weights(options['network_g'], {}, origin=f'option file {opt}', opt=options)

    path = shipped_weights.resolve(path)
    content = reading.read(path, param_key)
    network, origin, options = _network_of(content, path, options, opt)
    try:
        if origin == _METADATA:
            arch_detection.check_claim(network, content.state)
        state, difference = arch_detection.fit(network, content.state)
    except (InputError, UnknownNameError) as error:
        raise type(error)(f'{origin}: {error}{_whose(network, content.metadata, error)}') from error
    if difference is not None:
        raise InputError(
            f'weights {path} are not of the {network["type"]} of {origin}: {difference}{_would_fit(content.state)}'
        )
    return Weights(network, state, content.metadata, path, content.key, origin, options)


def weights_for(path: str | None, opt: str | None, network: str | None, param_key: str | None) -> Weights:
    """Weights of a network, as the options of a command name them.

    Args:
        path: file of weights, or a name of those that come with the package. Default: what the option file names, else
            the best or newest of the run that it describes, in experiments/<name>/models of the current folder; without
            an option file those of the package.
        opt: option file.
        network: name of a registered network that has no weights; then nothing else is needed.
        param_key: weights in the file.

    Raises:
        InputError: they cannot be used.
    """
    if network is not None:
        if path is not None or opt is not None:
            raise InputError(f'--network {network} is for networks without weights; take it or -w and --opt out')
        load_plugins()
        if arch_detection.make({'type': network}).state_dict():
            raise InputError(f'--network {network}: {network} has weights to load; give -w WEIGHTS in its place')
        return Weights({'type': network}, {}, origin='--network')
    if path is None and opt is None:
        path = shipped_weights.DEFAULT
    return load(path or (opt and _of_run(config.load(opt))) or None, opt, param_key)


def build(weights: Weights) -> nn.Module:
    """The network with its weights, in eval mode, without gradients, on the CPU in float32.

    Raises:
        InputError: the network cannot be built, or the weights are of another.
    """
    load_plugins()
    net = arch_detection.make(weights.network)
    if weights.state or net.state_dict():
        try:
            net.load_state_dict(dict(weights.state), strict=True)
        except RuntimeError as error:
            difference = arch_detection.misfit(weights.network, weights.state)
            raise InputError(f'weights {weights.path} are not of {weights.network["type"]}: {difference}') from error
    return net.float().eval().requires_grad_(False)


def load_frozen(network: Mapping, path: str | None, param_key: str | None = None) -> nn.Module:
    """A network with its weights that never learns: in eval mode, without gradients, on the CPU in float32.

    Args:
        network: its block.
        path, param_key: as for `load_for`.

    Raises:
        InputError: the network cannot be built, or has weights and gets none, or those of another.
    """
    if path is None and arch_detection.make(network).state_dict():
        raise InputError(f'{network["type"]} has weights to load, and none are given; give their file')
    return build(load_for(network, path, param_key))


def load_for(network: Mapping, path: str | None, param_key: str | None = None) -> Weights:
    """Weights for a network that is known.

    Args:
        network: block `network_g`.
        path: of the file; None for a network that has none.
        param_key: as for `load`.

    Raises:
        InputError: the file cannot be read, or the weights are of another network.
    """
    if path is None:
        return Weights(network, {}, origin='its option file')
    content = reading.read(path, param_key)
    state, difference = arch_detection.fit(network, content.state)
    if difference is not None:
        raise InputError(f'weights {path} are not of {network["type"]}: {difference}{_would_fit(content.state)}')
    return Weights(network, state, content.metadata, path, content.key, 'its option file')


def load_into(net: nn.Module, state: Mapping[str, Tensor], path: str) -> None:
    """Give a network all its weights.

    Args:
        net: on any device.
        state: of a file, by the names that they have there.
        path: of the file, for messages.

    Raises:
        InputError: they are of another network.
    """
    _, difference = arch_detection.fit_to(net, state)
    if difference is not None:
        raise InputError(
            f'weights {path} are not of the {type(net).__name__} of the option file: {difference}{_would_fit(state)}; '
            'give the weights of this network, or its arguments as they were trained'
        )


def nearest(net: nn.Module, state: Mapping[str, Tensor], path: str) -> Mapping[str, Tensor]:
    """Weights by the names under which most of them fit a network, for those that may fit in part only.

    Raises:
        InputError: not one of them fits.
    """
    own = net.state_dict()

    def count(variant: Mapping[str, Tensor]) -> int:
        return sum(name in own and own[name].shape == tensor.shape for name, tensor in variant.items())

    best = max(reading.variants(state), key=count)
    if not count(best) and own:
        raise InputError(
            f'weights {path}: not one of them fits the {type(net).__name__} of the option file, which strict_load_g: '
            'false does not make up for; give the weights of this network'
        )
    return best


def _weights_of(options: Mapping | None, opt: str | None, param_key: str | None) -> tuple[str | None, str | None]:
    """The file of weights that an option file names; None for a network that has nothing to load."""
    if options is None:
        raise InputError('neither weights nor an option file are given; give -w WEIGHTS or --opt FILE')
    paths = options.get('path')
    paths = paths if isinstance(paths, Mapping) else {}
    path = paths.get('pretrain_network_g')
    if path is not None:
        return osp.expanduser(str(path)), param_key or paths.get('param_key_g')
    try:
        net = arch_detection.make(options['network_g'])
    except InputError as error:
        raise type(error)(f'option file {opt}: {error}') from error
    if net.state_dict():
        raise InputError(
            f'option file {opt}: {options["network_g"]["type"]} has weights to load, and none are given; give '
            '-w WEIGHTS, or path: pretrain_network_g there'
        )
    return None, param_key


def _network_of(
    content: reading.Content, path: str, options: Mapping | None, opt: str | None
) -> tuple[Mapping, str, Mapping | None]:
    """The network, where it is from, and the option file that names it."""
    if options is not None:
        return options['network_g'], f'option file {opt}', options
    network = reading.network_of(content.metadata, path)
    if network is not None:
        return network, _METADATA, None
    of_run = _option_file_of_run(content.state, path)
    if of_run is not None:
        return of_run[1]['network_g'], f'option file {of_run[0]}', of_run[1]
    found = arch_detection.candidates(content.state)
    if len(found) == 1:
        open_ = '; gate and t_min, which have no weights, by default' if found[0]['type'] == 'OKDNet' else ''
        return found[0], f'the names and shapes of the weights: {_shown(found[0])}{open_}', None
    several = f'several networks have such weights: {", ".join(map(_shown, found))}; ' if found else ''
    raise InputError(
        f'weights {path}: which network they are of is not known; {several}give its option file by --opt FILE'
    )


def _option_file_of_run(state: Mapping[str, Tensor], path: str) -> tuple[str, Mapping] | None:
    """The option file that BasicSR has copied into the folder of the run, beside models/, whose network fits.

    Raises:
        InputError: several files have different networks that fit.
    """
    models = osp.dirname(osp.abspath(path))
    if osp.basename(models) != 'models':
        return None
    fitting: list[tuple[str, Mapping]] = []
    unknown: list[str] = []
    for file in sorted(glob.glob(osp.join(glob.escape(osp.dirname(models)), '*.yml'))):
        options: Mapping = {}
        try:
            options = config.load(file)
            network: Mapping = options.get('network_g') or {}
            if isinstance(network, Mapping) and network and arch_detection.misfit(network, state) is None:
                fitting.append((osp.relpath(file) if not osp.isabs(path) else file, options))
        except UnknownNameError as error:
            unknown.append(f'option file {file}: {error}; {whose(str((options.get("network_g") or {}).get("type")))}')
        except InputError:  # of another run, or not whole
            continue
    if any(options['network_g'] != fitting[0][1]['network_g'] for _, options in fitting[1:]):
        names = ', '.join(file for file, _ in fitting)
        raise InputError(f'weights {path}: they fit the networks of several option files, {names}; give --opt FILE')
    if unknown and not fitting:
        raise InputError(f'weights {path}: {unknown[0]}')
    return fitting[-1] if fitting else None


def _whose(network: Mapping, metadata: Mapping[str, str], error: Exception) -> str:
    is_unknown = isinstance(error, UnknownNameError)
    return f'; {whose(str(network.get("type")), metadata.get("package"))}' if is_unknown else ''


def _would_fit(state: Mapping[str, Tensor]) -> str:
    found = arch_detection.candidates(state)
    return f'. They would fit {" or ".join(map(_shown, found))}' if found else ''


def _shown(network: Mapping) -> str:
    arguments = ', '.join(f'{key}={json.dumps(value)}' for key, value in network.items() if key != 'type')
    return f'{network["type"]}({arguments})' if arguments else str(network['type'])


def _of_run(options: Mapping) -> str | None:
    """The best, else the newest weights of the run that an option file describes; None if it names others itself."""
    paths = options.get('path')
    if isinstance(paths, Mapping) and paths.get('pretrain_network_g'):
        return None
    models = osp.join('experiments', str(options.get('name')), 'models')
    names = os.listdir(models) if osp.isdir(models) else []
    for name in ('net_g_best.pth', 'net_g_latest.pth'):
        if name in names:
            return osp.join(models, name)
    saved = [(int(match[1]), name) for name in names if (match := _SAVED.fullmatch(name))]
    return osp.join(models, max(saved)[1]) if saved else None
