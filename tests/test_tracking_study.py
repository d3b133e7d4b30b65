"""Records inside each other, late facts and restarts: on disk, and as MLflow shows them."""

import math
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from mlflow import MlflowClient
from test_tracking_mlflow import stored_points, uri_of
from test_tracking_record import evaluation, make_record

from lrbench.results.schema import check_frame
from lrbench.spec import Evaluation, RunState
from lrbench.tracking import client as client_module
from lrbench.tracking import record as record_module
from lrbench.tracking.client import Store
from lrbench.tracking.facts import read_facts
from lrbench.tracking.find import find_finished, find_unfinished
from lrbench.tracking.read import read_runs
from lrbench.tracking.record import Record, RecordBusyError
from lrbench.tracking.send_state import is_complete, load_state

STUDY = {"name": "cosine", "fingerprint": "57" * 8, "tags": {"role": "study", "scheduler": "cosine"}}
PARENT = "mlflow.parentRunId"


def make_study(results, **changes):
    return make_record(results, **(STUDY | {"params": {"num_trials": 20}} | changes))


def runs_by_name(results):
    return {run.info.run_name: run for run in MlflowClient(uri_of(results)).search_runs(["1"])}


def aggregate(step, mean):
    return Evaluation(step, math.nan, {"final/val/accuracy mean": mean, "final/val/accuracy low": mean - 0.1})


def test_a_child_knows_its_parent(tmp_path):
    with make_study(tmp_path) as study, make_record(tmp_path, parent=study.path) as trial:
        assert trial.facts.parent == study.path.name
        assert read_facts(trial.path) == trial.facts
        assert read_facts(study.path).parent == ""


def test_a_parent_must_be_a_record_of_the_same_place_and_experiment(tmp_path):
    with make_study(tmp_path) as study:
        pass
    with pytest.raises(ValueError, match=r"cannot have the parent .*: it must be there, too"):
        make_record(tmp_path / "elsewhere", parent=study.path)
    with pytest.raises(ValueError, match=r"run\.json is not the description of a run"):
        make_record(tmp_path, parent=tmp_path / "runs" / "absent")
    for changes in ({"experiment": "other"}, {"tracking_uri": "http://other"}):
        with pytest.raises(ValueError, match=r"only in one experiment"):
            make_record(tmp_path, parent=study.path, **changes)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [study.path.name]


def test_records_made_before_there_were_parents_are_read(tmp_path):
    with make_record(tmp_path) as record:
        pass
    file = record.path / "run.json"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(line for line in lines if "parent" not in line and "replaces" not in line)[:-3] + "}")
    assert read_facts(record.path) == record.facts


def test_mlflow_nests_a_child_even_when_it_is_sent_before_its_parent(results):
    with make_study(results) as study, make_record(results, parent=study.path) as trial:
        store = Store(uri_of(results))
        store.send(trial.path, abandoned=False)
        runs = runs_by_name(results)
        parent = runs["cosine"].info
        assert runs["cosine-s0"].data.tags[PARENT] == parent.run_id == load_state(study.path).run_id
        assert (parent.status, parent.start_time) == ("RUNNING", study.facts.created)
        study.end("FINISHED", RunState.OK)
        store.send(study.path, abandoned=False)
        with make_record(results, name="late", parent=study.path) as late:
            Store(uri_of(results)).send(late.path, abandoned=False)
    runs = runs_by_name(results)
    assert len(runs) == 3
    assert runs["cosine"].info.status == "FINISHED"
    assert runs["cosine"].data.params == {"num_trials": "20"}
    assert runs["late"].data.tags[PARENT] == parent.run_id
    assert PARENT not in runs["cosine"].data.tags


