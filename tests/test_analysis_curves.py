import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrbench.analysis.statistics.curves import (
    TimeToTarget,
    anytime_area,
    best_value,
    censoring_seconds,
    censoring_step,
    check_cadence,
    curves_of,
    final_mean,
    final_value,
    has_collapsed,
    sustained_time_to_target,
    time_to_target,
)
from lrbench.analysis.statistics.terms import Unavailable
from lrbench.results.schema import frame_from_rows
from lrbench.spec import RunState

STEPS = [0, 10, 20, 30]
NAN, INF = float("nan"), float("inf")


def rows(run_id, steps, values, **facts):
    base = {"run_id": run_id, "workload": "w", "scheduler": "cosine", "budget": 30, "state": "ok", **facts}
    return [base | {"step": s, "val/loss": v} for s, v in zip(steps, values, strict=True)]


def test_final_value_is_that_of_the_largest_step_even_nan():
    assert final_value([30, 0, 20], [1.0, 3.0, 2.0]) == 1.0
    assert np.isnan(final_value([0, 10], [1.0, NAN]))


def test_mean_of_last_three_needs_three_and_keeps_nan():
    assert final_mean(STEPS, [9.0, 1.0, 2.0, 6.0]) == 3.0
    assert final_mean([0, 10], [9.0, 1.0]) is None
    assert np.isnan(final_mean(STEPS, [9.0, NAN, 2.0, 6.0]))


def test_best_value_follows_the_direction_and_skips_what_is_not_finite():
    assert best_value(STEPS, [3.0, NAN, 1.0, INF], direction="minimize") == 1.0
    assert best_value(STEPS, [3.0, NAN, 1.0, INF], direction="maximize") == 3.0
    assert np.isnan(best_value([0, 10], [NAN, INF], direction="minimize"))


@pytest.mark.parametrize(
    ("steps", "values", "words"),
    [([], [], "at least one"), ([0, 1], [1.0], "as many values"), ([5, 5], [1.0, 2.0], "two values at one step")],
)
def test_a_broken_curve_is_refused(steps, values, words):
    with pytest.raises(ValueError, match=words):
        final_value(steps, values)


@pytest.mark.parametrize(
    ("values", "first", "sustained"),
    [
        ([5.0, 3.0, 2.0, 1.0], (10, True), (10, True)),  # equal to the target counts
        ([5.0, 3.0, 4.0, 1.0], (10, True), (30, True)),
        ([5.0, 3.0, 2.0, 4.0], (10, True), (30, False)),
        ([5.0, NAN, 2.0, 1.0], (20, True), (20, True)),
        ([5.0, 3.0, NAN, 2.0], (10, True), (30, True)),
        ([5.0, 3.0, 2.0, NAN], (10, True), (30, False)),
        ([5.0, 4.0, 4.0, 4.0], (30, False), (30, False)),
        ([1.0, 1.0, 1.0, 1.0], (0, True), (0, True)),
        ([5.0, -INF, 4.0, 4.0], (30, False), (30, False)),
    ],
)
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_time_to_target_by_hand(values, first, sustained, direction):
    flip = 1 if direction == "minimize" else -1
    keywords = {"target": flip * 3.0, "direction": direction, "end": 30}
    measured = flip * np.array(values)
    assert time_to_target(STEPS, measured, **keywords) == TimeToTarget(*first)
    assert sustained_time_to_target(STEPS, measured, **keywords) == TimeToTarget(*sustained)


@settings(deadline=None)
@given(st.lists(st.sampled_from([1.0, 2.0, 3.0, 4.0, NAN]), min_size=1, max_size=8), st.randoms())
def test_sustained_hits_are_never_earlier_and_order_of_rows_does_not_matter(values, random):
    steps = np.arange(len(values)) * 10.0
    keywords = {"target": 2.0, "direction": "minimize", "end": steps[-1]}
    first = time_to_target(steps, values, **keywords)
    sustained = sustained_time_to_target(steps, values, **keywords)
    assert not sustained.observed or (first.observed and first.value <= sustained.value)
    order = list(range(len(values)))
    random.shuffle(order)
    assert time_to_target(steps[order], np.array(values)[order], **keywords) == first


def test_a_target_must_be_finite():
    with pytest.raises(ValueError, match="target must be finite, got nan"):
        time_to_target(STEPS, [1.0] * 4, target=NAN, direction="minimize", end=30)


def test_diverged_runs_are_censored_at_the_budget_and_incomplete_ones_where_they_stopped():
    assert censoring_step([0, 10], total_steps=30, state=RunState.DIVERGED) == 30
    assert censoring_step([0, 10], total_steps=30, state=RunState.INCOMPLETE) == 10
    assert censoring_seconds([0.0, 5.0], [0, 10], total_steps=30, state=RunState.DIVERGED) == 15.0
    assert censoring_seconds([0.0, 5.0], [0, 10], total_steps=30, state=RunState.INCOMPLETE) == 5.0
    assert isinstance(censoring_seconds([0.0], [0], total_steps=30, state=RunState.DIVERGED), Unavailable)


