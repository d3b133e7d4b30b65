"""Which jobs train as one task."""

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st

from lrbench.config import CONFIG_DIR, make_plan, register_schema
from lrbench.runs.groups import Group, cut, groups_left, make_groups, shared_steps, stack_id


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
    "other",
    [
        "seed=1",
        "training.average=tail",
        "model.hidden=[16]",
        "dataset=mnist1d",
        "optimizer=adamw",
        "budget.epochs=3",
        "threads=2",
    ],
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


LONG = Group(tuple(range(20)), "train_one_by_one")


@pytest.mark.parametrize(
    ("num_left", "num_workers", "job_seconds", "size"),
    [
        (80, 2, None, 20),  # nothing is known yet
        (80, 2, 6.0, 20),  # there is enough for all
        (40, 2, 6.0, 10),
        (20, 2, 6.0, 5),
        (20, 4, 6.0, 3),
        (20, 4, 60.0, 3),
        (20, 4, 1.0, 10),  # ten seconds are worth no smaller stacks
        (20, 4, 0.01, 20),
    ],
)
def test_groups_get_smaller_towards_the_end_of_long_work(num_left, num_workers, job_seconds, size):
    now, rest = cut(LONG, num_left=num_left, num_workers=num_workers, job_seconds=job_seconds)
    assert len(now.indices) == size
    assert now.indices + (rest.indices if rest else ()) == LONG.indices
    assert (rest is None) == (size == 20)


@pytest.mark.parametrize("function", ["train_group", "train_at_budgets"])
def test_what_may_train_as_one_is_not_cut_by_a_clock(function):
    group = Group((0, 1, 2), function)
    assert cut(group, num_left=3, num_workers=4, job_seconds=100.0) == (group, None)


def test_a_sweep_that_goes_on_has_the_stacks_of_an_unbroken_one():
    plans = dict(enumerate(plan(f"optimizer.lr=0.{i}", f"seed={seed}") for seed in (0, 1) for i in range(1, 7)))
    unbroken = make_groups(plans, 2)
    assert members(unbroken) == [(0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11)]
    assert groups_left(plans, (), 2) == unbroken
    assert members(groups_left(plans, {0, 1, 2, 9, 10, 11}, 2)) == [(3, 4, 5), (6, 7, 8)]
    # Members of stacks that have finished at another time need none of them; small stacks are slow.
    finished = {0, 4, 5, 6, 7, 8, 9, 10, 11}
    assert members(groups_left(plans, finished, 1)) == [(1, 2, 3)]
    of_two = stack_id([plans[index] for index in (0, 1, 2)])
    assert members(groups_left(plans, finished, 2, lambda index, stack: (index, stack) == (1, of_two))) == [
        (0, 1, 2),
        (3,),
    ]
    assert groups_left(plans, set(plans), 2) == []


@given(
    num_workers=st.integers(1, 16),
    job_seconds=st.lists(st.floats(1.0, 2.0), min_size=1, max_size=6),
    scale=st.floats(0.01, 100.0),
    size=st.integers(1, 32),
)
def test_no_worker_waits_long_for_the_last(num_workers, job_seconds, scale, size):
    """Hand out groups whose jobs take up to twice as long as others', on a clock of its own."""
    jobs = Group(tuple(range(size)), "train_one_by_one")
    waiting = [(jobs, scale * job_seconds[i % len(job_seconds)]) for i in range(4 * num_workers)]
    free_at, tasks = [0.0] * num_workers, []  # tasks: when they end, seconds a job
    while waiting:
        worker = min(range(num_workers), key=free_at.__getitem__)
        ended = sorted(task for task in tasks if task[0] <= free_at[worker])
        num_left = sum(len(group.indices) for group, _ in waiting)
        (group, seconds), *waiting = waiting
        known = ended[-1][1] if ended else None
        now, rest = cut(group, num_left=num_left, num_workers=num_workers, job_seconds=known)
        if rest:
            waiting.insert(0, (rest, seconds))
        free_at[worker] += len(now.indices) * seconds
        tasks.append((free_at[worker], seconds))
    slowest = scale * max(job_seconds)
    # Ten seconds by the speed of others are up to twenty, and a job is the least there is.
    assert max(free_at) - min(free_at) <= 20.0 + 2 * slowest


def test_an_average_is_a_contestant_of_the_same_workload():
    last, tail = plan("scheduler=constant"), plan("scheduler=constant", "training.average=tail")
    assert (last.workload, last.run_name) == (tail.workload, "constant-s0")
    assert tail.run_name == "constant+tail-s0"
    assert last.fingerprint != tail.fingerprint
    jobs = [["scheduler=wsd", "training.average=tail", f"budget.epochs={epochs}"] for epochs in (5, 20)]
    assert all(group.function != "train_at_budgets" for group in grouped(*jobs))  # each has its own tail
