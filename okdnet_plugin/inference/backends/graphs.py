"""What back ends that run a graph outside torch share: examples to trace, and a comparison with torch."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from okdnet_plugin.errors import InputError, one_line
from okdnet_plugin.inference.backends.base import BackEnd

# Of a result's mean difference from torch; much less than what a size that was taken for constant makes.
TOLERANCES = {'fp32': 1e-4, 'bf16': 2e-2}
SIZES = ((1, 44, 68), (2, 33, 21))


class Graph(BackEnd):
    """A network that was turned into a graph; it is compared with torch when it is made.

    Raises:
        InputError: the network cannot be turned into a graph, or the graph gives something else.
    """

    def __init__(self, net: nn.Module, precision: str, device: torch.device, maps: bool):
        super().__init__(net, precision, device, maps)
        network = type(net).__name__
        try:
            with torch.no_grad():
                self._make_graph(self.example(1, 36, 52))
            difference = max(self._difference(*size) for size in SIZES)
        except InputError:
            raise
        except Exception as error:  # of whatever kind the exporter, the runtime or the network raises
            raise InputError(
                f'back end {self.name} cannot run {network} ({type(error).__name__}: {one_line(error, 200)}); write '
                'eager'
            ) from error
        if not difference < TOLERANCES[precision]:
            raise InputError(f'back end {self.name} runs {network} wrongly (off by {difference:.2g}); write eager')

    def example(self, batch: int, height: int, width: int) -> tuple[Tensor, ...]:
        """Arguments of `Core.forward`: an image with an even airlight where the network takes one."""
        generator = torch.Generator().manual_seed(0)
        hazy = torch.rand(batch, 3, height, width, generator=generator)
        return (hazy, torch.full((batch, 3, 1, 1), 0.8)) if self.core.takes_airlight else (hazy,)

    @abstractmethod
    def _make_graph(self, example: tuple[Tensor, ...]) -> None:
        """Prepare `_run` for batches and images of any size."""

    def _difference(self, batch: int, height: int, width: int) -> float:
        example = self.example(batch, height, width)
        with torch.no_grad():
            results = self._run(example[0], example[1] if len(example) > 1 else None)
            pairs = zip(results, self.core(*example), strict=True)
            return max(float((one - other).abs().mean()) for one, other in pairs)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of tracers and exporters, which the comparison makes needless."""
    import logging
    import warnings

    loggers = [logging.getLogger(name) for name in ('torch.onnx', 'onnxscript', 'onnx_ir')]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
