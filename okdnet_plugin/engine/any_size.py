"""Images of any size for networks that take multiples of something only, as those that look at windows do."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from okdnet_plugin.engine.memory import is_out_of_memory
from okdnet_plugin.errors import InputError

_PROBED = 48  # px, about, of what is tried
_USUAL = (2, 4, 8, 16, 32, 64)
_REFUSALS = (RuntimeError, ValueError, AssertionError, IndexError)

Run = Callable[[Tensor], Sequence[Tensor]]


def continued(x: Tensor, height: int, width: int) -> Tensor:
    """Images continued to the right and downwards, by mirroring as often as it takes, to a size of at least theirs."""
    for axis, wanted in ((2, height), (3, width)):
        length = x.shape[axis]
        if length < wanted:
            there_and_back = np.pad(np.arange(length), (0, wanted - length), mode='symmetric')
            x = x.index_select(axis, torch.from_numpy(there_and_back).to(x.device))
    return x


class AnySize:
    """Runs a network, padded if it has to be; of what is tried once, when a size fails or comes back as another.

    Args:
        net: what is run; it may say `img_multiple_of` or `window_size`.
        scale: size of its results / size of its images.
    """

    def __init__(self, net: nn.Module, scale: int = 1):
        self.net, self.scale = net, scale
        self._multiple: int | None = None  # of which sides have to be; not known before a size fails

    def __call__(self, hazy: Tensor, run: Run) -> list[Tensor]:
        """
        Args:
            hazy: images, (N, C, H, W).
            run: makes results of images, the first of which is an image with as many channels.

        Returns:
            The results for the images as they are.

        Raises:
            InputError: a result has another size than its image has by the scale.
        """
        try:
            return self._run_padded(hazy, run, self._multiple or 1)
        except _REFUSALS as error:
            if self._multiple is not None or is_out_of_memory(error):
                raise
            self._multiple = next((number for number in self._multiples() if self._takes(number, hazy, run)), 1)
            if self._multiple == 1:
                raise
        return self._run_padded(hazy, run, self._multiple)

    def _run_padded(self, hazy: Tensor, run: Run, multiple: int) -> list[Tensor]:
        height, width = hazy.shape[-2:]
        padded = continued(hazy, height + -height % multiple, width + -width % multiple)
        sides = [side * self.scale for side in padded.shape[-2:]]
        results = run(padded)
        for number, result in enumerate(results):
            if [*result.shape[-2:]] != sides or (number == 0 and result.shape[:2] != padded.shape[:2]):
                raise InputError(
                    f'{type(self.net).__name__} makes {tuple(result.shape[1:])} of {tuple(padded.shape[1:])}; '
                    f'only networks of scale {self.scale} that give an image can be used'
                )
        return [result[..., : height * self.scale, : width * self.scale] for result in results]

    def _multiples(self) -> Iterator[int]:
        """One, then what the network says of itself, then the usual numbers."""
        yield 1
        said = (getattr(self.net, name, None) for name in ('img_multiple_of', 'window_size'))
        yield from (number for number in said if isinstance(number, int) and number > 1)
        yield from _USUAL

    def _takes(self, multiple: int, like: Tensor, run: Run) -> bool:
        """Whether sides that are odd multiples go through."""
        odd = _PROBED // multiple | 1
        hazy = like.new_full((1, like.shape[1], odd * multiple, (odd + 2) * multiple), 0.5)
        try:
            self._run_padded(hazy, run, 1)
        except _REFUSALS:
            return False
        return True
