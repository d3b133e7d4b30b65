"""What other programs make of a sweep: Optuna's plots, its dashboard, and MLflow's runs inside runs."""

import importlib.util
import json
import math
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import optuna
import pytest
from mlflow import MlflowClient
from scipy import stats
from shell import REPO
from test_tracking_faults import free_port

from lrbench.tracking.facts import read_facts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("study tools")]
TINY = ["-m", "hydra/sweeper=optuna", "model.hidden=[16]", "budget.epochs=2", "hydra.sweeper.report=false", "seed=0"]
OF_ONE = [
    "contour",
    "edf",
    "intermediate_values",
    "optimization_history",
    "parallel_coordinate",
    "param_importances",
    "rank",
    "slice",
    "timeline",
]
OF_SEVERAL = [name for name in OF_ONE if name != "intermediate_values"]  # Optuna keeps none of several objectives


def lrbench(folder, *words):
    environment = {**os.environ, "PYTHONPATH": str(REPO), "LRBENCH_CACHE_DIR": str(folder / "cache")}
    return subprocess.run(
        [sys.executable, "-m", "lrbench", *words],
        cwd=folder,
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )


def sweep(folder, *words):
    done = lrbench(folder, *TINY, *words)
    assert done.returncode in (0, 3), done.stderr
    assert "warning" not in done.stderr
    if done.returncode == 3:  # on a busy machine the sender may not be done within its minute
        assert lrbench(folder, "sync").returncode == 0
    return folder / "results"


def studies_of(results):
    url = f"sqlite:///{results}/studies.db"
    return {name: optuna.load_study(study_name=name, storage=url) for name in optuna.get_all_study_names(url)}


@pytest.fixture(scope="module")
def tracked(tmp_path_factory, empty_database):
    """Two studies with finals, tracked."""
    folder = tmp_path_factory.mktemp("tracked")
    (folder / "results").mkdir()
    shutil.copy(empty_database, folder / "results" / "mlflow.db")
    words = ["scheduler=cosine,step", "hydra.sweeper.num_trials=6", "hydra.sweeper.final_seeds=3"]
    return sweep(folder, *words)


@pytest.fixture(scope="module")
def of_two_objectives(tmp_path_factory):
    words = ["scheduler=step", "hydra.sweeper.num_trials=6", "hydra.sweeper.final_seeds=1", "tracking=none"]
    words += ["hydra.sweeper.objectives=[final,anytime]", "hydra.sweeper.sampler=tpe"]
    return sweep(tmp_path_factory.mktemp("two"), *words)


@pytest.fixture(params=["matplotlib", "plotly"])
def plots(request):
    """Optuna's plots by one of its two libraries."""
    pytest.importorskip(request.param)
    if request.param == "plotly":
        import optuna.visualization

        yield optuna.visualization
        return
    import matplotlib as mpl

    mpl.use("agg")
    import optuna.visualization.matplotlib
    from matplotlib import pyplot

    yield optuna.visualization.matplotlib
    pyplot.close("all")


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_optunas_plots_show_a_study(tracked, plots):
    for study in studies_of(tracked).values():
        for name in OF_ONE:
            assert getattr(plots, f"plot_{name}")(study) is not None


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_optunas_plots_show_a_study_of_two_objectives(of_two_objectives, plots):
    (study,) = studies_of(of_two_objectives).values()
    for trial in study.get_trials():
        final, anytime = trial.values
        assert 0 <= final <= 1
        assert 0 <= anytime <= 1
    assert any(trial.values[0] != trial.values[1] for trial in study.get_trials())
    assert plots.plot_pareto_front(study) is not None
    assert plots.plot_hypervolume_history(study, [0.0, 0.0]) is not None
    for name in OF_SEVERAL:
        needs_target = {} if name == "timeline" else {"target": lambda trial: trial.values[0]}
        assert getattr(plots, f"plot_{name}")(study, **needs_target) is not None


def test_optuna_dashboard_serves_the_studies(tracked, tmp_path):
    if importlib.util.find_spec("optuna_dashboard") is None:
        pytest.skip("optuna-dashboard is not installed")
    port = free_port()
    program = "from optuna_dashboard._cli import main; main()"
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-c", program, f"sqlite:///{tracked}/studies.db", "--port", str(port)],
            stdout=log,
            stderr=log,
        )
    try:
        found = ask(f"http://127.0.0.1:{port}/api/studies", server)["study_summaries"]
        studies = studies_of(tracked)
        assert {study["study_name"] for study in found} == set(studies)
        for study in found:
            detail = ask(f"http://127.0.0.1:{port}/api/studies/{study['study_id']}", server)
            assert len(detail["trials"]) == 6
            best = max(float(trial["values"][0]) for trial in detail["trials"])
            assert best == studies[study["study_name"]].best_value
    finally:
        server.terminate()
        server.wait(30)


