"""`lrbench [overrides]`: train one run, or a sweep with `-m`, and leave a record of each run."""

import shlex
import sys
from collections.abc import Sequence

from lrbench.runs.destination import report_unsent
from lrbench.runs.errors import explain, shown
from lrbench.runs.hydra_app import run_app
from lrbench.runs.session import Session


def main(arguments: list[str]) -> int:
    """Train; see the package's docstring for exit codes."""
    session = Session()
    try:
        run_app(arguments, session)
        if session.study:
            from lrbench.cli.sweep_summary import print_studies  # Optuna takes a while

            print_studies(session.study)
        if session.settled is not None:
            from lrbench.cli.settle import print_settled

            print_settled(session.settled)
    finally:
        unsent = session.close()
        report_unsent(unsent)
    _report(session, arguments)
    code = session.stop_code or (1 if session.failed else 3 if unsent else 0)
    if session.settled is not None and not code:
        from lrbench.cli.settle import EXIT_CODES

        return EXIT_CODES[session.settled.state]
    if code or not session.wants_report:
        return code
    from lrbench.cli.sweep_summary import report_sweep

    return report_sweep(session)


def _report(session: Session, arguments: Sequence[str]) -> None:
    """Say what was found and how to look at it, what failed, and how to go on after a stop."""
    trained = [result for result in session.shown if result.found]
    if trained:
        from lrbench.cli.display import print_results

        print_results(trained)
    shared = sum(int(result.found.get("steps_shared", 0)) for result in session.results)
    if shared:
        total = sum(int(result.found.get("steps", 0)) for result in session.results)
        print(
            f"lrbench: {shared} of {total} steps ({shared / total:.0%}) were shared between budgets and taken once",
            file=sys.stderr,
        )
    for result in session.failed:
        assert result.error is not None
        print(f"lrbench: failed: {shown(result.name)}: {explain(result.error)}", file=sys.stderr)
    if session.stop_code:
        print(
            f"lrbench: stopped; the same command continues: {shown(shlex.join(['lrbench', *arguments]))}",
            file=sys.stderr,
        )