def test_a_child_waits_for_a_parent_that_is_being_sent_and_outlives_one_that_was_deleted(results, monkeypatch):
    monkeypatch.setattr(client_module, "_PARENT_SECONDS", 0.0)
    with make_study(results) as study, make_record(results, parent=study.path) as trial:
        with FileLock(study.path / "sender.lock"), pytest.raises(RecordBusyError):
            Store(uri_of(results)).send(trial.path, abandoned=False)
        assert runs_by_name(results) == {}
    shutil.rmtree(study.path)
    Store(uri_of(results)).send(trial.path, abandoned=True)
    assert PARENT not in runs_by_name(results)["cosine-s0"].data.tags


def test_late_facts_reach_mlflow_once_and_the_latest_counts(results):
    with make_study(results, note="searching") as study:
        store = Store(uri_of(results))
        study.append(evaluation(0))
        study.describe(params={"best.lr": 0.1}, tags={"best": "0.9", "größe =": "1"})
        store.send(study.path, abandoned=False)
        study.describe(tags={"best": "0.95", "scheduler": "cosine"}, note="**found**")
        study.describe(params={"best.trial": 7, "best.betas": [0.9, math.nan]})
        study.end("FINISHED", RunState.OK)
        store.send(study.path, abandoned=False)
    run = runs_by_name(results)["cosine"]
    assert run.data.params == {"num_trials": "20", "best.lr": "0.1", "best.trial": "7", "best.betas": "[0.9, NaN]"}
    tags = run.data.tags
    assert (tags["best"], tags["größe _x003D_"], tags["mlflow.note.content"]) == ("0.95", "1", "**found**")
    (study.path / "mlflow.json").unlink()
    Store(uri_of(results)).send(study.path, abandoned=False)
    again = runs_by_name(results)["cosine"]
    assert (again.data.params, again.data.tags) == (run.data.params, tags)


def test_what_is_known_is_not_described_again_and_a_param_never_changes(tmp_path):
    with make_study(tmp_path, note="n") as study:
        study.describe(params={"best.lr": 0.1, "num_trials": 20}, tags={"best": "1"}, note="m")
        before = (study.path / "journal.jsonl").read_bytes()
    with Record.open(study.path) as study:
        study.describe(params={"best.lr": 0.1}, tags={"best": "1", "role": "study"}, note="m")
        study.describe()
        for params in ({"best.lr": 0.2}, {"num_trials": 30}):
            with pytest.raises(ValueError, match=r"cannot become 0\.2|cannot become 30"):
                study.describe(params=params, tags={"best": "2"})
        after = (study.path / "journal.jsonl").read_bytes()
        assert after.startswith(before)
        assert after.count(b"\n") == 2  # the second is the mark of the resumption
        study.describe(tags={"best": "2"}, note="n")
        study.describe(tags={"best": "1"}, note="m")
        assert (study.path / "journal.jsonl").read_bytes().count(b"\n") == 4


def test_a_restarted_study_takes_the_place_and_the_children_of_the_old_one(results):
    store = Store(uri_of(results))
    with make_study(results) as study, make_record(results, parent=study.path) as trial:
        (study.artifacts / "study.json").write_text("1")
        study.describe(params={"best.lr": 0.1}, tags={"best": "0.1"})
        study.append(aggregate(0, 0.1))
        study.append(aggregate(10, 0.9))
        study.end("FINISHED", RunState.OK)
        trial.end("FINISHED", RunState.OK)
    for path in (study.path, trial.path):
        store.send(path, abandoned=False)
    old = load_state(study.path).run_id
    with Record.restart(study.path, tags=STUDY["tags"], params={"num_trials": 40}, note="more") as study:
        assert (study.last_step, study.evaluations(), study.ended) == (-1, [], None)
        assert find_finished(results / "runs", STUDY["fingerprint"]) is None
        assert not is_complete(study.path)
        with make_record(results, name="late", fingerprint="a" * 16, parent=study.path) as late:
            store.send(late.path, abandoned=False)
        study.describe(params={"best.lr": 0.2})
        study.append(aggregate(0, 0.2))
        study.end("FINISHED", RunState.OK)
        store.send(study.path, abandoned=False)
    runs = runs_by_name(results)
    new = runs["cosine"]
    assert new.info.run_id == load_state(study.path).run_id != old
    assert new.data.params == {"num_trials": "40", "best.lr": "0.2"}
    assert new.data.metrics["final/val/accuracy mean"] == 0.2
    assert "best" not in new.data.tags
    assert {runs[name].data.tags[PARENT] for name in ("cosine-s0", "late")} == {new.info.run_id}
    assert len(MlflowClient(uri_of(results)).get_metric_history(new.info.run_id, "final/val/accuracy mean")) == 1
    assert [file.path for file in MlflowClient(uri_of(results)).list_artifacts(new.info.run_id)] == ["study.json"]
    client = MlflowClient(uri_of(results))
    assert client.get_run(old).info.lifecycle_stage == "deleted"


