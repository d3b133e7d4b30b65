"""`lrbench [overrides]`: train one run, or a grid with `-m`, and leave a record."""

import shlex
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from lrbench.cli.destination import check_destination
from lrbench.cli.errors import USER_ERRORS, explain
from lrbench.cli.hydra_app import run_app
from lrbench.config import Plan, make_plan
from lrbench.tracking.sender import Sender

if TYPE_CHECKING:
    from lrbench.cli.training_run import Outcome


def main(arguments: list[str]) -> int:
    """Train; see the package's docstring for exit codes."""
    warnings.showwarning = _show_warning
    session = _Session(arguments)
    try:
        run_app(arguments, session.job)
    finally:
        num_unsent = session.close()
    session.report()
    if session.failures and not session.is_grid:
        raise session.failures[0][1]
    for name, error in session.failures:
        print(f"lrbench: failed: {name}: {explain(error)}", file=sys.stderr)
    if session.failures:
        return 1
    return 3 if num_unsent else 0


class _Session:
    """The jobs of one command: they share one sender, and a failure of one does not stop the next."""

    def __init__(self, arguments: list[str]) -> None:
        self.outcomes: list[Outcome] = []
        self.failures: list[tuple[str, Exception]] = []
        self.is_grid = False
        self._arguments = arguments
        self._sender: Sender | None = None

    def job(self, cfg: DictConfig) -> None:
        """Train what one composed config asks for; errors of the user are kept for the end."""
        hydra = HydraConfig.get()
        self.is_grid = hydra.mode == RunMode.MULTIRUN
        try:
            self._train(make_plan(cfg))
        except USER_ERRORS as error:
            self.failures.append((hydra.job.override_dirname, error))

    def close(self) -> int:
        """Wait for the sender; return how many records it could not send, having named each."""
        if self._sender is None:
            return 0
        unsent = self._sender.close()
        for item in unsent:
            print(f"lrbench: not in MLflow yet: {item.record}: {item.reason}", file=sys.stderr)
        if unsent:
            print(
                f"send it with: lrbench sync results_dir={shlex.quote(str(item.record.parents[1]))}",
                file=sys.stderr,
            )
        return len(unsent)

    def report(self) -> None:
        """Say what was found and how to look at it."""
        if self.outcomes:
            from lrbench.cli.display import print_outcomes

            print_outcomes(self.outcomes)

    def _train(self, plan: Plan) -> None:
        uri = check_destination(plan)
        plan.dataset.check()

        # torch comes after everything that can be refused without it.
        from lrbench.cli.training_run import Stopped, check, train

        check(plan)
        if uri and self._sender is None:
            # Early: it loads MLflow while the data are loaded here.
            self._sender = Sender(Path(plan.values["results_dir"]) / "sender.log")
        follow = self._sender.follow if uri and self._sender is not None else lambda _: None
        try:
            self.outcomes.append(train(plan, tracking_uri=uri, on_record=follow))
        except Stopped as stop:
            self.close()
            print(
                f"lrbench: {stop}; the same command continues: {shlex.join(['lrbench', *self._arguments])}",
                file=sys.stderr,
            )
            raise SystemExit(stop.exit_code) from None


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: object = None,
) -> None:
    """Show a warning as one line, without a line of our source."""
    print(f"lrbench: warning: {message}", file=sys.stderr)
