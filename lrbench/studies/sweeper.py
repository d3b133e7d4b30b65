"""`lrbench -m hydra/sweeper=optuna`: from the sweeper's words to the protocol, and to what a person sees of it."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt, MinLen
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from lrbench.config.targets import check_value, unknown
from lrbench.launch import Died, Done
from lrbench.runs.destination import check_destination
from lrbench.runs.hydra_launcher import launch_elsewhere
from lrbench.runs.jobs import Job
from lrbench.runs.launch import compose_values, dataset_key, run_jobs
from lrbench.runs.result import Result
from lrbench.search.arguments import read_arguments
from lrbench.search.objective import Objective
from lrbench.search.study import Search
from lrbench.search.suggest import SamplerName
from lrbench.spec import Count, CountOrZero, Fraction, Positive
from lrbench.studies.contestants import Contestant, Settings, make_contestants, records_of
from lrbench.studies.protocol import Surroundings, run_sweep
from lrbench.studies.trials import Interrupted
from lrbench.tracking.send_state import is_complete

if TYPE_CHECKING:
    from lrbench.runs.session import Session

_log = logging.getLogger(__name__)
_RULES: dict[str, Any] = {
    "num_trials": Count,
    "sampler": SamplerName,
    "seed": CountOrZero,
    "at_once": Count | None,
    "final_seeds": CountOrZero | Literal["settle"],
    "looks": Annotated[list[Count], MinLen(1)],
    "alpha": Annotated[float, Gt(0), Lt(1)],
    "margin": Positive,
    "reference": str | None,
    "budgets": Annotated[list[Fraction], MinLen(1)],
    "retune": bool,
    "objectives": Annotated[list[Objective], MinLen(1)],
    "prune_share": Annotated[float, Gt(0), Lt(1)] | None,
    "prune_from": Annotated[float, Ge(0), Lt(1)],
    "storage": str | None,
    "shared": bool,
    "stale_seconds": Positive,
    "force_new_study": bool,
    "report": bool,
}


def optuna_sweep(
    words: Sequence[str],
    *,
    params: Mapping[str, str],
    settings: Mapping[str, Any],
    session: "Session",
    loader: ConfigLoader,
    config: DictConfig,
    launcher: Launcher,
) -> None:
    """Run the whole protocol.

    Args:
        words: overrides of the command line.
        params: choices of an experiment; a word of the command line takes their place.
        settings: values of conf/hydra/sweeper/optuna.yaml.
        session: of the command.
        loader: of the running application.
        config: of the sweep.
        launcher: what Hydra was told to launch jobs with.

    Raises:
        ValueError: before anything is trained, naming the place.
    """
    chosen = read_settings(settings)
    parser = OverridesParser.create(config_loader=loader)
    given = parser.parse_overrides(list(words))
    known = {override.key_or_group for override in given}
    defaults = parser.parse_overrides([f"{key}={value}" for key, value in params.items() if key not in known])
    arguments = read_arguments([*given, *defaults])
    contestants = make_contestants(arguments, chosen, partial(compose_values, loader, config))
    uri = check_destination(contestants[0].plan)
    if uri:
        session.start_sender(Path(contestants[0].values["results_dir"]), uri)
    for contestant in {dataset_key(contestant.values): contestant for contestant in contestants}.values():
        contestant.plan.dataset.check()  # of a folder of images it looks at every name
    try:
        world = Surroundings(
            train=_trainer(launcher, session),
            follow=lambda record: session.follow(record, uri),
            tracking_uri=uri,
            digests=partial(_dataset_digests, contestants, session),
            say=_log.info,
        )
        session.settled = run_sweep(contestants, chosen, world, one_look=session.one_look)
    except Interrupted:
        session.arrange([])
        return
    if uri:
        # Another process may have trained them, and been killed before MLflow had them.
        for record in records_of(contestants):
            if not is_complete(record):
                session.follow(record, uri)
    has_finals = any(contestant.finals for contestant in contestants)
    # A report's intervals are for a number of seeds that was fixed beforehand.
    wants_report = bool(settings["report"] and has_finals and session.settled is None)
    session.finish(contestants, wants_report=wants_report, margin=chosen.margin, reference=chosen.reference)


def read_settings(values: Mapping[str, Any]) -> Settings:
    """Check the sweeper's values.

    Raises:
        ValueError: naming hydra.sweeper.KEY, the rule and the value.
    """
    for key in values:
        if key not in _RULES:
            raise ValueError(unknown(f"hydra.sweeper.{key}", key, sorted(_RULES), "setting"))
    v = {key: check_value(f"hydra.sweeper.{key}", values[key], rule) for key, rule in _RULES.items()}
    for key in ("budgets", "objectives"):
        if len(set(v[key])) < len(v[key]):
            raise ValueError(f"hydra.sweeper.{key} must differ from each other, got {v[key]}")
    if v["prune_share"] is not None and len(v["objectives"]) > 1:
        raise ValueError("hydra.sweeper.prune_share needs one objective; Optuna prunes no trial of several")
    if v["final_seeds"] == "settle":
        check_looks(v)
    return Settings(
        search=Search(v["num_trials"], v["sampler"], v["seed"], v["at_once"]),
        final_seeds=v["final_seeds"],
        looks=tuple(v["looks"]),
        alpha=v["alpha"],
        margin=v["margin"],
        reference=v["reference"],
        budgets=v["budgets"],
        retune=v["retune"],
        objectives=v["objectives"],
        prune_share=v["prune_share"],
        prune_from=v["prune_from"],
        storage=v["storage"],
        force_new_study=v["force_new_study"],
        shared=v["shared"],
        stale_seconds=v["stale_seconds"],
    )


def check_looks(values: Mapping[str, Any]) -> None:
    """Refuse looks that cannot be planned, before anything is trained."""
    if values["shared"]:
        raise ValueError("hydra.sweeper.shared=true cannot be given with final_seeds=settle: one process takes a look")
    from lrbench.analysis.statistics.looks import planned_looks  # scipy takes a second

    planned_looks(values["looks"], level=values["alpha"] / 2)


def _trainer(launcher: Launcher, session: "Session") -> Callable[[Sequence[Job]], list[Result]]:
    def train(jobs: Sequence[Job]) -> list[Result]:
        # Ours takes config values: composing thousands of jobs from words would take longer than training them.
        num_workers = getattr(launcher, "num_workers", 0)
        if num_workers != 0:
            results = run_jobs([job.values for job in jobs], session, num_workers=num_workers)
        else:
            results = launch_elsewhere(launcher, [job.words for job in jobs], [job.values for job in jobs], session)
        if session.stop_code:
            raise Interrupted
        return results

    return train


def _dataset_digests(contestants: Iterable[Contestant], session: "Session") -> dict[str, str]:
    """Digest the data of every contestant, and check its model, in a worker, since that needs torch.

    Returns:
        The digests by `dataset_key`.
    """
    pool = session.pool(1)
    names = {}
    for contestant in {_material(contestant): contestant for contestant in contestants}.values():
        names[dataset_key(contestant.values)] = contestant.values["dataset"]["name"]
        pool.submit(dataset_key(contestant.values), "lrbench.runs.worker.prepare", contestant.values)
    digests = session.data_digests
    for event in pool.events():
        match event:
            case Done(key, (digest, None)):
                digests[key] = digest
            case Done(_, (_, error)):
                raise error
            case Died(key):
                raise ValueError(f"dataset={names[key]} could not be read: its process {event.how}")
    return digests


def _material(contestant: Contestant) -> str:
    """What identifies dataset, model and kind of optimizer: what is tried together."""
    values = contestant.values
    return json.dumps([values["dataset"], values["model"], values["optimizer"]["_target_"]], sort_keys=True)
