import dataclasses
import math

import numpy as np
import pytest
from analysis_frames import analysed, cell, field, pair, run, spread_out
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from lrbench.analysis.across_results import cliques_of
from lrbench.analysis.analyse import Settings, analyse
from lrbench.analysis.model import to_plain
from lrbench.analysis.statistics.contenders import Seeds, contenders
from lrbench.analysis.statistics.over_workloads import share_alpha
from lrbench.analysis.statistics.rate_choice import tuned_rate
from lrbench.analysis.statistics.survival import logrank
from lrbench.analysis.statistics.targets import Target
from lrbench.analysis.statistics.terms import Share, Unavailable
from lrbench.analysis.verdict.budget import budget_claims
from lrbench.results.schema import frame_from_rows


def checks(analysis, section=0):
    return {finding.check for finding in analysis.sections[section].findings}


def test_final_values_and_times_are_those_of_a_hand_made_field():
    # constant ends at 1.0 at once at the end; cosine is at 1.0 on the straight line from 3 to 0.5 at step 80.
    analysis = analysed(field({"constant": [1.0, 1.0, 1.0], "cosine": [0.5, 0.5, 0.5]}))
    facts = analysis.sections[0].workloads[0]
    assert facts.target == Target(1.0, "median final value of constant over 3 seeds", "constant")
    assert (facts.total_steps, facts.eval_interval, facts.initial, facts.seeds) == (100, 10, 3.0, (0, 1, 2))
    assert facts.ladder == pytest.approx((1.75, 1.125, 0.75, 0.625, 0.525, 0.5))
    slow, fast = cell(analysis, "constant"), cell(analysis, "cosine")
    assert (slow.final.mean, fast.final.mean) == (1.0, 0.5)
    assert (slow.rank, fast.rank) == (2.0, 1.0)
    assert (slow.steps.median, fast.steps.median) == (100.0, 80.0)
    assert (slow.speed_ratio, fast.speed_ratio) == (1.25, 1.0)
    assert fast.steps.restricted_mean.value == 80.0
    assert fast.steps.share == Share(3, 3, fast.steps.share.interval)
    assert [point.on_front for point in analysis.sections[0].front] == [False, True]
    # Area of the height (3 - y) / (3 - 1): a straight line to 1 for constant, to 1.25 for cosine.
    assert slow.anytime.mean == pytest.approx(0.5)
    assert fast.anytime.mean == pytest.approx(0.625)


def test_last3_and_best_and_values_on_the_way():
    values = [3.0, 2.0, 1.0, 0.4, 0.9, 0.8]
    rows = run("w", "constant", 0, None, values=values, steps=[0, 20, 40, 60, 80, 100])
    found = cell(analysed(rows), "constant")
    assert (found.final.mean, found.best.mean) == (0.8, 0.4)
    assert found.last3.mean == pytest.approx(0.7)
    assert [(point.step, point.value.mean) for point in found.path] == [
        (0, 3.0), (20, 2.0), (40, 1.0), (60, 0.4), (100, 0.8),
    ]  # fmt: skip


def test_results_come_from_final_runs_and_tuning_is_only_a_cost():
    rows = run("w", "cosine", 9, 0.1, role="tuning", rate=1.0) + field({"cosine": [0.5, 0.6, 0.7]})
    analysis = analysed(rows)
    found = cell(analysis, "cosine")
    assert (found.origin, found.num_runs, found.rate) == ("final", 3, 0.1)
    assert found.final.mean == pytest.approx(0.6)
    (cost,) = analysis.sections[0].costs
    assert (cost.tuning_runs, cost.tuning_steps, cost.compared_runs, cost.compared_steps) == (1, 100, 3, 300)


def test_without_final_runs_the_best_rate_of_the_search_counts_and_is_called_optimistic():
    finals = {0.01: [1.0, 1.2], 0.1: [0.8, 1.3], 1.0: [2.0, 2.0]}
    rows = [
        row
        for rate, values in finals.items()
        for seed, value in enumerate(values)
        for row in run("w", "cosine", seed, value, role="tuning", rate=rate)
    ]
    analysis = analysed(rows)
    found = cell(analysis, "cosine")
    # 0.1 has the best run, and 1.05 on average; 0.01 has 1.1.
    assert (found.origin, found.rate, found.num_runs) == ("search", 0.1, 2)
    assert "optimistic" in " ".join(analysis.sections[0].sentences)
    (curve,) = analysis.sections[0].rate_curves
    assert [(point.rate, point.mean) for point in curve.points] == [
        (0.01, pytest.approx(1.1)), (0.1, pytest.approx(1.05)), (1.0, 2.0),
    ]  # fmt: skip
    assert (curve.chosen, curve.at_edge) == (0.1, None)
    assert curve.sensitivity.value == pytest.approx((1.1 + 1.05 + 2.0) / 3 - 1.05)
    # 1.05 + 10 % of (3 - 1.05) lets 0.01 in and keeps 1.0 out.
    assert curve.basin.width == pytest.approx(1.0)


