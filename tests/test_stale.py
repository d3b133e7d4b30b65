"""What is shown is what was run: changed code or data, and another manner of training, never pass as old numbers."""

import json
import re
import sys
from contextlib import ExitStack

import numpy as np
import pandas as pd
import pytest

from lrbench.cli import main
from lrbench.config.plan import plan_of
from lrbench.launch import Link
from lrbench.runs import grid_lock, loading, worker
from lrbench.runs.code import code_digest, code_facts
from lrbench.runs.compose import compose_plans
from lrbench.runs.finished import Recorded
from lrbench.runs.groups import groups_left
from lrbench.runs.jobs import changed
from lrbench.runs.loading import load_data
from lrbench.runs.own_sources import source_digests
from lrbench.runs.session import Session
from lrbench.runs.train import train
from lrbench.tracking.facts import read_facts
from lrbench.tracking.find import is_finished
from lrbench.tracking.read import assemble
from lrbench.tracking.tables import Points, Tables

NET = """
from torch import nn
class Net(nn.Sequential):
    def __init__(self, num_outputs):
        super().__init__(nn.Flatten(), nn.Linear(64, num_outputs))
"""
DEEPER = NET.replace("nn.Linear(64, num_outputs)", "nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, num_outputs)")
TABLE = """
import csv, pathlib, torch
from lrbench.data import Split, Splits
from lrbench.spec import Task
class Table:
    task, input_shape, num_outputs, num_train, max_epochs = Task.CLASSIFICATION, (2,), 2, 8, None
    def __init__(self, file: str):
        self.file = file
    def check(self):
        pass
    def load(self):
        rows = [[float(cell) for cell in row] for row in csv.reader(pathlib.Path(self.file).open())]
        inputs, targets = torch.tensor([row[:2] for row in rows]), torch.tensor([int(row[2]) for row in rows])
        return Splits(Split(inputs[:8], targets[:8]), Split(inputs[8:], targets[8:]), Split(inputs[8:], targets[8:]),
                      None, digest="always the same")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory; modules that are found in it are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("LRBENCH_CACHE_DIR", str(tmp_path / "cache"))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def plan_with(*words):
    (plan,) = compose_plans(["tracking=none", "budget=steps", "budget.steps=4", *words])
    return plan


def own_model(module):
    return ["model=own/custom", f"model._target_={module}.Net", "model.name=net", f"trusted_modules=[{module}]"]


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


OUTCOME = "artifacts/outcome.json"


def runs(folder):
    return sorted((folder / "results" / "runs").iterdir())


def test_the_sources_of_a_part_are_the_files_that_importing_it_executes(folder):
    write(
        folder,
        {
            "own_a/__init__.py": "",
            "own_a/nets.py": "import math, numpy\nfrom . import layers\nfrom own_b import block as b\n",
            "own_a/layers.py": "from .deep.er import x\n",
            "own_a/deep/er.py": "def f():\n    import own_c\n",
            "own_a/unused.py": "",
            "own_b/__init__.py": "",
            "own_b/block.py": "from own_a.nets import Net",
            "own_c.py": "this is no Python",
            "own_d.py": "",
        },
    )
    found = source_digests(["own_a.nets.Net"])
    assert sorted(found) == [
        "own_a/__init__.py", "own_a/deep/er.py", "own_a/layers.py", "own_a/nets.py", "own_b/__init__.py",
        "own_b/block.py", "own_c.py",
    ]  # fmt: skip
    write(folder, {"own_a/unused.py": "x = 1"})
    assert source_digests(["own_a.nets.Net"]) == found
    write(folder, {"own_c.py": "def corrected(): ..."})
    changed = source_digests(["own_a.nets.Net"])
    assert [name for name in found if changed[name] != found[name]] == ["own_c.py"]
    assert source_digests(["absent.Net", "sys.path"]) == {}


def test_of_an_installed_package_all_sources_count_and_of_unnamed_modules_none(folder):
    assert "yaml/loader.py" in source_digests(["yaml.dump"])
    write(folder, {"own_e.py": NET})
    values = plan_with("trusted_modules=[own_e]").values
    assert code_facts(values).keys() == {"code"}, "no part of the run is from there"


def test_a_finished_run_is_recognised_under_the_same_code_and_data_only(folder):
    write(folder, {"own_f.py": NET})
    plan = plan_with(*own_model("own_f"))
    (result,) = train([plan], tracking_uri="")
    recorded = Recorded(lambda _: pytest.fail("what lrbench makes or verifies itself need not be read"))
    known = recorded.find(plan)
    assert known.record == result.record
    assert known.curve == result.curve
    assert recorded.news() == []

    write(folder, {"own_f.py": DEEPER})
    assert recorded.find(plan) is None
    assert recorded.news() == ["1 finished run is trained anew: their code changed since"]


def test_a_process_records_the_code_that_it_imported_whatever_became_of_the_file(folder):
    write(folder, {"own_g.py": NET})
    plan = plan_with(*own_model("own_g"))
    (first,) = train([plan], tracking_uri="")
    write(folder, {"own_g.py": DEEPER})
    (second,) = train([plan], tracking_uri="")
    tags = [read_facts(result.record).tags["code"] for result in (first, second)]
    assert tags[0] == tags[1] != code_digest(plan.values)


def test_the_data_that_were_read_count_whatever_a_dataset_says_of_itself(folder):
    rows = [f"{i},{i * i},{i % 2}" for i in range(12)]
    write(folder, {"own_h.py": TABLE, "points.csv": "\n".join(rows)})
    dataset = {"_target_": "own_h.Table", "name": "table", "file": str(folder / "points.csv")}
    values = changed(
        plan_with("model=linear", "training.batch_size=4").values, {"dataset": dataset, "trusted_modules": ["own_h"]}
    )
    digests = []
    for last in ("11,121,1", "11,121,1", "11,121,0"):
        write(folder, {"points.csv": "\n".join([*rows[:-1], last])})
        loading._load.cache_clear()  # as in another process
        digests.append(load_data(plan_of(values)).digest)
    assert digests[0] == digests[1] != digests[2]

    plan = plan_of(values)
    (result,) = train([plan], tracking_uri="")
    assert Recorded(lambda _: digests[2]).find(plan).record == result.record
    recorded = Recorded(lambda _: digests[0])
    assert recorded.find(plan) is None
    assert recorded.news() == ["1 finished run is trained anew: their data changed since"]


def interrupted(plans):
    """Train plans up to their first evaluation; their records wait for the same command."""
    results = train(plans, tracking_uri="", stop=lambda: True)
    assert all(result.stopped for result in results)
    return [result.record for result in results]


def test_an_interrupted_run_is_resumed_in_the_same_manner_only(folder):
    plans = [plan_with(f"optimizer.lr={lr}") for lr in (0.1, 0.2, 0.3)]
    told = []
    assert interrupted(plans[:2]) == interrupted(plans[:2]), "the same stack goes on"
    stacked = runs(folder)
    assert len(stacked) == 2
    for together in (plans[:1], plans):
        for result in train(together, tracking_uri="", say=told.append):
            assert result.record not in stacked
    assert not any(map(is_finished, stacked))
    assert "cosine-s0 is begun anew: learner, stacked changed since" in told[0]
    assert any("anew: stacked, stack changed since" in text for text in told)


def test_a_stack_that_was_killed_between_the_ends_of_its_members_ends_as_an_unbroken_one(folder):
    plans = [plan_with(f"optimizer.lr={lr}", "training.learner=fused") for lr in (0.1, 0.2, 0.3)]
    records = [result.record for result in train(plans, tracking_uri="")]
    journals, outcomes = ([(r / name).read_text() for r in records] for name in ("journal.jsonl", OUTCOME))
    (records[1] / "journal.jsonl").write_text("".join(journals[1].splitlines(keepends=True)[:-1]))
    (records[1] / OUTCOME).unlink()

    recorded = Recorded(lambda _: "")
    found = {index for index, plan in enumerate(plans) if recorded.find(plan) is not None}
    assert found == {0, 2}
    (group,) = groups_left(dict(enumerate(plans)), found, 1, lambda i, stack: recorded.began_in(plans[i], stack))
    assert group.indices == (0, 1, 2)
    said = []
    worker.train_group(([plan.values for plan in plans], "", [0, 2]), Link(said.append, lambda: False))
    ends = [body for what, body in said if what == "end"]
    assert [(position, result.record) for position, result in ends] == [(1, records[1])]
    assert (
        json.loads((records[1] / OUTCOME).read_text())["weights_sha256"] == (json.loads(outcomes[1])["weights_sha256"])
    )
    assert [(r / "journal.jsonl").read_text() for r in records[::2]] == journals[::2]
    assert runs(folder) == sorted(records)


@pytest.mark.parametrize("what", ["code", "data"])
def test_an_interrupted_run_of_other_code_or_data_is_begun_anew(folder, monkeypatch, what):
    plan, told = plan_with(), []
    (record,) = interrupted([plan])
    if what == "code":
        monkeypatch.setattr("lrbench.runs.record_of_run.imported_code_digest", lambda _: "other code")
    else:
        splits = load_data(plan)
        object.__setattr__(splits, "digest", "0" * 64)
    (result,) = train([plan], tracking_uri="", say=told.append)
    assert told == [f"cosine-s0 is begun anew: {what} changed since {record.name} was interrupted"]
    assert result.record != record
    loading._load.cache_clear()


def test_what_one_command_trains_another_one_refuses(folder, monkeypatch):
    monkeypatch.setattr(grid_lock, "_SECONDS_TO_END", 0.0)
    plans = [plan_with(f"optimizer.lr={lr}") for lr in (0.1, 0.2)]
    with grid_lock.held(plans):
        assert f"another command is training cosine-s0 in {folder}/results" in refused(plans[::-1])
    with grid_lock.held(plans):
        pass
    # A single run too, and what overlaps is refused once the run that both have is under way.
    with grid_lock.held(plans[:1]), pytest.raises(ValueError, match="another command is training cosine-s0"):
        Session().train(plans[0])
    seen = []
    train(plans[:1], tracking_uri="", on_progress=lambda *_: seen or seen.append(refused(plans)))
    assert "another command is training cosine-s0" in seen[0]
    shared = [plan_of(changed(plan.values, {"study.name": "a study"})) for plan in plans]
    with grid_lock.held(shared), grid_lock.held(shared):
        pass


def refused(plans):
    with pytest.raises(ValueError) as refusal, ExitStack() as stack:  # noqa: PT011
        stack.enter_context(grid_lock.held(plans))
    return str(refusal.value)


def tables(**runs):
    """What MLflow holds of runs, each one evaluation: name -> (status, start, tags)."""
    tags = [(name, key, value) for name, (_, _, tags) in runs.items() for key, value in tags.items()]
    facts = [(name, name, "e", status, start) for name, (status, start, _) in runs.items()]
    return Tables(
        runs=pd.DataFrame(facts, columns=["run_id", "run_name", "experiment", "status", "start_time"]),
        tags=pd.DataFrame(tags, columns=["run_id", "key", "value"]),
        params=pd.DataFrame([], columns=["run_id", "key", "value"]),
        points={"val/loss": Points(np.arange(len(runs)), np.zeros(len(runs), int), np.ones(len(runs)))},
    )


def test_of_a_run_that_was_begun_anew_the_newest_is_compared_and_no_range_test_ever():
    def tags(fingerprint, code="c", role="run", **others):
        return {"fingerprint": fingerprint, "code": code, "role": role, **others}

    held = tables(
        of_old_code=("FINISHED", 1, tags("f1", code="old")),
        of_old_data=("FINISHED", 1, tags("f1", data="old")),
        of_new_code=("FINISHED", 2, tags("f1", data="d")),
        twice=("FINISHED", 3, tags("f1", data="d")),
        killed=("KILLED", 1, tags("f2")),
        done=("FINISHED", 1, tags("f2")),
        only_killed=("KILLED", 1, tags("f3")),
        by_hand=("FINISHED", 1, {"role": "run"}),
        swept=("FINISHED", 1, tags("f4", role="range_test")),
        summed=("FINISHED", 1, tags("f5", role="study")),
    )
    frame = assemble(held, tags={})
    assert set(frame["run_id"]) == {"of_new_code", "twice", "done", "only_killed", "by_hand"}
    assert frame.attrs["num_superseded"] == 3
    assert set(assemble(held, tags={"code": "old"})["run_id"]) == {"of_old_code"}
    assert set(assemble(held, tags={"role": "range_test"})["run_id"]) == {"swept"}
    asked = assemble(held, tags={}, run_ids=["of_old_code", "killed"])
    assert set(asked["run_id"]) == {"of_old_code", "killed"}


@pytest.mark.slow
def test_a_changed_model_is_trained_anew_and_a_study_of_it_refuses(folder, capfd):
    write(folder, {"own_i.py": NET})
    grid = ["-m", *own_model("own_i"), "seed=0,1", "tracking=none", "budget.epochs=1"]
    study = ["-m", "hydra/sweeper=optuna", *own_model("own_i"), "tracking=none", "budget.epochs=1"]
    study += ["scheduler=constant", "hydra.sweeper.num_trials=1", "hydra.sweeper.final_seeds=1", "results_dir=tuned"]
    assert main(grid) == main(study) == 0
    capfd.readouterr()
    assert main(grid) == 0
    assert len(runs(folder)) == 2, "recognised"
    assert "anew" not in capfd.readouterr().err
    write(folder, {"own_i.py": DEEPER})
    assert main(grid) == 0
    assert "2 finished runs are trained anew: their code changed since" in capfd.readouterr().err
    assert len(runs(folder)) == 4
    assert main(study) == 1
    said = capfd.readouterr().err
    assert re.search(r"sources\.own_i\.py: [0-9a-f]{16} -> [0-9a-f]{16}", said)
    assert "hydra.sweeper.force_new_study=true" in said


@pytest.mark.slow
def test_a_changed_table_behind_an_own_dataset_is_trained_on_anew(folder, capfd):
    rows = [f"{i},{i * i},{i % 2}" for i in range(12)]
    write(folder, {"own_j.py": TABLE, "points.csv": "\n".join(rows)})
    dropped = ["~dataset.test_fraction", "~dataset.validation_fraction", "~dataset.augmentation", "~dataset.cache_dir"]
    words = ["-m", "dataset._target_=own_j.Table", "dataset.name=table", f"+dataset.file={folder}/points.csv", *dropped]
    words += ["trusted_modules=[own_j]", "model=linear", "training.batch_size=4", "tracking=none", "seed=0,1"]
    words += ["budget=steps", "budget.steps=4"]
    for _ in range(2):
        assert main(words) == 0
        assert "anew" not in capfd.readouterr().err
        assert len(runs(folder)) == 2
    write(folder, {"points.csv": "\n".join([*rows[:-1], "11,121,0"])})
    assert main(words) == 0
    assert "2 finished runs are trained anew: their data changed since" in capfd.readouterr().err
    assert len(runs(folder)) == 4
