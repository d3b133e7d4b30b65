"""The protocol of a sweep: equal trials for every schedule, chosen on validation, measured on fresh seeds.

    axes of the command line -> contestants, one a (workload, schedule), each with a study
    every study: batches of trials, each trained on the tuning seeds -> its best point
    every best point: trained on fresh seeds, where the test split is read -> the finals

All studies ask at the same time and their jobs are launched together, so that a launcher sees as many as there are.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from lrbench.addresses import sqlite_uri
from lrbench.search.storage import open_storage
from lrbench.search.study import Storage, TunedStudy
from lrbench.studies.contestants import Contestant, Settings, document_of, finals_of
from lrbench.studies.record import StudyRecord
from lrbench.studies.shared import share
from lrbench.studies.trials import Train, check_machine, train_trials

if TYPE_CHECKING:
    from lrbench.studies.settle import Settled

_SECONDS_FOR_LOCK = 2.0  # processes that share a study hold it for an instant each


@dataclass(frozen=True)
class Surroundings:
    """What a sweep needs of the world.

    Attributes:
        train: trains jobs; raises Interrupted when a signal asks for it.
        follow: has a record copied to MLflow.
        tracking_uri: where the records of studies are sent; "" for nowhere.
        digests: has a worker digest the data; by `dataset_key`.
        say: tells the person what begins.
    """

    train: Train
    follow: Callable[[Path], None]
    tracking_uri: str
    digests: Callable[[], Mapping[str, str]]
    say: Callable[[str], None]


def run_sweep(
    contestants: Sequence[Contestant], settings: Settings, world: Surroundings, *, one_look: bool = False
) -> "Settled | None":
    """Tune every contestant, then train its best point on fresh seeds; leaves the results in the contestants.

    Args:
        contestants: of the sweep.
        settings: of the sweep.
        world: where it takes place.
        one_look: where seeds come at planned looks, take the next one only.

    Returns:
        What the looks said, where there are any.

    Raises:
        ValueError: another sweep works on a study, a study of something else has its name, the machine failed under
            some runs, or no trial of any study was completed.
        Interrupted: the trials in hand stay running, and are taken up by the same command.
    """
    results_dir = Path(contestants[0].values["results_dir"])
    url = settings.storage or sqlite_uri(results_dir / "studies.db")
    storage = open_storage(url)  # a second, in which the workers' server goes on importing
    digests = world.digests()
    with ExitStack() as held:
        begin = partial(_open, settings=settings, world=world, storage=storage, digests=digests, held=held)
        for contestant in contestants:
            lock = study_lock(results_dir, contestant.name)
            if settings.shared:
                with lock:
                    begin(contestant)
            else:
                held.enter_context(lock)
                begin(contestant)
        if settings.shared:
            share(contestants, settings, world.train, url)
        else:
            _tune(contestants, settings, world)
        settled = None
        if settings.final_seeds == "settle":
            settled = _take_looks(contestants, settings, world, one_look=one_look)
        else:
            _train_finals(contestants, settings.final_seeds, world)
        if settled is not None and settled.state == "continue":
            return settled  # the records stay open
        for contestant in contestants:
            assert contestant.record is not None
            contestant.record.finish(contestant.source.summary(), contestant.finals, contestant.plan.endpoint)
        if settings.final_seeds:
            _check_finals(contestants, world.say)
        return settled


def _open(
    contestant: Contestant,
    *,
    settings: Settings,
    world: Surroundings,
    storage: Storage,
    digests: Mapping[str, str],
    held: ExitStack,
) -> None:
    if contestant.point_from is None:
        contestant.tuned = TunedStudy(
            storage,
            contestant.name,
            space=contestant.space,
            search=settings.search,
            directions=[contestant.plan.direction] * len(settings.objectives),
            document=document_of(contestant, settings, digests=digests),
            force_new=settings.force_new_study,
        )
        contestant.name = contestant.tuned.study.study_name  # another one where a new study was forced
    contestant.record = held.enter_context(
        StudyRecord.open(
            Path(contestant.values["results_dir"]) / "runs",
            contestant.plan,
            study=contestant.name,
            space=contestant.space,
            search=settings.search,
            final_seeds=settings.final_seeds,
            tracking_uri=world.tracking_uri,
        )
    )
    world.follow(contestant.record.path)


def _tune(contestants: Sequence[Contestant], settings: Settings, world: Surroundings) -> None:
    tuned = [contestant for contestant in contestants if contestant.tuned is not None]
    total = settings.search.num_trials * len(tuned)
    while starts := [s for contestant in tuned if (s := contestant.source.next_start()) is not None]:
        done = sum(trial.state.is_finished() for contestant in tuned for trial in contestant.source.trials)
        # All are in step, and trials of the batch that a killed call has told are asked along: what trains together,
        # and so rounds alike, does not depend on kills.
        batch = [(contestant, trial) for contestant in tuned for trial in contestant.source.batch(min(starts))]
        num_left = sum(not trial.state.is_finished() for _, trial in batch)
        studies = "1 study" if len(tuned) == 1 else f"{len(tuned)} studies"
        world.say(f"tuning {studies}: {done} of {total} trials done, {num_left} in hand")
        train_trials(batch, settings, world.train)


def _train_finals(contestants: Sequence[Contestant], num_seeds: int | Mapping[str, int], world: Surroundings) -> None:
    jobs = finals_of(contestants, num_seeds)
    runs = "1 run of the best point" if len(jobs) == 1 else f"{len(jobs)} runs of the best points"
    world.say(f"finals: {runs} on fresh seeds")
    results = world.train([job for _, job in jobs])
    check_machine(results)
    for contestant in contestants:
        contestant.finals = [result for (other, _), result in zip(jobs, results, strict=True) if other is contestant]


def _take_looks(
    contestants: Sequence[Contestant], settings: Settings, world: Surroundings, *, one_look: bool
) -> "Settled":
    """Train what the next look needs and look, again until nothing is open, or once."""
    from lrbench.studies.settle import Settled, ledgers_of  # scipy takes a second

    ledgers = ledgers_of(contestants, settings)
    if not ledgers:
        _check_finals(contestants, world.say)
    while True:
        _train_finals(contestants, {name: n for ledger in ledgers for name, n in ledger.seeds.items()}, world)
        settled = Settled(tuple(ledger.look() for ledger in ledgers))
        if one_look or settled.state != "continue":
            return settled


def _check_finals(contestants: Sequence[Contestant], say: Callable[[str], None]) -> None:
    """Say which contestants have no runs on fresh seeds.

    Raises:
        ValueError: none has.
    """
    without = [contestant for contestant in contestants if not contestant.finals]
    reasons = []
    for contestant in without:
        errors = [trial.user_attrs["error"] for trial in contestant.source.trials if "error" in trial.user_attrs]
        why = f"; the first failure: {errors[0]}" if errors else ""
        reasons.append(f"no trial of {contestant.source.study.study_name} was completed, so it has no finals{why}")
    if without and len(without) == len(contestants):
        raise ValueError(reasons[0] if len(reasons) == 1 else f"{reasons[0]}; nor has any other study")
    for reason in reasons:
        say(reason)


@contextmanager
def study_lock(results_dir: Path, name: str) -> Iterator[None]:
    """Hold a study for this process.

    Raises:
        ValueError: another process holds it.
    """
    folder = results_dir / "studies"
    folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^\w.+-]", "_", name)[:100] + "-" + hashlib.sha256(name.encode()).hexdigest()[:8]
    lock = FileLock(folder / f"{stem}.lock")
    try:
        lock.acquire(timeout=_SECONDS_FOR_LOCK)
    except Timeout:
        raise ValueError(
            f"another sweep is running in {results_dir} on the study {name}; wait for it, or share the study between "
            "processes with hydra.sweeper.shared=true in each of them"
        ) from None
    try:
        yield
    finally:
        lock.release()
