"""`lrbench ui`: what it refuses, which experiments it links to, and that nothing of it stays behind."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from test_tracking_faults import await_that, free_port

from lrbench.cli import main
from lrbench.spec import Evaluation, RunState
from lrbench.tracking.read_sql import recorded_experiments
from lrbench.tracking.record import Record
from lrbench.tracking.sender import Sender


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A results directory with runs in two experiments, the later one named `b`."""
    folder = tmp_path_factory.mktemp("results dir")
    with Sender(folder / "sender.log") as sender:
        for experiment in ("a", "b"):
            with Record.create(
                folder / "runs",
                name=f"cosine-{experiment}",
                experiment=experiment,
                tracking_uri=f"sqlite:///{folder}/mlflow.db",
                fingerprint="0123456789abcdef",
                tags={},
                params={},
            ) as record:
                record.append(Evaluation(0, 0.0, {"val/loss": 1.0}))
                record.end("FINISHED", RunState.OK)
                sender.follow(record.path)
        assert not sender.close(patience=None)
    return folder


def refusal(capsys, *words):
    assert main(["ui", *words]) == 1
    return capsys.readouterr().err


def test_a_missing_database_is_named_with_what_to_do(tmp_path, capsys):
    said = refusal(capsys, f"results_dir={tmp_path}", f"port={free_port()}")
    assert f"there is no database {tmp_path}/mlflow.db: train something first" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["port=web"], "port must be a whole number, got 'web'"),
        (["port=70000"], "port must be 1 to 65535, got 70000"),
        (
            ["tracking.uri=http://127.0.0.1:5000", f"port={free_port()}"],
            "tracking.uri=http://127.0.0.1:5000 is a server already",
        ),
        (["prot=5001"], "takes results_dir=DIRECTORY, tracking.uri=URI and port=NUMBER, got 'prot=5001'"),
    ],
)
def test_wrong_words_are_refused(capsys, words, message):
    assert message in refusal(capsys, *words)


def test_a_port_in_use_is_named_with_a_free_one(capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        said = refusal(capsys, f"port={port}")
    assert f"port {port} of 127.0.0.1 cannot be used: address already in use" in said
    free = int(said.split("make ui PORT=")[1].split()[0])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", free))


@pytest.mark.slow
@pytest.mark.xdist_group("ui")
def test_experiments_with_runs_are_listed_the_newest_first(results):
    # MLflow's own experiment `Default` holds none of ours.
    assert [name for _, name in recorded_experiments(f"sqlite:///{results}/mlflow.db")] == ["b", "a"]


@pytest.mark.slow
@pytest.mark.xdist_group("ui")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_it_serves_links_and_leaves_no_process(results, tmp_path, number):
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "lrbench", "ui", f"results_dir={results}", f"port={port}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines = [process.stdout.readline() for _ in range(4)]
        links = [line.split("\t")[1] for line in lines[1:3]]
        assert [line.split("\t")[0] for line in lines[1:3]] == ["b", "a"]
        assert all(link.startswith(f"http://127.0.0.1:{port}/#/experiments/") for link in links)
        assert lines[3] == "Ctrl-C stops the server\n"
        servers = _children(process.pid)
        assert servers
        process.send_signal(number)
        expected = -signal.SIGKILL if number == signal.SIGKILL else 0
        assert process.wait(30) == expected, process.stderr.read()
    finally:
        process.kill()
        process.communicate()
    await_that(lambda: not any(Path(f"/proc/{pid}").exists() for pid in servers), "the end of the server's processes")
    assert not list(tmp_path.iterdir())


def _children(pid):
    """Ids of all processes below one."""
    done = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    parents = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    found, last = [], {pid}
    while last:
        last = {child for child, parent in parents if parent in last}
        found += last
    return found
