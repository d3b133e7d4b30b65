"""The copy in MLflow and the frame that is read back, against the record itself and frames made by hand."""

import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import _validate_metric_name, _validate_param_name
from test_tracking_record import evaluation, make_record

from lrbench.results.schema import as_floats, check_frame, frame_from_rows
from lrbench.spec import Evaluation, RunState
from lrbench.tracking import read_api
from lrbench.tracking.client import Store, is_refusal
from lrbench.tracking.facts import DatasetFacts
from lrbench.tracking.names import escape_key
from lrbench.tracking.read import assemble, read_runs
from lrbench.tracking.record import Record
from lrbench.tracking.send_state import find_unsent, is_complete, load_state
from lrbench.tracking.sync import sync


def uri_of(results: Path) -> str:
    return f"sqlite:///{results / 'mlflow.db'}"


def stored_points(results: Path) -> list[tuple[str, int, int, float, int]]:
    """Every row of MLflow's own table, read without MLflow."""
    with closing(sqlite3.connect(results / "mlflow.db")) as database:
        query = "select key, step, timestamp, value, is_nan from metrics order by run_uuid, key, step, timestamp"
        return database.execute(query).fetchall()


def send(results: Path, record: Record, *, abandoned: bool = False) -> bool:
    return Store(uri_of(results)).send(record.path, abandoned=abandoned)


def only_run(results: Path):
    (run,) = MlflowClient(uri_of(results)).search_runs(["0", "1"])
    return run


def read_by_client(results: Path) -> pd.DataFrame:
    return assemble(read_api.read_tables(uri_of(results), None), tags={})


def test_a_finished_record_is_whole_in_mlflow(results):
    with make_record(
        results,
        params={"optimizer.lr": 0.1, "betas[0]": 0.9, "größe =": None, "long": "x" * 7000, "a//b": True, "empty": ""},
        tags={"scheduler": "cosine", "commit": "abc123", "long": "y" * 9000},
        dataset=DatasetFacts("digits", "f" * 64, {"num_train": 1437}),
        note="**hi**",
    ) as record:
        (record.artifacts / "config.yaml").write_text("a: 1")
        (record.artifacts / "plots").mkdir()
        (record.artifacts / "plots" / "räte.csv").write_text("1")
        rates = [(1, 0.2, 0.9), (2, 0.1, 0.8)]
        record.append(Evaluation(0, 0.0, {"val/loss": 2.0}))
        record.append(Evaluation(2, 0.5, {"val/loss": math.nan, "val/accuracy": math.inf}, rates))
        assert send(results, record)
        assert only_run(results).info.status == "RUNNING"
        (record.artifacts / "curve.csv").write_text("2")
        record.end("FINISHED", RunState.DIVERGED)
        assert find_unsent(record.path) is not None
        assert send(results, record)
        assert not send(results, record)
        assert find_unsent(record.path) is None
        times = [entry[2] for entry in stored_points(results)]
        assert min(times) >= record.facts.created
    run = only_run(results)
    assert (run.info.run_name, run.info.status, run.info.start_time) == (
        "cosine-s0",
        "FINISHED",
        record.facts.created,
    )
    assert run.info.end_time >= max(times)
    assert run.data.params == {
        "optimizer.lr": "0.1",
        "betas_x005B_0_x005D_": "0.9",
        "größe _x003D_": "null",
        "long": "x" * 5974 + "... [cut, 7000 characters]",
        "a_x002F__x002F_b": "true",
        "empty": '""',
    }
    tags = run.data.tags
    assert tags["lrbench.record_id"] == record.facts.record_id
    assert tags["mlflow.source.git.commit"] == tags["commit"] == "abc123"
    assert tags["mlflow.note.content"] == "**hi**"
    assert tags["state"] == "diverged"
    assert len(tags["long"]) == 8000
    assert tags["long"].endswith("[cut, 9000 characters]")
    largest = sys.float_info.max
    assert [(key, step, value, is_nan) for key, step, _, value, is_nan in stored_points(results)] == [
        ("lr", 1, 0.2, 0),
        ("lr", 2, 0.1, 0),
        ("momentum", 1, 0.9, 0),
        ("momentum", 2, 0.8, 0),
        ("time/seconds", 0, 0.0, 0),
        ("time/seconds", 2, 0.5, 0),
        ("val/accuracy", 2, largest, 0),
        ("val/loss", 0, 2.0, 0),
        ("val/loss", 2, 0.0, 1),
    ]
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("digits", "f" * 36)
    assert "1437" in dataset.dataset.profile
    client = MlflowClient(uri_of(results))
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["config.yaml", "curve.csv", "plots"]
    assert [file.path for file in client.list_artifacts(run.info.run_id, "plots")] == ["plots/räte.csv"]
    assert (results / "mlartifacts" / run.info.run_id / "artifacts" / "curve.csv").read_text() == "2"


