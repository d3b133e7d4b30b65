"""Many records in one transaction: the same in MLflow as one by one through its client, and after any kill."""

import math
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from random import Random

import pytest
from mlflow import MlflowClient
from test_tracking_mlflow import stored_points, uri_of
from test_tracking_record import evaluation, make_record

from lrbench.spec import Evaluation, RunState
from lrbench.tracking import bulk as bulk_module
from lrbench.tracking.client import Store
from lrbench.tracking.facts import DatasetFacts
from lrbench.tracking.record import Record
from lrbench.tracking.send_state import is_complete, load_state

DATASET = DatasetFacts("digits", "f" * 64, {"num_train": 1437})


class TwoWays:
    """Sends the same records into two databases, with the client and in bulk, each with a progress of its own."""

    def __init__(self, folder: Path, empty_database: Path) -> None:
        self.places = {way: folder / way for way in ("ordinary", "bulk")}
        for place in self.places.values():
            place.mkdir()
            shutil.copy(empty_database, place / "mlflow.db")
        self.stores = {way: Store(uri_of(place)) for way, place in self.places.items()}

    def send(self, *records: Record, abandoned: bool = False) -> None:
        for way in self.places:
            for record in records:
                with suppress(FileNotFoundError):
                    shutil.copy(record.path / f"{way}.json", record.path / "mlflow.json")
            if way == "ordinary":
                for record in records:
                    self.stores[way].send(record.path, abandoned=abandoned)
            else:
                assert self.stores[way].send_together({record.path: abandoned for record in records}) == []
            for record in records:
                shutil.move(record.path / "mlflow.json", record.path / f"{way}.json")

    def contents(self, way: str) -> dict[str, object]:
        """All of MLflow's runs by name, as its client shows them; without ids, since these are random."""
        client = MlflowClient(uri_of(self.places[way]))
        runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
        names = {run.info.run_id: run.info.run_name for run in runs}
        contents: dict[str, object] = {}
        for run in runs:
            info, tags = dict(run.info), dict(run.data.tags)
            assert Path(info["artifact_uri"].removeprefix("file://")).name == "artifacts"
            assert run.info.run_id in info["artifact_uri"]
            for name in ("run_id", "run_uuid", "artifact_uri"):
                info.pop(name, None)
            if "mlflow.parentRunId" in tags:
                tags["mlflow.parentRunId"] = names[tags["mlflow.parentRunId"]]
            contents[run.info.run_name] = {
                "info": info,
                "tags": tags,
                "params": run.data.params,
                "latest": {key: repr(value) for key, value in run.data.metrics.items()},
                "history": {
                    key: [(p.step, p.timestamp, repr(p.value)) for p in client.get_metric_history(run.info.run_id, key)]
                    for key in run.data.metrics
                },
                "inputs": [
                    (dict(item.dataset), [dict(tag) for tag in item.tags]) for item in run.inputs.dataset_inputs
                ],
                "artifacts": self._artifacts(client, run.info.run_id, ""),
            }
        return contents

    def rows(self, way: str) -> dict[str, list[tuple[object, ...]]]:
        """The tables themselves, ids left out; sorted, since the order of rows is not to be relied on."""
        columns = {
            "runs": "name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time, "
            "deleted_time, source_version, lifecycle_stage, experiment_id",
            "metrics": "key, value, timestamp, step, is_nan",
            "latest_metrics": "key, value, timestamp, step, is_nan",
            "params": "key, value",
            "datasets": "experiment_id, name, digest, dataset_source_type, dataset_source, dataset_schema, "
            "dataset_profile",
            "inputs": "source_type, destination_type, step",
            "input_tags": "name, value",
            "experiments": "name, lifecycle_stage",
        }
        with closing(sqlite3.connect(self.places[way] / "mlflow.db")) as database:
            return {
                table: sorted(database.execute(f"select {names} from {table}").fetchall(), key=repr)
                for table, names in columns.items()
            }

    def assert_equal(self) -> None:
        assert self.contents("bulk") == self.contents("ordinary")
        assert self.rows("bulk") == self.rows("ordinary")

    def _artifacts(self, client: MlflowClient, run_id: str, folder: str) -> dict[str, bytes]:
        files: dict[str, bytes] = {}
        for item in client.list_artifacts(run_id, folder):
            if item.is_dir:
                files |= self._artifacts(client, run_id, item.path)
            else:
                files[item.path] = Path(client.download_artifacts(run_id, item.path)).read_bytes()
        return files


