import math
import os
import socket
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from pathlib import Path

import numpy as np
import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState
from sweep_processes import (
    DOCUMENT,
    PROCESSES,
    SPACE,
    SUGGESTION,
    add_and_die,
    add_trial,
    end,
    finish_and_die,
    loss,
    one_trial,
    open_and_die,
    start,
    sweep,
)
from test_tracking_record import small_disk

from lrbench.search.storage import (
    add_slot,
    add_trials,
    create_or_load_study,
    find_slot,
    finish_trial,
    new_trial,
    open_storage,
    plan_of,
)
from lrbench.search.suggest import Suggestion, suggest


@pytest.fixture
def study(study_database):
    return create_or_load_study(open_storage(study_database), "study", ["minimize"], DOCUMENT)


def files_beside(url):
    """Names in the folder of a SQLite database; nothing for a server."""
    return sorted(os.listdir(Path(url.removeprefix("sqlite:///")).parent)) if url.startswith("sqlite") else []


def test_processes_that_start_together_on_a_new_database_all_work(study_database):
    barrier = PROCESSES.Barrier(5)
    processes = [start(one_trial, study_database, barrier) for _ in range(5)]
    assert [end(process) for process in processes] == [0] * 5
    study = create_or_load_study(open_storage(study_database), "study", ["minimize"], DOCUMENT)
    assert [(t.number, t.state, t.value) for t in study.trials] == [(n, TrialState.COMPLETE, n) for n in range(5)]
    assert len({trial.user_attrs["process"] for trial in study.trials}) == 5
    assert len(study._storage.get_all_studies()) == 1


MOMENTS = {
    "before the first table": "optuna.storages._rdb.models.BaseModel.metadata.create_all",
    "before the version is stamped": "optuna.storages._rdb.storage._VersionManager._set_alembic_revision",
    "before our own table": "lrbench.search.database._TABLES.create_all",
    "before the file is moved in place": "os.replace",
}


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS.keys())
def test_a_kill_while_the_database_is_made_leaves_nothing_that_matters(study_database, moment):
    died = end(start(open_and_die, study_database, moment))
    assert died == (0 if moment == "os.replace" and study_database.startswith("postgresql") else -9)
    study = create_or_load_study(open_storage(study_database), "study", ["minimize"], DOCUMENT)
    assert add_trial(study, SUGGESTION, {}).number == 0
    assert files_beside(study_database) in ([], ["studies.db", "studies.db.lock"])


def test_a_database_of_optuna_alone_is_extended(study_database, tmp_path):
    (tmp_path / "new").mkdir()
    url = study_database.replace("postgresql://", "postgresql+psycopg://")
    optuna.create_study(storage=url, study_name="theirs").add_trial(optuna.trial.create_trial(value=1.0))
    storage = open_storage(study_database)
    assert [study.study_name for study in storage.get_all_studies()] == ["theirs"]
    assert sa.inspect(storage.engine).has_table("lrbench_claims")
    with pytest.raises(
        ValueError, match=r"study 'theirs' in .* was not made by lrbench; .* start 'theirs-2' beside it"
    ):
        create_or_load_study(storage, "theirs", ["minimize"], DOCUMENT)
    assert create_or_load_study(storage, "theirs", ["minimize"], DOCUMENT, force_new=True).study_name == "theirs-2"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("studies.db", r"must be a URL such as sqlite:////path/to/studies.db, got 'studies.db'"),
        ("mysql://user:secret@host/db", r"must start with sqlite:/// or postgresql://, got mysql://"),
        ("sqlite:///studies.db", r"must be sqlite:/// and an absolute path, got 'sqlite:///studies.db'"),
        ("sqlite://", r"must be sqlite:/// and an absolute path"),
        ("postgresql+asyncpg://host/db", r"must start with sqlite:/// or postgresql://, got postgresql\+asyncpg://"),
    ],
)
def test_a_url_of_another_form_is_refused(url, message):
    with pytest.raises(ValueError, match=rf"^hydra\.sweeper\.storage {message}") as caught:
        open_storage(url)
    assert "secret" not in str(caught.value)


