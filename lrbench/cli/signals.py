"""Ctrl-C and SIGTERM as a request to stop: the step in hand is finished, a checkpoint saved, the status written."""

import signal
from types import FrameType, TracebackType
from typing import Self


class StopRequest:
    """Within this context the first SIGINT, SIGTERM or SIGUSR2 only sets `signal`; a second one kills at once.

    SIGUSR2 is what Slurm's launcher sends before it takes the machine away.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)

    def __init__(self) -> None:
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
        self._before = {number: signal.signal(number, self._handle) for number in self._SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        for known in self._SIGNALS:
            signal.signal(known, signal.SIG_DFL)