def area(steps, values, state=RunState.OK, target=1.0, direction="minimize"):
    return anytime_area(steps, values, target=target, total_steps=30, state=state, direction=direction)


def test_anytime_area_by_hand():
    # Heights 0, 1/2, 1, 1 over thirds of the budget: (1/4 + 3/4 + 1) / 3.
    assert area(STEPS, [3.0, 2.0, 1.0, 1.0]) == pytest.approx(2 / 3)
    assert area(STEPS, [-3.0, -2.0, -1.0, -1.0], target=-1.0, direction="maximize") == pytest.approx(2 / 3)


def test_anytime_area_counts_worse_than_the_start_as_the_start_and_better_than_the_target_as_more():
    assert area([0, 15, 30], [3.0, 99.0, 3.0]) == 0.0
    assert area([0, 30], [3.0, -1.0]) == 1.0


def test_after_divergence_the_area_stays_at_the_level_of_step_zero():
    assert area([0, 10, 20], [3.0, 1.0, NAN], RunState.DIVERGED) == pytest.approx(1 / 3)
    assert area(STEPS, [3.0, NAN, 1.0, 1.0], RunState.DIVERGED) == 0.0


@pytest.mark.parametrize(
    ("steps", "values", "target", "reason"),
    [
        ([10, 30], [3.0, 1.0], 1.0, "step 0"),
        ([0, 30], [NAN, 1.0], 1.0, "step 0"),
        ([0, 30], [3.0, 1.0], 3.0, "not better than the value at step 0"),
        ([0, 20], [3.0, 1.0], 1.0, "step 20 of 30"),
    ],
)
def test_an_area_that_does_not_exist_says_why(steps, values, target, reason):
    result = area(steps, values, target=target)
    assert isinstance(result, Unavailable)
    assert reason in result.reason


def test_curves_keep_nan_drop_missing_and_lose_no_run():
    frame = frame_from_rows(
        [
            *rows("b", [10, 0], [NAN, 3.0], state="diverged"),
            *rows("a", [0, 10, 20], [3.0, None, 1.0], batch_size=8),
            *rows("c", [0], [None]),
        ]
    )
    curves = curves_of(frame.sample(frac=1, random_state=0), metric="val/loss")
    assert curves["a"].steps.tolist() == [0, 20]
    assert (curves["a"].batch_size, curves["b"].batch_size) == (8, None)
    assert curves["b"].steps.tolist() == [0, 10]
    assert np.isnan(curves["b"].values[1])
    assert curves["b"].state is RunState.DIVERGED
    assert curves["c"].steps.size == 0
    assert curves["a"].seconds is None


def test_curves_refuse_an_unknown_metric_and_repeated_steps():
    frame = frame_from_rows(rows("a", [0, 0], [3.0, 1.0]))
    with pytest.raises(ValueError, match="'a' has two rows of one step"):
        curves_of(frame, metric="val/loss")
    with pytest.raises(ValueError, match="no metric 'val/f1'"):
        curves_of(frame, metric="val/f1")


def test_a_run_that_stopped_early_keeps_the_cadence_and_another_grid_breaks_it():
    early = frame_from_rows([*rows("a", STEPS, [3.0] * 4), *rows("b", [0, 10], [3.0, NAN])])
    assert check_cadence(curves_of(early, metric="val/loss")).tolist() == STEPS
    other = frame_from_rows([*rows("a", STEPS, [3.0] * 4), *rows("b", [0, 15], [3.0, 1.0])])
    with pytest.raises(ValueError, match="evaluation 1 is at step 15 in 'b' and at step 10 in 'a'"):
        check_cadence(curves_of(other, metric="val/loss"))


def test_the_step_at_which_a_run_diverged_is_no_evaluation():
    frame = frame_from_rows([*rows("a", STEPS, [3.0] * 4), *rows("b", [0, 10, 13], [3.0, 2.0, NAN])])
    assert check_cadence(curves_of(frame, metric="val/loss")).tolist() == STEPS


def test_a_frame_without_rows_has_no_curves():
    frame = frame_from_rows(rows("a", [0, 1], [3.0, 1.0])).iloc[:0]
    assert curves_of(frame, metric="val/loss") == {}


@pytest.mark.parametrize(
    ("values", "collapsed"),
    [([5.0, 1.0, 2.0], False), ([5.0, 1.0, 2.01], True), ([1.0, 2.0, 9.0], False), ([5.0, 1.0, NAN], False)],
    ids=["a quarter", "over a quarter", "never got better", "diverged"],
)
def test_a_collapse_loses_over_a_quarter_of_the_improvement(values, collapsed):
    assert has_collapsed(STEPS[:3], values, direction="minimize") is collapsed
    assert has_collapsed(STEPS[:3], -np.array(values), direction="maximize") is collapsed