@pytest.fixture
def two_ways(tmp_path, empty_database) -> TwoWays:
    return TwoWays(tmp_path, empty_database)


def finished(results, name="cosine-s0", num_steps=3, **changes):
    with make_record(results, name=name, **changes) as record:
        for step in range(num_steps):
            record.append(evaluation(step))
        record.end("FINISHED", RunState.OK)
    return record


def test_finished_records_of_every_kind_are_equal(two_ways, tmp_path):
    odd = {"betas[0]": 0.9, "größe =": None, "long": "x" * 7000, "a//b": True, "empty": "", "n": math.nan}
    with make_record(
        tmp_path,
        params=odd | {f"p{i}": i for i in range(150)},
        tags={"scheduler": "cosine", "commit": "abc", "long": "y" * 9000, "größe =": "1"},
        dataset=DATASET,
        note="**hi**",
    ) as first:
        (first.artifacts / "config.yaml").write_text("a: 1")
        (first.artifacts / "plots").mkdir()
        (first.artifacts / "plots" / "räte 1.csv").write_bytes(b"\x00\xff")
        first.append(Evaluation(0, 0.0, {"val/loss": 2.0, "m": math.nan}))
        first.append(Evaluation(2, 0.5, {"val/loss": math.nan, "m": math.inf}, [(1, 0.2, 0.9), (2, -math.inf, 0.8)]))
        first.append(Evaluation(3, math.nan, {"val/loss": -0.0, "größe [m]": 1e300}))
        first.describe(params={"best.lr": 0.1}, tags={"best": "1", "commit": "def"}, note="**ho**")
        first.end("FINISHED", RunState.DIVERGED)
    with make_record(tmp_path, name="failed", dataset=DATASET) as failed:
        failed.append(evaluation(0))
        failed.end("FAILED", RunState.INCOMPLETE, "no more memory")
    bare = finished(tmp_path, "bare", num_steps=0, params={}, tags={})
    elsewhere = finished(tmp_path, "elsewhere", experiment="other", dataset=DATASET)
    with make_record(tmp_path, name="killed", dataset=DatasetFacts("digits", "e" * 64)) as killed:
        killed.append(evaluation(0))
    with make_record(tmp_path, name="killed at once") as unborn:
        pass
    two_ways.send(first, failed, bare, elsewhere)
    two_ways.send(killed, unborn, abandoned=True)
    two_ways.assert_equal()
    assert len(two_ways.contents("bulk")) == 6


def test_records_sent_while_they_grow_are_equal(two_ways, tmp_path):
    with make_record(tmp_path, dataset=DATASET) as one, make_record(tmp_path, name="two") as two:
        two_ways.send(one, two)
        two_ways.assert_equal()
        one.append(evaluation(0))
        two_ways.send(one, two)
        for step in range(1, 4):
            one.append(evaluation(step, loss=math.nan if step == 2 else step))
            two.append(evaluation(step))
        two.describe(tags={"late": "1"})
        (one.artifacts / "late.csv").write_text("1")
        two_ways.send(one, two)
        two_ways.assert_equal()
        one.end("FINISHED", RunState.OK)
        two_ways.send(one, two)
    two_ways.send(two, abandoned=True)
    two_ways.assert_equal()
    with Record.open(two.path) as two:
        two_ways.send(one, two)
        two_ways.assert_equal()
        assert two_ways.contents("bulk")["two"]["info"]["status"] == "RUNNING"
        two.append(evaluation(9))
        two.end("FINISHED", RunState.OK)
        two_ways.send(two)
    two_ways.assert_equal()
    assert two_ways.contents("bulk")["two"]["info"]["status"] == "FINISHED"