def test_a_rate_that_diverges_on_one_seed_is_not_chosen():
    rows = run("w", "cosine", 0, 0.2, role="tuning", rate=1.0) + run("w", "cosine", 0, 0.9, role="tuning", rate=0.1)
    rows += run("w", "cosine", 1, 0.3, role="tuning", rate=1.0, state="diverged")
    rows += run("w", "cosine", 1, 0.9, role="tuning", rate=0.1)
    assert cell(analysed(rows), "cosine").rate == 0.1


def test_a_diverged_run_is_out_of_the_mean_that_is_shown_and_its_schedule_ranks_last():
    rows = field({"constant": [1.0, 1.1, 1.2]}) + field({"linear": [0.1, 0.1, 0.1]}, state="diverged")
    rows += field({"cosine": [0.5, 0.6]}) + run("w", "cosine", 2, 0.1, state="diverged")
    analysis = analysed(rows)
    found = cell(analysis, "cosine")
    assert (found.num_ok, found.num_diverged, found.final.num_ok, found.final.num_seeds) == (2, 1, 2, 3)
    assert found.final.mean == pytest.approx(0.55)
    assert found.final.interval is None
    assert found.diverged.value == pytest.approx(1 / 3)
    assert found.runs[2].final is None
    lost = cell(analysis, "linear")
    assert isinstance(lost.final.mean, Unavailable)
    # With one diverged run cosine shares the last place, however good its others are.
    assert [cell(analysis, s).rank for s in ("cosine", "constant", "linear")] == [2.5, 1, 2.5]


def test_a_run_that_ends_in_nan_has_diverged_whatever_its_source_says():
    rows = run("w", "cosine", 0, None, values=[3.0, 2.0, float("nan")], steps=[0, 50, 100])
    assert cell(analysed(rows), "cosine").num_diverged == 1


def test_an_incomplete_run_has_no_final_value_and_its_time_is_unknown():
    rows = field({"constant": [1.0, 1.0, 1.0], "cosine": [0.5, 0.5]})
    rows += run("w", "cosine", 2, None, values=[3.0, 2.9], steps=[0, 10], state="incomplete")
    analysis = analysed(rows)
    found = cell(analysis, "cosine")
    assert (found.num_ok, found.num_incomplete, found.final.num_seeds) == (2, 1, 2)
    assert found.speed_ratio == 1.0
    assert (found.steps.share.count, found.steps.share.total) == (2, 3)
    assert (found.runs[2].time, found.runs[2].reached) == (10, False)


def test_missing_final_runs_are_counted_and_named():
    rows = [row for row in spread_out(seeds=3) if not (row["scheduler"] == "linear" and row["seed"] == 1)]
    analysis = analysed(rows)
    states = {row.scheduler: row for row in analysis.sections[0].states}
    assert (states["linear"].ok, states["linear"].missing, states["linear"].planned) == (2, 1, 3)
    assert states["cosine"].missing == 0
    assert "missing runs" in checks(analysis)


def test_a_repeated_replicate_counts_once_and_the_finished_one_stays():
    rows = field({"cosine": [0.5, 0.6, 0.7]})
    rows += run("w", "cosine", 0, None, run_id="again", values=[3.0, 2.9], steps=[0, 10], state="incomplete")
    analysis = analysed(rows)
    assert [r.state for r in cell(analysis, "cosine").runs] == ["ok", "ok", "ok"]
    assert "repeats left out" in checks(analysis)


def test_test_values_are_reported_for_runs_chosen_beforehand_only():
    rows = [
        row
        for scheduler in ("constant", "cosine")
        for seed in range(3)
        for row in run("w", scheduler, seed, 1.0, test=0.25 + seed)
    ]
    analysis = analysed(rows)
    assert (analysis.question.endpoint, analysis.question.endpoint_reason) == ("test/loss", "")
    assert cell(analysis, "cosine").final.mean == 1.25
    assert cell(analysis, "cosine").last3.mean == pytest.approx(1.2)
    searched = analysed([*rows, *run("w", "cosine", 0, 2.0, rate=0.5, test=9.0)])
    assert searched.question.endpoint == "val/loss"
    assert "search" in searched.question.endpoint_reason
    unmeasured = analysed([*rows, *run("w", "linear", 0, 2.0)])
    assert "not measured" in unmeasured.question.endpoint_reason


def test_two_lengths_of_one_task_never_mix():
    rows = field({"constant": [1.0], "cosine": [0.9]}, workload="task-100steps")
    rows += field({"constant": [0.8], "cosine": [0.4]}, workload="task-200steps", budget=200)
    analysis = analysed(rows)
    assert [s.title for s in analysis.sections] == ["100 steps", "200 steps"]
    assert [[w.name for w in s.workloads] for s in analysis.sections] == [["task-100steps"], ["task-200steps"]]
    assert [(p.scheduler, p.total_steps, p.final.mean) for p in analysis.sweep] == [
        ("constant", 100, 1.0), ("constant", 200, 0.8), ("cosine", 100, 0.9), ("cosine", 200, 0.4),
    ]  # fmt: skip


def swept(lengths_of_tasks):
    return [
        row
        for task, lengths in lengths_of_tasks.items()
        for n in lengths
        for row in field({"constant": [1.0], "cosine": [n / 1e4]}, workload=f"{task}-{n}steps", dataset=task, budget=n)
    ]


