"""The jobs of one command or call, their results, and the workers and the sender that they share."""

import logging
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from lrbench.addresses import masked
from lrbench.config import Plan
from lrbench.config.plan import bind_model, plain_values, plan_of
from lrbench.launch import Pool, lacks_memory
from lrbench.runs.destination import check_destination, tracking_uri
from lrbench.runs.errors import USER_ERRORS
from lrbench.runs.grid_lock import held
from lrbench.runs.progress import OnProgress, progress_bar
from lrbench.runs.result import Result, portable
from lrbench.tracking.received import foreign
from lrbench.tracking.send_state import Unsent
from lrbench.tracking.sender import Sender

_log = logging.getLogger(__name__)
_current: ContextVar["Session | None"] = ContextVar("session", default=None)


class Session:
    """State that the jobs of one command or call share.

    Args:
        on_progress: see `lrbench.runs.progress`; None for bars where a person can see them.
        loop: a training loop of the user's, pickled; it trains all jobs. See `lrbench.runs.own_loop`.
    """

    def __init__(self, on_progress: OnProgress | None = None, *, loop: bytes | None = None) -> None:
        self.loop = loop
        self.on_progress = on_progress
        self.results: list[Result] = []
        self.failure: Exception | None = None  # of a single run
        self.stop_code = 0  # of the signal that stopped the jobs, as shells have it
        self.study: Sequence[Any] = ()  # contestants of a finished study, see lrbench.studies
        self.wants_report = False
        self.declared: dict[str, Any] = {}  # for the report: margin and reference of the sweep
        self.one_look = False  # where seeds come at planned looks, take the next one only
        self.settled: Any = None  # what the looks said, see lrbench.studies.settle
        self.data_digests: dict[str, str] = {}  # of what was read in this command, see launch.data_digest
        self._shown: list[Result] | None = None
        self._followed: set[Path] = set()
        self._notes: set[str] = set()
        self._collected: set[int] = set()  # ids; `results` keeps their objects alive
        self._sender: Sender | None = None
        self._addresses: dict[str, str] = {}  # those configured here, as records say them, and in full
        self._pool: Pool | None = None

    @property
    def shown(self) -> list[Result]:
        """The results that a person asked for, in the order of the grid."""
        return self.results if self._shown is None else self._shown

    @property
    def failed(self) -> list[Result]:
        """Results of jobs that ended in an error."""
        return [result for result in self.results if result.error is not None]

    def train(self, plan: Plan) -> Result:
        """Train one plan in this process."""
        with held([plan]):
            result = _train(plan, self)
        self.collect(result)
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
        self._shown = list(results)

    def finish(self, study: Sequence[Any], *, wants_report: bool, margin: float, reference: str | None) -> None:
        """Take in the contestants of a study that is complete, and what its report declares."""
        self.arrange([])
        self.study, self.wants_report = study, wants_report
        self.declared = {"margin": margin, "reference": reference}

    def stop(self, code: int) -> None:
        """Take note that a signal stopped the jobs."""
        self.stop_code = self.stop_code or code

    def follow(self, record: Path, tracking_uri: str) -> None:
        """Have a record copied into MLflow from now on, if that is where this command sends records."""
        if not tracking_uri or record in self._followed:
            return
        self._followed.add(record)
        uri = self._addresses.get(masked(tracking_uri))
        if uri is None:
            self.note(f"{record} is not sent: {foreign(tracking_uri)}")
        else:
            self.start_sender(record.parents[1], uri).follow(record)

    def note(self, text: str) -> None:
        """Say something once."""
        if text not in self._notes:
            self._notes.add(text)
            _log.info(text)

    def start_sender(self, results_dir: Path, tracking_uri: str) -> Sender:
        """Start the process that copies; early, since it loads MLflow while the data are loaded here.

        Args:
            results_dir: gets its log.
            tracking_uri: of this command; others, which only records name, are not sent to.
        """
        if self._sender is None:
            self._sender = Sender(results_dir / "sender.log")
        self._sender.allow(tracking_uri)
        self._addresses[masked(tracking_uri)] = tracking_uri
        return self._sender

    def pool(self, num_workers: int) -> Pool:
        """The worker processes, which keep what they have imported and read."""
        if self._pool is None:
            self._pool = Pool(num_workers, preload=["lrbench.runs.worker"]).__enter__()
        self._pool.num_workers = max(self._pool.num_workers, num_workers)
        return self._pool

    def close(self) -> list[Unsent]:
        """End the workers and wait for the sender; return what it could not send."""
        if self._pool is not None:
            self._pool.__exit__(None, None, None)
        if self._sender is None:
            return []
        waiting = "%s still being sent to MLflow; Ctrl-C leaves the rest to `lrbench sync`"
        return self._sender.close(on_wait=lambda n: _log.info(waiting, "1 record is" if n == 1 else f"{n} records are"))


