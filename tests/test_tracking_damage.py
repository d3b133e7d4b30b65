"""Records that lost something behind the sender's back: to a power cut, or because their folder was moved."""

import json
import shutil

import pytest
from mlflow import MlflowClient
from test_tracking_mlflow import stored_points, uri_of
from test_tracking_record import FINGERPRINT, evaluation, make_record
from test_tracking_send_queue import finished, statuses

from lrbench.spec import RunState
from lrbench.tracking.facts import read_facts
from lrbench.tracking.find import find_finished
from lrbench.tracking.moved import follow_move
from lrbench.tracking.record import Record
from lrbench.tracking.send_queue import SendQueue
from lrbench.tracking.send_state import is_complete
from lrbench.tracking.sync import sync


def send(*records):
    """As `sync` does, without its process."""
    queue = SendQueue()
    for record in records:
        queue.follow(record)
    assert queue.visit_all(also_young=True)
    assert queue.num_refused == 0
    assert all(is_complete(record) for record in records)


def active_points(results):
    client = MlflowClient(uri_of(results))
    (run,) = client.search_runs(["1"])
    return run, sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, "val/loss"))


@pytest.fixture
def cut_record(results):
    """A record that was killed with three evaluations, sent, and then lost the last of them to a power cut."""
    with make_record(results) as record:
        for step in (0, 10, 20):
            record.append(evaluation(step))
    send(record.path)
    journal = record.path / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:2]) + lines[2][:10])
    return record.path


def test_a_journal_that_lost_lines_is_copied_anew(results, cut_record):
    assert not is_complete(cut_record)
    send(cut_record)
    run, points = active_points(results)
    assert (run.info.status, points) == ("KILLED", [(0, 0.5), (10, 0.5)])


def test_a_run_that_lost_lines_is_resumed_and_every_point_is_in_mlflow_once(results, cut_record):
    with Record.open(cut_record) as record:
        assert record.last_step == 10
        for step in (20, 30):
            record.append(evaluation(step, loss=0.25))
        record.end("FINISHED", RunState.OK)
    send(cut_record)
    run, points = active_points(results)
    assert (run.info.status, points) == ("FINISHED", [(0, 0.5), (10, 0.5), (20, 0.25), (30, 0.25)])


@pytest.mark.parametrize("content", [b"", b"\0" * 300, b'{"record_id":'])
def test_a_description_that_was_lost_is_named_and_stops_no_other(results, content):
    paths = [finished(results, name, fingerprint=FINGERPRINT).path for name in "abc"]
    (paths[0] / "run.json").write_bytes(content)
    send(*paths[1:])
    report = sync(results)  # all else is sent, so it starts no process
    assert [(item.record, "run.json is not the description" in item.reason) for item in report.unsent] == [
        (paths[0], True)
    ]
    with pytest.warns(UserWarning, match=r"a-.*/run\.json is not the description of a run.*passed over"):
        assert find_finished(results / "runs", FINGERPRINT) == paths[1]


def test_a_moved_folder_is_sent_to_its_own_database_and_its_old_place_stays_away(results):
    with make_record(results) as record:
        (record.artifacts / "note.txt").write_text("old")
        record.append(evaluation(0))
        record.end("FINISHED", RunState.OK)
    send(record.path)
    late = finished(results, "late")
    (late.path / "artifacts" / "note.txt").write_text("late")
    new = results.rename(results.with_name("moved"))
    assert read_facts(new / "runs" / late.path.name).tracking_uri == uri_of(new)
    send(new / "runs" / late.path.name)
    assert not results.exists()
    assert statuses(new) == {"cosine-s0": "FINISHED", "late": "FINISHED"}
    assert len(stored_points(new)) == 6
    client = MlflowClient(uri_of(new))
    for run in client.search_runs(["1"]):
        text = "late" if run.info.run_name == "late" else "old"
        folder = new / "mlartifacts" / run.info.run_id / "artifacts"
        assert run.info.artifact_uri == folder.as_uri()
        assert (folder / "note.txt").read_text() == text
    with_new_places = (new / "mlflow.db").read_bytes()
    follow_move(new / "mlflow.db")
    assert (new / "mlflow.db").read_bytes() == with_new_places


def test_a_record_of_a_moved_folder_that_names_its_old_place_is_refused(results):
    record = finished(results)
    gone = results / "gone"
    document = json.loads((record.path / "run.json").read_text())
    (record.path / "run.json").write_text(json.dumps({**document, "tracking_uri": f"sqlite:///{gone}/mlflow.db"}))
    assert [item.reason for item in sync(results).unsent] == [f"its database was in {gone}, which is gone"]
    assert not gone.exists()


def test_a_copied_folder_puts_its_artifacts_beside_its_own_database(results):
    with make_record(results) as record:
        (record.artifacts / "note.txt").write_text("old")
        record.end("FINISHED", RunState.OK)
    send(record.path)
    copy = results.with_name("copy")
    shutil.copytree(results, copy)
    before = sorted(results.rglob("*"))
    with make_record(copy, name="second") as second:
        (second.artifacts / "note.txt").write_text("second")
        second.end("FINISHED", RunState.OK)
    send(second.path)
    assert sorted(results.rglob("*")) == before