def test_equal_shares_of_different_lengths_make_the_sections():
    analysis = analysed(swept({"a": (25, 50, 100), "b": (88, 176, 351)}))
    assert [(s.title, [w.name for w in s.workloads]) for s in analysis.sections] == [
        ("25 % of the steps", ["a-25steps", "b-88steps"]),
        ("50 % of the steps", ["a-50steps", "b-176steps"]),
        ("all of the steps", ["a-100steps", "b-351steps"]),
    ]
    assert len(analysis.sweep) == 12
    sentences = " ".join(claim.sentence for claim in budget_claims(analysis))
    for words in ("a at 25 % of the longest budget (25 steps", "b at 50.1 % of the longest budget (176 steps"):
        assert words in sentences


@pytest.mark.parametrize(
    "lengths",
    [
        {"a": (50, 100), "b": (60, 200)},  # different shares
        {"a": (50, 100), "b": (200,)},  # one has only one
        {"a": (50, 100), "b": (50, 100)},  # steps say it
        {"a": (999, 1000), "b": (1998, 2000)},  # no different shares
    ],
)
def test_else_steps_make_the_sections(lengths):
    sections = analysed(swept(lengths)).sections
    steps = sorted({n for found in lengths.values() for n in found})
    assert [s.title for s in sections] == [f"{n} steps" for n in steps]
    assert all({w.total_steps for w in s.workloads} == {n} for s, n in zip(sections, steps, strict=True))


def test_tuning_and_final_runs_of_two_lengths_are_one_task():
    rows = []
    for length in (100, 200):
        facts = {"workload": f"t-{length}steps", "budget": length}
        rows += field({"constant": [1.0], "cosine": [0.9]}, **facts, **{"training.read_test": True})
        rows += field({"constant": [1.0]}, **facts, role="tuning", **{"training.read_test": False})
    # By its id it is the first run of its workload, where the other length has a final one.
    rows += run("t-100steps", "adaptive", 0, 1.0, role="tuning", **{"training.read_test": False})
    assert {point.task for point in analysed(rows).sweep} == {"t"}


def test_one_name_for_two_budgets_is_a_serious_finding_and_is_split():
    rows = field({"constant": [1.0]}) + run("w", "cosine", 0, 0.4, budget=200)
    analysis = analysed(rows)
    (finding,) = analysis.findings
    assert (finding.check, finding.severity) == ("mixed budgets", "serious")
    assert [w.name for s in analysis.sections for w in s.workloads] == ["w (100 steps)", "w (200 steps)"]


def test_different_tasks_of_different_lengths_are_compared_together():
    rows = field({"constant": [1.0], "cosine": [0.9]}, workload="a", dataset="a")
    rows += field({"constant": [0.8], "cosine": [0.4]}, workload="b", dataset="b", budget=200)
    (section,) = analysed(rows).sections
    assert (section.title, [w.total_steps for w in section.workloads]) == (
        "each workload at its own budget",
        [100, 200],
    )
    assert section.across.workloads == ("a", "b")


def test_a_model_of_another_width_is_another_task():
    rows = field({"constant": [1.0]}, workload="a", model="mlp", **{"model.width": 32})
    rows += field({"constant": [0.8]}, workload="b", model="mlp", budget=200, **{"model.width": 64})
    assert len(analysed(rows).sections) == 1


def test_one_seed_gives_values_and_neither_intervals_nor_tests():
    analysis = analysed(spread_out(seeds=1, workloads=2))
    section = analysis.sections[0]
    assert all(c.final.interval is None and c.final.sd is None for c in section.cells)
    assert all(isinstance(p.final, Unavailable) and isinstance(p.time, Unavailable) for p in section.pairs)
    assert {p.relation for p in section.pairs} == {"inconclusive"}
    assert all(isinstance(o.ranks, Unavailable) for o in section.across.overall)
    assert any(sentence.startswith("n = 1:") for sentence in section.sentences)


def test_pairs_are_welch_tests_with_holm_over_all_pairs_and_workloads():
    rows = spread_out(gap=0.02, workloads=2, seed=3)
    analysis = analysed(rows)
    finals = {
        (w, s): [r["val/loss"] for r in rows if (r["workload"], r["scheduler"], r["step"]) == (w, s, 100)]
        for w in ("w0", "w1")
        for s in ("constant", "cosine", "linear")
    }
    raw = [
        stats.ttest_ind(finals[p.workload, p.first], finals[p.workload, p.second], equal_var=False).pvalue
        for p in analysis.sections[0].pairs
    ]
    assert [p.final.p_value for p in analysis.sections[0].pairs] == pytest.approx(raw)
    assert [p.final_p_holm for p in analysis.sections[0].pairs] == pytest.approx(multipletests(raw, method="holm")[1])


