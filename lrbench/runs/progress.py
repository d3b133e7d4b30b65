"""Live progress of one run and of a sweep, on a terminal."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from lrbench.runs.result import Result, format_metric
from lrbench.spec import Evaluation

_SECONDS_BETWEEN_LINES = 30.0


class Bar:
    """A progress bar over the steps of one run; draws nothing where stderr is not a terminal."""

    def __init__(self, progress: Progress, name: str, total_steps: int) -> None:
        self._progress = progress
        self._task = progress.add_task(name, total=total_steps, status="")

    def update(self, step: int, evaluation: Evaluation | None) -> None:
        """Move to `step`, and show an evaluation when there is one."""
        if evaluation is None:
            self._progress.update(self._task, completed=step)
        else:
            shown = [f"{k} {format_metric(k, v)}" for k, v in evaluation.metrics.items() if not k.startswith("test/")]
            self._progress.update(self._task, completed=step, status="  ".join(shown))


@contextmanager
def progress_bar(name: str, total_steps: int) -> Iterator[Bar]:
    """Show a bar while the context lasts."""
    console = Console(stderr=True)
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = Bar(progress, name, total_steps)
        yield bar


class SweepBar:
    """Progress over all runs of a sweep, measured in their steps; lines now and then where stderr is no terminal."""

    def __init__(self, progress: Progress, steps: Mapping[int, int], *, is_terminal: bool) -> None:
        self._progress = progress
        self._steps = steps
        self._advanced = dict.fromkeys(steps, 0.0)
        self._num_done = 0
        self._num_failed = 0
        self._is_terminal = is_terminal
        self._began = self._said_at = time.monotonic()
        self._task = progress.add_task("", total=sum(steps.values()), runs="")
        self._show()

    def advance(self, group: Sequence[int], steps_done: int) -> None:
        """Take note that runs which train together have done so many steps in all."""
        for index in group:
            self._advanced[index] = steps_done / len(group)
        self._show()

    def finish(self, index: int, result: Result) -> None:
        """Take note that a run ended."""
        self._advanced[index] = self._steps[index]
        self._num_done += 1
        self._num_failed += result.error is not None
        self._show()

    def _show(self) -> None:
        done, total = sum(self._advanced.values()), sum(self._steps.values())
        runs = f"{self._num_done} of {len(self._steps)} runs"
        if self._num_failed:
            runs += f", {self._num_failed} failed"
        self._progress.update(self._task, completed=done, runs=runs)
        now = time.monotonic()
        if not self._is_terminal and now - self._said_at > _SECONDS_BETWEEN_LINES and done:
            self._said_at = now
            left = (now - self._began) * (total - done) / done
            print(f"lrbench: {runs}, about {_duration(left)} left", file=sys.stderr, flush=True)


@contextmanager
def sweep_bar(steps: Mapping[int, int]) -> Iterator[SweepBar]:
    """Show the progress of a sweep while the context lasts.

    Args:
        steps: of every run that is to be trained.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("[bold]{task.fields[runs]}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        yield SweepBar(progress, steps, is_terminal=console.is_terminal)


def _duration(seconds: float) -> str:
    """Write a duration for people: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
