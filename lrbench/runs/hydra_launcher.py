"""Jobs of a sweep on Hydra's other launchers: in processes and on machines that we do not run ourselves."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from lrbench.config import Plan
from lrbench.runs.jobs import literal
from lrbench.runs.launch import Values, train_missing
from lrbench.runs.result import Result

if TYPE_CHECKING:
    from lrbench.runs.session import Session

_STOPPED = 143  # exit code of a sweep whose jobs were told to stop, by whatever signal: that of SIGTERM


def launch_elsewhere(
    launcher: Launcher, words: Sequence[Sequence[str]], jobs: Sequence[Values], session: "Session"
) -> list[Result]:
    """Train configs by a launcher of Hydra's, and hand their results to the session when all have ended.

    Args:
        launcher: set up.
        words: overrides of each job, from which the launcher composes its config.
        jobs: see `train_missing`; the same configs.
        session: see `train_missing`.

    Returns:
        See `train_missing`.

    Raises:
        ValueError: see `train_missing`; or the launcher gave up, as submitit does when one of its jobs dies.
    """

    def train(plans: Mapping[int, Plan], finished: Collection[int], *_: object) -> dict[int, Result]:
        plans = {index: plan for index, plan in plans.items() if index not in finished}
        try:
            # Processes elsewhere may work in another directory.
            placed = [
                [*words[index], f"results_dir={literal(plan.values['results_dir'])}"] for index, plan in plans.items()
            ]
            returns = launcher.launch(placed, initial_job_idx=0)
        except RuntimeError as error:  # submitit's: there is no Slurm, or a job left no result, killed or out of time
            raise ValueError(
                f"{type(launcher).__name__} gave up: {_last_line(error)}\n"
                "Jobs that it has launched may still be running; when they have ended, the same command trains what is "
                "missing."
            ) from error
        results = {index: _result(done, plans[index]) for index, done in zip(plans, returns, strict=True)}
        for result in results.values():
            session.collect(result)
        if any(result.stopped for result in results.values()):
            session.stop(_STOPPED)
        return results

    return train_missing(jobs, session, train)


def _result(done: JobReturn, plan: Plan) -> Result:
    if done.status is JobStatus.COMPLETED:
        result: Any = done.return_value
        assert isinstance(result, Result)
        return result
    # `return_value` would raise it here, and the other jobs with it be lost.
    error = done._return_value
    kind = OSError if isinstance(error, OSError) else ValueError
    return Result(plan.run_name, error=kind(f"{type(error).__name__}: {error}"))


def _last_line(error: RuntimeError) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
