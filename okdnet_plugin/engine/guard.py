"""What happens when a loss or a gradient is not finite: the update is left out, noted, and too many end the run."""

import logging
from collections.abc import Sequence

import torch
import torch.distributed
from torch import Tensor, nn

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

    def note(self, iteration: int, is_bad: Tensor, loss: Tensor, pictures: Sequence[str]) -> None:
        """
        Args:
            iteration: of the update.
            is_bad: whether it was left out, a boolean scalar; equal in all processes.
            loss: this process's, a scalar.
            pictures: paths of this process's batch.
        """
        self._noted.append((iteration, is_bad, loss, pictures))

    def look(self) -> None:
        """Report what has been noted; to be called by all processes after the same iteration.

        Raises:
            BadUpdatesError: more than `max_bad_steps` in a row were bad.
        """
        noted, self._noted = self._noted, []
        if not noted:
            return
        flags = torch.stack([is_bad for _, is_bad, _, _ in noted]).tolist()
        for (iteration, _, loss, pictures), is_bad in zip(noted, flags, strict=True):
            self._in_a_row = self._in_a_row + 1 if is_bad else 0
            if not is_bad:
                continue
            self.skipped += 1
            culprits = ', '.join(_of_all_processes(loss, pictures))
            self._logger.warning(
                f'iteration {iteration}: loss or gradient is not finite, so the update is left out '
                f'({self.skipped} so far); pictures: {culprits}'
            )
            if self._in_a_row > self.max_bad_steps:
                raise BadUpdatesError(
                    f'{self._in_a_row} updates in a row were not finite up to iteration {iteration}, more than '
                    f'train:max_bad_steps ({self.max_bad_steps}); the network as it was before them is saved, and no '
                    'earlier one is removed. Set train:grad_clip, use amp: bf16 or off, go on from an earlier state '
                    f'(path:resume_state), or look at the pictures: {culprits}'
                )

    def state_dict(self) -> dict:
        return {'skipped': self.skipped, 'in_a_row': self._in_a_row}

    def load_state_dict(self, state: dict) -> None:
        self.skipped, self._in_a_row = state['skipped'], state['in_a_row']


def _of_all_processes(loss: Tensor, pictures: Sequence[str]) -> list[str]:
    """Pictures of the processes whose loss was not finite; of all if every loss was."""
    mine = bool(torch.isfinite(loss)), list(pictures)
    shares = [mine]
    if torch.distributed.is_initialized():
        shares = [mine] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(shares, mine)
    bad = [paths for is_finite, paths in shares if not is_finite] or [paths for _, paths in shares]
    return [path for paths in bad for path in paths]


class Statistics:
    """BatchNorm's running statistics as they were, because a forward pass that is not finite spoils them for good."""

    def __init__(self, net: nn.Module):
        norms = (module for module in net.modules() if isinstance(module, nn.modules.batchnorm._NormBase))
        self._buffers = [buffer for norm in norms for buffer in norm.buffers()]
        self._before = [buffer.clone() for buffer in self._buffers]

    def take_back_if(self, is_bad: Tensor) -> None:
        """Restore them where the flag, a boolean scalar, says so, without looking at it."""
        for buffer, before in zip(self._buffers, self._before, strict=True):
            buffer.copy_(torch.where(is_bad, before, buffer))
