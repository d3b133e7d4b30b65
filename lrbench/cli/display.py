"""What a person sees: a live progress bar on a terminal, and at the end what was found and how to look at it."""

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from lrbench.spec import Evaluation, Task
from lrbench.tracking.outbox import load_state
from lrbench.tracking.view import chart_link, server_command

if TYPE_CHECKING:
    from lrbench.cli.training_run import Outcome

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
def progress_bar(name: str, total_steps: int, *, completed: int = 0) -> Iterator[Bar]:
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
        bar.update(completed, None)
        yield bar


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


def print_outcomes(outcomes: Sequence["Outcome"]) -> None:
    """Print what runs found and how to look at them: tables on a terminal, otherwise `name<TAB>value` lines.

    A grid prints one block a run, in the order of the jobs.
    """
    console = Console()
    for outcome in outcomes:
        rows = [("run", outcome.plan.run_name), ("state", str(outcome.state))]
        if not console.is_terminal:
            rows += [(name, repr(value)) for name, value in outcome.found.items()]
            rows.append(("record", str(outcome.record)))
            sys.stdout.writelines(f"{name}\t{value}\n" for name, value in rows)
            continue
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        for name, value in [
            *rows,
            *((name, format_metric(name, value)) for name, value in outcome.found.items()),
        ]:
            table.add_row(f"[cyan]{name}", value)
        table.add_row("[cyan]record", str(outcome.record))
        console.print(table)
    for what, command in _how_to_look(outcomes[-1]):
        if console.is_terminal:
            console.print(f"[dim]{what}:[/dim]")
            console.print(command, markup=False, highlight=False, soft_wrap=True)  # for copying
        else:
            sys.stdout.write(f"{what}\t{command}\n")


def _how_to_look(outcome: "Outcome") -> list[tuple[str, str]]:
    """The server's command and the chart's link, for a run that reached MLflow."""
    experiment_id = load_state(outcome.record).experiment_id
    if not experiment_id:
        return []
    uri = outcome.plan.values["tracking"]["uri"]
    server = server_command(uri)
    return [*([("server", server)] if server else []), ("charts", chart_link(uri, experiment_id))]


def format_metric(name: str, value: float) -> str:
    """Write a metric for people: accuracies as percentages, losses with four digits, NaN as NaN."""
    if not math.isfinite(value):
        return str(value)
    return f"{value:.2%}" if name.removeprefix("best/") in _PERCENT else f"{value:.4g}"