def test_a_schedule_dominates_only_what_it_beats_in_both_after_holm():
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(5):
        rows += run("w", "constant", seed, 1.0 + 0.01 * rng.standard_normal())
        rows += run("w", "cosine", seed, 0.5 + 0.01 * rng.standard_normal(), hit=0.5 + 0.05 * (seed % 2))
        rows += run("w", "linear", seed, 1.0 + 0.01 * rng.standard_normal(), hit=0.5 + 0.05 * (seed % 2))
    analysis = analysed(rows, target=1.2)
    assert pair(analysis, "constant", "cosine").reverse == "dominates"
    assert pair(analysis, "constant", "linear").reverse == "faster only"
    # Each hits at one evaluation on every seed, cosine at the earlier one: 2 of the 252 ways to deal the runs out.
    assert pair(analysis, "cosine", "linear").relation == "dominates"
    assert pair(analysis, "cosine", "linear").time.p_value == pytest.approx(2 / 252)
    assert pair(analysis, "constant", "cosine").relation == "inconclusive"


def test_a_schedule_evaluated_at_other_steps_is_not_timed_and_the_others_are():
    rows = spread_out(("constant", "cosine"), seeds=3)
    rows += [row for row in spread_out(("linear",), seeds=3) if row["step"] != 10]
    analysis = analysed(rows)
    assert "evaluated at other steps than most runs" in cell(analysis, "linear").steps.reason
    (finding,) = [f for f in analysis.sections[0].findings if f.check == "cadence"]
    assert "evaluation 1 is at step" in finding.sentence
    assert cell(analysis, "linear").path == ()
    assert cell(analysis, "cosine").speed_ratio == 1.0
    assert isinstance(analysis.sections[0].profiles, Unavailable)
    assert cell(analysis, "linear").final.num_ok == 3


def test_a_collapsed_run_is_ok_with_the_value_it_ended_at_and_counted_as_collapsed():
    rows = field({"constant": [1.0] * 3, "cosine": [0.5] * 2})
    rows += run("w", "cosine", 2, 2.0, values=[3.0, 1.0, 0.5, 2.0], steps=[0, 10, 50, 100])
    section = analysed(rows).sections[0]
    states = {row.scheduler: (row.ok, row.diverged, row.collapsed) for row in section.states}
    assert states == {"constant": (3, 0, 0), "cosine": (3, 0, 1)}
    assert cell(analysed(rows), "cosine").final.mean == pytest.approx(1.0)
    (finding,) = [f for f in section.findings if f.check == "collapsed"]
    assert finding.severity == "serious"


def test_the_middle_of_a_learning_curve_is_the_median_of_the_runs_evaluated_there():
    rows = run("w", "cosine", 0, 0, values=[3.0, 2.0, 1.0], steps=[0, 50, 100])
    rows += run("w", "cosine", 1, 0, values=[3.0, math.nan], steps=[0, 50], state="diverged")
    rows += run("w", "cosine", 2, 0, values=[4.0, 2.5, 2.0], steps=[0, 50, 100])
    rows += run("w", "cosine", 3, 0, values=[5.0, 4.0], steps=[0, 50], state="incomplete")
    (curve,) = analysed(rows).sections[0].learning_curves
    assert curve.steps == (0, 50, 100)
    assert curve.middle == (3.5, 3.25, 2.0)  # a diverged run counts as worst from there on: 2, 2.5, 4, inf; 1, 2, inf
    assert (curve.low, curve.high) == ((3.0, 2.0, None), (5.0, 4.0, None))
    assert curve.rates == (None, None, None)


def test_speed_is_refused_without_a_usable_target():
    rows = field({"cosine": [0.5, 0.6]})
    assert "constant" in cell(analysed(rows), "cosine").steps.reason
    assert "step 0" in cell(analysed(rows, target=3.0), "cosine").steps.reason
    assert cell(analysed(rows, target=1.75), "cosine").steps.median == 50
    assert cell(analysed(rows, target={"w": 1.75}), "cosine").steps.median == 50


def test_seconds_compare_on_one_device_only():
    def timed(device):
        rows = field({"constant": [1.0] * 3, "cosine": [0.5] * 3}, device="cpu", batch_size=4)
        return [row | {"time/seconds": row["step"] / 10, "device": device(row)} for row in rows]

    analysis = analysed(timed(lambda row: "cpu"))
    found = cell(analysis, "cosine")
    assert (found.seconds.median, found.seconds.horizon, found.samples.median) == (8.0, 10.0, 320.0)
    other = cell(analysed(timed(lambda row: row["scheduler"])), "cosine")
    assert "device" in other.seconds.reason


def test_a_score_is_never_made_of_different_workloads():
    rows = spread_out(workloads=2) + field({"constant": [1.0] * 3, "cosine": [0.5] * 3}, workload="w2")
    section = analysed(rows).sections[0]
    assert section.across.workloads == ("w0", "w1")
    assert section.across.left_out == (("w2", "no finished run of linear"),)
    assert {profile.num_workloads for profile in section.profiles} == {2}


def test_too_few_workloads_are_no_test_and_enough_are_one():
    few, enough = (analysed(spread_out(workloads=n, seeds=3)).sections[0].across for n in (6, 7))
    assert "not enough workloads to test" in few.tests.reason
    assert isinstance(few.critical_difference, Unavailable)
    assert {test.better for test in enough.tests} == {"cosine", "linear"}
    assert enough.friedman.num_workloads == 7
    assert enough.overall[0].scheduler == "linear"


