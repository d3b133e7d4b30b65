"""MLflow's pages in a real browser, over the real server, on a database made by a real grid.

Skips, saying so, without a Chromium and its chromedriver on the PATH (Debian: `chromium`, `chromium-driver`) or
without selenium.
"""

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from lrbench.tracking.read import read_runs
from lrbench.tracking.read_sql import recorded_experiments
from lrbench.tracking.server import serving

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]
REPO = Path(__file__).resolve().parent.parent
GRID = ("scheduler=cosine,step,constant", "seed=0,1", "budget.epochs=3")
NAMES = [f"{scheduler}-s{seed}" for scheduler in ("cosine", "step", "constant") for seed in (0, 1)]


@pytest.fixture(scope="module")
def pages():
    """The functions that also take the documentation's screenshots."""
    pytest.importorskip("selenium", reason="selenium is not installed")
    spec = importlib.util.spec_from_file_location("screenshots", REPO / "scripts" / "screenshots.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if module.find_program(module.BROWSERS) is None:
        pytest.skip(f"no browser on the PATH; looked for {', '.join(module.BROWSERS)}")
    if module.find_program(["chromedriver"]) is None:
        pytest.skip("no chromedriver on the PATH")
    return module


@pytest.fixture(scope="module")
def grid(pages, tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid")
    pages.train_grid(folder, GRID)
    return folder / "results"


@pytest.fixture(scope="module")
def served(pages, grid, tmp_path_factory):
    """A browser, and the port of the server that shows the grid."""
    port = pages.free_port()
    uri = f"sqlite:///{grid / 'mlflow.db'}"
    with serving(uri, port=port), pages.open_browser(tmp_path_factory.mktemp("profile")) as session:
        yield session, uri, port


def experiment_of(uri):
    ((experiment_id, name),) = recorded_experiments(uri)
    assert name.startswith("digits-mlp-sgd-b64-51steps-")
    return experiment_id


def test_the_experiment_page_lists_the_runs_under_readable_names(pages, served):
    session, uri, port = served
    text = pages.show_runs(session, experiment_of(uri), port=port, names=NAMES)
    assert f"{len(NAMES)} matching runs" in text
    assert "digits-mlp-sgd-b64-51steps" in text


def test_the_chart_view_shows_the_learning_curves_of_all_schedules_together(pages, served):
    session, uri, port = served
    metrics = ["val/accuracy", "val/loss"]
    charts = pages.show_charts(session, uri, experiment_of(uri), port=port, metrics=metrics)
    frame = read_runs(uri)
    for metric, chart in charts.items():
        assert set(chart["series"]) == set(NAMES)
        assert all(f"{name} ({metric})" in chart["card"] for name in NAMES), "the legend names every run"
        for name, drawn in chart["series"].items():
            rows = frame[frame["run_name"] == name]
            assert drawn["x"] == rows["step"].tolist()
            assert drawn["y"] == pytest.approx(rows[metric].tolist())


def test_the_chart_view_shows_the_rate_curves_of_all_schedules_together(pages, served, grid):
    session, uri, port = served
    chart = pages.show_charts(session, uri, experiment_of(uri), port=port, metrics=["lr"])["lr"]
    assert set(chart["series"]) == set(NAMES)
    for name, drawn in chart["series"].items():
        (record,) = (grid / "runs").glob(f"{name}-*")
        with (record / "artifacts" / "rates.csv").open() as file:
            rates = [float(row["lr"]) for row in csv.DictReader(file)]
        # MLflow counts updates that are done, the table counts from zero; MLflow has the corners and draws lines.
        assert drawn["y"] == pytest.approx([rates[step - 1] for step in drawn["x"]])
        lines = np.interp(range(1, len(rates) + 1), drawn["x"], drawn["y"])
        assert np.abs(lines - rates).max() <= 0.005 * max(rates)


def test_the_compare_page_shows_parameters_side_by_side(pages, served):
    session, uri, port = served
    run_ids = read_runs(uri)["run_id"].unique().tolist()
    lines = pages.show_comparison(session, experiment_of(uri), run_ids, port=port).splitlines()
    rows = {name: values.split("\t") for name, _, values in (line.partition("\t") for line in lines)}
    assert rows["optimizer.lr"] == ["0.02"] * len(NAMES)
    assert sorted(rows["seed"]) == ["0"] * 3 + ["1"] * 3
    assert sorted(rows["scheduler.name"]) == sorted(name.split("-")[0] for name in NAMES)
