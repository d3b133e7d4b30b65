import logging
import math
import random
import sys
import warnings
from typing import get_args

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial
from scipy.stats import qmc

from lrbench.search.grid import grid_point, grid_size
from lrbench.search.points import quasi_random_point, random_point, value_at
from lrbench.search.ranges import contains
from lrbench.search.space import Dimension
from lrbench.search.suggest import SamplerName, suggest, uses_history, visible_history
from lrbench.spec import derived_seed

RATE = Dimension("optimizer.lr", FloatDistribution(1e-4, 1.0, log=True), {})
GAMMA = Dimension("scheduler.gamma", FloatDistribution(0.1, 0.9), {})
PLAIN = (RATE, GAMMA)
MODE = Dimension("scheduler.mode", CategoricalDistribution(["a", "b", "c"]), {})
END = Dimension("scheduler.end_ratio", FloatDistribution(0.01, 0.5, log=True), {MODE.name: ("b", "c")})
POWER = Dimension("scheduler.power", FloatDistribution(0.5, 2.0, step=0.5), {MODE.name: ("a",)})
CONDITIONAL = (RATE, END, MODE, POWER)


def loss(params):
    """Smooth, least (0) at lr = 0.01, gamma = 0.3."""
    return (math.log10(params[RATE.name]) + 2) ** 2 + 4 * (params[GAMMA.name] - 0.3) ** 2


def finished(suggestion, number, value):
    values = value if isinstance(value, list) else [value]
    trial = create_trial(
        values=values,
        params=suggestion.params,
        distributions=suggestion.distributions,
        system_attrs=suggestion.system_attrs,
    )
    trial.number = number
    return trial


def run(
    space, sampler, num_trials, *, seed=0, objective=loss, directions=("minimize",), batch_size=1, shares_rate=True
):
    """A study whose trials finish as soon as they are asked for; in batches, when the batch is complete."""
    trials = []
    for number in range(num_trials):
        suggestion = suggest(
            space,
            sampler=sampler,
            seed=seed,
            number=number,
            num_trials=num_trials,
            directions=directions,
            history=visible_history(trials, number=number, batch_size=batch_size),
            shares_rate=shares_rate,
        )
        trials.append(finished(suggestion, number, objective(suggestion.params)))
    return trials


def best(trials):
    return min(trial.value for trial in trials)


def params_of(trials):
    return [trial.params for trial in trials]


SHARES = [
    (FloatDistribution(0.1, 0.9), {0.0: 0.1, 0.5: 0.5, 0.75: 0.7}),
    (FloatDistribution(1e-4, 1.0, log=True), {0.0: 1e-4, 0.25: 1e-3, 0.5: 1e-2, 0.75: 0.1}),
    (FloatDistribution(0.1, 0.5, step=0.1), {0.0: 0.1, 0.19: 0.1, 0.2: 0.2, 0.41: 0.3, 0.999: 0.5}),
    (IntDistribution(1, 4), {0.0: 1, 0.24: 1, 0.25: 2, 0.5: 3, 0.99: 4}),
    (IntDistribution(2, 10, step=4), {0.0: 2, 0.34: 6, 0.67: 10, 0.99: 10}),
    # 1..3 share log(3.5 / 0.5): 1 gets log 3, 2 gets log 5/3, 3 gets log 7/5.
    (IntDistribution(1, 3, log=True), {0.0: 1, 0.564: 1, 0.565: 2, 0.827: 2, 0.828: 3, 0.999: 3}),
    (CategoricalDistribution(["a", None, 0.5]), {0.0: "a", 0.33: "a", 0.34: None, 0.67: 0.5, 0.99: 0.5}),
]


@pytest.mark.parametrize(("distribution", "table"), SHARES, ids=[str(d) for d, _ in SHARES])
def test_shares_of_a_distribution_are_the_values_worked_out_by_hand(distribution, table):
    for u, value in table.items():
        found = value_at(distribution, u)
        assert type(found) is type(value)
        assert found == (pytest.approx(value, rel=1e-12) if isinstance(value, float) and distribution else value)


