"""Signals that ask a training to stop: SIGINT (Ctrl-C), SIGTERM (kill), SIGHUP (closed terminal), SIGUSR1 (SLURM)."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from typing import Any

import torch
import torch.distributed

# Windows has no SIGHUP and no SIGUSR1.
_NAMES = ('SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1')
STOPPING = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
# Launchers hand on what the terminal has sent to all processes anyway: such a pair is one request.
_ONE_REQUEST = 0.5  # seconds


class StopRequest:
    """Notes the first signal, for the training to stop at its next good moment; the second ends the process at once.

    With several processes all of them stop after the same iteration, whichever got the signal.
    """

    def __init__(self, group: torch.distributed.ProcessGroup | None = None):
        """
        Args:
            group: the processes that stop together, able to reduce tensors of the CPU; None for this one alone.
        """
        self.signal: signal.Signals | None = None
        self._group = group
        self._since = 0.0
        self._pending: tuple[Any, torch.Tensor] | None = None

    def install(self) -> None:
        """Take the signals over, which only the main thread can; in any other they stay what they are.

        A handler in Python waits until torch returns to Python, which a backward pass does after seconds. So the
        number of each signal goes through a pipe to a thread, which acts on it.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        read, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, args=(read,), daemon=True).start()
        for number in STOPPING:
            signal.signal(number, _nothing)

    def _listen(self, pipe: int) -> None:
        while received := os.read(pipe, 1):
            if received[0] in STOPPING:
                self._handle(received[0])

    def _handle(self, number: int) -> None:
        name = signal.Signals(number).name
        if self.signal is None:
            self._since, self.signal = time.monotonic(), signal.Signals(number)
            _say(f'{name}: the iteration is finished and saved first; once more ends at once\n')
        elif time.monotonic() - self._since > _ONE_REQUEST:
            _say(f'{name} again: ended at once; the newest saved state is whole\n')
            os._exit(exit_code(number))

    def agreed(self) -> signal.Signals | None:
        """The signal for which all processes stop now, to be asked by all of them once an iteration.

        The answer among several is that of the call before, so that nothing waits for the slowest.
        """
        if self._group is None:
            return self.signal
        agreed = 0
        if self._pending is not None:
            work, number = self._pending
            work.wait()
            agreed = int(number)
        number = torch.tensor(self.signal or 0)
        self._pending = torch.distributed.all_reduce(number, torch.distributed.ReduceOp.MAX, self._group, True), number
        return signal.Signals(agreed) if agreed else None


def exit_code(number: int) -> int:
    """What a shell reports of a process that a signal has ended: 130 SIGINT, 143 SIGTERM, 129 SIGHUP, 138 SIGUSR1."""
    return 128 + number


def leave_signals_to_the_parent(_: int = 0) -> None:
    """Keep a worker of a data loader alive as long as its parent, and no longer; for `worker_init_fn`.

    When the whole process group is asked to stop, it goes on. When the parent is killed, it ends: torch looks for that
    at the process that has forked the worker, which is not the parent where the start method is forkserver.
    """
    signal.set_wakeup_fd(-1)  # of a parent by fork
    for number in STOPPING:
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
    if hasattr(signal, 'sigwaitinfo'):  # Linux; elsewhere SIGTERM to the whole group ends the workers
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_by_the_parent, daemon=True).start()
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    # Of forked workers the last one is told first: each holds open what tells the ones before it.
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


def _end_by_the_parent() -> None:
    """Obey the SIGTERM by which a parent ends its workers, and nobody else's."""
    parent = multiprocessing.parent_process()
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != (parent.pid if parent else os.getppid()):
        pass
    os._exit(0)


def _nothing(*_: object) -> None:
    """In the place of a handler: without one a signal has its default effect."""


def _say(message: str) -> None:
    with contextlib.suppress(OSError):  # whoever listened may be gone, which is no reason to lose an iteration
        os.write(2, f'\nbasicsr: {message}'.encode())
