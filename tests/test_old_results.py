"""Results of the version before the packages were moved are read, reported and recognised for what they are."""

import tarfile
from pathlib import Path

import pytest

import lrbench
from lrbench.cli import main
from lrbench.tracking.read_records import read_records

# Made by that version: lrbench -m hydra/sweeper=optuna scheduler=constant,linear 'model.hidden=[2]' budget.epochs=1
# seed=0 budget.eval_every=0.5 hydra.sweeper.num_trials=2 hydra.sweeper.final_seeds=2 hydra.sweeper.report=false
ARCHIVE = Path(__file__).parent / "study-0.1.tar.xz"
WORDS = [
    "hydra/sweeper=optuna", "scheduler=constant,linear", "model.hidden=[2]", "budget.epochs=1", "seed=0",
    "budget.eval_every=0.5", "hydra.sweeper.num_trials=2", "hydra.sweeper.final_seeds=2", "hydra.sweeper.report=false",
    "hydra.sweeper.sampler=auto",
]  # fmt: skip


@pytest.fixture
def old(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "results"


def test_its_database_and_its_records_say_the_same(old):
    stored = lrbench.read(f"sqlite:///{old / 'mlflow.db'}")
    records = [path.parent for path in (old / "runs").glob("*/run.json")]
    read = read_records(records)
    trained = read[read["role"].isin(["tuning", "final"])]
    key = ["scheduler", "optimizer.lr", "seed", "step"]
    columns = [*key, "val/loss", "val/accuracy", "train/loss", "lr", "state"]
    assert len(stored) == len(trained) == 8 * 3
    left, right = (frame.sort_values(key)[columns].reset_index(drop=True) for frame in (stored, trained))
    assert left.astype(object).equals(right.astype(object))


def test_it_is_reported_and_exported(old, capsys):
    report = lrbench.report(f"sqlite:///{old / 'mlflow.db'}")
    assert set(report.ranking["scheduler"].dropna()) == {"constant", "linear"}
    record = next(path.parent for path in (old / "runs").glob("linear-*/run.json"))
    assert main(["export", str(record)]) == 0
    assert "LinearLR(optimizer" in capsys.readouterr().out


@pytest.mark.slow
def test_its_study_is_not_gone_on_with_under_other_code(old, capsys):
    assert main(["-m", *WORDS, f"results_dir={old}"]) == 1
    said = capsys.readouterr().err
    assert "code: " in said
    assert "force_new_study" in said
