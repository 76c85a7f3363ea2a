"""The exponential moving average of a network: its decay at the beginning, and all its tensors in a few operations."""

import torch
from torch import Tensor, nn

from okdnet_plugin.engine.torch_versions import add_scaled_in_place, copy_all, scale_in_place


def decay_after(updates: int, decay: float) -> float:
    """The decay of an average that has seen some updates: min(decay, (1 + n) / (10 + n)).

    A fixed decay would keep the initial weights for 1 / (1 - decay) updates; so the average of a short training, and
    every early validation, is that of the training.

    Args:
        updates: n, those before this one.
        decay: the largest, in [0, 1).
    """
    return min(decay, (1 + updates) / (10 + updates))


class Average:
    """Keeps a network as the average of another.

    Weights, and BatchNorm's means and variances, are averaged; any other buffer (a counter, a mask, an index) is
    copied. The lists of tensors are made once, so that an update is an operation a list and not a tensor.

    Args:
        average: the network that is the average; changed in place.
        net: the network that trains, of the same class and arguments.
    """

    def __init__(self, average: nn.Module, net: nn.Module):
        theirs = dict(net.named_parameters())
        pairs: list[tuple[Tensor, Tensor]] = [(mine, theirs[name]) for name, mine in average.named_parameters()]
        modules, copied = dict(net.named_modules()), {}
        for prefix, module in average.named_modules():
            is_norm = isinstance(module, nn.modules.batchnorm._NormBase)
            for name, mine in module.named_buffers(recurse=False):
                pair = mine, modules[prefix].get_buffer(name)
                if is_norm and name in ('running_mean', 'running_var'):
                    pairs.append(pair)
                else:
                    copied.setdefault((mine.dtype, mine.device), []).append(pair)
        self._averaged, self._sources = [mine for mine, _ in pairs], [source for _, source in pairs]
        self._copied = [([mine for mine, _ in group], [source for _, source in group]) for group in copied.values()]

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """average = decay * average + (1 - decay) * network."""
        scale_in_place(self._averaged, decay)
        add_scaled_in_place(self._averaged, self._sources, 1 - decay)
        for targets, sources in self._copied:
            copy_all(targets, sources)
