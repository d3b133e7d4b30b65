"""The sender's loop, without its process: what it sends when, and what it does about records that are in trouble."""

import shutil

import pytest
from mlflow import MlflowClient
from test_tracking_mlflow import uri_of
from test_tracking_record import evaluation, make_record

from lrbench.runs.destination import report_unsent
from lrbench.spec import RunState
from lrbench.tracking import client as client_module
from lrbench.tracking import send_queue as send_queue_module
from lrbench.tracking.client import Store
from lrbench.tracking.lock import try_lock
from lrbench.tracking.record import Record
from lrbench.tracking.send_queue import SendQueue
from lrbench.tracking.send_state import Unsent, find_unsent, is_complete, load_state


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(send_queue_module.time, "monotonic", clock)
    return clock


def finished(results, name="cosine-s0", **changes):
    with make_record(results, name=name, **changes) as record:
        record.append(evaluation(0))
        record.end("FINISHED", RunState.OK)
    return record


def statuses(results):
    client = MlflowClient(uri_of(results))
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    return {run.info.run_name: run.info.status for run in runs}


def test_finished_records_are_sent_at_once_and_dropped(results):
    queue = SendQueue()
    for number in range(3):
        queue.follow(finished(results, f"trial-{number}").path)
    assert queue.visit_all(also_young=False)
    assert queue.followed == {}
    assert statuses(results) == {f"trial-{number}": "FINISHED" for number in range(3)}
    assert not queue.visit_all(also_young=False)


def test_a_young_record_waits_until_it_ends_or_grows_old_or_there_is_hurry(results, clock):
    queue = SendQueue()
    with make_record(results) as old, make_record(results, name="other") as other:
        queue.follow(old.path)
        queue.follow(other.path)
        old.append(evaluation(0))
        assert not queue.visit_all(also_young=False)
        clock.now += 6
        assert queue.visit_all(also_young=False)
        assert load_state(old.path).sent_bytes > 0
        with make_record(results, name="late") as late:
            queue.follow(late.path)
            assert not queue.visit_all(also_young=False)
            assert queue.visit_all(also_young=True)
    assert statuses(results) == {"cosine-s0": "RUNNING", "other": "RUNNING", "late": "RUNNING"}


def test_a_silent_record_is_left_alone_but_its_death_is_noticed(results, clock):
    queue = SendQueue()
    with make_record(results) as record:
        queue.follow(record.path)
        clock.now += 6
        assert queue.visit_all(also_young=False)
        assert not queue.visit_all(also_young=False)
        clock.now += 6
        assert not queue.visit_all(also_young=False)
        record.append(evaluation(0))
        assert queue.visit_all(also_young=False)
    assert not queue.visit_all(also_young=False)  # it died a moment ago
    clock.now += 6
    assert queue.visit_all(also_young=False)
    assert statuses(results) == {"cosine-s0": "KILLED"}
    assert queue.followed == {}


def test_a_parent_is_sent_before_its_children_in_whatever_order_they_come(results):
    study = finished(results, "study", tags={"role": "study"})
    child = finished(results, "child", parent=study.path)
    grandchild = finished(results, "grandchild", parent=child.path)
    queue = SendQueue()
    for record in (grandchild, child, study):
        queue.follow(record.path)
    assert queue.visit_all(also_young=False)
    runs = {run.info.run_name: run for run in MlflowClient(uri_of(results)).search_runs(["1"])}
    assert runs["grandchild"].data.tags["mlflow.parentRunId"] == runs["child"].info.run_id
    assert runs["child"].data.tags["mlflow.parentRunId"] == runs["study"].info.run_id
    # Made in bulk, with the ids of their records: nobody had to make a parent for a child.
    assert {run.info.run_id for run in runs.values()} == {r.facts.record_id for r in (study, child, grandchild)}


def test_records_in_trouble_do_not_keep_the_others(results):
    damaged, deleted, deleted_later = (finished(results, name) for name in "abc")
    (damaged.path / "journal.jsonl").write_bytes(b"damaged\n")
    shutil.rmtree(deleted.path)
    fine = finished(results, "fine")
    client = MlflowClient(uri_of(results))
    client.delete_experiment(client.create_experiment("deleted"))
    refused = finished(results, "refused", experiment="deleted")
    queue = SendQueue()
    for record in (damaged, deleted, deleted_later, refused, fine):
        queue.follow(record.path)
    shutil.rmtree(deleted_later.path)
    assert queue.visit_all(also_young=False)
    assert queue.followed == {}
    assert queue.num_refused == 4
    assert statuses(results)["fine"] == "FINISHED"
    assert "journal.jsonl is damaged at byte 0" in find_unsent(damaged.path).reason
    assert "'deleted' was deleted in MLflow" in find_unsent(refused.path).reason


