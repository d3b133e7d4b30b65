"""Which jobs train as one task."""

import pytest
from hydra import compose, initialize_config_dir

from lrbench.cli.groups import make_groups, shared_steps
from lrbench.config import CONFIG_DIR, make_plan, register_schema


def plan(*words):
    register_schema()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return make_plan(compose("config", overrides=list(words)))


def grouped(*jobs, num_workers=1):
    return make_groups(dict(enumerate(plan(*words) for words in jobs)), num_workers)


def members(groups):
    return sorted(group.indices for group in groups)


def test_jobs_that_differ_in_schedule_and_the_optimizers_numbers_are_together():
    groups = grouped(
        ["scheduler=cosine"],
        ["scheduler=step", "optimizer.lr=0.1", "optimizer.weight_decay=0.01"],
        ["scheduler=wsd", "warmup=linear"],
    )
    assert members(groups) == [(0, 1, 2)]


@pytest.mark.parametrize(
    "other", ["seed=1", "model.hidden=[16]", "dataset=mnist1d", "optimizer=adamw", "budget.epochs=3", "threads=2"]
)
def test_jobs_of_another_start_or_place_are_not(other):
    assert members(grouped(["scheduler=cosine"], ["scheduler=cosine", other])) == [(0,), (1,)]


def test_there_is_work_for_every_worker():
    jobs = [[f"optimizer.lr=0.{i}"] for i in range(1, 6)]
    assert [len(group.indices) for group in grouped(*jobs, num_workers=2)] == [3, 2]


def test_what_is_alike_stays_together_where_others_keep_the_workers_busy():
    jobs = [[f"optimizer.lr=0.{i}", f"seed={seed}"] for seed in range(8) for i in (1, 2)]
    assert [len(group.indices) for group in grouped(*jobs, num_workers=2)] == [2] * 8


def test_sequential_jobs_are_alone():
    words = ["training.learner=sequential"]
    assert members(grouped([*words, "scheduler=cosine"], [*words, "scheduler=step"])) == [(0,), (1,)]


def test_budgets_of_one_point_are_together_where_they_share_steps():
    jobs = [["scheduler=wsd", f"budget.epochs={epochs}"] for epochs in (5, 20, 10)]
    (group,) = grouped(*jobs)
    assert group.function == "train_at_budgets"
    assert sorted(group.indices) == [0, 1, 2]
    # Twenty epochs of seventeen steps hold their rate for four fifths of five: 68 steps, and one more.
    assert shared_steps(plan(*jobs[1]), plan(*jobs[0])) in (68, 69)


@pytest.mark.parametrize("words", [["scheduler=cosine"], ["scheduler=wsd", "warmup=linear"], ["scheduler=rex"]])
def test_budgets_that_share_no_steps_are_apart(words):
    groups = grouped([*words, "budget.epochs=5"], [*words, "budget.epochs=10"])
    assert members(groups) == [(0,), (1,)]
    assert {group.function for group in groups} == {"train_group"}
