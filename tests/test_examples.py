"""Every example does what its docstring says: its commands are run as they are written there."""

import ast
import csv
import importlib.util
import json
import shutil

import numpy as np
import pytest
import torch
from shell import REPO, environment, indented_commands, run_shell
from torch.nn import Parameter
from torch.optim import SGD

EXAMPLES = REPO / "examples"
NEEDS = {"lightning_module": ["lightning"], "transformers_finetune": ["transformers", "accelerate"]}


@pytest.fixture
def followed(tmp_path):
    """A folder in which the commands of an example were run."""

    def follow(name):
        for library in NEEDS.get(name, []):
            if importlib.util.find_spec(library) is None:
                pytest.skip(f"{library} is not installed")
        folder = tmp_path / "work"
        folder.mkdir()
        shutil.copy(EXAMPLES / f"{name}.py", folder)
        commands = indented_commands(ast.get_docstring(ast.parse((EXAMPLES / f"{name}.py").read_text()), clean=False))
        assert "lrbench" in commands
        run_shell(commands, cwd=folder, env=environment(tmp_path))
        return folder

    return follow


def test_every_example_is_tested_here():
    tested = {"own_loop", "custom_schedule", "lightning_module", "transformers_finetune"}
    assert {path.stem for path in EXAMPLES.glob("*.py")} == tested


@pytest.mark.slow
def test_a_loop_of_ones_own_is_compared(followed):
    folder = followed("own_loop")
    with (folder / "own_loop_report" / "ranking.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["scheduler"] for row in rows} == {"constant", "linear", "cosine"}
    assert all(float(row["final"]) > 0.8 for row in rows), "the network of the example learns digits"


@pytest.mark.slow
def test_schedules_of_ones_own_are_drawn_and_trained_with(followed):
    folder = followed("custom_schedule")
    (record,) = (folder / "results" / "runs").iterdir()
    assert json.loads((record / "run.json").read_text())["tags"]["scheduler"] == "halfway"
    lr = np.loadtxt(record / "artifacts" / "rates.csv", delimiter=",", skiprows=1)[:, 1]
    assert lr.tolist() == pytest.approx([0.02] * (len(lr) // 2) + [0.002] * (len(lr) - len(lr) // 2))


def test_the_saw_has_its_teeth_and_halfway_follows_torchs_convention():
    spec = importlib.util.spec_from_file_location("custom_schedule", EXAMPLES / "custom_schedule.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.saw(np.arange(8), 8, num_teeth=2).tolist() == [1, 0.75, 0.5, 0.25, 1, 0.75, 0.5, 0.25]
    optimizer = SGD([Parameter(torch.zeros(1))], lr=1.0)
    scheduler = module.HalfwayLR(optimizer, 5, gamma=0.5)
    used = []
    for _ in range(5):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert used == [1, 1, 1, 0.5, 0.5]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lightning_module", "transformers_finetune"])
def test_frameworks_use_the_rates_of_the_exported_schedule_and_their_curves_come_back(followed, name):
    import pandas as pd

    frame = pd.read_parquet(followed(name) / "results.parquet")
    steps = 200 if name == "lightning_module" else 100
    assert set(frame["budget"]) == {steps}
    assert frame["val/loss"].iloc[-1] < frame["val/loss"].iloc[0] / 2
    # WSD: constant between the warmup and the last fifth of what follows it, then down.
    peak = 0.1 if name == "lightning_module" else 0.001
    lr = frame.set_index("step")["lr"]
    assert lr[steps // 2] == pytest.approx(peak)
    assert lr[steps] < peak / 5