@given(st.text(min_size=1, max_size=300))
def test_mlflow_takes_every_escaped_name(name):
    _validate_param_name(escape_key(name))
    _validate_metric_name(escape_key(name))


def test_sending_all_over_again_adds_nothing(results):
    with make_record(results) as record:
        for step in range(0, 50, 10):
            record.append(evaluation(step))
        record.end("FINISHED", RunState.OK)
    send(results, record)
    before = stored_points(results)
    (record.path / "mlflow.json").write_text("{torn")
    send(results, record)
    assert stored_points(results) == before
    assert only_run(results).info.status == "FINISHED"


def test_sending_line_by_line_equals_sending_at_once(results, tmp_path, empty_database):
    with make_record(results) as record:
        record.append(evaluation(0))
        send(results, record)
        for step in range(1, 5):
            record.append(evaluation(step, loss=math.nan if step == 3 else step))
            send(results, record)
        record.end("FINISHED", RunState.OK)
        send(results, record)
    at_once = tmp_path / "again"
    at_once.mkdir()
    shutil.copy(empty_database, at_once / "mlflow.db")
    shutil.copytree(record.path, at_once / "record")
    (at_once / "record" / "mlflow.json").unlink()
    Store(uri_of(at_once)).send(at_once / "record", abandoned=False)
    assert stored_points(at_once) == stored_points(results)


def test_a_killed_run_is_killed_in_mlflow_and_ends_truthfully_when_resumed(results):
    with make_record(results) as record:
        record.append(evaluation(0))
        record.append(evaluation(10))
    send(results, record, abandoned=True)
    assert (only_run(results).info.status, only_run(results).data.tags["state"]) == ("KILLED", "incomplete")
    assert is_complete(record.path)
    assert not send(results, record, abandoned=True)
    with Record.open(record.path) as record:
        assert not is_complete(record.path)
        record.append(evaluation(10))
        record.append(evaluation(20))
        send(results, record)
        assert only_run(results).info.status == "RUNNING"
        record.end("FINISHED", RunState.OK)
        send(results, record)
    run = only_run(results)
    assert (run.info.status, run.data.tags["state"]) == ("FINISHED", "ok")
    assert [step for key, step, *_ in stored_points(results) if key == "val/loss"] == [0, 10, 20]


def test_a_failed_run_says_why(results):
    with pytest.raises(RuntimeError), make_record(results) as record:
        raise RuntimeError("no more memory")
    send(results, record)
    run = only_run(results)
    assert (run.info.status, run.data.tags["lrbench.message"]) == ("FAILED", "RuntimeError: no more memory")


def test_a_deleted_experiment_is_refused_with_the_remedy(results):
    client = MlflowClient(uri_of(results))
    client.delete_experiment(client.create_experiment("digits-mlp"))
    with make_record(results) as record:
        pass
    with pytest.raises(MlflowException, match=r"'digits-mlp' was deleted in MLflow.*experiments restore -x 1") as error:
        send(results, record)
    assert is_refusal(error.value)