@contextmanager
def current_session(session: Session) -> Iterator[None]:
    """Let `job` and Hydra's plugins, which Hydra makes by itself, find the session."""
    token = _current.set(session)
    try:
        yield
    finally:
        _current.reset(token)


def get_session() -> Session:
    """The session of the running command or call."""
    session = _current.get()
    assert session is not None, "lrbench's sweepers and launchers run in lrbench only"
    return session


def job(cfg: DictConfig) -> Result:
    """Train what one composed config asks for: the task that Hydra's launchers call, here or in another process.

    What the user did wrong is in the result, of a single run in the session too, which `run_app` raises: were it raised
    here, Hydra would print the whole command line, passwords and all.
    """
    session = _current.get()
    is_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        plan = plan_of(plain_values(cfg))
        with nullcontext() if is_sweep or session is None else held([plan]):  # launch holds the runs of a grid
            result = _train(plan, session)
    except USER_ERRORS as error:
        result = Result(HydraConfig.get().job.override_dirname, error=portable(error))
        if session is not None and not is_sweep:
            session.failure = error
            return result
    if session is not None:
        session.collect(result)
        session.failure = None if is_sweep else result.error
    return result


def _train(plan: Plan, session: Session | None) -> Result:
    """Train one plan in this process; without a session it is one of a launcher's, on whatever machine."""
    # Only the process that was started by hand sends; others may not even reach the server.
    uri = tracking_uri(plan) if session is None else check_destination(plan)
    plan.dataset.check()
    try:
        return _train_here(plan, uri, session)
    except (ImportError, MemoryError, RuntimeError) as error:  # torch's libraries alone may be too large
        if not lacks_memory(error):
            raise
        raise OSError(f"too little memory: {error or type(error).__name__}") from error


def _train_here(plan: Plan, uri: str, session: Session | None) -> Result:
    # torch comes after everything that can be refused without it.
    bind_model(plan.values)
    from lrbench.runs.signals import SIGNALS, SIGNALS_ELSEWHERE, StopRequest
    from lrbench.runs.train import check, train
    from lrbench.runs.try_out import try_out

    check(plan)
    if uri and session is not None:
        session.start_sender(Path(plan.values["results_dir"]), uri)
    try_out(plan)
    signals = SIGNALS_ELSEWHERE if session is None else SIGNALS
    on_progress = None if session is None else session.on_progress
    with (
        StopRequest(signals) as stop,
        progress_bar(plan.run_name, plan.budget.total_steps, on_progress=on_progress) as bar,
    ):
        (result,) = train(
            [plan],
            tracking_uri=uri,
            stop=stop,
            on_record=lambda path: None if session is None else session.follow(path, uri),
            on_progress=lambda step, evaluations: bar.update(step, evaluations.get(0)),
        )
    if result.stopped and session is not None:
        session.stop(stop.exit_code)
    elif result.stopped and stop.signal is not None:
        # The checkpoint is saved; what else the signal means is the launcher's to say. submitit queues the job again.
        signal.raise_signal(stop.signal)
    return result
