"""Jobs of a sweep on Hydra's other launchers: in processes and on machines that we do not run ourselves."""

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, ListConfig, ValueNode

from lrbench.addresses import masked
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
            with _without_passwords(launcher):
                returns = launcher.launch([[masked(word) for word in words] for words in placed], initial_job_idx=0)
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


@contextmanager
def _without_passwords(launcher: Launcher) -> Iterator[None]:
    """Mask the passwords of addresses in what a launcher pickles: submitit leaves it on the disk for each job.

    Jobs elsewhere send nothing and open no database.
    """
    singleton = HydraConfig.instance()
    config, of_hydra = launcher.config, singleton.cfg  # type: ignore[attr-defined]  # every launcher has one
    launcher.config, singleton.cfg = _masked(config), _masked(of_hydra)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        launcher.config, singleton.cfg = config, of_hydra  # type: ignore[attr-defined]


def _masked(config: Any) -> Any:
    """A copy of a config, interpolations as they are; or None."""
    result = copy.deepcopy(config)
    if result is not None:
        _mask(result)
    return result


def _mask(node: Any) -> None:
    for key in list(node) if isinstance(node, DictConfig) else range(len(node)):
        child = node._get_node(key)
        if isinstance(child, ValueNode) and isinstance(child._value(), str):
            child._val = masked(child._value())
        elif isinstance(child, DictConfig | ListConfig) and isinstance(child._content, dict | list):
            _mask(child)


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