def test_a_random_record_in_random_pieces_is_equal(two_ways, tmp_path):
    random, nan, inf = Random(0), math.nan, math.inf
    values = [nan, inf, -inf, 0.0, -0.0, 5e-324, 1.7976931348623157e308]
    with make_record(tmp_path, dataset=DATASET) as record:
        for step in range(60):
            names = random.sample(["val/loss", "train/loss", "a b", "lr", "ü:[x]"], k=3)
            metrics = {name: random.choice([*values, random.random()]) for name in names}
            rates = [(random.randint(0, step), random.choice([*values, 0.1]), random.choice([None, nan, 0.9]))]
            record.append(Evaluation(step, random.choice([step / 7, nan]), metrics, rates * random.randint(0, 2)))
            if random.random() < 0.1:
                record.describe(tags={"t": str(step), random.choice("abc"): "x"}, note=random.choice([None, "n"]))
            if random.random() < 0.15:
                two_ways.send(record)
        two_ways.assert_equal()
        record.end("FINISHED", RunState.OK)
        two_ways.send(record)
    two_ways.assert_equal()


def test_children_are_equal(two_ways, tmp_path):
    study = finished(tmp_path, "study", tags={"role": "study"})
    two_ways.send(study)
    children = [finished(tmp_path, f"trial-{i}", parent=study.path) for i in range(3)]
    for way in two_ways.places:
        shutil.copy(study.path / f"{way}.json", study.path / "mlflow.json")
        if way == "ordinary":
            for child in children:
                two_ways.stores[way].send(child.path, abandoned=False)
                (child.path / "mlflow.json").unlink()
        else:
            assert two_ways.stores[way].send_together({child.path: False for child in children}) == []
    two_ways.assert_equal()
    assert two_ways.contents("bulk")["trial-2"]["tags"]["mlflow.parentRunId"] == "study"


def test_a_delivery_that_was_killed_before_it_was_noted_is_found_again(results, monkeypatch):
    records = [finished(results, f"trial-{i}") for i in range(4)]
    store = Store(uri_of(results))
    paths = {record.path: False for record in records}
    saved = []

    def save(record, state):
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(record)
        original(record, state)

    original = bulk_module.save_state
    with monkeypatch.context() as patch:
        patch.setattr(bulk_module, "save_state", save)
        with pytest.raises(KeyboardInterrupt):
            store.send_together(paths)
    before = stored_points(results)
    store = Store(uri_of(results))
    rest = store.send_together(paths)
    assert rest == [record.path for record in records[2:]]
    for path in rest:
        store.send(path, abandoned=False)
    assert stored_points(results) == before
    runs = MlflowClient(uri_of(results)).search_runs(["1"])
    assert sorted((run.info.run_name, run.info.status) for run in runs) == [
        (f"trial-{i}", "FINISHED") for i in range(4)
    ]
    assert all(is_complete(record.path) for record in records)


def test_points_sent_twice_are_stored_once(results):
    with make_record(results) as record:
        record.append(evaluation(0))
        store = Store(uri_of(results))
        assert store.send_together({record.path: False}) == []
        state = (record.path / "mlflow.json").read_bytes()
        record.append(evaluation(1))
        for _ in range(2):
            (record.path / "mlflow.json").write_bytes(state)
            assert store.send_together({record.path: False}) == []
    points = [(key, step) for key, step, *_ in stored_points(results)]
    assert len(points) == len(set(points)) == 3 + 3 + 1


