"""What a person sees at the end of trainings: what was found and how to look at it."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lrbench.addresses import masked
from lrbench.runs.errors import shown
from lrbench.runs.result import Result, format_metric
from lrbench.tracking.send_state import load_state
from lrbench.tracking.view import chart_link, server_command

_SHOWN_OF_MANY = ("val/loss", "val/accuracy", "test/loss", "test/accuracy", "steps", "time/seconds")


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
    rows = {"run": shown(result.name), "state": str(result.state)}
    rows |= {name: format_metric(name, value) for name, value in result.found.items()}
    for name, value in {**rows, "record": str(result.record)}.items():
        table.add_row(f"[cyan]{escape(name)}", escape(value))
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
        table.add_row(escape(shown(result.name)), str(result.state), *values, record)
    return table


def _how_to_look(result: Result) -> list[tuple[str, str]]:
    """The server's command and the chart's link, for a run that reached MLflow."""
    assert result.record is not None
    experiment_id = load_state(result.record).experiment_id
    if not experiment_id:
        return []
    uri = masked(result.tracking_uri)
    server = server_command(uri)
    return [*([("server", server)] if server else []), ("charts", chart_link(uri.replace("***@", ""), experiment_id))]
