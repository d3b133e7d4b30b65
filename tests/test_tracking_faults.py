"""Real processes, killed for real: whatever dies, MLflow ends up with what an unbroken run would have left there."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from random import Random

import pytest
from test_tracking_record import evaluation, make_record

from lrbench.databases import size_so_far
from lrbench.spec import RunState
from lrbench.tracking.read import read_runs
from lrbench.tracking.record import Record
from lrbench.tracking.send_queue import SendQueue
from lrbench.tracking.send_state import load_state
from lrbench.tracking.sender import Sender
from lrbench.tracking.sync import sync

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kills")]

REPO = Path(__file__).parent.parent
# argv: results directory, how to leave ("end", "kill" = by SIGKILL after the last evaluation).
TRAIN = """
import os, pathlib, signal, sys
from test_tracking_record import evaluation, make_record
from lrbench.tracking.sender import Sender
results, way = pathlib.Path(sys.argv[1]), sys.argv[2]
with make_record(results) as record:
    (record.artifacts / "config.yaml").write_text("a: 1")
    with Sender(record.path / "sender.log") as sender:
        sender.follow(record.path)
        for step in range(0, 50, 10):
            record.append(evaluation(step))
        if way == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        record.end("FINISHED", "ok")
        sys.exit(len(sender.close(patience=120)))
"""


# Three processes, forked when MLflow is imported, which meet and then do all that a sender does, four times.
RACE = """
import multiprocessing, pathlib, sys, time
from test_tracking_record import evaluation, make_record
import lrbench.tracking.client
from lrbench.tracking.send_queue import SendQueue
context = multiprocessing.get_context("fork")
barrier = context.Barrier(3)
def work():
    for attempt in range(4):
        results = pathlib.Path(sys.argv[1]) / str(attempt)
        with make_record(results) as record:
            for step in range(0, 50, 10):
                record.append(evaluation(step))
            record.end("FINISHED", "ok")
        queue = SendQueue()
        queue.follow(record.path)
        barrier.wait(60)
        deadline = time.monotonic() + 60
        while queue.followed and time.monotonic() < deadline:
            queue.visit_all(also_young=True)
processes = [context.Process(target=work, daemon=True) for _ in range(3)]
for process in processes: process.start()
for process in processes: process.join()
sys.exit(any(process.exitcode for process in processes))
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPO), str(REPO / "tests")])}


def start_training(results: Path, way: str = "end") -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", TRAIN, str(results), way], env=environment())


def await_that(condition: Callable[[], object], what: str) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within a minute")


def stored(database: Path) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """Every point without its time, and every run's name and status, read without MLflow."""
    with closing(sqlite3.connect(database)) as connection:
        points = connection.execute("select key, step, value, is_nan from metrics order by 1, 2, 3, 4").fetchall()
        runs = connection.execute("select name, status from runs order by start_time").fetchall()
    return points, runs