@pytest.mark.parametrize("num_steps", range(4))
def test_a_restart_killed_after_any_of_its_steps_can_be_repeated(results, monkeypatch, num_steps):
    with make_study(results) as study:
        study.append(aggregate(0, 0.1))
        study.end("FINISHED", RunState.OK)
    store = Store(uri_of(results))
    store.send(study.path, abandoned=False)
    num_done = 0

    def until_killed(function):
        def step(*args, **kwargs):
            nonlocal num_done
            if num_done == num_steps:
                raise KeyboardInterrupt
            num_done += 1
            return function(*args, **kwargs)

        return step

    with monkeypatch.context() as patch:
        patch.setattr(record_module, "write_facts", until_killed(record_module.write_facts))
        patch.setattr(Path, "unlink", until_killed(Path.unlink))
        with pytest.raises(KeyboardInterrupt):
            Record.restart(study.path, tags=STUDY["tags"], params={"num_trials": 40})
    assert read_facts(study.path).params == {"num_trials": 20}
    store.send(study.path, abandoned=True)
    assert runs_by_name(results)["cosine"].data.params == {"num_trials": "20"}
    with Record.restart(study.path, tags=STUDY["tags"], params={"num_trials": 40}) as study:
        study.append(aggregate(0, 0.2))
        study.end("FINISHED", RunState.OK)
    store.send(study.path, abandoned=False)
    (run,) = MlflowClient(uri_of(results)).search_runs(["1"])
    assert (run.data.params, run.data.metrics["final/val/accuracy mean"]) == ({"num_trials": "40"}, 0.2)


def test_a_record_in_use_cannot_be_restarted(tmp_path):
    with make_study(tmp_path) as study, pytest.raises(RecordBusyError):
        Record.restart(study.path, tags={}, params={})
    assert find_unfinished(tmp_path / "runs", STUDY["fingerprint"]) == study.path


def test_studies_and_reports_are_no_trainings_unless_asked_for(results):
    store = Store(uri_of(results))
    tags = {"workload": "w", "scheduler": "cosine", "budget": "40"}
    with make_study(results, tags=tags | {"role": "study"}) as study:
        study.append(aggregate(40, 0.9))
        study.end("FINISHED", RunState.OK)
        trial = make_record(results, tags=tags | {"role": "tuning"}, parent=study.path)
        report = make_record(results, tags={"role": "report"}, params={"report.metric": "val/loss"})
    with trial, report:
        trial.append(evaluation(40))
        report.append(evaluation(0))
    for path in (study.path, trial.path, report.path):
        store.send(path, abandoned=True)
    frame = read_runs(uri_of(results))
    check_frame(frame)
    assert frame["run_id"].tolist() == [load_state(trial.path).run_id]
    assert not {"num_trials", "report.metric"} & set(frame.columns)
    studies = read_runs(uri_of(results), tags={"role": "study"})
    assert studies["run_id"].tolist() == [load_state(study.path).run_id]
    assert studies["num_trials"].tolist() == [20]
    assert read_runs(uri_of(results), tags={"role": "tuning"})["run_id"].tolist() == frame["run_id"].tolist()
    assert len([key for key, *_ in stored_points(results) if key == "final/val/accuracy mean"]) == 1