def test_quasi_random_points_of_older_studies_are_the_sobol_sequence_of_the_seed():
    space = (RATE, GAMMA, MODE)
    sequence = qmc.Sobol(3, scramble=True, rng=derived_seed("suggestion", 7)).random(8)
    for number, (u, v, w) in enumerate(sequence):
        point = quasi_random_point(space, seed=7, number=number)
        assert point[RATE.name] == pytest.approx(10 ** (-4 + 4 * u), rel=1e-12)
        assert point[GAMMA.name] == pytest.approx(0.1 + 0.8 * v, rel=1e-12)
        assert point[MODE.name] == "abc"[int(3 * w)]


@pytest.mark.parametrize("sampler", ["qmc", "random", "tpe", pytest.param("gp", marks=pytest.mark.slow)])
def test_contestants_of_every_sampler_are_offered_the_same_rates(sampler):
    of_space = [run(space, sampler, 12, objective=lambda p: len(p)) for space in ((RATE,), PLAIN, CONDITIONAL)]
    rates = [[trial.params[RATE.name] for trial in trials] for trials in of_space]
    assert rates[0] == rates[1] == rates[2]
    assert len(set(rates[0])) == 12
    # Where all is equal to it, the Gaussian process may well choose a value again.
    assert len({trial.params[GAMMA.name] for trial in of_space[1]}) == 12 or sampler == "gp"


