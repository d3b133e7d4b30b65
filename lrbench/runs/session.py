"""The jobs of one command or call, their results, and the workers and the sender that they share."""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from lrbench.config import Plan, make_plan
from lrbench.launch import Pool
from lrbench.runs.destination import check_destination, report_unsent, tracking_uri
from lrbench.runs.errors import USER_ERRORS
from lrbench.runs.result import Result, portable
from lrbench.tracking.sender import Sender


class Session:
    """The jobs of one command, their results, and the sender that all of them share.

    `job` is what Hydra's launchers call, in this process or, pickled, in another one; a copy that was pickled has no
    sender, and its results come back to `collect` of the first.
    """

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.is_sweep = False
        self.stop_code = 0
        self.shown: list[Result] | None = None
        self.wants_report = False
        self.tuned: Sequence[Any] = ()  # the contestants of a finished study
        self.data_digests: dict[str, str] = {}  # of what was read in this command, see launch.data_digest
        self._followed: set[Path] = set()
        self._notes: set[str] = set()
        self._collected: set[int] = set()  # ids; `results` keeps their objects alive
        self._sender: Sender | None = None
        self._is_elsewhere = False
        self._pool: Pool | None = None

    def __getstate__(self) -> dict[str, Any]:
        nothing = dict.fromkeys(("shown", "_sender", "_pool"))
        return {**vars(self), **nothing, "results": [], "tuned": (), "_is_elsewhere": True}

    def job(self, cfg: DictConfig) -> Result:
        """Train what one composed config asks for.

        Raises:
            What the user did wrong, unless other jobs wait: in a sweep it is in the result.
        """
        self.is_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
        try:
            result = self._train(make_plan(cfg))
        except USER_ERRORS as error:
            if not self.is_sweep:
                raise
            result = Result(HydraConfig.get().job.override_dirname, error=portable(error))
        if not self._is_elsewhere:
            self.collect(result)
        if not self.is_sweep and result.error is not None:
            raise result.error
        return result

    def collect(self, result: Result) -> None:
        """Take in the end of a job, once."""
        if id(result) in self._collected:
            return
        self._collected.add(id(result))
        self.results.append(result)
        if result.record is not None and result.tracking_uri:
            self.follow(result.record, result.tracking_uri)

    def arrange(self, results: Sequence[Result]) -> None:
        """Take in the ends of some jobs, and show these and no others, in this order."""
        for result in results:
            self.collect(result)
        self.shown = list(results)

    def follow(self, record: Path, tracking_uri: str) -> None:
        """Have a record copied into MLflow from now on."""
        if self._is_elsewhere or not tracking_uri or record in self._followed:
            return
        self._followed.add(record)
        self.start_sender(record.parents[1])
        assert self._sender is not None
        self._sender.follow(record)

    def note(self, text: str) -> None:
        """Say something once."""
        if text not in self._notes:
            self._notes.add(text)
            print(f"lrbench: {text}", file=sys.stderr)

    def start_sender(self, results_dir: Path) -> None:
        """Start the process that copies; early, since it loads MLflow while the data are loaded here."""
        if self._sender is None:
            self._sender = Sender(results_dir / "sender.log")

    def pool(self, num_workers: int) -> Pool:
        """The worker processes of this command, which keep what they have imported and read."""
        if self._pool is None:
            self._pool = Pool(num_workers, preload=["lrbench.runs.worker"]).__enter__()
        self._pool.num_workers = max(self._pool.num_workers, num_workers)
        return self._pool

    def close(self) -> int:
        """End the workers and wait for the sender; return how many records it could not send, having named each."""
        if self._pool is not None:
            self._pool.__exit__(None, None, None)
        if self._sender is None:
            return 0
        unsent = self._sender.close()
        report_unsent(unsent)
        return len(unsent)

    @property
    def exit_code(self) -> int:
        """Of the signal that stopped the jobs; 1 when one failed; else 0."""
        return self.stop_code or (1 if any(result.error is not None for result in self.results) else 0)

    def _train(self, plan: Plan) -> Result:
        # Only the process that was started by hand sends; others may not even reach the server.
        uri = tracking_uri(plan) if self._is_elsewhere else check_destination(plan)
        plan.dataset.check()

        # torch comes after everything that can be refused without it.
        from lrbench.runs.progress import progress_bar
        from lrbench.runs.signals import SIGNALS, SIGNALS_ELSEWHERE, StopRequest
        from lrbench.runs.train import check, train

        check(plan)
        if uri and not self._is_elsewhere:
            self.start_sender(Path(plan.values["results_dir"]))
        signals = SIGNALS_ELSEWHERE if self._is_elsewhere else SIGNALS
        with StopRequest(signals) as stop, progress_bar(plan.run_name, plan.budget.total_steps) as bar:
            (result,) = train(
                [plan],
                tracking_uri=uri,
                stop=stop,
                on_record=lambda path: self.follow(path, uri),
                on_progress=lambda step, evaluations: bar.update(step, evaluations.get(0)),
            )
        if result.stopped:
            self.stop_code = stop.exit_code
            if self._is_elsewhere and stop.signal is not None:
                # The checkpoint is saved; what else the signal means is the launcher's to say. submitit queues the job
                # again.
                signal.raise_signal(stop.signal)
        return result