def test_a_record_that_another_sender_is_at_is_looked_at_again(results):
    record = finished(results)
    queue = SendQueue()
    queue.follow(record.path)
    with try_lock(record.path / "sender.lock"):
        assert not queue.visit_all(also_young=False)
    assert queue.visit_all(also_young=False)
    assert is_complete(record.path)


def test_a_store_that_does_not_work_is_left_alone_for_a_while_with_all_its_records(results, clock, monkeypatch):
    class Broken(Store):
        def send_together(self, records):
            attempts.append(len(records))
            raise OSError("no route to host")

    attempts = []
    queue = SendQueue()
    records = [finished(results, f"trial-{number}") for number in range(3)]
    for record in records:
        queue.follow(record.path)
    with monkeypatch.context() as patch:
        patch.setattr(client_module, "Store", Broken)
        for _ in range(3):
            assert not queue.visit_all(also_young=False)
        assert attempts == [3]
        clock.now += 1.5
        assert not queue.visit_all(also_young=False)
        assert attempts == [3, 3]
        clock.now += 1.5
        assert not queue.visit_all(also_young=False)
        assert attempts == [3, 3]
    assert [find_unsent(record.path).reason for record in records] == ["no route to host"] * 3
    clock.now += 1
    assert queue.visit_all(also_young=False)
    assert [find_unsent(record.path) for record in records] == [None] * 3


def test_what_cannot_go_in_bulk_goes_alone(results):
    restarted = finished(results, "restarted")
    with Record.restart(restarted.path, tags={}, params={}) as restarted:
        restarted.end("FINISHED", RunState.OK)
    fine = finished(results, "fine")
    queue = SendQueue()
    queue.follow(restarted.path)
    queue.follow(fine.path)
    assert queue.visit_all(also_young=False)
    assert statuses(results) == {"restarted": "FINISHED", "fine": "FINISHED"}
    assert load_state(restarted.path).run_id != restarted.facts.record_id


def test_a_long_journal_goes_piece_by_piece(results, monkeypatch):
    with make_record(results) as record:
        for step in range(40):
            record.append(evaluation(step))
        record.end("FINISHED", RunState.OK)
    from lrbench.tracking import upload as upload_module

    original = upload_module.read_entries
    monkeypatch.setattr(upload_module, "read_entries", lambda path, offset: original(path, offset, max_bytes=2000))
    queue = SendQueue()
    queue.follow(record.path)
    num_rounds = 0
    while queue.followed:
        assert queue.visit_all(also_young=False)
        num_rounds += 1
    assert num_rounds > 2
    assert statuses(results) == {"cosine-s0": "FINISHED"}
    (run,) = MlflowClient(uri_of(results)).search_runs(["1"])
    assert len(MlflowClient(uri_of(results)).get_metric_history(run.info.run_id, "val/loss")) == 40


def test_what_a_killed_sender_left_in_the_same_folder_is_taken_along(results):
    left = [finished(results, f"left-{number}").path for number in range(2)]
    elsewhere = finished(results, "elsewhere", tracking_uri=f"sqlite:///{results}/other.db").path
    (finished(results, "damaged").path / "run.json").write_text("")
    with make_record(results, name="in training"):
        queue = SendQueue()
        queue.follow(finished(results, "new").path)
        assert queue.visit_all(also_young=True)
    assert queue.followed == {}
    assert statuses(results) == {"left-0": "FINISHED", "left-1": "FINISHED", "new": "FINISHED"}
    assert all(map(is_complete, left))
    assert not is_complete(elsewhere)


def test_many_records_unsent_for_one_reason_are_one_sentence(results, caplog):
    unsent = [Unsent(results / "runs" / name, reason) for name, reason in [("a", "full"), ("b", "gone"), ("c", "full")]]
    report_unsent(unsent)
    assert caplog.messages == [
        f"not in MLflow yet: {results}/runs/a and 1 more: full",
        f"not in MLflow yet: {results}/runs/b: gone",
        f"send it with: lrbench sync 'results_dir={results}'",
    ]