def test_an_earlier_point_that_comes_late_does_not_become_the_latest(results):
    with make_record(results) as record:
        record.append(Evaluation(10, 0.0, {"val/loss": 1.0}))
        store = Store(uri_of(results))
        store.send_together({record.path: False})
        state = (record.path / "mlflow.json").read_bytes()
        record.append(Evaluation(20, 0.0, {"val/loss": 2.0}))
        store.send_together({record.path: False})
        (record.path / "mlflow.json").write_bytes(state.replace(b'"sent_bytes": ', b'"sent_bytes": 0'))
        store.send_together({record.path: False})
    (run,) = MlflowClient(uri_of(results)).search_runs(["1"])
    assert run.data.metrics["val/loss"] == 2.0


def test_what_needs_a_look_at_what_is_there_is_left_to_the_client(results):
    store = Store(uri_of(results))
    known = finished(results, "known")
    store.send(known.path, abandoned=False)
    (known.path / "mlflow.json").unlink()
    restarted = finished(results, "restarted")
    with Record.restart(restarted.path, tags={}, params={}) as restarted:
        pass
    deleted = finished(results, "deleted")
    store.send_together({deleted.path: False})
    MlflowClient(uri_of(results)).delete_run(load_state(deleted.path).run_id)
    (deleted.path / "mlflow.json").unlink()
    begun = finished(results, "begun")
    (begun.path / "mlflow.json").write_text('{"experiment_id": "1"}')
    damaged = finished(results, "damaged")
    (damaged.path / "journal.jsonl").write_text("{}\n")
    with make_record(results, name="described") as described:
        store.send_together({described.path: False})
        described.describe(params={"late": 1})
    renamed = finished(results, "renamed", tags={"mlflow.runName": "other"})
    fine = finished(results, "fine")
    records = [known, restarted, deleted, begun, damaged, described, renamed]
    paths = {record.path: False for record in [*records, fine]}
    rest = Store(uri_of(results)).send_together(paths)
    assert sorted(rest) == sorted(record.path for record in records)
    assert is_complete(fine.path)


def test_one_record_that_the_database_refuses_sends_all_to_the_client(results):
    with make_record(results, name="too large") as bad:
        bad.append(Evaluation(2**63, 0.0, {"val/loss": 1.0}))
    good = finished(results, "good")
    (good.artifacts / "a").write_text("1")
    store = Store(uri_of(results))
    assert store.send_together({good.path: False, bad.path: False}) == [good.path, bad.path]
    assert MlflowClient(uri_of(results)).search_runs(["1"]) == []
    assert list((results / "mlartifacts").iterdir()) == []
    assert not (good.path / "mlflow.json").exists()
    assert store.send(good.path, abandoned=False)


def test_artifacts_of_an_experiment_that_are_elsewhere_are_left_to_the_client(results):
    MlflowClient(uri_of(results)).create_experiment("digits-mlp", artifact_location="s3://bucket/folder")
    record = finished(results)
    assert Store(uri_of(results)).send_together({record.path: False}) == [record.path]


def test_the_installed_mlflow_is_one_whose_tables_are_known(results, monkeypatch):
    record = finished(results)
    assert bulk_module.Bulk.open(results / "mlflow.db") is not None
    monkeypatch.setattr(bulk_module, "SCHEMAS", ())
    assert bulk_module.Bulk.open(results / "mlflow.db") is None
    assert Store(uri_of(results)).send_together({record.path: False}) == [record.path]


def test_an_artifact_is_the_records_own_file_and_a_replaced_one_takes_its_place(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("first")
    bulk_module._place(source, target)
    assert source.samefile(target)
    bulk_module._place(source, target)  # sent again
    assert target.read_text() == "first"
    source.unlink()
    source.write_text("second")
    bulk_module._place(source, target)
    assert target.read_text() == "second"


def test_an_artifact_is_copied_where_it_cannot_be_linked(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("another file system")

    monkeypatch.setattr(bulk_module.os, "link", refuse)
    (tmp_path / "source").write_text("text")
    bulk_module._place(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_text() == "text"
    assert not (tmp_path / "source").samefile(tmp_path / "target")
