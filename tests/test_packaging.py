"""The files by which others find, cite and check lrbench agree with it."""

from pathlib import Path

import pytest
import yaml

import lrbench

REPO = Path(__file__).resolve().parent.parent


def test_the_citation_names_this_version_and_license():
    citation = yaml.safe_load((REPO / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == lrbench.__version__
    assert citation["license"] == "MIT"
    assert (REPO / "LICENSE").read_text().startswith("MIT License\n")


def test_hooks_are_local_and_run_what_make_runs():
    (repository,) = yaml.safe_load((REPO / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    entries = [hook["entry"] for hook in repository["hooks"]]
    makefile = (REPO / "Makefile").read_text()
    for tool in ("ruff check", "ruff format --check", "mypy"):
        assert f"-m {tool}" in makefile
        assert any(entry.startswith(f"python -m {tool}") for entry in entries)
    assert all(hook["language"] == "system" for hook in repository["hooks"])


def test_the_changelog_has_a_place_for_what_is_not_released():
    assert "\n## [Unreleased]\n" in (REPO / "CHANGELOG.md").read_text()


@pytest.mark.xdist_group("known")
def test_pytest_and_xdist_agree_on_groups(request):
    """Where they do not, kills that need quiet run side by side, and nothing says so."""
    if hasattr(request.config, "workerinput"):
        assert request.node.nodeid.endswith("@known")
