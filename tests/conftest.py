import os
import shutil
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent


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
