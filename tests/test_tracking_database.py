import base64
import os
import socket
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from test_tracking_record import small_disk

from lrbench.databases import create_database
from lrbench.tracking.database import absolute_uri, check_tracking, database_path
from lrbench.tracking.view import chart_link, server_command


def uri_of(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
def answering():
    """Starts a server with a status of its health, which knows who has some credentials; names its address."""
    servers = []

    def start(status: int, credentials: str | None = None) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                known = self.headers["Authorization"] == credentials
                self.send_response(status if self.path == "/health" else 200 if known else 401)
                self.end_headers()

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_path_is_made_absolute_and_other_uris_are_left_alone():
    assert absolute_uri("sqlite:///results/mlflow.db", Path("/w d")) == "sqlite:////w d/results/mlflow.db"
    assert absolute_uri("sqlite:////a/mlflow.db", Path("/w")) == "sqlite:////a/mlflow.db"
    assert absolute_uri("http://host:5000", Path("/w")) == "http://host:5000"
    assert database_path("sqlite:////a/ü b.db") == Path("/a/ü b.db")
    assert database_path("postgresql://u:p@h/db") is None


@pytest.mark.parametrize("uri", ["sqlite:///mlflow.db", "sqlite://", "sqlite:///:memory:"])
def test_a_database_without_an_absolute_path_is_refused(uri):
    with pytest.raises(ValueError, match=r"tracking\.uri must be sqlite:/// and an absolute path"):
        check_tracking(uri)


@pytest.mark.parametrize("uri", ["mlruns", "file:///tmp/mlruns", "databricks", "htp://x"])
def test_unknown_stores_are_refused_with_those_that_exist(uri):
    with pytest.raises(ValueError, match=r"tracking\.uri must start with one of sqlite://, postgresql://.*, got '"):
        check_tracking(uri)


def test_a_new_database_needs_a_directory_that_can_be_made(tmp_path):
    check_tracking(uri_of(tmp_path / "new" / "deep" / "mlflow.db"))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"tracking\.uri: cannot create .*file/mlflow.db: .*file is not a directory"):
        check_tracking(uri_of(tmp_path / "file" / "mlflow.db"))


def test_a_read_only_directory_is_named():
    with small_disk("64k", "ro") as disk, pytest.raises(ValueError, match=f"{disk} is not writable"):
        check_tracking(uri_of(disk / "results" / "mlflow.db"))


def test_a_file_that_is_no_database_is_named(tmp_path):
    path = tmp_path / "mlflow.db"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(ValueError, match=r"tracking\.uri: .*mlflow\.db is damaged or not a database"):
        check_tracking(uri_of(path))


def test_a_half_made_database_is_named(tmp_path):
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("create table experiments (experiment_id integer)")
    with pytest.raises(ValueError, match=r"mlflow\.db is not a complete MLflow database: no such table"):
        check_tracking(uri_of(path))


@pytest.mark.parametrize(
    ("revision", "words"),
    [("ffffffffffff", "does not know; upgrade mlflow"), ("451aebb31d03", "mlflow db upgrade sqlite")],
)
def test_a_database_of_another_mlflow_is_named_with_the_remedy(tmp_path, revision, words):
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("create table alembic_version (version_num text)")
        database.execute("insert into alembic_version values (?)", [revision])
    with pytest.raises(ValueError, match=rf"mlflow\.db .*{revision}.*{words}"):
        check_tracking(uri_of(path))


def test_a_server_is_asked_for_its_health(answering):
    check_tracking(answering(200))
    check_tracking(answering(401))
    address = answering(404)
    with pytest.raises(ValueError, match=rf"tracking\.uri: {address} is not an MLflow server: .* 404"):
        check_tracking(address)


@pytest.mark.parametrize("health", [200, 401])
def test_wrong_credentials_are_refused_before_anything_is_trained(answering, monkeypatch, tmp_path, health):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("USERNAME", "PASSWORD", "TOKEN", "AUTH", "AWS_SIGV4"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    basic = "Basic " + base64.b64encode(b"anna:right").decode()
    address = answering(health, basic)
    with pytest.raises(ValueError, match=rf"tracking\.uri: {address} does not accept the user and password .* 401"):
        check_tracking(address)
    check_tracking(address.replace("//", "//anna:right@"))
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "anna")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    with pytest.raises(ValueError, match="does not accept"):
        check_tracking(address)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "right")
    check_tracking(address)
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_text("[mlflow]\nmlflow_tracking_password = right\n")
    check_tracking(address)
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0k3n")
    check_tracking(answering(health, "Bearer t0k3n"))


def test_a_dead_server_is_named_without_its_password():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    for scheme in ("http", "postgresql"):
        with pytest.raises(ValueError, match=rf"tracking\.uri: no .*server answers at .*127\.0\.0\.1:{port}") as error:
            check_tracking(f"{scheme}://user:secret@127.0.0.1:{port}")
        assert "secret" not in str(error.value)


def test_a_database_is_built_once_by_whoever_comes_first(tmp_path):
    path = tmp_path / "results" / "mlflow.db"
    path.parent.mkdir()
    (path.parent / "mlflow.db.tmp-1").write_bytes(b"left by a kill")
    calls, barrier = [], threading.Barrier(4)

    def build(place: Path) -> None:
        calls.append(place)
        place.write_bytes(b"whole")

    def create() -> None:
        barrier.wait()
        create_database(path, build)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert path.read_bytes() == b"whole"
    assert sorted(os.listdir(path.parent)) == ["mlflow.db", "mlflow.db.lock"]


def test_a_build_that_fails_leaves_no_database(tmp_path):
    path = tmp_path / "mlflow.db"

    def fail(place: Path) -> None:
        place.write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        create_database(path, fail)
    assert not path.exists()
    create_database(path, lambda place: place.write_bytes(b"whole"))
    assert path.read_bytes() == b"whole"


def test_the_command_that_shows_a_database_quotes_its_path_and_the_link_leads_to_the_charts():
    command = server_command("sqlite:////a b/mlflow.db", port=5001)
    assert command == "lrbench ui 'tracking.uri=sqlite:////a b/mlflow.db' port=5001"
    assert server_command("https://host") is None
    query = "/#/experiments/7/runs?workflowType=machine_learning&compareRunsMode=CHART"
    assert chart_link("sqlite:////a/mlflow.db", "7", port=5001) == "http://127.0.0.1:5001" + query
    assert chart_link("https://host/", "7") == "https://host" + query


def test_most_modules_import_no_mlflow():
    modules = ["record", "sender", "sender_process", "sync", "read", "read_sql", "view", "database", "upload", "find"]
    code = f"import sys, {', '.join(f'lrbench.tracking.{m}' for m in modules)}; sys.exit('mlflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, check=True)