def test_a_dead_server_is_named_within_seconds_without_its_password():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(
        ValueError, match=rf"cannot use postgresql://127\.0\.0\.1:{port}/db: .*[Cc]onnection refused"
    ) as error:
        open_storage(f"postgresql://user:secret@127.0.0.1:{port}/db?password=secret")
    assert time.monotonic() - started < 5
    assert "secret" not in f"{error.value} {error.value.__cause__} {error.value.__context__.__class__.__name__}"


def test_a_database_that_does_not_exist_on_the_server_is_named(postgres_url):
    with pytest.raises(ValueError, match=r'cannot use postgresql://.*/nowhere: .*database "nowhere" does not exist'):
        open_storage(postgres_url.replace("/test_", "/nowhere?").split("?")[0] + "?" + postgres_url.split("?")[1])


def test_places_that_cannot_be_written_are_named_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"hydra\.sweeper\.storage: cannot create .*: .*file is not a directory"):
        open_storage(f"sqlite:///{tmp_path}/file/studies.db")
    with small_disk("64k", "ro") as disk:
        started = time.monotonic()
        with pytest.raises(ValueError, match=f"cannot create {disk}/new/studies.db: {disk} is not writable"):
            open_storage(f"sqlite:///{disk}/new/studies.db")
        assert time.monotonic() - started < 2


def test_files_that_are_something_else_are_named(tmp_path):
    garbage, other = tmp_path / "garbage.db", tmp_path / "mlflow.db"
    garbage.write_bytes(b"not a database" * 100)
    with pytest.raises(ValueError, match=r"cannot use .*garbage\.db: file is not a database"):
        open_storage(f"sqlite:///{garbage}")
    with closing(sqlite3.connect(other)) as database:
        database.execute("create table alembic_version (version_num text)")
    with pytest.raises(ValueError, match=r"mlflow\.db is a database of something else .* alembic_version"):
        open_storage(f"sqlite:///{other}")


def test_a_database_of_another_optuna_is_named_with_the_remedy(tmp_path):
    url = f"sqlite:///{tmp_path}/studies.db"
    open_storage(url)
    with closing(sqlite3.connect(tmp_path / "studies.db")) as database, database:
        database.execute("update alembic_version set version_num = 'v2.4.0.a'")
    with pytest.raises(ValueError, match=r"hydra\.sweeper\.storage: .* no longer compatible .* optuna storage upgrade"):
        open_storage(url)


def test_odd_characters_in_a_path_are_no_trouble(tmp_path):
    url = f"sqlite:///{tmp_path}/ü {{b}} %20/studies.db"
    create_or_load_study(open_storage(url), "study", ["minimize"], DOCUMENT)
    assert create_or_load_study(open_storage(url), "study", ["minimize"], DOCUMENT).trials == []
    assert files_beside(url) == ["studies.db", "studies.db.lock"]


def test_a_study_goes_on_with_the_same_document_only(study_database):
    storage = open_storage(study_database)
    first = create_or_load_study(storage, "a", ["minimize"], DOCUMENT)
    add_trial(first, SUGGESTION, {})
    assert len(create_or_load_study(open_storage(study_database), "a", ["minimize"], DOCUMENT).trials) == 1
    other = {"space": {"optimizer.lr": {"low": 0.2, "high": 1.0}}, "seed": 1, "code": {"digest": "ab"}}
    with pytest.raises(ValueError, match=r"hydra\.sweeper\.force_new_study=true") as caught:
        create_or_load_study(storage, "a", ["maximize"], other)
    assert str(caught.value).splitlines()[:-1] == [
        "the study 'a' was made for something else (then -> now):",
        "  directions: ['minimize'] -> ['maximize']",
        "  optimizer.lr: 0.1 to 1.0 -> 0.2 to 1.0",
        "  seed: 0 -> 1",
        "  code: absent -> {'digest': 'ab'}",
    ]
    assert first.user_attrs["document"] == {"directions": ["minimize"], **DOCUMENT}


def test_a_new_study_beside_an_old_one_is_found_again(study_database):
    storage = open_storage(study_database)

    def name_for(seed, *, force_new=False):
        document = {**DOCUMENT, "seed": seed}
        return create_or_load_study(storage, "a", ["minimize"], document, force_new=force_new).study_name

    assert name_for(0) == "a"
    assert name_for(1, force_new=True) == "a-2"
    assert name_for(1, force_new=True) == "a-2"  # the same command again goes on
    assert name_for(1) == "a-2"
    assert name_for(0) == "a"
    with pytest.raises(ValueError, match=r"study 'a-2' was made .*\n  seed: 1 -> 2\n"):
        name_for(2)
    assert create_or_load_study(storage, "a-3", ["minimize"], DOCUMENT).study_name == "a-3"
    assert name_for(2, force_new=True) == "a-4"