def test_the_frame_equals_one_made_by_hand_and_both_ways_of_reading_agree(results):
    nan, inf = math.nan, math.inf
    tags = {
        "workload": "digits-mlp",
        "scheduler": "cosine",
        "model": "mlp",
        "dataset": "digits",
        "optimizer": "sgd",
        "seed": "0",
        "budget": "40",
        "role": "tuning",
        "trial": "3",
    }
    params = {"optimizer.lr": 0.1, "training.batch_size": 32, "betas[0]": 0.9, "nesterov": True, "clip": None}
    with make_record(results, tags=tags, params=params) as first:
        first.append(Evaluation(0, 0.0, {"val/loss": 2.0, "val/accuracy": 0.1}))
        first.append(Evaluation(20, 1.5, {"train/loss": 1e300, "val/loss": inf}, [(10, 0.2, None), (20, 0.1, None)]))
        first.append(Evaluation(40, 2.5, {"train/loss": -0.0, "val/loss": nan}, [(30, 0.1, None), (40, 0.0, None)]))
        first.end("FINISHED", RunState.DIVERGED)
    send(results, first)
    other = {"optimizer.lr": 1, "training.batch_size": 8, "model.activation": "relu", "clip": 5}
    with make_record(results, name="step-s1", tags=tags | {"scheduler": "step", "seed": "1"}, params=other) as second:
        second.append(Evaluation(0, 0.0, {"val/loss": -inf}))
        send(results, second)
    runs = {run.info.run_name: run for run in MlflowClient(uri_of(results)).search_runs(["1"])}

    def rows(name, state, status, scheduler, seed, batch_size, evaluations):
        common = {**tags, "seed": seed, "budget": 40, "trial": 3, "scheduler": scheduler, "batch_size": batch_size}
        common |= {"run_id": runs[name].info.run_id, "run_name": name, "experiment": "digits-mlp", "state": state}
        common |= {"status": status, "fingerprint": "1a2b3c4d5e6f7081"}
        return [common | row | {"samples": batch_size * row["step"]} for row in evaluations]

    expected = frame_from_rows(
        rows(
            "cosine-s0",
            "diverged",
            "FINISHED",
            "cosine",
            0,
            32,
            [
                {"step": 0, "time/seconds": 0.0, "val/loss": 2.0, "val/accuracy": 0.1},
                {"step": 20, "time/seconds": 1.5, "train/loss": 1e300, "val/loss": inf, "lr": 0.1},
                {"step": 40, "time/seconds": 2.5, "train/loss": -0.0, "val/loss": nan, "lr": 0.0},
            ],
        )
        + rows(
            "step-s1",
            "incomplete",
            "RUNNING",
            "step",
            1,
            8,
            [{"step": 0, "time/seconds": 0.0, "val/loss": -inf}],
        )
    )
    first_rows = (expected["run_name"] == "cosine-s0").to_numpy()
    for name, of_first, of_second, dtype in [
        ("betas[0]", 0.9, None, "Float64"),
        ("clip", None, 5, "Int64"),
        ("model.activation", None, "relu", "string"),
        ("nesterov", True, None, "boolean"),
        ("optimizer.lr", 0.1, 1.0, "Float64"),
        ("training.batch_size", 32, 8, "Int64"),
    ]:
        expected[name] = pd.array([of_first if is_first else of_second for is_first in first_rows], dtype=dtype)
    strings = [name for name in expected if expected[name].dtype == "string" and name != "model.activation"]
    expected = expected.astype(dict.fromkeys(strings, pd.StringDtype("python")))
    by_sql = read_runs(uri_of(results))
    check_frame(by_sql)
    pd.testing.assert_frame_equal(by_sql, expected, check_exact=True)
    pd.testing.assert_frame_equal(by_sql, read_by_client(results), check_exact=True)
    pd.testing.assert_frame_equal(
        read_runs(uri_of(results), experiments=["digits-mlp"], tags={"scheduler": "step", "seed": "1"})[["step"]],
        pd.DataFrame({"step": pd.array([0], dtype="Int64")}),
    )
    assert len(read_runs(uri_of(results), tags={"absent": "1"})) == 0


def test_of_points_stored_twice_the_later_one_counts(results):
    with make_record(results) as record:
        record.append(Evaluation(0, 0.0, {"val/loss": 1.0, "val/accuracy": 0.5, "train/loss": 1.0}))
    send(results, record, abandoned=True)
    client, run_id = MlflowClient(uri_of(results)), load_state(record.path).run_id
    now = stored_points(results)[0][2]
    client.log_batch(run_id, [Metric("val/loss", 7.0, now + 1, 0), Metric("val/accuracy", 0.9, now - 1, 0)])
    client.log_batch(run_id, [Metric("train/loss", math.nan, now, 0)])
    frame = read_runs(uri_of(results))
    assert frame[["val/loss", "val/accuracy"]].values.tolist() == [[7.0, 0.5]]
    assert math.isnan(frame["train/loss"].array._data[0])
    pd.testing.assert_frame_equal(frame, read_by_client(results))


