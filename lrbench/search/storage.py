"""Studies and their trials in Optuna's storage, written so that a kill at any moment leaves nothing half done.

A study remembers what it is a study of. A trial appears with all its parameters or not at all, and is finished with all
its results or not at all.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from datetime import UTC, datetime
from itertools import count
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb import models
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import Engine

from lrbench.search.database import (
    SETTING,
    engine_options,
    ensure_tables,
    exclusively,
    full_text,
    parse_url,
    place_of,
    reconnecting,
    watch,
)
from lrbench.search.quiet import quiet_optuna
from lrbench.search.space import space_diff
from lrbench.search.suggest import Suggestion

# User attributes of a study: the name that was asked for, what it is a study of, and how it was planned at first.
_SERIES = "series"
_DOCUMENT = "document"
_PLAN = "search"
_SLOT = "slot"  # user attribute of a trial, where processes that share a study number their trials as they come


def open_storage(url: str) -> RDBStorage:
    """Open the studies' database, made first if need be; any number of processes may do so at once.

    Args:
        url: sqlite:/// and an absolute path, or postgresql://user:password@host/database.

    Raises:
        ValueError: naming hydra.sweeper.storage and what is wrong, never a password.
    """
    parsed = parse_url(url)
    ensure_tables(parsed)
    try:
        storage = RDBStorage(full_text(parsed), engine_options(parsed), skip_table_creation=True)
        watch(storage.engine)
        return storage
    except RuntimeError as error:
        # Optuna's own words: another version of it made the tables, and how to upgrade them.
        raise ValueError(f"{SETTING}: {error}") from error


def create_or_load_study(
    storage: RDBStorage,
    name: str,
    directions: Sequence[str],
    document: Mapping[str, Any],
    *,
    plan: Mapping[str, Any] | None = None,
    force_new: bool = False,
) -> Study:
    """Load the study of this name and document, or create it.

    Args:
        storage: see `open_storage`.
        name: of the study.
        directions: "minimize" or "maximize" for each objective.
        document: JSON of everything that shapes its trials; under "space" that of lrbench.search.space.space_document.
        plan: JSON that a new study keeps as its first process gave it, whatever later ones ask for; see `plan_of`.
        force_new: where the name is taken by studies of other documents, create NAME-2, NAME-3 and so on instead of
            refusing. Given again with the same document, it goes on with the study that it made.

    Raises:
        ValueError: the name is taken by a study of something else; says what differs.
    """
    wanted = json.loads(json.dumps({"directions": list(directions), **document}, allow_nan=False))
    url = storage.engine.url
    with exclusively(url), quiet_optuna():
        existing = {study.study_name: study.user_attrs for study in storage.get_all_studies()}
        ours = {n: attrs for n, attrs in existing.items() if attrs.get(_SERIES) == name}
        series = {n: attrs[_DOCUMENT] for n, attrs in ours.items() if _DOCUMENT in attrs}
        for known, remembered in reversed(series.items()):
            if remembered == wanted:
                return optuna.load_study(study_name=known, storage=storage)
        if not force_new:
            newest = next(reversed(series), None)
            if newest is not None:
                raise ValueError(_refusal(newest, series[newest], wanted))
        new = next(n for n in _names(name) if n not in existing or _is_empty(storage, n, existing[n], directions))
        if new != name and not force_new:
            raise ValueError(
                f"the study {name!r} in {place_of(url)} was not made by lrbench; rename it, or give "
                f"hydra.sweeper.force_new_study=true to start {new!r} beside it"
            )
        if new not in existing:
            kinds = [StudyDirection[word.upper()] for word in directions]
            optuna.create_study(study_name=new, storage=storage, directions=kinds)
        study = optuna.load_study(study_name=new, storage=storage)
        study.set_user_attr(_SERIES, name)
        study.set_user_attr(_PLAN, dict(plan or {}))
        study.set_user_attr(_DOCUMENT, wanted)  # the last one: a study without it is not made yet
        return study


def plan_of(study: Study) -> dict[str, Any]:
    """What the process that created a study planned with it; see `create_or_load_study`."""
    return dict(study.user_attrs[_PLAN])


def new_trial(suggestion: Suggestion, user_attrs: Mapping[str, Any]) -> FrozenTrial:
    """Build a running trial with everything that is known of it; see `add_trials`."""
    return optuna.trial.create_trial(
        state=TrialState.RUNNING,
        params=suggestion.params,
        distributions=suggestion.distributions,
        user_attrs=dict(user_attrs),
        system_attrs=suggestion.system_attrs,
    )


def add_trials(study: Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Add trials in one transaction; they are numbered on from those that the study has.

    Through Optuna's tables: asking Optuna instead would write one parameter after the other, and a kill would leave a
    trial with some of them. Its templates are written whole, but take 14 ms each.

    Args:
        study: gets them.
        trials: of `new_trial`, in order.

    Returns:
        the trials as stored, with their numbers.
    """
    table, study_id = models.TrialModel.__table__, study._study_id
    before = sa.select(sa.func.count()).select_from(table).where(table.c.study_id == study_id).scalar_subquery()
    ids = []
    with _engine_of(study).begin() as connection:
        # Where rows can be locked, numbers are given out one process at a time; SQLite has one writer anyway.
        connection.execute(
            sa.select(models.StudyModel.study_id).where(models.StudyModel.study_id == study_id).with_for_update()
        )
        for trial in trials:
            row = {"number": before, "study_id": study_id, "state": trial.state, "datetime_start": _now()}
            key = connection.execute(sa.insert(table).values(row)).inserted_primary_key
            assert key is not None
            trial_id = key[0]
            ids.append(trial_id)
            _insert(
                connection,
                {
                    models.TrialParamModel: [*_rows_of_params(trial_id, trial)],
                    models.TrialUserAttributeModel: [*_rows_of_attrs(trial_id, trial.user_attrs)],
                    models.TrialSystemAttributeModel: [*_rows_of_attrs(trial_id, trial.system_attrs)],
                },
            )
    stored = {trial._trial_id: trial for trial in trials_of(study)}
    return [stored[trial_id] for trial_id in ids]


