"""What a person sees: a live progress bar on a terminal, and at the end what was found and how to look at it."""

import math
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
from rich.table import Table

from lrbench.cli.result import Result
from lrbench.spec import Evaluation, Task
from lrbench.tracking.outbox import load_state
from lrbench.tracking.view import chart_link, server_command

_SECONDS_BETWEEN_LINES = 30.0
_SHOWN_OF_MANY = ("val/loss", "val/accuracy", "test/loss", "test/accuracy", "steps", "time/seconds")
_PERCENT = ("val/accuracy", "test/accuracy")


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


def summarize(evaluations: Sequence[Evaluation], task: Task, *, batch_size: int) -> dict[str, float]:
    """Pick what to report of one curve: last and best value of every metric, steps, seconds and speed.

    Best is over validation evaluations and is optimistic: the largest of many noisy values.
    """
    last = evaluations[-1]
    found = dict(last.metrics)
    values = [e.metrics[task.objective] for e in evaluations]
    finite = [v for v in values if math.isfinite(v)]
    if finite:
        found[f"best/{task.objective}"] = max(finite) if task.direction == "maximize" else min(finite)
    found["steps"] = last.step
    found["time/seconds"] = last.seconds
    if last.seconds > 0:
        found["time/samples_per_second"] = last.step * batch_size / last.seconds
    return found


def print_results(results: Sequence[Result]) -> None:
    """Print what runs found and how to look at them: tables on a terminal, otherwise `name<TAB>value` lines.

    A sweep prints one row a run on a terminal and one block a run elsewhere, in the order of the jobs.

    Args:
        results: of runs that were trained, at least one.
    """
    console = Console()
    if not console.is_terminal:
        for result in results:
            rows = {"run": result.name, "state": str(result.state)}
            rows |= {name: repr(value) for name, value in result.found.items()}
            sys.stdout.writelines(f"{name}\t{value}\n" for name, value in {**rows, "record": result.record}.items())
    elif len(results) == 1:
        console.print(_table_of_one(results[0]))
    else:
        console.print(_table_of_many(results))
    for what, command in _how_to_look(results[-1]):
        if console.is_terminal:
            console.print(f"[dim]{what}:[/dim]")
            console.print(command, markup=False, highlight=False, soft_wrap=True)  # for copying
        else:
            sys.stdout.write(f"{what}\t{command}\n")


def _table_of_one(result: Result) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    rows = {"run": result.name, "state": str(result.state)}
    rows |= {name: format_metric(name, value) for name, value in result.found.items()}
    for name, value in {**rows, "record": str(result.record)}.items():
        table.add_row(f"[cyan]{name}", value)
    return table


def _table_of_many(results: Sequence[Result]) -> Table:
    measured = {name for result in results for name in result.found}
    columns = [name for name in _SHOWN_OF_MANY if name in measured]
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("run", "state", *columns, "record"):
        table.add_column(name, justify="right" if name in columns else "left", overflow="fold")
    for result in results:
        values = [format_metric(name, result.found[name]) if name in result.found else "" for name in columns]
        record = "" if result.record is None else result.record.name
        table.add_row(result.name, str(result.state), *values, record)
    return table


def _how_to_look(result: Result) -> list[tuple[str, str]]:
    """The server's command and the chart's link, for a run that reached MLflow."""
    assert result.record is not None
    experiment_id = load_state(result.record).experiment_id
    if not experiment_id:
        return []
    server = server_command(result.tracking_uri)
    return [*([("server", server)] if server else []), ("charts", chart_link(result.tracking_uri, experiment_id))]


def format_metric(name: str, value: float) -> str:
    """Write a metric for people: accuracies as percentages, losses with four digits, NaN as NaN."""
    if not math.isfinite(value):
        return str(value)
    return f"{value:.2%}" if name.removeprefix("best/") in _PERCENT else f"{value:.4g}"
