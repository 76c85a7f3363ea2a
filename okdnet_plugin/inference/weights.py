"""Weights of a network, and which network they are of."""

import glob
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import path as osp

from torch import Tensor, nn

import okdnet_plugin
from okdnet_plugin import config
from okdnet_plugin.errors import InputError, UnknownNameError
from okdnet_plugin.inference import recognise, weight_files

_METADATA = 'the metadata of the weights'


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

    The network is that of the option file; else that of the file's metadata; else that of the option file which the
    toolbox keeps in the folder of the run that the weights lie in; else the only one of the plugins' networks that
    they fit.

    Args:
        path: .pth of the toolbox or as published, or .safetensors; by default what the option file has as
            `path: pretrain_network_g`, and no weights at all for a network that has none.
        opt: option file with a block `network_g`.
        param_key: which of the file's sets of weights is taken; by default `params_ema`, else `params`, else what
            the file holds.

    Raises:
        InputError: the file or the option file cannot be read, the weights are not of this network or not finite, or
            no network is known; UnknownNameError if its name is not registered.
    """
    okdnet_plugin.register()
    options = None if opt is None else config.load(opt)
    if options is not None and not isinstance(options.get('network_g'), Mapping):
        raise InputError(f'option file {opt} has no block network_g, which names the network; give another')
    if path is None:
        path, param_key = _weights_of(options, opt, param_key)
    if path is None:
        assert options is not None
        return Weights(options['network_g'], {}, origin=f'option file {opt}', opt=options)

    content = weight_files.read(path, param_key)
    network, origin, options = _network_of(content, path, options, opt)
    try:
        if origin == _METADATA:
            recognise.check_claim(network)
        difference = recognise.misfit(network, content.state)
    except (InputError, UnknownNameError) as error:
        raise type(error)(f'{origin}: {error}') from error
    if difference is not None:
        raise InputError(
            f'weights {path} are not of the {network["type"]} of {origin}: {difference}{_would_fit(content.state)}'
        )
    return Weights(network, content.state, content.metadata, path, content.key, origin, options)


def build(weights: Weights) -> nn.Module:
    """The network with its weights, in eval mode, without gradients, on the CPU in float32.

    Raises:
        InputError: the network cannot be built, or the weights are of another.
    """
    okdnet_plugin.register()
    net = recognise.make(weights.network)
    if weights.state or net.state_dict():
        try:
            net.load_state_dict(dict(weights.state), strict=True)
        except RuntimeError as error:
            difference = recognise.misfit(weights.network, weights.state)
            raise InputError(f'weights {weights.path} are not of {weights.network["type"]}: {difference}') from error
    return net.float().eval().requires_grad_(False)


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
        net = recognise.make(options['network_g'])
    except InputError as error:
        raise type(error)(f'option file {opt}: {error}') from error
    if net.state_dict():
        raise InputError(
            f'option file {opt}: {options["network_g"]["type"]} has weights to load, and none are given; give '
            '-w WEIGHTS, or path: pretrain_network_g there'
        )
    return None, param_key


def _network_of(
    content: weight_files.Content, path: str, options: Mapping | None, opt: str | None
) -> tuple[Mapping, str, Mapping | None]:
    """The network, where it is from, and the option file that names it."""
    if options is not None:
        return options['network_g'], f'option file {opt}', options
    network = weight_files.network_of(content.metadata, path)
    if network is not None:
        return network, _METADATA, None
    of_run = _option_file_of_run(content.state, path)
    if of_run is not None:
        return of_run[1]['network_g'], f'option file {of_run[0]}', of_run[1]
    found = recognise.candidates(content.state)
    if len(found) == 1:
        open_ = '; gate and t_min, which have no weights, by default' if found[0]['type'] == 'OKDNet' else ''
        return found[0], f'the names and shapes of the weights: {_shown(found[0])}{open_}', None
    several = f'several networks have such weights: {", ".join(map(_shown, found))}; ' if found else ''
    raise InputError(
        f'weights {path}: which network they are of is not known; {several}give its option file by --opt FILE'
    )


def _option_file_of_run(state: Mapping[str, Tensor], path: str) -> tuple[str, Mapping] | None:
    """The option file that the toolbox has copied into the folder of the run, beside models/, whose network fits.

    Raises:
        InputError: several files have different networks that fit.
    """
    models = osp.dirname(osp.abspath(path))
    if osp.basename(models) != 'models':
        return None
    fitting: list[tuple[str, Mapping]] = []
    for file in sorted(glob.glob(osp.join(glob.escape(osp.dirname(models)), '*.yml'))):
        try:
            options = config.load(file)
            network = options.get('network_g')
            if isinstance(network, Mapping) and recognise.misfit(network, state) is None:
                fitting.append((osp.relpath(file) if not osp.isabs(path) else file, options))
        except InputError:  # of another run, or not whole
            continue
    if any(options['network_g'] != fitting[0][1]['network_g'] for _, options in fitting[1:]):
        names = ', '.join(file for file, _ in fitting)
        raise InputError(f'weights {path}: they fit the networks of several option files, {names}; give --opt FILE')
    return fitting[-1] if fitting else None


def _would_fit(state: Mapping[str, Tensor]) -> str:
    found = recognise.candidates(state)
    return f'. They would fit {" or ".join(map(_shown, found))}' if found else ''


def _shown(network: Mapping) -> str:
    arguments = ', '.join(f'{key}={json.dumps(value)}' for key, value in network.items() if key != 'type')
    return f'{network["type"]}({arguments})' if arguments else str(network['type'])
