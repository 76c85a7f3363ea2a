"""What happens when a loss or a gradient is not finite: the update is left out, noted, and too many end the run."""

import logging
from collections.abc import Sequence

import torch
import torch.distributed
from torch import Tensor, nn

from okdnet_plugin.engine.torch_versions import copy_all
from okdnet_plugin.errors import BadUpdatesError


class UpdateGuard:
    """Notes which updates were left out, and says so when the numbers may be looked at.

    On a GPU a look would wait for all that is queued, so flags are kept there until a report is due.

    Args:
        max_bad_steps: bad updates in a row that are borne.
        logger: where they are reported.
    """

    def __init__(self, max_bad_steps: int, logger: logging.Logger):
        self.max_bad_steps = max_bad_steps
        self.skipped = 0
        """Updates left out since the training began."""
        self._in_a_row = 0
        self._logger = logger
        self._noted: list[tuple[int, Tensor, Tensor, Sequence[str]]] = []

    def note(self, iteration: int, is_bad: Tensor, loss: Tensor, images: Sequence[str]) -> None:
        """
        Args:
            iteration: of the update.
            is_bad: whether it was left out, a boolean scalar; equal in all processes.
            loss: this process's, a scalar.
            images: paths of this process's batch.
        """
        self._noted.append((iteration, is_bad, loss, images))

    def look(self, scale: float | None = None) -> None:
        """Report what has been noted; to be called by all processes after the same iteration.

        Args:
            scale: that of the loss, of which float16 needs one; None for none. That it is too large at first, or has
                grown too large, is how it finds its size: no update that is left out for it counts as bad.

        Raises:
            BadUpdatesError: more than `max_bad_steps` in a row were bad.
        """
        noted, self._noted = self._noted, []
        if not noted:
            return
        flags = torch.stack([is_bad for _, is_bad, _, _ in noted]).tolist()
        for (iteration, _, loss, images), is_bad in zip(noted, flags, strict=True):
            if not is_bad:
                self._in_a_row = 0
                continue
            self.skipped += 1
            is_finite, paths = _of_all_processes(loss, images)
            if is_finite and scale is not None and scale >= 1:
                self._logger.info(
                    f'iteration {iteration}: the gradient is beyond float16, so the scale of the loss is lowered, and '
                    'the update is left out'
                )
                continue
            self._in_a_row += 1
            culprits = ', '.join(paths)
            self._logger.warning(
                f'iteration {iteration}: loss or gradient is not finite, so the update is left out '
                f'({self.skipped} so far); images: {culprits}'
            )
            if self._in_a_row > self.max_bad_steps:
                raise BadUpdatesError(
                    f'{self._in_a_row} updates in a row were not finite up to iteration {iteration}, more than '
                    f'train:max_bad_steps ({self.max_bad_steps}); the network as it was before them is saved, and no '
                    'earlier one is removed. Set train:grad_clip, use amp: bf16 or off, go on from an earlier state '
                    f'(path:resume_state), or look at the images: {culprits}'
                )

    @property
    def is_leaving_out(self) -> bool:
        """Whether the last update was bad, as far as has been looked."""
        return self._in_a_row > 0

    def state_dict(self) -> dict:
        return {'skipped': self.skipped, 'in_a_row': self._in_a_row}

    def load_state_dict(self, state: dict) -> None:
        self.skipped, self._in_a_row = state['skipped'], state['in_a_row']


def _of_all_processes(loss: Tensor, images: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether the loss of every process was finite; images of those whose was not, or else of all."""
    mine = bool(torch.isfinite(loss)), list(images)
    shares = [mine]
    if torch.distributed.is_initialized():
        shares = [mine] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(shares, mine)
    bad = [paths for is_finite, paths in shares if not is_finite]
    return not bad, [path for paths in bad or [paths for _, paths in shares] for path in paths]


class Statistics:
    """BatchNorm's running statistics as they were, because a forward pass that is not finite spoils them for good.

    Those of one type lie one after the other in one tensor while they are chosen from, so that this takes a few
    operations, however many the network has.

    Args:
        net: keeps its buffers, which are changed in place.
    """

    def __init__(self, net: nn.Module):
        norms = (module for module in net.modules() if isinstance(module, nn.modules.batchnorm._NormBase))
        groups: dict[tuple, list[Tensor]] = {}
        for buffer in (buffer for norm in norms for buffer in norm.buffers()):
            groups.setdefault((buffer.dtype, buffer.device), []).append(buffer)
        self._groups = [_Group(buffers) for buffers in groups.values()]

    def note(self) -> None:
        """Keep them as they are now."""
        for group in self._groups:
            copy_all(group.before, group.buffers)

    def take_back_if(self, is_bad: Tensor) -> None:
        """Restore what was noted where the flag, a boolean scalar, says so, without looking at it."""
        for group in self._groups:
            copy_all(group.now, group.buffers)
            # A choice, not a product: what is not finite would stay so.
            torch.where(is_bad, group.flat_before, group.flat_now, out=group.flat_now)
            copy_all(group.buffers, group.now)


class _Group:
    """Buffers of one type, and room for two copies of them in one tensor each, with views of the buffers' shapes."""

    def __init__(self, buffers: list[Tensor]):
        self.buffers = buffers
        sizes = [buffer.numel() for buffer in buffers]
        self.flat_before, self.flat_now = (buffers[0].new_empty(sum(sizes)) for _ in range(2))
        self.before, self.now = (
            [part.view(buffer.shape) for part, buffer in zip(flat.split(sizes), buffers, strict=True)]
            for flat in (self.flat_before, self.flat_now)
        )
