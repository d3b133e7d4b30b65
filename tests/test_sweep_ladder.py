"""The ladder of base rates: the same for everyone, refined for each, and the same after any number of kills."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from lrbench.runs.compose import compose_plans
from lrbench.search.choice import FINALS, choose
from lrbench.search.ladder import FACTOR, ladder_point, rungs_of
from lrbench.search.space import RATE, Dimension, read_space
from lrbench.search.storage import open_storage
from lrbench.search.study import Search, TunedStudy
from lrbench.search.suggest import batch_start, visible_history

LR = Dimension(RATE, FloatDistribution(1e-3, 1.0, log=True), {}, 0.02)
GAMMA = Dimension("scheduler.gamma", FloatDistribution(0.1, 0.9), {}, 0.5)
MODE = Dimension("scheduler.mode", CategoricalDistribution(["a", "b"]), {}, "b")
POWER = Dimension("scheduler.power", IntDistribution(1, 9), {MODE.name: ("a",)}, 3)
SPACES = [(LR,), (LR, GAMMA), (LR, MODE, POWER), (LR, GAMMA, MODE, POWER)]


def loss_around(rate):
    return lambda params: abs(math.log(params[RATE] / rate))


def ladder(space, num_trials, objective, *, batch_size=2, minimize=True, seed=0):
    """Points of a study in which every trial finishes."""
    trials = []
    for number in range(num_trials):
        history = visible_history(trials, number=number, batch_size=batch_size, first_batch=5)
        params = ladder_point(space, seed=seed, number=number, minimize=minimize, history=history)
        distributions = {d.name: d.distribution for d in space if d.name in params}
        trial = create_trial(value=objective(params), params=params, distributions=distributions)
        trial.number = number
        trials.append(trial)
    return trials


def rates(trials):
    return [trial.params[RATE] for trial in trials]


def test_the_rungs_lie_around_the_usual_rate_and_are_tried_from_the_middle_outwards():
    assert rungs_of(LR) == pytest.approx([0.02, 0.02 * 10**0.5, 0.02 / 10**0.5, 0.2, 0.002], rel=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "usual", "expected"),
    [
        (1e-3, 1.0, 0.5, [0.01, 10**-1.5, 0.1, 10**-0.5, 1.0]),  # moved down until all fit
        (1e-3, 1.0, 1e-9, [0.001, 10**-2.5, 0.01, 10**-1.5, 0.1]),
        (1e-2, 0.16, 0.02, [0.01, 0.02, 0.04, 0.08, 0.16]),  # too short for the usual factor
        (1e-3, 1.0, None, [10**-2.5, 0.01, 10**-1.5, 0.1, 10**-0.5]),
    ],
)
def test_the_rungs_stay_in_the_range(low, high, usual, expected):
    rungs = rungs_of(Dimension(RATE, FloatDistribution(low, high, log=True), {}, usual))
    assert sorted(rungs) == pytest.approx(expected, rel=1e-5)
    assert low <= min(rungs) <= max(rungs) <= high


def test_rates_that_are_choices_are_the_rungs():
    choices = Dimension(RATE, CategoricalDistribution([0.3, 0.1, 0.01]), {}, 0.02)
    assert rungs_of(choices) == [0.1, 0.3, 0.01]
    trials = ladder((choices, GAMMA), 6, loss_around(0.3))
    assert rates(trials) == [0.1, 0.3, 0.01, 0.1, 0.1, 0.3]  # the first batch of five sees no result


def test_a_range_from_zero_is_refused():
    with pytest.raises(ValueError, match=r"optimizer\.lr: a ladder of rates needs a range above 0, got 0.0 to 1.0"):
        rungs_of(Dimension(RATE, FloatDistribution(0.0, 1.0), {}, 0.02))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop", "schedule_free_sgd", "schedule_free_adamw"])
def test_every_schedule_has_the_rungs_around_the_rate_in_the_optimizers_file(optimizer):
    words = [f"optimizer={optimizer}", "budget=steps", "budget.steps=4"]
    plans = [compose_plans([*words, f"scheduler={name}"])[0] for name in ("constant", "step", "one_cycle")]
    offered = [rungs_of(read_space(plan.values, fixed={}, ranges={})[0]) for plan in plans]
    assert offered[0] == offered[1] == offered[2]
    usual = plans[0].values["optimizer"]["lr"]
    assert sorted(offered[0]) == pytest.approx([usual * FACTOR**k for k in range(-2, 3)], rel=1e-5)


@given(
    space=st.sampled_from(SPACES),
    best=st.floats(1e-4, 10.0),
    num_trials=st.integers(1, 24),
    batch_size=st.integers(1, 6),
    minimize=st.booleans(),
    seed=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_same_rungs_no_rate_twice_in_range_and_interior_optimum(space, best, num_trials, batch_size, minimize, seed):
    far = loss_around(best)
    trials = ladder(
        space, num_trials, far if minimize else lambda p: -far(p), batch_size=batch_size, minimize=minimize, seed=seed
    )
    assert len(trials) == num_trials
    assert rates(trials)[:5] == rungs_of(LR)[:num_trials]
    for trial in trials[:5]:
        assert {k: v for k, v in trial.params.items() if k != RATE} == {
            d.name: d.default for d in space if d not in (LR, POWER)
        }
    refined = [t for t in trials if t.number < 5 or len(space) == 1 or (t.number - 5) % 2 == 0]
    assert len(set(rates(refined))) == len(refined), "a rate twice"
    assert all(1e-3 <= rate <= 1.0 for rate in rates(trials))
    if len(refined) >= 5 + 2 + batch_size:
        tried = sorted(rates(refined))
        winner = min(refined, key=lambda t: far(t.params)).params[RATE]
        assert tried[0] < winner < tried[-1] or winner in (1e-3, 1.0), "an edge that wins is extended"
    further = [tuple(sorted(t.params.items())) for t in trials if t not in refined]
    assert len(set(further)) >= min(len(further), 1)


def test_the_gap_around_the_best_rung_is_halved_and_an_edge_that_wins_gets_a_rung():
    inside = rates(ladder((LR,), 9, loss_around(0.03)))
    assert inside[5:7] == pytest.approx([0.02 * 10**0.25, 0.02 / 10**0.25], rel=1e-5)
    assert inside[7:] == pytest.approx([0.02 * 10**0.375, 0.02 * 10**0.125], rel=1e-5)  # .0356 is the best now
    edge = rates(ladder((LR,), 9, loss_around(0.9)))
    assert edge[5] == pytest.approx(0.2 * 10**0.5, rel=1e-5)
    assert edge[7] == 1.0, "the end of the range"
    assert ladder((LR,), 12, loss_around(0.9))[-1].params[RATE] not in edge


def test_further_parameters_are_searched_at_the_best_rung_and_follow_from_the_seed_alone():
    trials = ladder((LR, GAMMA), 11, loss_around(0.0063))
    further = [trial for trial in trials if trial.params[GAMMA.name] != 0.5]
    assert [trial.number for trial in further] == [6, 8, 10]
    assert further[0].params[RATE] == pytest.approx(0.02 / 10**0.5, rel=1e-5)
    assert len({trial.params[GAMMA.name] for trial in further}) == 3
    other = [t for t in ladder((LR, GAMMA), 11, loss_around(0.2)) if t.params[GAMMA.name] != 0.5]
    assert [t.params[GAMMA.name] for t in other] == [t.params[GAMMA.name] for t in further]


def test_without_a_rate_the_defaults_come_first():
    points = [ladder_point((GAMMA,), seed=0, number=n, minimize=True, history=[]) for n in range(4)]
    assert points[0] == {GAMMA.name: 0.5}
    assert len({point[GAMMA.name] for point in points}) == 4
    assert ladder_point((), seed=0, number=3, minimize=True, history=[]) == {}


def test_a_rate_that_failed_is_not_tried_again():
    trials = ladder((LR,), 6, loss_around(0.9))
    trials[5] = create_trial(state=TrialState.FAIL, params=trials[5].params, distributions=trials[5].distributions)
    trials[5].number = 5
    history = visible_history(trials, number=6, batch_size=1, first_batch=5)
    point = ladder_point((LR,), seed=0, number=6, minimize=True, history=history)
    assert point[RATE] not in rates(trials)


def tuned(url, name, num_trials=12):
    return TunedStudy(
        open_storage(url), name, space=(LR, GAMMA), search=Search(num_trials, "ladder", 0, None),
        directions=["minimize"], document={"space": {}}, force_new=False,
    )  # fmt: skip


def objective(params):
    return loss_around(0.11)(params) + (params[GAMMA.name] - 0.4) ** 2


def tell(study, trial):
    study.finish(trial, values=[objective(trial.params)], end="complete", curve={}, notes={})


def next_batch(study):
    start = study.next_start()
    return [] if start is None else [trial for trial in study.batch(start) if not trial.state.is_finished()]


def points(study):
    return {trial.user_attrs.get("slot", trial.number): trial.params for trial in study.trials}


def test_a_study_resumed_at_any_point_and_a_shared_one_have_the_points_of_an_unbroken_one(tmp_path):
    url = f"sqlite:///{tmp_path}/studies.db"
    unbroken = tuned(url, "unbroken")
    while batch := next_batch(unbroken):
        for trial in batch:
            tell(unbroken, trial)
    assert len(unbroken.trials) == 12

    while True:  # every process tells one trial, the last of its batch first, and is gone
        broken = tuned(url, "broken")
        batch = next_batch(broken)
        if not batch:
            break
        tell(broken, batch[-1])
    assert points(broken) == points(unbroken)

    first, second = tuned(url, "shared"), tuned(url, "shared")
    for start in sorted({first.batch_start(n) for n in range(12)}):
        slots = [n for n in range(12) if first.batch_start(n) == start]
        taken = [study.take(n) for n, study in zip(reversed(slots), [first, second] * 6, strict=False)]
        for trial in taken:
            tell(first, trial)
    assert points(first) == points(unbroken)


def test_more_trials_later_do_not_move_the_earlier_points(tmp_path):
    url = f"sqlite:///{tmp_path}/studies.db"
    for num_trials in (3, 8, 12):
        study = tuned(url, "grown", num_trials)
        while batch := next_batch(study):
            for trial in batch:
                tell(study, trial)
        assert len(study.trials) == num_trials
    grown = points(study)
    assert list(grown.values())[:5] == [{RATE: rate, GAMMA.name: 0.5} for rate in rungs_of(LR)]
    assert [batch_start(n, batch_size=2, first_batch=5) for n in range(9)] == [0] * 5 + [5, 5, 7, 7]


def judged(rate, costs, gamma=0.5):
    params = {RATE: rate, GAMMA.name: gamma}
    return create_trial(
        value=sum(costs) / len(costs), params=params, user_attrs={FINALS: costs},
        distributions={RATE: LR.distribution, GAMMA.name: GAMMA.distribution},
    )  # fmt: skip


def chosen(trials, minimize=True):
    best = min(trials, key=lambda t: t.value if minimize else -t.value)
    return choose((LR, GAMMA), trials, best, minimize=minimize).point


def test_the_chosen_rate_is_the_lowest_point_of_the_curve_through_the_rungs():
    def cost(rate):
        return math.exp(-3 + math.log(rate / 0.025) ** 2)

    trials = [judged(rate, [cost(rate), 2 * cost(rate)]) for rate in rungs_of(LR)]
    assert chosen(trials) == {RATE: pytest.approx(0.025, rel=1e-5), GAMMA.name: 0.5}
    shares = [judged(rate, [1 - cost(rate) / 1e4]) for rate in rungs_of(LR)]
    assert chosen(shares, minimize=False)[RATE] == pytest.approx(0.025, rel=1e-5)
    better = [*trials, judged(0.02, [1e-9, 1e-9], gamma=0.3)]
    assert chosen(better) == {RATE: pytest.approx(0.025, rel=1e-5), GAMMA.name: 0.3}, "of the best trial, at that rate"


def test_a_rate_that_diverges_does_not_drag_the_choice_away_from_the_best_rung():
    costs = {0.002: 0.4, 0.00632456: 0.2, 0.02: 0.1, 0.0632456: 0.05, 0.2: 1.0, 0.632456: 1.0}
    rate = chosen([judged(r, [c] * 3) for r, c in costs.items()])[RATE]
    assert 0.0632456 / 10**0.25 * 0.999 <= rate <= 0.0632456 * 10**0.25


def test_without_three_rates_or_logarithms_the_best_trial_is_chosen():
    two = [judged(0.02, [0.3]), judged(0.1, [0.2])]
    assert chosen(two) == {RATE: 0.1, GAMMA.name: 0.5}
    assert chosen([*two, judged(0.2, [-0.1])])[RATE] == 0.2
    assert chosen([judged(r, [1.0]) for r in (0.02, 0.1, 0.2)], minimize=False)[RATE] == 0.02, "no error anywhere"
    one_perfect = [judged(0.02, [0.9]), judged(0.0632456, [1.0, 0.98]), judged(0.2, [0.9])]
    assert chosen(one_perfect, minimize=False)[RATE] == pytest.approx(0.0632456, rel=1e-4)
