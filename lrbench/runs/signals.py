"""Ctrl-C and SIGTERM as a request to stop: the step in hand is finished, a checkpoint saved, the status written."""

import signal
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)  # the last is what Slurm's users have it send before a limit
# What a launcher in another process leaves to the job: submitit, for one, ignores SIGTERM, which Slurm sends along with
# SIGUSR2 long before it takes the machine away.
SIGNALS_ELSEWHERE = (signal.SIGINT, signal.SIGUSR2)


class StopRequest:
    """Within this context the first of some signals only sets `signal`; SIGINT or SIGTERM after it kill at once.

    Args:
        signals: to listen to.
    """

    def __init__(self, signals: Sequence[signal.Signals] = SIGNALS) -> None:
        self._signals = signals
        self.signal: signal.Signals | None = None

    def __call__(self) -> bool:
        """Whether a stop was asked for."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells have it: 130 for Ctrl-C, 143 for SIGTERM."""
        assert self.signal is not None
        return 128 + self.signal

    @property
    def name(self) -> str:
        """Name of the signal, such as SIGINT."""
        assert self.signal is not None
        return self.signal.name

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._handle) for number in self._signals}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        for known in self._signals:
            # Clusters repeat themselves: a second SIGUSR2 must not end the checkpoint that the first one asked for.
            signal.signal(known, signal.SIG_IGN if known == signal.SIGUSR2 else signal.SIG_DFL)