@reconnecting
def trials_of(study: Study) -> list[FrozenTrial]:
    """All trials of a study, as they are stored now; not to be changed."""
    return study.get_trials(deepcopy=False)


def by_slot(trials: Iterable[FrozenTrial]) -> dict[int, FrozenTrial]:
    """Trials by slot, numbered by it: where processes share a study, the numbers stored follow who came first."""
    slots = {trial.user_attrs.get(_SLOT, trial.number): copy(trial) for trial in trials}
    for slot, trial in slots.items():
        trial.number = slot
    return slots


def find_slot(study: Study, slot: int) -> FrozenTrial | None:
    """The trial of a slot: of that name, or in a study that nobody shared, of that number."""
    for trial in trials_of(study):
        if trial.user_attrs.get(_SLOT, trial.number) == slot:
            return trial
    return None


@reconnecting
def add_slot(study: Study, slot: int, suggestion: Suggestion) -> FrozenTrial:
    """Add the running trial of a slot, unless there is one by now.

    A process that stood still after it claimed the slot may find that another one has taken it over.

    Returns:
        the trial of the slot as stored, whoever added it.
    """
    with exclusively(_engine_of(study).url):
        return find_slot(study, slot) or add_trials(study, [new_trial(suggestion, {_SLOT: slot})])[0]


