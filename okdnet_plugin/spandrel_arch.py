"""The plugin's networks in spandrel (extra `spandrel`), which knows a network by its weights.

    from okdnet_plugin import spandrel_arch
    spandrel_arch.install()
    model = spandrel.ModelLoader().load_from_file('net_g_latest.pth')

OKDNet is recognised whatever its arguments, as far as they have weights; its `gate` and `t_min` have none, and spandrel
hands on the tensors alone: they are taken to be the defaults. `load_from_file` of this module knows them from the
metadata or the option file of the weights. The comparison networks are recognised with their default arguments.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from spandrel import (
    MAIN_REGISTRY,
    Architecture,
    ArchRegistry,
    ArchSupport,
    ImageModelDescriptor,
    ModelTiling,
    SizeRequirements,
)
from torch import Tensor

import okdnet_plugin
from okdnet_plugin.archs.arch_util import SMALLEST
from okdnet_plugin.weights import arch_detection
from okdnet_plugin.weights import loading as weights

_COMPARISONS = (
    'AODNet',
    'DADehazer',
    'DCPDN',
    'DehazeFormer',
    'EPDN',
    'FFANet',
    'GCANet',
    'GridDehazeNet',
    'MSBDN',
    'PSD',
    'gUNet',
)


class DehazingArch(Architecture[Any]):
    """A registered network, with the arguments that its weights are read to have.

    Args:
        name: in BasicSR's registry, and here.
    """

    def __init__(self, name: str):
        super().__init__(id=name, detect=lambda state: self._network(state) is not None)

    def load(self, state_dict: Mapping[str, Any]) -> ImageModelDescriptor[Any]:
        """
        Raises:
            ValueError: the weights are of another network.
        """
        network = self._network(state_dict)
        if network is None:
            raise ValueError(f'these weights are not of {self.name}')
        return self.describe(network, state_dict)

    def describe(self, network: Mapping, state: Mapping[str, Tensor]) -> ImageModelDescriptor[Any]:
        """The network of a block `network_g` with weights, as spandrel describes it."""
        net = arch_detection.make(network).requires_grad_(False)
        return ImageModelDescriptor(
            net,
            dict(state),
            architecture=self,
            purpose='Restoration',
            tags=_tags(network),
            supports_half=False,  # a small transmission magnifies what float16 cuts off
            supports_bfloat16=True,
            scale=1,
            input_channels=3,
            output_channels=3,
            size_requirements=SizeRequirements(minimum=SMALLEST),  # it pads by itself
            tiling=ModelTiling.DISCOURAGED,  # haze and its light are of the whole image
        )

    def _network(self, state: Mapping[str, Any]) -> dict | None:
        if not all(isinstance(tensor, Tensor) for tensor in state.values()):
            return None
        arguments = arch_detection.arguments_of(str(self.id), state)
        return None if arguments is None else {'type': str(self.id), **arguments}


def install(registry: ArchRegistry | None = None) -> Sequence[ArchSupport]:
    """Let spandrel load the plugin's networks; may run twice.

    Args:
        registry: of spandrel; by default the one that every `spandrel.ModelLoader()` uses.

    Returns:
        What was added.
    """
    okdnet_plugin.register()
    architectures = [ArchSupport.from_architecture(DehazingArch(name)) for name in ('OKDNet', *_COMPARISONS)]
    return (MAIN_REGISTRY if registry is None else registry).add(*architectures, ignore_duplicates=True)


def load_from_file(path: str, opt: str | None = None, param_key: str | None = None) -> ImageModelDescriptor[Any]:
    """Like that of `spandrel.ModelLoader`, but with the network that metadata or the option file tell.

    Args:
        path: .pth or .safetensors.
        opt: option file of the network.
        param_key: which of the file's weights are taken.

    Raises:
        InputError: see `okdnet_plugin.weights.loading.load`.
    """
    loaded = weights.load(path, opt, param_key)
    return DehazingArch(loaded.network['type']).describe(loaded.network, loaded.state).eval()


def _tags(network: Mapping) -> list[str]:
    """What is not as usual, and of OKDNet what its weights do not tell: it may have been trained otherwise."""
    shown = {key: value for key, value in network.items() if key != 'type'}
    if network['type'] == 'OKDNet':
        shown = {'gate': 'none', 't_min': 0.1} | shown
    return [f'{key}={value}' for key, value in shown.items()]
