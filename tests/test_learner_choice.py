"""Which learner is taken, and that asking changes nothing."""

import dataclasses
import threading

import pytest
import torch
from test_branches import data, make  # noqa: F401  # a fixture

from lrbench.runs import learner_choice
from lrbench.runs.compose import compose_plans
from lrbench.runs.learner_cache import remembered_choice
from lrbench.runs.learner_choice import Choice, choose_learner
from lrbench.schedules import cosine
from lrbench.trials import Trial, Workload, data_on


@pytest.fixture
def workload(data, monkeypatch):  # noqa: F811
    """Workload and trial that `make` of test_branches trains."""
    seen = {}

    def catch(workload, trials, *, seed):
        seen["workload"], seen["trial"] = workload, trials[0]

    monkeypatch.setattr("test_branches.build_training", catch)
    make(data, 40, cosine)
    return seen["workload"], seen["trial"]


class Timed:
    """A learner that takes `cost` seconds for a trial's steps on a clock of its own, and once much longer."""

    now = 0.0

    def __init__(self, num_trials, cost):
        self.num_trials, self._costs = num_trials, iter([99.0, cost, 50.0, cost, cost, cost])

    def advance(self, batches, trials, lr, momentum):
        Timed.now += next(self._costs) * self.num_trials
        return torch.zeros(1)


@pytest.mark.parametrize(("alone", "together", "learner"), [(2.0, 1.0, "fused"), (1.0, 2.0, "sequential")])
def test_the_faster_one_is_taken(workload, monkeypatch, alone, together, learner):
    built, trial = workload

    def build(workload, trials, splits, *, seed, learner):
        return Timed(len(trials), together if learner == "fused" else alone)

    monkeypatch.setattr(learner_choice, "build_learner", build)
    monkeypatch.setattr(learner_choice.time, "perf_counter", lambda: Timed.now)
    choice = choose_learner(built, [trial] * 3, data_on(built), seed=0)
    assert choice.learner == learner
    assert f"{alone / together:.2g} times" in choice.reason
    assert "3 trials" in choice.reason


def test_workers_that_ask_at_once_take_the_same_one(tmp_path):
    plans, both_ask, found = compose_plans(["seed=0,1"]), threading.Barrier(2), []
    measured = iter([Choice("fused", "a hair faster"), Choice("sequential", "a hair faster")])

    def ask():
        both_ask.wait(10)
        found.append(remembered_choice(tmp_path, plans, {}, lambda: next(measured)))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [choice.learner for choice in found] == ["fused"] * 2
    assert remembered_choice(tmp_path, plans, {"threads": "2"}, lambda: next(measured)).learner == "sequential"


def test_measuring_leaves_random_numbers_as_they_were(workload):
    built, trial = workload
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    choose_learner(built, [trial] * 2, data_on(built), seed=0)
    assert torch.equal(torch.rand(3), expected)


def test_one_trial_is_not_measured(workload):
    built, trial = workload
    assert choose_learner(built, [trial], data_on(built), seed=0).learner == "sequential"


def test_what_cannot_be_stacked_is_trained_one_by_one(workload):
    built, trial = workload
    rmsprop = dataclasses.replace(trial, make_optimizer=lambda parameters: torch.optim.RMSprop(parameters, lr=0.1))
    choice = choose_learner(built, [rmsprop] * 2, data_on(built), seed=0)
    assert choice.learner == "sequential"
    assert "cannot be stacked" in choice.reason
    assert isinstance(built, Workload)
    assert isinstance(trial, Trial)