def ask(url, server):
    deadline = time.monotonic() + 120
    while True:
        assert server.poll() is None
        assert time.monotonic() < deadline
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.URLError:  # it has not started yet
            time.sleep(0.2)


def test_a_study_in_mlflow_is_the_parent_of_its_trials_and_finals_and_sums_them_up(tracked):
    client = MlflowClient(f"sqlite:///{tracked}/mlflow.db")
    runs = client.search_runs(["1"])
    assert {run.info.status for run in runs} == {"FINISHED"}
    parents = {run.data.tags["study"]: run for run in runs if run.data.tags["role"] == "study"}
    studies = studies_of(tracked)
    assert parents.keys() == studies.keys()
    assert len(runs) == 2 * (1 + 6 + 3)
    for name, study in studies.items():
        parent = parents[name]
        children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        assert {r.data.tags["study"] for r in children} == {name}
        trials = [r for r in children if r.data.tags["role"] == "tuning"]
        finals = [r for r in children if r.data.tags["role"] == "final"]
        assert sorted(int(r.data.tags["trial"]) for r in trials) == list(range(6))
        assert sorted(int(r.data.tags["seed"]) for r in finals) == [1000, 1001, 1002]
        for run in trials:
            assert run.data.metrics["val/accuracy"] == study.get_trials()[int(run.data.tags["trial"])].value

        best = study.best_trial
        said = parent.data.params
        assert int(said["best.trial"]) == best.number
        for key in best.params:  # the point of the finals, which may lie between two trials
            (value,) = {float(run.data.params[key]) for run in finals}
            assert float(said[f"best.{key}"]) == value == parent.data.metrics[f"best/{key}"]
        assert parent.data.metrics["best/val/accuracy"] == best.value
        importance = {k: v for k, v in parent.data.metrics.items() if k.startswith("importance/")}
        assert set(importance) == {f"importance/{key}" for key in best.params}
        assert sum(importance.values()) == pytest.approx(1)

        curves = {r.info.run_id: client.get_metric_history(r.info.run_id, "val/accuracy") for r in finals}
        steps = [point.step for point in next(iter(curves.values()))]
        values = np.array([[point.value for point in curve] for curve in curves.values()])  # (num_finals, num_steps)
        half = stats.t.ppf(0.975, 2) * stats.sem(values, axis=0)
        for statistic, wanted in {
            "mean": values.mean(axis=0),
            "low": values.mean(axis=0) - half,
            "high": values.mean(axis=0) + half,
            "n": np.full(len(steps), 3.0),
        }.items():
            history = client.get_metric_history(parent.info.run_id, f"finals/val_accuracy/{statistic}")
            assert [point.step for point in history] == steps
            assert [point.value for point in history] == pytest.approx(wanted)
        tests = [r.data.metrics["test/accuracy"] for r in finals]
        assert parent.data.metrics["finals/test_accuracy/mean"] == pytest.approx(np.mean(tests))


@pytest.mark.parametrize("sampler", ["random", "grid", "tpe", "gp", "cmaes"])
def test_every_sampler_tunes(tmp_path, sampler):
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
    words = ["scheduler=step", "hydra.sweeper.num_trials=8", "hydra.sweeper.final_seeds=1", "tracking=none"]
    if sampler == "grid":
        words += ["optimizer.lr=0.01,0.03,0.1,0.3", "scheduler.gamma=0.2,0.5", "scheduler.interval_fraction=0.3"]
    results = sweep(tmp_path, *words, f"hydra.sweeper.sampler={sampler}")
    (study,) = studies_of(results).values()
    trials = study.get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 8
    assert len({json.dumps(trial.params, sort_keys=True) for trial in trials}) == 8
    assert all(math.isfinite(trial.value) for trial in trials)
    (final,) = [p for p in (results / "runs").iterdir() if read_facts(p).tags["role"] == "final"]
    best = min((trial for trial in trials if trial.value == study.best_value), key=lambda trial: trial.number)
    assert read_facts(final).params["optimizer.lr"] == best.params["optimizer.lr"]