def test_rank_scores_and_speed_up_over_workloads_by_hand():
    # Every workload: constant reaches its own end at 100, cosine at 80, so 1.25 times as fast.
    rows = [
        row for w in ("a", "b") for row in field({"constant": [1.0] * 3, "cosine": [0.5] * 3}, workload=w, dataset=w)
    ]
    section = analysed(rows).sections[0]
    best, other = section.across.overall
    assert (best.scheduler, best.mean_rank, best.speed_up.factor) == ("cosine", 1.0, pytest.approx(1.25))
    assert (other.iqm.value, best.iqm.value) == (0.0, 1.0)
    scores = {p.scheduler: {s.tau_max: s.exact for s in p.scores} for p in section.profiles}
    assert scores["constant"] == pytest.approx({2: 0.75, 4: 2.75 / 3, 8: 6.75 / 7})
    assert scores["cosine"] == pytest.approx({2: 1, 4: 1, 8: 1})
    assert [(p.scheduler, p.on_front) for p in section.overall_front] == [("constant", False), ("cosine", True)]


def test_the_ecdf_counts_rungs_of_the_ladder():
    section = analysed(field({"constant": [1.0], "cosine": [0.5]})).sections[0]
    constant, cosine = section.ecdf
    # The ladder is 1.75 1.125 .75 .625 .525 .5: constant reaches two rungs, at 70 and 100, cosine all.
    assert (constant.num_targets, constant.share[-1]) == (6, pytest.approx(2 / 6))
    assert constant.fractions[1] == 0.7
    assert cosine.share[-1] == 1.0


def test_rankings_at_shared_rates_show_their_reversal():
    rows = []
    for scheduler, finals in {"cosine": (1.0, 0.5), "wsd": (0.9, 0.6)}.items():
        for rate, final in zip((0.001, 10.0**-2), finals, strict=True):
            rows += run("w", scheduler, 0, final, role="tuning", rate=rate)
    first, second = analysed(rows).sections[0].shared_rates
    assert (first.rate, first.ranking) == (0.001, (("wsd", 0.9), ("cosine", 1.0)))
    assert (second.rate, second.ranking) == (0.01, (("cosine", 0.5), ("wsd", 0.6)))


def test_learning_curves_are_medians_with_the_range_of_seeds():
    curves = analysed(field({"cosine": [0.5, 0.6, 1.0]})).sections[0].learning_curves
    assert curves[0].steps == tuple(range(0, 101, 10))
    assert (curves[0].low[-1], curves[0].middle[-1], curves[0].high[-1]) == (0.5, 0.6, 1.0)
    assert (curves[0].num_runs, curves[0].rates[-1]) == (3, None)


def test_the_interval_of_a_median_time_is_the_range_at_five_runs():
    rows = [row for seed in range(5) for row in run("w", "cosine", seed, 0.5, hit=0.5 + 0.1 * seed)]
    (point,) = analysed(rows, target=0.5).sections[0].front
    assert (point.time, point.time_interval.low, point.time_interval.high) == (70, 50, 90)
    assert point.time_interval.level == pytest.approx(0.9375)


def test_cliques_are_the_largest_groups_within_the_critical_difference():
    assert cliques_of(["a", "b", "c", "d"], np.array([1.0, 3.0, 1.8, 2.5]), 1.0) == (("a", "c"), ("c", "d"), ("d", "b"))
    assert cliques_of(["a", "b", "c"], np.array([1.0, 1.5, 2.0]), 1.0) == (("a", "b", "c"),)


def test_final_runs_come_before_runs_on_their_own_and_those_before_tuning():
    rows = run("w", "cosine", 0, 0.3, role="final") + run("w", "cosine", 0, 0.2, role="run")
    rows += run("w", "cosine", 0, 0.1, role="tuning")
    assert cell(analysed(rows), "cosine").final.mean == 0.3
    assert cell(analysed([row for row in rows if row["role"] != "final"]), "cosine").final.mean == 0.2


def test_a_difference_that_holm_takes_away_is_no_claim():
    # Alone p = 0.029 for cosine against constant; one of fifteen tests it is not significant.
    rows = field({"constant": [1.0, 1.1, 1.2], "cosine": [0.7, 0.8, 0.9]})
    assert pair(analysed(rows), "constant", "cosine").reverse == "better only"
    rows += field({f"z{i}": [1.0, 1.1, 1.2] for i in range(4)})
    crowded = pair(analysed(rows), "constant", "cosine")
    assert crowded.final.p_value < 0.05 < crowded.final_p_holm
    assert crowded.reverse == "inconclusive"


@pytest.mark.parametrize("last", [2.9, 0.4])
def test_killed_runs_are_counted_whether_or_not_they_had_hit(last):
    # Three hits and three killed at step 10, before the target or right after it: never "3 of 3".
    rows = field({"constant": [1.0] * 6, "cosine": [0.5] * 3})
    for seed in (3, 4, 5):
        rows += run("w", "cosine", seed, None, values=[3.0, last], steps=[0, 10], state="incomplete")
    found = cell(analysed(rows), "cosine")
    assert (found.steps.share.count, found.steps.share.total) == (3, 6)
    assert found.steps.median == 80
    assert [(result.time, result.reached) for result in found.runs[3:]] == [(10, False)] * 3
    assert "incomplete" in checks(analysed(rows))
    worse = rows + run("w", "cosine", 6, None, values=[3.0, last], steps=[0, 10], state="incomplete")
    assert isinstance(cell(analysed(worse), "cosine").steps.median, Unavailable)