def expected_points(steps: list[int]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for step in steps:
        made = evaluation(step)
        rows += [(name, step, value, 0) for name, value in made.metrics.items()]
        rows += [("time/seconds", step, made.seconds, 0), *[("lr", at, lr, 0) for at, lr, _ in made.rates]]
    return sorted(rows)


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[str]:
    address = f"http://127.0.0.1:{port}"
    command = ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", f"{folder}/files"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *command, "--port", str(port), "--workers", "1"],
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=1):
                return True
        except OSError:
            return False

    try:
        await_that(answers, "the start of the server")
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def slow_way(port: int, seconds: float) -> Iterator[int]:
    """A port whose connections lead to another one, so many seconds later."""

    def carry(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                time.sleep(seconds)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with suppress(OSError):
            while True:
                here, _ = listener.accept()
                there = socket.create_connection(("127.0.0.1", port))
                for way in ((here, there), (there, here)):
                    threading.Thread(target=carry, args=way, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_a_server_far_away_gets_every_run_however_long_it_takes(tmp_path):
    port = free_port()
    told: list[int] = []
    with mlflow_server(tmp_path, port), slow_way(port, 0.15) as way, Sender(tmp_path / "sender.log") as sender:
        sender.allow(f"http://127.0.0.1:{way}")
        for number in range(20):
            with make_record(tmp_path, name=f"trial-{number:02}", tracking_uri=f"http://127.0.0.1:{way}") as record:
                (record.artifacts / "config.yaml").write_text("a: 1")
                record.append(evaluation(0))
                record.end("FINISHED", RunState.OK)
            sender.follow(record.path)
        began = time.monotonic()
        assert sender.close(patience=30, on_wait=told.append) == []
        seconds = time.monotonic() - began
    assert told
    assert told[0] > 0
    assert stored(tmp_path / "server.db")[1] == [(f"trial-{number:02}", "FINISHED") for number in range(20)]
    print(seconds)


def test_a_sender_that_was_killed_is_made_up_for_by_the_next_call_in_its_folder(tmp_path):
    with make_record(tmp_path, name="first") as first, Sender(tmp_path / "sender.log") as sender:
        sender.follow(first.path)
        first.append(evaluation(0))
        sender._process.kill()
        first.end("FINISHED", RunState.OK)
        assert [item.record for item in sender.close()] == [first.path]
    assert start_training(tmp_path).wait() == 0
    assert sorted(stored(tmp_path / "mlflow.db")[1]) == [("cosine-s0", "FINISHED"), ("first", "FINISHED")]


def test_a_sender_that_was_killed_while_it_made_the_database_is_made_up_for(tmp_path):
    with make_record(tmp_path, name="first") as first, Sender(tmp_path / "sender.log") as sender:
        (first.artifacts / "config.yaml").write_text("a: 1")
        sender.follow(first.path)
        first.append(evaluation(0))
        first.end("FINISHED", RunState.OK)
        await_that(lambda: size_so_far(tmp_path / "mlflow.db") > 0, "the beginning of the database")
        sender._process.kill()
        sender._process.wait()
    assert not (tmp_path / "mlflow.db").exists()
    with make_record(tmp_path, name="second") as second:
        second.end("FINISHED", RunState.OK)
    queue = SendQueue()
    queue.follow(second.path)
    await_that(lambda: queue.visit_all(also_young=True) or not queue.followed, "the sending of both")
    assert stored(tmp_path / "mlflow.db") == (expected_points([0]), [("first", "FINISHED"), ("second", "FINISHED")])
    assert [path.read_text() for path in tmp_path.glob("mlartifacts/**/config.yaml")] == ["a: 1"]
    assert not list(tmp_path.glob("mlflow.db.tmp-*"))


def test_an_unbroken_run_arrives_whole(tmp_path):
    assert start_training(tmp_path).wait() == 0
    assert stored(tmp_path / "mlflow.db") == (expected_points([0, 10, 20, 30, 40]), [("cosine-s0", "FINISHED")])


def test_a_killed_training_becomes_killed_with_all_it_had_journaled(tmp_path):
    assert start_training(tmp_path, "kill").wait() == -signal.SIGKILL
    (path,) = (tmp_path / "runs").iterdir()
    await_that(lambda: load_state(path).status == "KILLED", "the mark of the kill")
    assert stored(tmp_path / "mlflow.db") == (expected_points([0, 10, 20, 30, 40]), [("cosine-s0", "KILLED")])
    with Record.open(path) as record, Sender(path / "sender.log") as sender:
        sender.follow(path)
        for step in (30, 40, 50):
            record.append(evaluation(step))
        record.end("FINISHED", RunState.OK)
        assert sender.close(patience=120) == []
    points = expected_points([0, 10, 20, 30, 40, 50])
    assert stored(tmp_path / "mlflow.db") == (points, [("cosine-s0", "FINISHED")])


def test_a_killed_sender_loses_nothing(tmp_path):
    with make_record(tmp_path) as record, Sender(record.path / "sender.log") as sender:
        sender.follow(record.path)
        record.append(evaluation(0))
        await_that(lambda: load_state(record.path).sent_bytes > 0, "the first batch")
        threads = map(int, os.listdir(f"/proc/{sender._process.pid}/task"))
        niceness = {os.getpriority(os.PRIO_PROCESS, thread) - os.getpriority(os.PRIO_PROCESS, 0) for thread in threads}
        assert niceness == {0, 5}  # the rounds during a training, and the rest
        for step in range(10, 5000, 10):
            record.append(evaluation(step))
        await_that(lambda: load_state(record.path).sent_bytes > 1000, "the second batch")
        sender._process.kill()
        sender._process.wait()
        record.append(evaluation(5000))
        record.end("FINISHED", RunState.OK)
        (unsent,) = sender.close()
        assert unsent.record == record.path
    assert stored(tmp_path / "mlflow.db")[1] == [("cosine-s0", "RUNNING")]
    report = sync(tmp_path)
    assert (report.sent, report.unsent) == ([record.path], [])
    points = expected_points([*range(0, 5000, 10), 5000])
    assert stored(tmp_path / "mlflow.db") == (points, [("cosine-s0", "FINISHED")])
    assert sync(tmp_path).sent == []


def test_a_sender_killed_in_a_sweep_is_replaced(tmp_path):
    records = [make_record(tmp_path, name=f"trial-{i}") for i in range(2)]
    with Sender(tmp_path / "sender.log") as sender:
        sender.follow(records[0].path)
        sender._process.kill()
        sender._process.wait()
        sender.follow(records[1].path)
        for record in records:
            with record:
                record.append(evaluation(0))
                record.end("FINISHED", RunState.OK)
        assert sender.close(patience=120) == []
    assert stored(tmp_path / "mlflow.db")[1] == [("trial-0", "FINISHED"), ("trial-1", "FINISHED")]


def test_one_sender_serves_many_records_and_names_the_one_that_is_damaged(tmp_path):
    paths = []
    with Sender(tmp_path / "sender.log") as sender:
        for number in range(20):
            with make_record(tmp_path, name=f"trial-{number:02}", fingerprint=f"{number:016x}") as record:
                sender.follow(record.path)
                record.append(evaluation(0))
                record.end("FINISHED", RunState.OK)
                paths.append(record.path)
                if number == 7:
                    (record.path / "journal.jsonl").write_bytes(b"damaged\n")
        (unsent,) = sender.close(patience=120)
    assert unsent.record == paths[7]
    assert "journal.jsonl is damaged at byte 0" in unsent.reason
    runs = stored(tmp_path / "mlflow.db")[1]
    assert sorted(name for name, status in runs if status == "FINISHED") == [
        f"trial-{number:02}" for number in range(20) if number != 7
    ]


def test_a_sender_killed_again_and_again_while_it_sends_in_bulk_leaves_every_run_once_and_whole(tmp_path):
    random, num_records, steps = Random(0), 250, [0, 10, 20]
    paths = []
    for number in range(num_records):
        with make_record(tmp_path, name=f"trial-{number:03}", fingerprint=f"{number:016x}") as record:
            (record.artifacts / "config.yaml").write_text(str(number))
            for step in steps:
                record.append(evaluation(step))
            record.end("FINISHED", RunState.OK)
        paths.append(record.path)

    def num_begun() -> int:
        return sum((path / "mlflow.json").exists() for path in paths)

    for kill in range(4):
        with Sender(tmp_path / "sender.log") as sender:
            for path in random.sample(paths, num_records):
                sender.follow(path)
            await_that(lambda kill=kill: num_begun() > 50 * kill, "the next batch")
            time.sleep(random.uniform(0, 0.2))  # any moment will do
            sender._process.kill()
            sender._process.wait()
    assert sync(tmp_path).unsent == []
    points, runs = stored(tmp_path / "mlflow.db")
    assert sorted(runs) == [(f"trial-{number:03}", "FINISHED") for number in range(num_records)]
    assert points == sorted(num_records * expected_points(steps))
    artifacts = sorted(int(path.read_text()) for path in (tmp_path / "mlartifacts").rglob("config.yaml"))
    assert artifacts == list(range(num_records))


def test_a_deleted_database_is_filled_again(tmp_path):
    assert start_training(tmp_path).wait() == 0
    (tmp_path / "mlflow.db").unlink()
    assert len(sync(tmp_path).sent) == 1
    assert stored(tmp_path / "mlflow.db") == (expected_points([0, 10, 20, 30, 40]), [("cosine-s0", "FINISHED")])


def test_three_processes_that_start_at_once_on_a_new_database_all_work(tmp_path):
    subprocess.run([sys.executable, "-c", RACE, str(tmp_path)], env=environment(), check=True)
    for results in (tmp_path / str(attempt) for attempt in range(4)):
        points, runs = stored(results / "mlflow.db")
        assert runs == [("cosine-s0", "FINISHED")] * 3
        assert points == sorted(3 * expected_points([0, 10, 20, 30, 40]))
        names = sorted(path.name for path in (results / "runs").iterdir())
        assert names == ["cosine-s0-1a2b3c4d", "cosine-s0-1a2b3c4d-2", "cosine-s0-1a2b3c4d-3"]
        assert {path.name for path in results.iterdir()} == {"mlflow.db", "mlflow.db.lock", "runs"}


@pytest.mark.timeout(600)
def test_a_server_that_dies_and_comes_back_gets_everything_once(tmp_path):
    port = free_port()
    with make_record(tmp_path, tracking_uri=f"http://127.0.0.1:{port}") as record:
        (record.artifacts / "config.yaml").write_text("a: 1")
        with Sender(tmp_path / "sender.log") as sender:
            sender.allow(f"http://127.0.0.1:{port}")
            sender.follow(record.path)
            with mlflow_server(tmp_path, port):
                record.append(evaluation(0))
                await_that(lambda: load_state(record.path).sent_bytes > 0, "the first batch")
            for step in range(10, 40, 10):  # the server is dead: training goes on regardless
                record.append(evaluation(step))
            await_that(lambda: load_state(record.path).error, "the sender's notice")
            record.end("FINISHED", RunState.OK)
            (unsent,) = sender.close(patience=120)
    assert f"no MLflow server answers at http://127.0.0.1:{port}" in unsent.reason
    assert [item.reason for item in sync(tmp_path, tracking_uri=f"http://127.0.0.1:{port}").unsent] == [unsent.reason]
    with mlflow_server(tmp_path, port) as address:
        report = sync(tmp_path, tracking_uri=f"http://127.0.0.1:{port}")
        assert (report.sent, report.unsent) == ([record.path], [])
        by_client = read_runs(address)
    assert stored(tmp_path / "server.db") == (expected_points([0, 10, 20, 30]), [("cosine-s0", "FINISHED")])
    assert by_client.equals(read_runs(f"sqlite:///{tmp_path}/server.db"))
    assert list((tmp_path / "files").rglob("config.yaml")) != []
