"""The protocol of a sweep in this process, with trainings that are made up."""

import dataclasses

import pytest
from optuna.trial import TrialState

from lrbench.runs.compose import compose_plans
from lrbench.runs.result import Result
from lrbench.search.space import read_space
from lrbench.search.storage import open_storage
from lrbench.spec import RunState
from lrbench.studies import trials
from lrbench.studies.contestants import Contestant
from lrbench.studies.protocol import Surroundings, run_sweep
from lrbench.studies.sweeper import read_settings
from lrbench.studies.trials import tell

SETTINGS = {
    "num_trials": 3, "sampler": "random", "seed": 0, "at_once": None, "final_seeds": 2, "budgets": [1.0],
    "retune": False, "objectives": ["final"], "prune_share": None, "prune_from": 0.5, "storage": None,
    "force_new_study": False, "shared": False, "stale_seconds": 60.0, "report": True,
    "looks": [5, 10, 20], "alpha": 0.05, "margin": 0.1, "reference": None,
}  # fmt: skip


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Run a sweep of one schedule whose trainings are what a function says of (role, trial, seed)."""
    monkeypatch.chdir(tmp_path)
    (plan,) = compose_plans(["scheduler=constant", "tracking=none", "budget=steps", "budget.steps=4"])
    space = read_space(plan.values, fixed={}, ranges={})
    said = []

    def run(outcome, names=("digits/constant",), **settings):
        contestants = [Contestant(name, (), plan.values, {}, plan, space, seeds=(0,)) for name in names]

        def train(jobs):
            run.asked.append([(j.values["study"]["name"], j.values["study"]["trial"]) for j in jobs])
            return [outcome(j.values["study"]["role"], j.values["study"]["trial"], j.values["seed"]) for j in jobs]

        world = Surroundings(train, lambda _: None, "", lambda: DataOf("digest"), said.append)
        run_sweep(contestants, read_settings(SETTINGS | settings), world)
        return contestants[0]

    run.said, run.asked = said, []
    run.states = lambda: [
        trial.state for trial in open_storage(f"sqlite:///{tmp_path}/results/studies.db").get_all_trials(1)
    ]
    return run


class DataOf(dict):
    """The same digest for every dataset."""

    def __init__(self, digest):
        self.digest = digest

    def __getitem__(self, key):
        return self.digest


def trained(role, trial, seed):
    curve = {0: 0.1, 4: 0.5 + trial / 10 + seed / 1e6}
    return Result("constant-s0", state=RunState.OK, curve=curve, found={"test/accuracy": curve[4], "steps": 4})


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ChildProcessError("killed, twice")])
def test_a_trial_that_the_machine_lost_is_open_again_at_the_next_call(sweep, error):
    def fails(role, trial, seed):
        return Result("constant-s0", error=error) if trial == 1 else trained(role, trial, seed)

    with pytest.raises(
        ValueError, match=f"1 of 3 runs were lost to the machine, such as constant-s0: .*{error.args[-1]}"
    ):
        sweep(fails)
    assert sweep.states() == [TrialState.COMPLETE, TrialState.RUNNING, TrialState.COMPLETE]
    asked = []
    contestant = sweep(lambda *job: asked.append(job) or trained(*job))
    assert asked == [("tuning", 1, 0), ("final", 2, 1000), ("final", 2, 1001)]
    assert sweep.states() == [TrialState.COMPLETE] * 3
    assert len(contestant.finals) == 2


def test_what_trains_together_does_not_depend_on_kills(sweep, monkeypatch, tmp_path):
    """Killed between two trials of a batch that are told, a sweep asks for all of the batch, and for no later one."""
    told = []

    def tell_once(contestant, trial, *others):
        told.append(1)
        if len(told) % 2 == 0:
            raise KeyboardInterrupt
        tell(contestant, trial, *others)

    def recorded(role, trial, seed):
        (tmp_path / "results/runs/a-run").mkdir(parents=True, exist_ok=True)
        return dataclasses.replace(trained(role, trial, seed), record=tmp_path / "results/runs/a-run")

    names, words = ["w/one", "w/two"], {"sampler": "tpe", "at_once": 1}
    monkeypatch.setattr(trials, "tell", tell_once)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            sweep(recorded, names, **words)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    sweep(recorded, names, **words)
    assert sweep.asked[:-1] == [[("w/one", number), ("w/two", number)] for number in (0, 0, 1, 1, 1, 2)]


def test_a_final_that_the_machine_lost_is_trained_by_the_next_call(sweep):
    def fails(role, trial, seed):
        return Result("constant-s0", error=OSError("disk full")) if seed == 1001 else trained(role, trial, seed)

    with pytest.raises(ValueError, match="1 of 2 runs were lost to the machine"):
        sweep(fails)
    assert sweep.said[0].startswith("tuning 1 study: ")
    assert [result.error for result in sweep(trained).finals] == [None, None]


def test_a_trial_that_its_own_point_made_fail_is_a_result_and_no_finals_are_no_success(sweep):
    why = "no trial of digits/constant was completed, so it has no finals; the first failure: gamma is too large"
    with pytest.raises(ValueError, match=why):
        sweep(lambda *_: Result("constant-s0", error=ValueError("gamma is too large")))
    assert sweep.states() == [TrialState.FAIL] * 3
    with pytest.raises(ValueError, match=why):
        sweep(trained)
