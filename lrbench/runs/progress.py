"""Live progress of one run and of a sweep: told to a function, or drawn on a terminal and in a notebook."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from lrbench.runs.result import Result, format_metric
from lrbench.spec import Evaluation

OnProgress = Callable[[int, int, str], None]  # (steps done, steps in all, what there is to say)
_SECONDS_BETWEEN_LINES = 30.0
_log = logging.getLogger(__name__)


class Bar:
    """A progress bar over the steps of one run; draws nothing where nobody can see it."""

    def __init__(self, progress: Progress, name: str, total_steps: int, on_progress: OnProgress | None) -> None:
        self._progress = progress
        self._total_steps = total_steps
        self._on_progress = on_progress
        self._status = ""
        self._task = progress.add_task(name, total=total_steps, status="")

    def update(self, step: int, evaluation: Evaluation | None) -> None:
        """Move to `step`, and show an evaluation when there is one."""
        if evaluation is not None:
            shown = [f"{k} {format_metric(k, v)}" for k, v in evaluation.metrics.items() if not k.startswith("test/")]
            self._status = "  ".join(shown)
        self._progress.update(self._task, completed=step, status=self._status)
        if self._on_progress is not None:
            self._on_progress(step, self._total_steps, self._status)


@contextmanager
def progress_bar(name: str, total_steps: int, *, on_progress: OnProgress | None = None) -> Iterator[Bar]:
    """Show the progress of one run while the context lasts; with `on_progress` tell it to that instead."""
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
    )
    with _progress(*columns, is_hidden=on_progress is not None) as progress:
        yield Bar(progress, name, total_steps, on_progress)


class SweepBar:
    """Progress over all runs of a sweep, measured in their steps; lines now and then where nobody can see a bar."""

    def __init__(self, progress: Progress, steps: Mapping[int, int], on_progress: OnProgress | None) -> None:
        self._progress = progress
        self._steps = steps
        self._on_progress = on_progress
        self._advanced = dict.fromkeys(steps, 0.0)
        self._num_done = 0
        self._num_failed = 0
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
        if self._on_progress is not None:
            self._on_progress(round(done), total, runs)
            return
        now = time.monotonic()
        if self._progress.disable and now - self._said_at > _SECONDS_BETWEEN_LINES and done:
            self._said_at = now
            left = (now - self._began) * (total - done) / done
            _log.info("%s, about %s left", runs, _duration(left))


@contextmanager
def sweep_bar(steps: Mapping[int, int], *, on_progress: OnProgress | None = None) -> Iterator[SweepBar]:
    """Show the progress of a sweep while the context lasts; with `on_progress` tell it to that instead.

    Args:
        steps: of every run that is to be trained.
        on_progress: told about all runs together.
    """
    columns = (
        TextColumn("[bold]{task.fields[runs]}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("since"),
        TimeElapsedColumn(),
    )
    with _progress(*columns, is_hidden=on_progress is not None) as progress:
        yield SweepBar(progress, steps, on_progress)


def _progress(*columns: ProgressColumn, is_hidden: bool) -> Progress:
    console = Console(stderr=True)
    is_seen = console.is_terminal or console.is_jupyter
    return Progress(*columns, console=console, disable=is_hidden or not is_seen, transient=True)


def _duration(seconds: float) -> str:
    """Write a duration for people: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
