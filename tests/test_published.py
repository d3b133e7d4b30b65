"""The committed study: its table is that of its frame, and its commands make what they promise."""

import importlib.util

import pandas as pd
import pytest
from scipy.stats import rankdata
from shell import REPO, environment, run_shell

README = (REPO / "results" / "README.md").read_text()
FULL = REPO / "results" / "study" / "accuracy"


@pytest.fixture(scope="module")
def table():
    spec = importlib.util.spec_from_file_location("publish", REPO / "scripts" / "publish.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.table(FULL / "ranking.csv")


def test_the_table_is_that_of_the_ranking(table):
    assert table in README, "run: python scripts/publish.py"


def test_the_table_is_what_the_frame_says(table):
    """By pandas alone, without a line of the analysis."""
    frame = pd.read_parquet(FULL / "evaluations.parquet")
    finals = frame[frame["role"] == "final"]
    longest = finals.groupby(["dataset", "model"])["budget"].transform("max")
    ends = finals[finals["budget"] == longest].sort_values("step").groupby("run_id").last()
    assert (ends["step"] == ends["budget"]).all()
    assert (ends.groupby(["workload", "scheduler"])["seed"].nunique() == 5).all()
    means = ends.groupby(["scheduler", "workload"])["test/accuracy"].mean().astype(float).unstack()
    ranks = pd.Series(rankdata(-means.round(12), axis=0).mean(axis=1), means.index)
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    assert len(rows) == len(means) == 10
    for scheduler, *accuracies, rank in rows:
        assert sorted(accuracies) == sorted(f"{100 * value:.2f}" for value in means.loc[scheduler])
        assert float(rank) == pytest.approx(ranks[scheduler], abs=0.051)


@pytest.mark.slow
def test_the_frame_makes_the_page(tmp_path):
    command = "lrbench report results=results/study/accuracy/evaluations.parquet metric=val/accuracy"
    assert command in README
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "study").symlink_to(REPO / "results" / "study")
    run_shell(command, cwd=tmp_path, env=environment(tmp_path))
    (page,) = tmp_path.rglob("*.html")
    assert "one_cycle" in page.read_text()


@pytest.mark.slow
def test_a_small_study_is_published_in_the_same_form(tmp_path):
    few = "scheduler=constant,cosine workload=digits_mlp,mnist1d_mlp,noisy_quadratic hydra.sweeper.num_trials=2"
    few += " hydra.sweeper.final_seeds=2 hydra.sweeper.budgets=[0.5,1.0]"
    sweep, publish = "lrbench experiment=published data_dir=../shared/data", "python scripts/publish.py"
    assert sweep in README
    assert publish in README
    (tmp_path / "scripts").symlink_to(REPO / "scripts")
    printed = run_shell(f"{sweep} {few}\n{publish}", cwd=tmp_path, env=environment(tmp_path))
    study = tmp_path / "results" / "study"
    assert sorted(path.name for path in study.iterdir()) == ["accuracy", "loss"]
    titles = {"accuracy": ["50 % of the steps", "all of the steps"], "loss": ["781 steps", "1562 steps"]}
    for folder in study.iterdir():
        found = {path.name for path in folder.iterdir()}
        assert found == {"evaluations.parquet", "ranking.csv", "report.md", "verdict.json", "figures"}
        assert set(pd.read_csv(folder / "ranking.csv")["budget"]) == set(titles[folder.name])
    assert printed.splitlines()[-4] == "| test accuracy, all steps | digits mlp | mnist1d mlp | mean rank |"
