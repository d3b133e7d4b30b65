"""Signals as a request to stop: the step in hand is finished, a checkpoint saved, the status written."""

import signal
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Self

# SIGHUP is a closed terminal; SIGUSR2 is what Slurm's users have it send before a limit.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2)
# What a launcher in another process leaves to the job: submitit, for one, ignores SIGTERM, which Slurm sends along with
# SIGUSR2 long before it takes the machine away.
SIGNALS_ELSEWHERE = (signal.SIGINT, signal.SIGUSR2)
_REPEATED = (signal.SIGHUP, signal.SIGUSR2)


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
        # nohup has SIGHUP ignored, which stays.
        listened = [n for n in self._signals if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._handle) for number in listened}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        for known in self._before:
            # Clusters and terminals repeat themselves: a second one must not end the checkpoint that the first one
            # asked for.
            signal.signal(known, signal.SIG_IGN if known in _REPEATED else signal.SIG_DFL)