def test_what_the_first_process_planned_stays(study_database):
    storage = open_storage(study_database)
    for num_trials in (8, 16):
        study = create_or_load_study(storage, "a", ["minimize"], DOCUMENT, plan={"num_trials": num_trials})
        assert plan_of(study) == {"num_trials": 8}


def test_a_slot_has_one_trial_however_late_its_first_owner_comes(study_database):
    """Two processes look, find nothing, and both add."""
    one, other = (create_or_load_study(open_storage(study_database), "a", ["minimize"], DOCUMENT) for _ in range(2))
    assert find_slot(one, 3) is None
    assert find_slot(other, 3) is None
    added = add_slot(other, 3, SUGGESTION)
    assert add_slot(one, 3, SUGGESTION)._trial_id == added._trial_id
    assert [trial.user_attrs for trial in one.trials] == [{"slot": 3}]
    barrier = threading.Barrier(4)

    def add(_):
        study = create_or_load_study(open_storage(study_database), "a", ["minimize"], DOCUMENT)
        barrier.wait(60)
        return add_slot(study, 5, SUGGESTION)._trial_id

    with ThreadPoolExecutor(4) as together:
        assert len(set(together.map(add, range(4)))) == 1
    assert [trial.user_attrs["slot"] for trial in one.trials] == [3, 5]


@pytest.mark.parametrize("attrs", [{}, {"series": "a"}, {"series": "a", "search": {}}])
def test_a_study_whose_creation_was_killed_is_completed(study_database, attrs):
    storage = open_storage(study_database)
    killed = optuna.create_study(storage=storage, study_name="a", direction="minimize")
    for key, value in attrs.items():
        killed.set_user_attr(key, value)
    assert create_or_load_study(storage, "a", ["minimize"], DOCUMENT).study_name == "a"
    assert len(storage.get_all_studies()) == 1


@pytest.mark.parametrize(
    "moment",
    [
        "sqlalchemy.insert",
        "lrbench.search.storage._rows_of_params",
        "lrbench.search.storage._rows_of_attrs",
        "sqlalchemy.engine.base.RootTransaction.commit",
    ],
)
def test_a_kill_leaves_no_trial_with_some_of_its_parameters(study_database, moment):
    assert end(start(add_and_die, study_database, moment)) == -9
    study = create_or_load_study(open_storage(study_database), "study", ["minimize"], DOCUMENT)
    assert study.trials == []
    trial = add_trial(study, SUGGESTION, {"slot": "0"})
    assert (trial.number, trial.state, trial.params, trial.user_attrs) == (
        0,
        TrialState.RUNNING,
        SUGGESTION.params,
        {"slot": "0"},
    )


@pytest.mark.parametrize(
    "moment",
    ["sqlalchemy.delete", "sqlalchemy.insert", "sqlalchemy.engine.base.RootTransaction.commit"],
)
def test_a_kill_leaves_a_trial_running_or_finished(study_database, study, moment):
    add_trial(study, SUGGESTION, {"slot": "0"})
    assert end(start(finish_and_die, study_database, moment)) == -9
    (trial,) = study.trials
    assert (trial.state, trial.values, trial.user_attrs) == (TrialState.RUNNING, None, {"slot": "0"})
    finish_trial(study, trial, [1.0], TrialState.COMPLETE, {"state": "ok"}, {1: 2.0, 2: 1.0})
    (done,) = study.trials
    assert (done.state, done.values, done.intermediate_values) == (TrialState.COMPLETE, [1.0], {1: 2.0, 2: 1.0})
    assert done.user_attrs == {"slot": "0", "state": "ok"}
    assert done.datetime_start <= done.datetime_complete <= datetime.now()


