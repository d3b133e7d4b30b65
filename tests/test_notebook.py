"""The notebook runs from top to bottom, and is committed without outputs."""

import os

import pytest
from shell import REPO, environment

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
NOTEBOOK = REPO / "docs" / "notebooks" / "study.ipynb"


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_it_is_committed_without_outputs(notebook):
    nbformat.validate(notebook)
    assert NOTEBOOK.stat().st_size < 20_000
    assert not [cell for cell in code_of(notebook) if cell.outputs or cell.execution_count]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_runs_from_top_to_bottom(notebook, tmp_path, monkeypatch):
    client = pytest.importorskip("nbclient", reason="nbclient is not installed").NotebookClient
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    for name, value in environment(tmp_path).items():
        monkeypatch.setitem(os.environ, name, value)
    client(notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in code_of(notebook) for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2, "two pictures"
    printed = "".join(output.get("text", "") for output in outputs)
    assert "- digits-mlp-sgd-b64-136steps" in printed, "the verdict"
    assert not [output for output in outputs if output.get("name") == "stderr"]