def test_all_hit_against_none_hit_is_tested():
    rows = field({"constant": [1.0] * 10, "cosine": [0.5] * 10})
    tested = pair(analysed(rows, target=0.8), "constant", "cosine")
    assert tested.time.p_value == pytest.approx(2 / math.comb(20, 10))
    assert (tested.time.value, tested.time.interval, tested.reverse) == (10.0, None, "dominates")


def test_times_of_runs_that_did_not_finish_are_tested_by_logrank():
    rows = [row for seed in range(4) for row in run("w", "constant", seed, 1.0, hit=0.9 + 0.1 * (seed % 2))]
    rows += [row for seed in range(3) for row in run("w", "cosine", seed, 1.0, hit=0.4)]
    rows += run("w", "cosine", 3, None, values=[3.0, 2.0], steps=[0, 10], state="incomplete")
    tested = pair(analysed(rows, target=1.0), "constant", "cosine").time
    expected = logrank([90, 100, 90, 100], [1] * 4, [40, 40, 40, 10], [1, 1, 1, 0])
    assert (tested.p_value, tested.value, tested.interval) == (expected.p_value, 55.0, None)


def test_diverged_cosine_never_wins_over_workloads():
    """Two of three runs diverge on each of six workloads; the third is the best of all."""
    rows = []
    for w in range(6):
        rows += field({"constant": [1.0, 1.1, 1.2]}, workload=f"w{w}") + run(f"w{w}", "cosine", 0, 0.1)
        for seed in (1, 2):
            rows += run(f"w{w}", "cosine", seed, None, values=[3.0, float("nan")], steps=[0, 50])
    (section,) = analysed(rows).sections
    assert [test.better for test in section.across.tests] == ["constant"]
    assert [o.scheduler for o in section.across.overall] == ["constant", "cosine"]
    assert not any(point.on_front for point in section.front if point.scheduler == "cosine")
    assert {point.scheduler: point.on_front for point in section.overall_front} == {"constant": True, "cosine": False}
    assert not any(p.reverse in ("dominates", "better only") for p in section.pairs)


def test_a_pair_with_diverged_runs_counts_them_as_the_value_at_step_0():
    rows = field({"constant": [1.0, 1.1, 1.2], "cosine": [0.5, 0.6]})
    rows += run("w", "cosine", 2, None, values=[3.0, float("nan")], steps=[0, 50])
    tested = pair(analysed(rows), "constant", "cosine").final
    assert tested.value == pytest.approx(1.1 - (0.5 + 0.6 + 3.0) / 3)
    without_start = [row for row in rows if row["step"] > 0]
    assert "no value at step 0" in pair(analysed(without_start), "constant", "cosine").final.reason


@pytest.mark.parametrize(
    ("steps", "expected"), [([0, 10, 15], 10), ([0, 3, 7, 10], 4), ([0, 10, 25], None), ([0, 5, 10], 5), ([0], None)]
)
def test_the_cadence_is_printed_as_it_was(steps, expected):
    rows = run("w", "cosine", 0, None, values=[3.0 - s / 10 for s in steps], steps=steps, budget=max(steps[-1], 1))
    assert analysed(rows).sections[0].workloads[0].eval_interval == expected


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_of_two_cadences_no_name_decides_who_is_timed(names):
    rows = [row for s in range(3) for row in run("w", names[0], s, 0.5)]
    rows += [row | {"step": min(row["step"] + 3, 100)} for s in range(3) for row in run("w", names[1], s, 0.5)]
    found = analysed(rows, target=1.0)
    assert [cell(found, name).steps for name in names] == [
        Unavailable("schedules were evaluated at different steps")
    ] * 2
    assert not any(point.on_front for point in found.sections[0].front)


def test_batch_sizes_are_workloads_of_their_own():
    rows = field({"constant": [1.0], "cosine": [0.9]}, batch_size=50)
    rows += [row | {"run_id": row["run_id"] + "b"} for row in field({"constant": [0.1]}, batch_size=400)]
    analysis = analysed(rows)
    (section,) = analysis.sections
    assert [facts.name for facts in section.workloads] == ["w (batch size 400)", "w (batch size 50)"]
    assert cell(analysis, "cosine", "w (batch size 50)").rank == 1
    (finding,) = analysis.findings
    assert (finding.check, finding.severity) == ("mixed batch sizes", "serious")
    assert "50 and 400" in finding.sentence


def test_a_column_that_varies_within_a_repeat_is_a_serious_finding():
    rows = field({"cosine": [0.5, 0.6, 0.7]}, **{"training.clip": 1.0})
    rows += run("w", "cosine", 0, 0.1, run_id="other", **{"training.clip": 5.0})
    (finding,) = [f for f in analysed(rows).sections[0].findings if f.check == "mixed settings"]
    assert finding.severity == "serious"
    assert "differ in training.clip" in finding.sentence
    assert "w-cosine-final-0.1-0" in finding.sentence
    same = rows[:33] + run("w", "cosine", 0, 0.1, run_id="other", **{"training.clip": 1.0})
    assert "mixed settings" not in checks(analysed(same))