def test_trials_are_stored_as_optuna_itself_stores_them(study_database):
    storage = open_storage(study_database)
    suggestions = [
        suggest(SPACE, sampler="qmc", seed=0, number=n, num_trials=8, directions=["minimize"], history=[])
        for n in range(8)
    ]
    templates = [new_trial(Suggestion(s.params, s.distributions, {"of": [n]}), {"slot": n})
                 for n, s in enumerate(suggestions)]  # fmt: skip
    ours, theirs = (
        create_or_load_study(storage, name, ["minimize"], DOCUMENT, force_new=True) for name in ("ours", "theirs")
    )
    for template in templates:
        theirs._storage.create_new_trial(theirs._study_id, template_trial=template)
    added = add_trials(ours, templates[:3]) + add_trials(ours, templates[3:])
    assert [trial.number for trial in added] == list(range(8))
    for mine, wanted in zip(added, theirs.get_trials(), strict=True):
        assert list(mine.params.items()) == list(wanted.params.items())
        for field in ("number", "state", "values", "distributions", "user_attrs", "system_attrs"):
            assert getattr(mine, field) == getattr(wanted, field), field


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_times_are_right_in_every_time_zone(study_database, monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        study = create_or_load_study(open_storage(study_database), "study", ["minimize"], DOCUMENT)
        began = datetime.now()
        finish_trial(study, add_trial(study, SUGGESTION, {}), [1.0], TrialState.COMPLETE, {}, {})
        (trial,) = study.trials
        assert began <= trial.datetime_start <= trial.datetime_complete <= datetime.now()
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_first_result_of_a_trial_stands(study_database, study):
    trial = add_trial(study, SUGGESTION, {})
    finish_trial(study, trial, [1.0], TrialState.COMPLETE, {"by": "a"}, {1: math.nan})
    (first,) = study.trials
    again = create_or_load_study(open_storage(study_database), "study", ["minimize"], DOCUMENT)
    for _ in range(2):
        finish_trial(again, trial, [2.0], TrialState.COMPLETE, {"by": "b"}, {2: 1.0})
        (last,) = again.trials
        assert (last.values, last.user_attrs, list(last.intermediate_values)) == ([1.0], {"by": "a"}, [1])
    assert math.isnan(last.intermediate_values[1])
    assert last.datetime_complete == first.datetime_complete


def test_failed_pruned_and_infinite_results_are_stored_as_they_are(study):
    results = [(None, TrialState.FAIL), ([0.5], TrialState.PRUNED), ([math.inf], TrialState.COMPLETE)]
    for values, state in results:
        finish_trial(study, add_trial(study, SUGGESTION, {}), values, state, {}, {1: 0.5})
    assert [(trial.values, trial.state) for trial in study.trials] == results


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_a_history_from_the_database_suggests_what_the_original_does(study, sampler):
    kept = []
    for number in range(12):
        asked = {"sampler": sampler, "seed": 0, "number": number, "num_trials": 12, "directions": ["minimize"]}
        suggestion = suggest(SPACE, history=kept, **asked)
        assert suggest(SPACE, history=study.trials, **asked) == suggestion
        value = loss(suggestion.params)
        finish_trial(study, add_trial(study, suggestion, {}), [value], TrialState.COMPLETE, {}, {})
        trial = optuna.trial.create_trial(
            value=value,
            params=suggestion.params,
            distributions=suggestion.distributions,
            system_attrs=suggestion.system_attrs,
        )
        trial.number = number
        kept.append(trial)
    assert [trial.params for trial in study.trials] == [trial.params for trial in kept]
    assert np.isfinite([trial.value for trial in study.trials]).all()


def described(url):
    """All that a sweep's trials are, but for the times."""
    study = create_or_load_study(open_storage(url), "study", ["minimize"], DOCUMENT)
    trials = [
        (t.number, t.state, t.params, t.values, t.user_attrs, t.system_attrs, t.intermediate_values)
        for t in study.trials
    ]
    study._storage._backend.engine.dispose()
    return trials


@pytest.mark.slow
def test_a_sweep_killed_again_and_again_ends_as_an_unbroken_one(study_database, tmp_path):
    unbroken = f"sqlite:///{tmp_path}/unbroken.db"
    assert end(start(sweep, unbroken, None)) == 0
    deaths, code = 0, -9
    while code == -9:
        code = end(start(sweep, study_database, 3 + 2 * deaths))
        deaths += code == -9
    assert code == 0
    assert deaths >= 5
    assert len(described(unbroken)) == 14
    assert described(study_database) == described(unbroken)
