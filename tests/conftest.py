import atexit
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

# Before anything imports torch or NumPy: the workers of xdist share the cores, and threads beside them only wait.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

import pytest
from postgres_server import running_postgres

REPO = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """Give all processes a folder for temporary files that goes with the tests: killed ones leave theirs.

    Those of the tests themselves stay where pytest puts them.
    """
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as nohup would have it ignored, which lrbench heeds
    if not hasattr(config, "workerinput"):  # of xdist, which inherits it
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
        os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="lrbench-")
        # Not with pytest's own end: multiprocessing removes a folder in it when the interpreter exits.
        atexit.register(shutil.rmtree, os.environ["TMPDIR"], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put slow tests first: at the end one worker would be alone with the last of them."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real data sets; tests that need it skip, saying so, where it is absent."""
    root = Path(os.environ.get("LRBENCH_DATA", REPO.parent / "shared" / "data")).resolve()
    if not root.is_dir():
        pytest.skip(f"real data not found at {root}; set LRBENCH_DATA")
    return root


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory) -> Path:
    """A new database of MLflow; it takes seconds to make."""
    from lrbench.tracking.client import Store  # most tests need no MLflow

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    Store(f"sqlite:///{path}")
    return path


@pytest.fixture
def results(tmp_path, empty_database) -> Path:
    """A results directory with a database of its own, its path with a space and a letter beyond ASCII."""
    path = tmp_path / "resültate 1"
    path.mkdir()
    shutil.copy(empty_database, path / "mlflow.db")
    return path


@pytest.fixture(scope="session")
def postgres() -> Iterator[Path]:
    """A PostgreSQL server of Debian's package; yields the folder of its socket."""
    with running_postgres() as folder:
        yield folder


@pytest.fixture
def postgres_url(postgres: Path) -> Iterator[str]:
    """A new, empty database on that server."""
    import psycopg

    name = f"test_{uuid.uuid4().hex[:8]}"
    # A connection each: some tests restart the server.
    with psycopg.connect(host=str(postgres), user="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield f"postgresql://postgres@/{name}?host={postgres}"
    with psycopg.connect(host=str(postgres), user="postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def study_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database for studies that does not exist yet, or is empty; once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new' / 'studies.db'}"
    return request.getfixturevalue("postgres_url")