def test_of_points_that_all_diverged_the_one_with_the_fewest_is_chosen():
    rows = [row for seed in (0, 1, 2) for row in run("w", "cosine", seed, 0.9, rate=0.1)]
    rows[-1] |= {"val/loss": float("nan")}
    for seed in (0, 1, 2):
        rows += run("w", "cosine", seed, 0.2, rate=1.0, state="diverged" if seed else "ok")
    assert cell(analysed(rows), "cosine").rate == 0.1


def test_accuracies_in_percent_are_refused_with_run_and_step():
    rows = [row | {"val/accuracy": 85.2} for row in field({"cosine": [0.5]})]
    with pytest.raises(
        ValueError, match=r"val/accuracy must be within 0 and 1; run 'w-cosine-final-0.1-0' has 85.2 at"
    ):
        analysed(rows, metric="val/accuracy", direction="maximize")


def test_a_miss_counts_the_budget_and_one_interval_in_the_speed_up():
    rows = field({"constant": [1.0], "cosine": [1.2]})
    by_name = {o.scheduler: o for o in analysed(rows).sections[0].across.overall}
    assert by_name["cosine"].speed_up.factor == pytest.approx(100 / 110)
    assert (by_name["cosine"].speed_up.misses, by_name["constant"].speed_up.factor) == (1, 1.0)


def test_an_order_that_hangs_on_a_third_schedule_is_reported():
    # Twice a c b, three times b a c: mean ranks 1.6 of a and 1.8 of b; without c 1.6 of a and 1.4 of b.
    orders = ["acb", "acb", "bac", "bac", "bac"]
    rows = [
        row
        for w, order in enumerate(orders)
        for place, scheduler in enumerate(order)
        for row in run(f"w{w}", scheduler, 0, 1.0 + 0.1 * place, dataset=str(w))
    ]
    flips = analysed(rows).sections[0].robustness.flips
    assert [(f.by, f.without, f.ahead, f.behind) for f in flips] == [("final", "c", "a", "b")]


def test_ranks_by_the_last_the_last_three_and_the_best_evaluation():
    rows = run("w", "constant", 0, None, values=[3.0, 0.1, 2.0, 2.0, 1.0], steps=[0, 25, 50, 75, 100])
    rows += run("w", "cosine", 0, None, values=[3.0, 1.5, 1.2, 1.2, 1.1], steps=[0, 25, 50, 75, 100])
    constant, cosine = analysed(rows).sections[0].robustness.endpoints
    assert (constant.last, constant.last3, constant.best) == (1, 2, 1)
    assert (cosine.last, cosine.last3, cosine.best) == (2, 1, 2)
    lucky = [row | {"val/loss": 0.05} if (row["scheduler"], row["step"]) == ("cosine", 25) else row for row in rows]
    assert [e.best for e in analysed(lucky).sections[0].robustness.endpoints] == [2, 1]


def test_a_schedule_at_one_rate_takes_the_sensitivity_of_nobody_else_away():
    rows = run("w", "linear", 0, 1.0, role="tuning", rate=0.5)
    for scheduler in ("constant", "cosine"):
        for rate, final in ((0.1, 1.0), (1.0, 1.4)):
            rows += run("w", scheduler, 0, final, role="tuning", rate=rate)
    curves = {c.scheduler: c for c in analysed(rows).sections[0].rate_curves}
    assert curves["cosine"].sensitivity.value == pytest.approx(0.2)
    assert curves["cosine"].sensitivity.rates == (0.1, 1.0)
    assert isinstance(curves["linear"].sensitivity, Unavailable)
    assert curves["cosine"].at_edge == "smallest"


def test_what_cannot_be_analysed_is_refused_by_name():
    frame = frame_from_rows(field({"cosine": [1.0]}))
    declared = Settings("val/loss", "minimize")
    with pytest.raises(ValueError, match=r"needs the columns \['budget'\]"):
        analyse(frame.drop(columns="budget"), settings=declared)
    with pytest.raises(ValueError, match="no runs"):
        analyse(frame[:0], settings=declared)
    with pytest.raises(ValueError, match=r"metric=val/accuracy was not measured.*val/loss"):
        analyse(frame, settings=Settings("val/accuracy", "maximize"))
    with pytest.raises(ValueError, match=r"target names the workloads \['x'\]"):
        analyse(frame, settings=dataclasses.replace(declared, target={"x": 1.0}))