@reconnecting
def finish_trial(
    study: Study,
    trial: FrozenTrial,
    values: Sequence[float] | None,
    state: TrialState,
    user_attrs: Mapping[str, Any],
    intermediate: Mapping[int, float],
) -> None:
    """Write the results of a trial and its state in one transaction; a trial that is finished stays as it is.

    Through Optuna's tables, because its own setters commit every value alone: a kill between two of them leaves some,
    and twenty values take twenty times as long.

    Args:
        study: its study.
        trial: of `add_trials`, or found running.
        values: one for each objective, finite or infinite; None for a failed trial.
        state: COMPLETE, PRUNED or FAIL.
        user_attrs: JSON.
        intermediate: the objective by step; NaN is allowed.
    """
    if state == TrialState.COMPLETE:
        assert values is not None
        assert len(values) == len(study.directions)
    assert not any(math.isnan(value) for value in values or ())
    trial_id = trial._trial_id
    attrs, steps, objectives = (
        models.TrialUserAttributeModel,
        models.TrialIntermediateValueModel,
        models.TrialValueModel,
    )
    rows: dict[Any, list[dict[str, Any]]] = {
        objectives: [*_rows_of_values(trial_id, values or ())],
        steps: [*_rows_of_steps(trial_id, intermediate)],
        attrs: [*_rows_of_attrs(trial_id, user_attrs)],
    }
    finished = (
        sa.update(models.TrialModel)
        .where(models.TrialModel.trial_id == trial_id, models.TrialModel.state == TrialState.RUNNING)
        .values(state=state, datetime_complete=_now())
    )
    with _engine_of(study).begin() as connection:
        # The first statement, so that it also keeps every other process from finishing the same trial.
        if connection.execute(finished).rowcount == 1:
            connection.execute(sa.delete(attrs).where(attrs.trial_id == trial_id, attrs.key.in_(user_attrs)))
            connection.execute(sa.delete(steps).where(steps.trial_id == trial_id))
            _insert(connection, rows)


def _now() -> datetime:
    """As Optuna keeps times."""
    return datetime.now(UTC).replace(tzinfo=None)


def _insert(connection: sa.Connection, rows: Mapping[Any, Sequence[Mapping[str, Any]]]) -> None:
    for model, found in rows.items():
        if found:
            connection.execute(sa.insert(model), found)


def _rows_of_params(trial_id: int, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
    for name, value in trial.params.items():
        distribution = trial.distributions[name]
        yield {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": distribution.to_internal_repr(value),
            "distribution_json": distribution_to_json(distribution),
        }


def _rows_of_attrs(trial_id: int, attrs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for key, value in attrs.items():
        yield {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}


def _rows_of_values(trial_id: int, values: Sequence[float]) -> Iterator[dict[str, Any]]:
    for objective, value in enumerate(values):
        stored, kind = models.TrialValueModel.value_to_stored_repr(value)
        yield {"trial_id": trial_id, "objective": objective, "value": stored, "value_type": kind}


def _rows_of_steps(trial_id: int, values: Mapping[int, float]) -> Iterator[dict[str, Any]]:
    for step, value in values.items():
        stored, kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
        yield {
            "trial_id": trial_id,
            "step": step,
            "intermediate_value": stored,
            "intermediate_value_type": kind,
        }


def _engine_of(study: Study) -> Engine:
    cached = study._storage
    assert isinstance(cached, _CachedStorage)
    return cached._backend.engine


def _names(name: str) -> Iterator[str]:
    yield name
    for number in count(2):
        yield f"{name}-{number}"


def _is_empty(storage: RDBStorage, name: str, attrs: Mapping[str, Any], directions: Sequence[str]) -> bool:
    """Whether a study is what a kill in the middle of its creation leaves."""
    study_id = storage.get_study_id_from_name(name)
    same = [d.name.lower() for d in storage.get_study_directions(study_id)] == list(directions)
    return _DOCUMENT not in attrs and same and storage.get_n_trials(study_id) == 0


def _refusal(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    lines = "".join(f"\n  {line}" for line in _diff(old, new))
    return (
        f"the study {name!r} was made for something else (then -> now):{lines}\n"
        "Go back to what it was made for, or give hydra.sweeper.force_new_study=true to start another beside it."
    )


def _diff(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """A line for each difference of two documents."""
    lines = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key, "absent"), new.get(key, "absent")
        if before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            is_space = not prefix and key == "space"
            lines += space_diff(before, after) if is_space else _diff(before, after, f"{prefix}{key}.")
        else:
            lines.append(f"{prefix}{key}: {before} -> {after}")
    return lines
