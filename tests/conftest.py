import os
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