@settings(max_examples=4, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(random):
    rows = spread_out(gap=0.05, seeds=3, workloads=2)
    rows += run("w0", "cosine", 0, 0.7, role="tuning", rate=0.5) + run("w0", "cosine", 1, 9.0, role="tuning", rate=2.0)
    frame = frame_from_rows(rows)
    declared = Settings("val/loss", "minimize", num_resamples=50)
    order = list(range(len(frame)))
    random.shuffle(order)
    whole, shuffled = (to_plain(analyse(f, settings=declared)) for f in (frame, frame.iloc[order]))
    assert shuffled == whole


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 1000))
def test_higher_is_better_is_lower_is_better_with_the_sign_turned(seed):
    rows = spread_out(gap=0.03, seeds=4, workloads=2, seed=seed)
    turned = [{**row, "val/loss": -row["val/loss"]} for row in rows]
    low, high = analysed(rows, target=1.6), analysed(turned, direction="maximize", target=-1.6)
    for a, b in zip(low.sections[0].cells, high.sections[0].cells, strict=True):
        assert (a.rank, a.speed_ratio, a.steps) == (b.rank, b.speed_ratio, b.steps)
        assert a.final.mean == pytest.approx(-b.final.mean)
    for a, b in zip(low.sections[0].pairs, high.sections[0].pairs, strict=True):
        assert (a.relation, a.reverse) == (b.relation, b.reverse)
        assert a.improvement.value == b.improvement.value


@pytest.mark.parametrize("seeds", [1, 2, 3])
@pytest.mark.parametrize("workloads", [1, 2])
@pytest.mark.parametrize("broken", [0, 1, 3])
def test_every_number_is_finite_or_says_why_not(seeds, workloads, broken):
    rows = spread_out(seeds=seeds, workloads=workloads)
    rows = [
        row | {"state": "diverged"} if row["scheduler"] == "cosine" and row["seed"] < broken else row for row in rows
    ]
    to_plain(analysed(rows))


def test_contenders_of_a_report_are_its_runs_as_costs_with_alpha_divided():
    rows = spread_out(workloads=2)
    rows += field({"constant": [1.5, 1.4, 1.6], "cosine": [float("nan"), 1.2, 1.3]}, workload="w2", budget=200)
    analysis = analysed(rows)
    sections = analysis.sections
    levels = share_alpha(0.05, workloads_of_sections=[len(s.workloads) for s in sections])
    cases = [(w, [c for c in s.cells if c.workload == w.workload]) for s in sections for w in s.contenders]
    assert {w.workload for w, _ in cases} == {"w0", "w1", "w2"}
    for item, cells in cases:
        truth = contenders(
            {c.scheduler: Seeds(np.nan_to_num(finals(rows, c), nan=3.0), tuple(range(c.num_runs))) for c in cells},
            alpha=levels.workload,
        )
        assert item.found == truth
    assert sections[0].contenders[0].found.names == ("linear",)


def test_the_choice_of_the_rate_is_part_of_what_is_compared():
    """Three tuning seeds that disagree about the rate widen every interval; one seed cannot tell."""
    rates = [0.01, 0.0316, 0.1, 0.316, 1.0]

    def tuned(seeds):
        rows = field({"constant": [1.5, 1.4, 1.6], "cosine": [1.2, 1.1, 1.3]})
        for scheduler in ("constant", "cosine"):
            for seed in range(100, 100 + seeds):
                for rung, rate in enumerate(rates):
                    cost = 1.5 + 0.2 * (rung - 1 - 0.5 * (seed - 100)) ** 2
                    rows += run("w", scheduler, seed, cost, role="tuning", rate=rate)
        return analysed(rows, alpha=0.05).sections[0].contenders[0].found

    one, three = tuned(1), tuned(3)
    costs = np.array([[1.5 + 0.2 * (rung - 1 - 0.5 * seed) ** 2 for rung in range(5)] for seed in range(3)])
    variance = tuned_rate(rates, costs).variance
    assert variance > 0
    runs = {"constant": [1.5, 1.4, 1.6], "cosine": [1.2, 1.1, 1.3]}
    level = share_alpha(0.05, workloads_of_sections=[1]).workload
    truth = contenders({s: Seeds(np.array(v), (0, 1, 2), variance) for s, v in runs.items()}, alpha=level)
    assert three == truth
    assert one == contenders({s: Seeds(np.array(v), (0, 1, 2)) for s, v in runs.items()}, alpha=level)
    width = [found.ranked[1].interval.high - found.ranked[1].interval.low for found in (one, three)]
    assert width[1] > width[0]


def finals(rows, cell):
    ends = {
        r["run_id"]: r["val/loss"] for r in rows if (r["workload"], r["scheduler"]) == (cell.workload, cell.scheduler)
    }
    return np.array(list(ends.values()))


def test_workloads_of_one_dataset_are_one_source_of_the_claims_over_workloads():
    rows = [
        row
        for w in range(6)
        for row in field(
            {"constant": [1.5, 1.4, 1.6], "cosine": [1.2, 1.1, 1.3]}, workload=f"w{w}", dataset=f"d{w // 2}"
        )
    ]
    over = analysed(rows).sections[0].over_workloads
    assert over.alike.ranked[0].num_seeds == 3
    assert over.these.ranked[0].num_seeds == 18


def test_an_error_of_zero_has_no_ratio_and_says_which_metric_has_one():
    rows = field({"constant": [0.9, 1.0, 0.9], "cosine": [0.8, 0.7, 0.9]}, initial=0.1)
    rows = [row | {"val/accuracy": row["val/loss"]} for row in rows]
    section = analysed(rows, metric="val/accuracy", direction="maximize").sections[0]
    assert "use the loss" in section.contenders[0].found.reason