def test_metrics_beyond_the_schema_come_back_and_config_values_that_all_runs_share_can_stay_away(results):
    for lr in (0.1, 0.2):
        of_its_own = f"{round(10 * lr):016x}"  # else the later run would take the place of the first
        params = {"optimizer.lr": lr, "model.depth": 3}
        with make_record(results, fingerprint=of_its_own, params=params) as record:
            record.append(Evaluation(0, 0.0, {"val/loss": 1.0, "val/f1 of a": lr}, [(1, lr, None)]))
            record.append(Evaluation(2, 0.5, {"val/loss": 0.5}))
        send(results, record, abandoned=True)
    frame = read_runs(uri_of(results))
    assert frame["step"].tolist() == [0, 2, 0, 2]
    values, missing = as_floats(frame["val/f1 of a"])
    assert missing.tolist() == [False, True, False, True]
    assert sorted(values[~missing]) == [0.1, 0.2]
    assert frame["lr"].isna().all()  # step 1 is no evaluation
    pd.testing.assert_frame_equal(frame, read_by_client(results))
    varying = read_runs(uri_of(results), parameters="varying")
    assert set(frame.columns) - set(varying.columns) == {"model.depth"}
    assert varying["optimizer.lr"].tolist() == frame["optimizer.lr"].tolist()


def test_a_base_rate_that_all_runs_share_never_stays_away(results):
    with make_record(results, params={"optimizer.lr": 0.1, "model.depth": 3}) as record:
        record.append(Evaluation(0, 0.0, {"val/loss": 1.0}))
    send(results, record, abandoned=True)
    frame = read_runs(uri_of(results), parameters="varying")
    assert "model.depth" not in frame
    assert frame["optimizer.lr"].tolist() == [0.1]


def test_foreign_and_deleted_runs_are_not_read_and_a_wrong_name_lists_the_others(results):
    client = MlflowClient(uri_of(results))
    foreign = client.create_run(client.create_experiment("somebody else's"))
    client.log_metric(foreign.info.run_id, "val/loss", 1.0)
    for frame in (read_runs(uri_of(results)), read_by_client(results)):
        assert len(frame) == 0
        check_frame(frame)
    with make_record(results) as record:
        record.append(evaluation(0))
    send(results, record)
    assert read_runs(uri_of(results))["run_id"].tolist() == [load_state(record.path).run_id]
    client.delete_run(load_state(record.path).run_id)
    assert len(read_runs(uri_of(results))) == len(read_by_client(results)) == 0
    words = r"no experiment 'digits' in .*; did you mean digits-mlp\? it has \['Default', 'digits-mlp', \"somebody else"
    with pytest.raises(ValueError, match=words):
        read_runs(uri_of(results), experiments=["digits"])
    with pytest.raises(ValueError, match=words):
        read_api.read_tables(uri_of(results), ["digits"])


def test_reading_works_while_somebody_writes_and_after_a_writer_was_killed(results):
    with make_record(results) as record:
        record.append(evaluation(0))
    send(results, record)
    before = read_runs(uri_of(results))
    # A tiny cache makes SQLite write into the file before the commit that never comes.
    code = (
        "import os, signal, sqlite3, sys\n"
        "database = sqlite3.connect(sys.argv[1])\n"
        "database.execute('pragma cache_size = 1')\n"
        "database.execute('update metrics set value = 99.0')\n"
        "rows = [(f'x{i}', 'y' * 900) for i in range(300)]\n"
        "database.executemany('insert into experiments (name, artifact_location) values (?, ?)', rows)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, results / "mlflow.db"], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (results / "mlflow.db-journal").stat().st_size > 0
    pd.testing.assert_frame_equal(read_runs(uri_of(results)), before)
    with closing(sqlite3.connect(results / "mlflow.db")) as writer:
        writer.execute("begin immediate")
        pd.testing.assert_frame_equal(read_runs(uri_of(results)), before)


def test_reading_where_nothing_was_recorded_says_so(tmp_path):
    with pytest.raises(ValueError, match=r"there is no database .*nothing\.db"):
        read_runs(f"sqlite:///{tmp_path}/nothing.db")
    with pytest.raises(ValueError, match=r"tracking\.uri must start with"):
        read_runs("mlruns")
    with pytest.raises(ValueError, match="no records to sync"):
        sync(tmp_path)


def test_sync_has_nothing_to_do_where_all_is_sent_or_still_training(results):
    with make_record(results) as done:
        done.end("FINISHED", RunState.OK)
    send(results, done)
    with make_record(results) as training:
        report = sync(results)
        assert (report.sent, report.unsent, report.running) == ([], [], [training.path])
    assert os.listdir(results / "runs") != []
