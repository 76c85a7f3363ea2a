"""What back ends that run a graph outside torch share: examples to trace, and a comparison with torch."""

import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator
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

    What takes the attention of the scene, too, is another graph, made when it is first needed.

    Raises:
        InputError: the network cannot be turned into a graph, or the graph gives something else.
    """

    def __init__(self, net: nn.Module, precision: str, device: torch.device, maps: bool):
        super().__init__(net, precision, device, maps)
        self._making = threading.Lock()  # threads may share the back end
        self._graphs: dict[int, Callable[..., tuple[Tensor, ...]]] = {}
        self._graph_of(2 if self.core.takes_airlight else 1)

    def _run(self, hazy: Tensor, *scene: Tensor) -> tuple[Tensor, ...]:
        return self._graph_of(1 + len(scene))(hazy, *scene)

    def _graph_of(self, inputs: int) -> Callable[..., tuple[Tensor, ...]]:
        with self._making:
            if inputs not in self._graphs:
                self._graphs[inputs] = self._checked_graph(inputs)
            return self._graphs[inputs]

    def _checked_graph(self, inputs: int) -> Callable[..., tuple[Tensor, ...]]:
        network = type(self.core.net).__name__
        try:
            with torch.no_grad():
                graph = self._make_graph(self._example(1, 36, 52)[:inputs])
                examples = (self._example(*size)[:inputs] for size in SIZES)
                difference = max(self._difference(graph, example) for example in examples)
        except InputError:
            raise
        except Exception as error:  # of whatever kind the exporter, the runtime or the network raises
            raise InputError(
                f'back end {self.name} cannot run {network} ({type(error).__name__}: {one_line(error, 200)}); write '
                'eager'
            ) from error
        if not difference < TOLERANCES[self.precision]:
            raise InputError(f'back end {self.name} runs {network} wrongly (off by {difference:.2g}); write eager')
        return graph

    def _example(self, batch: int, height: int, width: int) -> tuple[Tensor, ...]:
        """Arguments of `Core.forward`: an image, an even airlight and another image's attention, of what takes them."""
        generator = torch.Generator().manual_seed(0)
        hazy = torch.rand(batch, 3, height, width, generator=generator)
        if not self.core.takes_airlight:
            return (hazy,)
        attention = self.estimate_attention(0.5 * hazy)
        return (hazy, torch.full((batch, 3, 1, 1), 0.8), *(attention or ())[:1])

    @abstractmethod
    def _make_graph(self, example: tuple[Tensor, ...]) -> Callable[..., tuple[Tensor, ...]]:
        """What gives the results for tensors like the example, in batches and images of any size."""

    def _difference(self, graph: Callable[..., tuple[Tensor, ...]], example: tuple[Tensor, ...]) -> float:
        pairs = zip(graph(*example), self.core(*example), strict=True)
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
