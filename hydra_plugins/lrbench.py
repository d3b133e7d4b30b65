"""Hydra's plugins of lrbench. Hydra imports this file at every start, so all that takes time is imported late.

Hydra 1.3 finds plugins in the namespace `hydra_plugins` only. It executes this module before it is in `sys.modules`,
which `from __future__ import annotations` together with a dataclass would not survive.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class LocalLauncher(Launcher):
    """Worker processes on this machine, one a core, that pay for imports once.

    Args:
        num_workers: processes; null for one a core.
    """

    def __init__(self, num_workers: int | None = None) -> None:
        self.num_workers = num_workers

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take over what Hydra hands every launcher."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Train every job; what one of them did wrong is in its result."""
        from lrbench.runs.session import get_session

        session = get_session()
        session.pool(1)  # begins to import what the workers need, on another core
        from lrbench.runs.launch import compose_values, run_jobs

        jobs = compose_values(self.hydra_context.config_loader, self.config, job_overrides)
        results = run_jobs(jobs, session, num_workers=self.num_workers)
        return [_returned(overrides, result) for overrides, result in zip(job_overrides, results, strict=True)]


class MissingOnlyLauncher(Launcher):
    """Another launcher, to which only those jobs come whose runs are not recorded yet; not for the command line.

    Args:
        launcher: set up.
    """

    def __init__(self, launcher: Launcher) -> None:
        self.launcher = launcher

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take over what Hydra hands every launcher."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Train every job; what one of them did wrong is in its result."""
        from lrbench.runs.hydra_launcher import launch_elsewhere
        from lrbench.runs.launch import compose_values
        from lrbench.runs.session import get_session

        jobs = compose_values(self.hydra_context.config_loader, self.config, job_overrides)
        results = launch_elsewhere(self.launcher, job_overrides, jobs, get_session())
        return [_returned(overrides, result) for overrides, result in zip(job_overrides, results, strict=True)]


class GridSweeper(BasicSweeper):
    """Every combination of the choices on the command line; Hydra's own, but for two things.

    Runs that are recorded already are not launched again. And Hydra composes all jobs once to find typing errors and
    then once more to launch them; our launchers compose all before the first begins anyway.

    Args:
        params: choices by name, which those of the command line precede.
    """

    def __init__(self, params: dict[str, str] | None = None) -> None:
        super().__init__(max_batch_size=None, params=params)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Let other launchers have only what is not recorded yet."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.config = _masked(config)  # which it writes into multirun.yaml
        if not isinstance(self.launcher, LocalLauncher):
            self.launcher = MissingOnlyLauncher(self.launcher)
            self.launcher.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """See the class."""

    def sweep(self, arguments: list[str]) -> Any:
        """Launch the grid, and show its results in its order."""
        from lrbench.config.plan import absolute_folder
        from lrbench.runs.destination import check_results_dir
        from lrbench.runs.session import get_session

        # Hydra writes its multirun.yaml there before it launches anything.
        check_results_dir(Path(absolute_folder("results_dir", self.config.results_dir)))
        returns = super().sweep(arguments)
        get_session().arrange([done.return_value for batch in returns for done in batch])
        return returns


class OptunaSweeper(Sweeper):
    """Tune every schedule fairly, then measure the best points on fresh seeds; see conf/hydra/sweeper/optuna.yaml."""

    def __init__(self, params: dict[str, str] | None = None, **settings: Any) -> None:
        self.params = params or {}
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take over what Hydra hands every sweeper."""
        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the whole protocol."""
        from lrbench.runs.session import get_session

        session = get_session()
        session.pool(1)  # begins to import what the workers need, on another core
        from lrbench.studies.sweeper import optuna_sweep

        optuna_sweep(
            arguments,
            params=self.params,
            settings=self.settings,
            session=session,
            loader=self.hydra_context.config_loader,
            config=self.config,
            launcher=self.launcher,
        )


def _masked(config: DictConfig) -> DictConfig:
    """A config without passwords."""
    from lrbench.addresses import masked

    copy = OmegaConf.create(masked(OmegaConf.to_yaml(config)))
    assert isinstance(copy, DictConfig)
    OmegaConf.copy_cache(from_config=config, to_config=copy)  # the same `now`
    return copy


def _returned(overrides: Sequence[str], result: Any) -> JobReturn:
    done = JobReturn(overrides=overrides, status=JobStatus.COMPLETED)
    done.return_value = result
    return done