@pytest.mark.parametrize("seed", range(3))
def test_sixteen_points_at_shared_rates_have_one_in_each_cell_of_equal_size(seed):
    """A net: one point in every sixteenth, quarter by quarter and so on of the square, as an independent count says."""
    points = [quasi_random_point(PLAIN, seed=seed, number=number, shares_rate=True) for number in range(16)]
    unit = [((math.log10(p[RATE.name]) + 4) / 4, (p[GAMMA.name] - 0.1) / 0.8) for p in points]
    for columns in (1, 2, 4, 8, 16):
        assert len({(int(columns * u), int(16 // columns * v)) for u, v in unit}) == 16


@pytest.mark.parametrize("seed", range(3))
def test_sixteen_quasi_random_points_have_one_in_each_sixteenth_of_every_dimension(seed):
    points = [quasi_random_point(PLAIN, seed=seed, number=number) for number in range(16)]
    for name, share in (
        (RATE.name, lambda x: (math.log10(x) + 4) / 4),
        (GAMMA.name, lambda x: (x - 0.1) / 0.8),
    ):
        assert sorted(int(16 * share(point[name])) for point in points) == list(range(16))


def test_random_points_are_uniform_and_differ_by_seed_number_and_name():
    twin = Dimension("scheduler.delta", GAMMA.distribution, {})
    draws = np.array(
        [list(random_point((GAMMA, twin), seed=seed, number=n).values()) for seed in range(5) for n in range(80)]
    )
    assert len(np.unique(draws)) == draws.size
    counts, _ = np.histogram((draws - 0.1) / 0.8, bins=4, range=(0, 1))
    assert counts == pytest.approx(draws.size / 4, abs=4 * math.sqrt(draws.size * 3 / 16))
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.2


def test_another_dimension_does_not_move_a_random_value():
    for number in range(5):
        alone = random_point((GAMMA,), seed=0, number=number)
        assert random_point((RATE, GAMMA, MODE), seed=0, number=number)[GAMMA.name] == alone[GAMMA.name]


@st.composite
def spaces(draw):
    """Up to four dimensions of all kinds, some conditional on an earlier categorical one."""
    kinds = st.sampled_from(
        [
            FloatDistribution(-1.0, 2.0),
            FloatDistribution(1e-3, 10.0, log=True),
            FloatDistribution(0.0, 1.0, step=0.25),
            IntDistribution(0, 5),
            IntDistribution(1, 100, log=True),
            IntDistribution(3, 9, step=3),
            CategoricalDistribution(["x", "y", None]),
        ]
    )
    space = []
    for index, distribution in enumerate(draw(st.lists(kinds, min_size=1, max_size=4))):
        parents = [d for d in space if isinstance(d.distribution, CategoricalDistribution)]
        when = {draw(st.sampled_from(parents)).name: ("x", None)} if parents and draw(st.booleans()) else {}
        space.append(Dimension(f"scheduler.p{index}", distribution, when))
    return tuple(space)


def check_point(space, params, distributions):
    by_name = {dimension.name: dimension for dimension in space}
    assert params.keys() == distributions.keys()
    for name, dimension in by_name.items():
        active = all(other in params and params[other] in values for other, values in dimension.when.items())
        assert (name in params) == active
        if active:
            assert contains(dimension.distribution, params[name])
            assert distributions[name] == dimension.distribution


@given(space=spaces(), sampler=st.sampled_from(["qmc", "random", "tpe"]), seed=st.integers(0, 2**62))
@settings(max_examples=40, deadline=None)
def test_every_suggestion_is_in_range_has_its_active_dimensions_and_comes_again(space, sampler, seed):
    def objective(params):
        return sum(value for value in params.values() if isinstance(value, float | int))

    trials = run(space, sampler, 6, seed=seed, objective=objective)
    for trial in trials:
        check_point(space, trial.params, trial.distributions)
    assert params_of(run(space, sampler, 6, seed=seed, objective=objective)) == params_of(trials)


@given(order=st.permutations(range(14)))
@settings(max_examples=10, deadline=None)
def test_the_order_of_the_history_does_not_matter(order):
    trials = run(PLAIN, "tpe", 14)
    asked = {"sampler": "tpe", "seed": 0, "number": 14, "num_trials": 20, "directions": ["minimize"]}
    first = suggest(PLAIN, history=trials, **asked)
    assert suggest(PLAIN, history=[trials[i] for i in order], **asked) == first


def test_global_random_state_neither_matters_nor_moves():
    asked = {"seed": 0, "num_trials": 20, "directions": ["minimize"]}
    trials = run(PLAIN, "tpe", 12)
    for sampler in ("qmc", "random", "tpe"):
        found = []
        for state in (1, 2):
            random.seed(state)
            np.random.seed(state)  # noqa: NPY002
            before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
            found.append(suggest(PLAIN, sampler=sampler, number=12, history=trials, **asked))
            assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002
        assert found[0] == found[1]


def test_a_batch_is_the_same_whatever_of_it_has_finished():
    trials = run(PLAIN, "tpe", 16, batch_size=4)
    # As after a kill: trial 12 has its result, 13 runs, 14 is to be asked for.
    running = create_trial(state=TrialState.RUNNING, params=trials[13].params, distributions=trials[13].distributions)
    running.number = 13
    for known in (trials[:14], [*trials[:13], running], [running, *reversed(trials[:13])]):
        suggestion = suggest(
            PLAIN,
            sampler="tpe",
            seed=0,
            number=14,
            num_trials=16,
            directions=["minimize"],
            history=visible_history(known, number=14, batch_size=4),
        )
        assert suggestion.params == trials[14].params


def test_visible_history_is_what_a_batch_could_know():
    trials = run(PLAIN, "qmc", 6)
    failed = create_trial(state=TrialState.FAIL)
    failed.number = 0
    seen = visible_history([*trials[:0:-1], failed], number=5, batch_size=3)
    assert [(trial.number, trial.state) for trial in seen] == [
        (0, TrialState.FAIL),
        (1, TrialState.COMPLETE),
        (2, TrialState.COMPLETE),
        (3, TrialState.RUNNING),
        (4, TrialState.RUNNING),
    ]
    assert seen[3].params == trials[3].params
    assert seen[3].values is None


def test_running_trials_of_the_batch_push_the_next_point_away():
    trials = run(PLAIN, "tpe", 20)
    asked = {"sampler": "tpe", "num_trials": 40, "directions": ["minimize"], "number": 21, "seed": 0}
    asked["shares_rate"] = False
    alone = suggest(PLAIN, history=trials, **asked)
    crowd = [create_trial(state=TrialState.RUNNING, params=alone.params, distributions=alone.distributions)] * 8
    for trial in crowd:
        trial.number = 20
    assert suggest(PLAIN, history=[*trials, *crowd], **asked).params != alone.params


def test_tpe_starts_quasi_random_and_auto_changes_over_beyond_sixteen_trials():
    quasi = params_of(run(PLAIN, "qmc", 20))
    tpe = params_of(run(PLAIN, "tpe", 20))
    assert tpe[:10] == quasi[:10]
    assert not any(a == b for a, b in zip(tpe[10:], quasi[10:], strict=True))
    assert params_of(run(PLAIN, "tpe", 6))[:3] == quasi[:3]
    assert params_of(run(PLAIN, "tpe", 1)) == quasi[:1]
    assert params_of(run(PLAIN, "auto", 16)) == quasi[:16]
    assert params_of(run(PLAIN, "auto", 20)) == tpe


def test_only_models_use_history():
    assert [name for name in get_args(SamplerName) if uses_history(name, 16)] == [
        "ladder",
        "tpe",
        "gp",
        "cmaes",
    ]
    assert uses_history("auto", 17)


def test_tpe_finds_a_smooth_optimum_better_than_chance():
    """Measured over 20 seeds of 40 trials: median of the best 0.003 against 0.042 at random."""
    tpe, chance = (
        [best(run(PLAIN, name, 40, seed=seed, shares_rate=False)) for seed in range(3)] for name in ("tpe", "random")
    )
    assert np.median(tpe) < np.median(chance) / 3
    assert max(tpe) < 0.02


def test_tpe_follows_a_conditional_space_to_its_optimum():
    def objective(params):
        if params[MODE.name] == "a":
            return 1 + params[POWER.name]
        return (math.log10(params[END.name]) + 1) ** 2 + (0.5 if params[MODE.name] == "b" else 0.0)

    trials = run((END, MODE, POWER), "tpe", 40, objective=objective)
    winner = min(trials, key=lambda trial: trial.value)
    assert winner.params[MODE.name] == "c"
    assert winner.params[END.name] == pytest.approx(0.1, rel=0.2)
    assert sum(trial.params[MODE.name] == "c" for trial in trials[20:]) > 10


def test_tpe_takes_two_objectives():
    def objective(params):
        return [params[GAMMA.name], -params[GAMMA.name] + loss(params)]

    trials = run(PLAIN, "tpe", 12, objective=objective, directions=("minimize", "maximize"))
    assert len({trial.params[GAMMA.name] for trial in trials}) == 12


def test_infinite_and_pruned_results_are_history_too():
    trials = run(PLAIN, "tpe", 12)
    trials[3] = finished(suggest_again(trials[3]), 3, math.inf)
    cut = create_trial(
        state=TrialState.PRUNED,
        params=trials[4].params,
        distributions=trials[4].distributions,
        intermediate_values={1: 0.5, 2: math.nan},
    )
    cut.number = 4
    suggestion = suggest(
        PLAIN,
        sampler="tpe",
        seed=0,
        number=12,
        num_trials=20,
        directions=["minimize"],
        history=[*trials[:4], cut, *trials[5:]],
    )
    check_point(PLAIN, suggestion.params, suggestion.distributions)


def suggest_again(trial):
    return suggest(
        PLAIN,
        sampler="qmc",
        seed=0,
        number=trial.number,
        num_trials=20,
        directions=["minimize"],
        history=[],
    )


def test_a_maximised_study_mirrors_a_minimised_one():
    up = run(PLAIN, "tpe", 16, objective=lambda params: -loss(params), directions=("maximize",))
    assert params_of(up) == params_of(run(PLAIN, "tpe", 16))


GRID = (
    Dimension("optimizer.lr", CategoricalDistribution([0.1, 0.01]), {}),
    Dimension("scheduler.end_ratio", FloatDistribution(0.1, 0.3, step=0.1), {MODE.name: ("b", "c")}),
    MODE,
    Dimension("scheduler.num_cycles", IntDistribution(1, 4), {MODE.name: ("c",)}),
)


def test_a_grid_has_every_combination_of_active_values_once():
    expected = {(lr, None, "a", None) for lr in (0.1, 0.01)}
    expected |= {(lr, end, "b", None) for lr in (0.1, 0.01) for end in (0.1, 0.2, 0.3)}
    expected |= {(lr, end, "c", n) for lr in (0.1, 0.01) for end in (0.1, 0.2, 0.3) for n in range(1, 5)}
    points = [grid_point(GRID, number=number) for number in range(grid_size(GRID))]
    assert len(points) == len(expected) == 32
    assert {tuple(point.get(d.name) for d in GRID) for point in points} == expected
    with pytest.raises(ValueError, match="the grid has 32 points, the first of them 0; there is no point 32"):
        grid_point(GRID, number=32)


@given(space=spaces())
@settings(max_examples=40, deadline=None)
def test_grid_points_differ_and_fill_the_size_that_was_counted(space):
    countable = tuple(
        d for d in space if not (isinstance(d.distribution, FloatDistribution) and d.distribution.step is None)
    )
    countable = tuple(d for d in countable if not (isinstance(d.distribution, IntDistribution) and d.distribution.log))
    size = grid_size(countable)
    points = [grid_point(countable, number=number) for number in range(size)]
    assert len({tuple(sorted(point.items())) for point in points}) == size
    for point in points:
        check_point(countable, point, {d.name: d.distribution for d in countable if d.name in point})


def test_a_huge_grid_is_counted_without_being_listed():
    space = tuple(Dimension(f"scheduler.p{i:02}", IntDistribution(1, 10), {}) for i in range(20))
    assert grid_size(space) == 10**20
    assert list(grid_point(space, number=12).values())[-3:] == [1, 2, 3]


@pytest.mark.parametrize(
    "distribution", [FloatDistribution(0.1, 0.9), FloatDistribution(0.1, 0.9, log=True), IntDistribution(1, 33)]
)
def test_a_grid_over_a_continuum_is_refused_naming_the_dimension(distribution):
    space = (Dimension("scheduler.gamma", distribution, {}),)
    with pytest.raises(ValueError, match=r"scheduler\.gamma: a grid needs choices, a step or at most 32 whole numbers"):
        suggest_with(space, "grid")


def suggest_with(space, sampler, directions=("minimize",), number=0):
    return suggest(space, sampler=sampler, seed=0, number=number, num_trials=20, directions=directions, history=[])


def test_samplers_that_cannot_be_are_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"hydra\.sweeper\.sampler must be one of ladder, auto, .*cmaes, got 'bayes'"):
        suggest_with(PLAIN, "bayes")
    with pytest.raises(ValueError, match=r"sampler=cmaes takes one objective, got 2; tpe takes several"):
        suggest_with(PLAIN, "cmaes", ("minimize", "maximize"))
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(
        ValueError, match=r"sampler=cmaes needs the package cmaes: pip install 'lr-schedule-bench\[search\]'"
    ):
        suggest_with(PLAIN, "cmaes")


def test_a_space_without_dimensions_has_one_point():
    for sampler in ("qmc", "random", "grid", "tpe"):
        assert suggest_with((), sampler, number=0).params == {}
    assert suggest_with((), "tpe", number=15).params == {}


@pytest.mark.parametrize("space", [PLAIN, CONDITIONAL, (RATE,)], ids=["plain", "conditional", "one"])
def test_cmaes_moves_its_population_and_comes_again(space):
    pytest.importorskip("cmaes")

    def objective(params):
        return (math.log10(params[RATE.name]) + 2) ** 2

    trials = run(space, "cmaes", 30, objective=objective)
    for trial in trials:
        check_point(space, trial.params, trial.distributions)
    assert params_of(run(space, "cmaes", 30, objective=objective)) == params_of(trials)
    if len(space) > 1:
        assert np.mean([trial.value for trial in trials[20:]]) < np.mean([trial.value for trial in trials[:10]])


@pytest.mark.slow
def test_the_gaussian_process_finds_the_optimum_and_comes_again():
    trials = run(PLAIN, "gp", 12, shares_rate=False)
    assert best(trials) < 0.02
    again = suggest(
        PLAIN,
        shares_rate=False,
        sampler="gp",
        seed=0,
        number=11,
        num_trials=12,
        directions=["minimize"],
        history=trials[10::-1],
    )
    assert again.params == trials[11].params
    for trial in run(CONDITIONAL, "gp", 3, objective=lambda params: params[RATE.name]):
        check_point(CONDITIONAL, trial.params, trial.distributions)


def test_suggesting_says_nothing_and_leaves_optunas_voice_as_it_was(caplog):
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.enable_propagation()
    try:
        with warnings.catch_warnings(), caplog.at_level(logging.INFO):
            warnings.simplefilter("error")
            run(CONDITIONAL, "tpe", 8, objective=lambda params: params[RATE.name])
    finally:
        optuna.logging.disable_propagation()
    assert caplog.records == []
    assert optuna.logging.get_verbosity() == verbosity
