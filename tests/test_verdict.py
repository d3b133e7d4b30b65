import re

import numpy as np
import pytest
from analysis_frames import analysed, field, run, spread_out
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lrbench.analysis.model import to_plain
from lrbench.analysis.verdict.reversals import reversal_sentence, reversals_of
from lrbench.analysis.verdict.verdict import verdict

NO_DIFFERENCE = "significant difference"
TOO_FEW = "not enough workloads to test"


def lines(rows, **options):
    return verdict(analysed(rows, **options)).lines


def text(rows, **options):
    return " ".join(lines(rows, **options))


def claims(rows, kind, **options):
    (section,) = verdict(analysed(rows, **options)).sections
    return [claim for claim in section.claims if claim.kind == kind]


def test_a_clear_winner_is_named_with_size_and_simultaneous_interval():
    finals = {"constant": [1.0, 1.1, 1.2, 1.3], "cosine": [0.5, 0.6, 0.7, 0.8]}
    (claim,) = claims(field(finals), "final")
    assert claim.schedulers == ("cosine", "constant")
    # Two schedules have one pair: the paired t interval of the log losses.
    logs = np.log(finals["constant"]) - np.log(finals["cosine"])
    half = stats.t.ppf(0.975, 3) * logs.std(ddof=1) / 2
    low, middle, high = (100 * (np.exp(logs.mean() + side * half) - 1) for side in (-1, 0, 1))
    assert claim.sentence == (
        "w: cosine (val/loss 0.65 [0.44457, 0.85543] (n = 4)) ends better than every other schedule. Worse, in loss "
        f"against it: constant +{middle:.1f} % [{low:.1f}, {high:.1f}]."
    )


def test_what_cannot_be_told_apart_is_undecided_and_never_a_win():
    rows = field({"constant": [1.0, 1.3, 1.1], "cosine": [1.2, 1.0, 1.17]})
    (claim,) = claims(rows, "final")
    assert "cosine and constant may be the best" in claim.sentence
    assert "Undecided: constant" in claim.sentence
    assert "better than" not in claim.sentence
    said = text(rows)
    assert "`lrbench settle` would not show it by 20 seeds, its last look" in said
    assert "more seeds" not in said
    near = {"constant": [1.0, 1.3, 1.1, 1.2], "cosine": [0.9, 1.29, 1.0, 1.15]}
    said = text(field(near))
    assert "settle` would show it at its look at 10 seeds, 6 more seeds each" in said
    assert "at 80 % power, if the observed difference is true" in said


def test_equivalent_is_a_word_of_its_own():
    said = text(field({"constant": [1.0, 1.1, 1.2], "cosine": [1.01, 1.08, 1.17]}))
    assert "Use any of cosine and constant: they are equivalent within 10 % on w." in said
    assert "Equivalent within 10 %: constant +1.1 %" in said
    assert "Undecided against" not in said


def test_a_winner_over_some_says_over_whom():
    rows = field({"constant": [2.0, 2.1, 2.2], "cosine": [1.0, 1.1, 1.2], "linear": [1.02, 1.12, 1.22]})
    (claim,) = claims(rows, "final")
    assert "cosine and linear may be the best" in claim.sentence
    assert "Worse, in loss against it: constant" in claim.sentence
    assert "Undecided: linear" in claim.sentence


def test_the_first_screen_says_what_to_use_what_constant_costs_and_how_all_stand():
    rows = field({"constant": [2.0, 2.1, 2.2], "cosine": [1.0, 1.1, 1.2], "linear": [1.02, 1.12, 1.22]})
    screen = verdict(analysed(rows)).sections[0].screen
    ratio = np.exp(np.mean(np.log([2.0, 2.1, 2.2]) - np.log([1.0, 1.1, 1.2])))
    assert screen.sentence == (
        "Use cosine or linear: constant is shown to end worse on w. "
        f"Constant has {100 * (ratio - 1):.0f} % more loss than cosine."
    )
    assert [(row.scheduler, row.state) for row in screen.rows] == [
        ("cosine", "may be best"), ("linear", "may be best"), ("constant", "worse"),
    ]  # fmt: skip
    assert screen.rows[2].ratio == pytest.approx(ratio)
    assert screen.advice == "Of those that may be best cosine and linear are equally fast and cheap: a tie."
    assert 1 <= len(screen.against) <= 3
    assert not re.search(r"p =|p <|resampled|-[0-9a-f]{4}\b", f"{screen.sentence} {screen.against}")


def test_among_those_that_may_be_best_the_fastest_is_advised():
    rows = [row for seed in range(4) for row in run("w", "constant", seed, 1.0 + seed % 3 / 10, hit=0.8)]
    rows += [row for seed in range(4) for row in run("w", "cosine", seed, 1.0 + (seed + 1) % 4 / 10, hit=0.4)]
    section = verdict(analysed(rows, target=1.4)).sections[0]
    assert section.screen.advice.startswith("Of those that may be best take cosine, the fastest: 1.75 times as fast")
    assert section.recommendations[0].scheduler == "cosine"


def test_a_ranking_that_turns_round_between_rates_is_said_in_one_sentence():
    finals = {"a": {0.1: 1.0, 0.3: 2.0, 1.0: 2.5}, "b": {0.1: 1.5, 0.3: 1.9, 1.0: 1.8}}
    rows = [
        row for name, rates in finals.items() for rate, final in rates.items()
        for row in run("w", name, 0, final, role="tuning", rate=rate)
    ]  # fmt: skip
    (section,) = analysed(rows).sections
    (turn,) = reversals_of(section)
    # Leads of .5 at .1, and behind by .1 at .3 and by .7 at 1: the clearest turn is from .1 to 1.
    assert (turn.first, turn.second, turn.low_rate, turn.high_rate) == ("a", "b", 0.1, 1.0)
    assert turn.size == pytest.approx(0.5)
    assert reversal_sentence(section).startswith(
        "The ranking reverses between rates: on w a ends ahead of b at rate 0.1"
    )


def test_no_word_against_an_interval_stands_beside_it():
    """Holm over all pairs left a difference of 6.44 points [4.49, 8.39] "not significant"."""
    rng = np.random.default_rng(0)
    rows = []
    for w in range(3):
        finals = {f"s{i}": list(1 + 0.05 * i + 0.04 * rng.standard_normal(5)) for i in range(6)}
        rows += field(finals, workload=f"w{w}")
    said = text(rows)
    assert "not significant" not in said
    for words, low, high in re.findall(r"(Worse|Undecided|Equivalent)[^.:]*: s\d [^\[]*\[([-\d.]+), ([-\d.]+)\]", said):
        assert (float(low) > 0) == (words == "Worse"), (words, low, high)


def test_one_seed_gives_values_marked_n_1_and_no_test():
    said = text(field({"constant": [1.0], "cosine": [0.5]}))
    assert "cosine (val/loss 0.5 (n = 1)) has the best final value of 2, before constant (1 (n = 1))" in said
    assert "Not tested: a comparison needs two schedules with 3 seeds each, got 0" in said
    assert "n = 1: one run" in said
    assert NO_DIFFERENCE not in said
    assert TOO_FEW not in said


def test_one_workload_is_valid_for_this_workload():
    assert "valid for this workload" in text(spread_out())
    assert "valid for this workload" not in text(spread_out(workloads=2))


def test_too_few_workloads_is_another_sentence_than_no_significant_difference():
    few = claims(spread_out(workloads=2, gap=0.3), "across")[-1].sentence
    assert TOO_FEW in few
    assert NO_DIFFERENCE not in few
    alike = claims(spread_out(workloads=8, gap=0.0, seed=5), "across")[-1].sentence
    assert "no significant difference between any two schedules" in alike
    assert TOO_FEW not in alike


def test_enough_workloads_name_who_is_better():
    sentence = claims(spread_out(workloads=8), "across")[-1].sentence
    assert "linear ends better than constant and cosine" in sentence
    assert "cosine ends better than constant" in sentence


def test_all_diverged_is_no_ranking_and_no_recommendation():
    rows = field({"constant": [1.0] * 3, "cosine": [0.5] * 3}, state="diverged")
    said = text(rows)
    assert "all runs of constant and cosine diverged, so there is no ranking" in said
    assert "no recommendation" in said
    assert "stopped early" not in said


def test_one_schedule_has_nothing_to_compare_with():
    said = lines(field({"cosine": [0.5, 0.6, 0.7]}))
    assert "cosine is the only schedule" in said[0]
    assert not any("better" in line or "fast" in line for line in said)


def test_who_sometimes_diverges_does_not_win_and_it_stands_on_the_first_screen():
    rows = field({"constant": [1.0, 1.1, 1.2], "cosine": [0.5, 0.6, 0.7]})
    rows += run("w", "cosine", 3, 0.5, state="diverged")
    screen = verdict(analysed(rows)).sections[0].screen
    assert screen.sentence.startswith("Nothing is decided between cosine and constant on w")
    assert {row.scheduler: row.failures for row in screen.rows} == {"cosine": 1, "constant": 0}
    assert any("1 of 4 runs of cosine diverged" in line for line in screen.against)
    (claim,) = claims(rows, "final")
    assert "(over 3 of 4); 1 of its 4 runs diverged and is not in the mean" in claim.sentence
    assert "a diverged run counts as the value at step 0" in claim.sentence


def test_serious_findings_stand_on_the_first_screen():
    (section,) = verdict(analysed(spread_out())).sections
    assert "every schedule ran at the one rate 0.1" in section.screen.against[0]
    tuned = spread_out()
    for scheduler in ("constant", "cosine", "linear"):
        for rate, final in ((0.01, 2.0), (0.1, 1.5), (1.0, 2.5)):
            tuned += run("w0", scheduler, 9, final, role="tuning", rate=rate)
    (section,) = verdict(analysed(tuned)).sections
    assert not any("one rate" in line for line in section.screen.against)


def test_speed_says_how_many_times_as_long_and_whether_it_is_shown():
    rows = [row for seed in range(4) for row in run("w", "constant", seed, 1.0, hit=0.9 + 0.1 * (seed % 2))]
    rows += [row for seed in range(4) for row in run("w", "cosine", seed, 1.0, hit=0.4 + 0.1 * (seed % 2))]
    (claim,) = claims(rows, "speed", target=1.0)
    assert claim.schedulers == ("cosine", "constant")
    assert "cosine reaches the target, val/loss 1, first, at step 40" in claim.sentence
    assert "constant takes 2.25 times as long" in claim.sentence
    assert "shown faster than constant" in claim.sentence


def test_a_missed_target_is_said_to_be_missed():
    (claim,) = claims(field({"constant": [1.0] * 3, "cosine": [0.5] * 3}), "speed", target=0.8)
    assert "Missed by more than half of the runs: constant" in claim.sentence
    (claim,) = claims(field({"constant": [1.0] * 3, "cosine": [0.5] * 3}), "speed", target=0.1)
    assert "no schedule reached the target" in claim.sentence


def test_speed_is_not_judged_without_a_target():
    (claim,) = claims(field({"linear": [1.0] * 3, "cosine": [0.5] * 3}), "speed")
    assert "speed was not judged, since the schedule 'constant' was not run" in claim.sentence


def test_faster_and_better_is_dominance_only_when_both_are_shown():
    rows = [row for seed in range(5) for row in run("w", "constant", seed, 1.0 + seed / 50, hit=0.9 + 0.1 * (seed % 2))]
    rows += [row for seed in range(5) for row in run("w", "cosine", seed, 0.5 + seed / 50, hit=0.4 + 0.1 * (seed % 2))]
    (both,) = claims(rows, "both", target=1.2)
    assert both.schedulers == ("cosine",)
    assert "dominates" in both.sentence
    alike = [row | {"val/loss": row["val/loss"] - 0.5 * (row["scheduler"] == "constant")} for row in rows]
    (neither,) = claims(alike, "both", target=1.2)
    assert "no schedule is shown to be both faster and better" in neither.sentence


def test_shorter_budgets_come_from_runs_planned_for_them_when_there_are_any():
    rows = field({"constant": [1.0, 1.1, 1.2], "cosine": [2.0, 2.1, 2.2]}, workload="t-100steps")
    rows += field({"constant": [0.9, 1.0, 1.1], "cosine": [0.1, 0.2, 0.3]}, workload="t-400steps", budget=400)
    said = [claim.sentence for claim in verdict(analysed(rows)).budgets]
    assert said[0].startswith("t at 25 % of the longest budget (100 steps, planned for them): constant, val/loss 1.1 ")
    assert said[1].startswith("t at the longest budget (400 steps, planned for them): cosine")


def test_runs_stopped_early_are_no_evidence_for_a_shorter_plan_and_say_so():
    rows = spread_out(("constant", "cosine"), seeds=3)
    (claim,) = verdict(analysed(rows)).budgets
    assert "at 25 % (step 20) cosine leads, " in claim.sentence
    assert "Not tested, and these runs were planned for 100 steps" in claim.sentence


def test_results_of_a_search_are_called_optimistic():
    rows = [row for s in ("constant", "cosine") for rate in (0.1, 1.0) for row in run("w", s, 0, 1.0 + rate, rate=rate)]
    assert "optimistic" in text(rows)


def test_the_recommendation_prefers_what_does_not_diverge_among_what_cannot_be_told_apart():
    rows = field({"constant": [1.0, 1.1, 1.2, 1.3], "cosine": [0.99, 1.08, 1.19]})
    rows += run("w", "cosine", 3, 1.0, state="diverged")
    (section,) = verdict(analysed(rows)).sections
    (found,) = section.recommendations
    assert (found.scheduler, found.undecided[0].scheduler) == ("constant", "cosine")


def test_the_recommendation_says_how_often_its_choice_diverged_on_fresh_seeds_and_groups_what_is_undecided():
    rows = field({"constant": [1.0, 1.1], "linear": [1.02, 1.12], "cosine": [0.5, 0.6]})
    for scheduler in ("constant", "linear", "cosine"):
        for rate, final in ((0.01, 2.0), (0.1, 1.5), (1.0, 2.5)):
            rows += run("w", scheduler, 9, final, role="tuning", rate=rate)
    rows += run("w", "cosine", 2, 0.5, state="diverged") + run("w", "constant", 2, 0.5, state="diverged")
    rows += run("w", "linear", 2, 0.5, state="diverged")
    said = text(rows)
    assert "Risk: 0 of 3 runs diverged over all rates tried, 1 of 3 on fresh seeds at this one" in said


def test_schedules_of_another_cadence_are_named_once_and_not_called_untested():
    rows = spread_out(("constant", "cosine"), seeds=3)
    rows += [row for row in spread_out(("linear",), seeds=3) if row["step"] != 10]
    (claim,) = claims(rows, "speed")
    assert claim.sentence.count("linear") == 1
    assert "Not timed, evaluated at other steps than most: linear." in claim.sentence


def test_the_gain_is_positive_when_better_in_either_direction():
    finals = {"constant": [1.0, 1.1, 1.2], "cosine": [0.5, 0.6, 0.7]}
    (low,) = verdict(analysed(field(finals))).sections[0].recommendations
    assert (low.scheduler, low.gain.over, low.gain.is_shown) == ("cosine", "constant", True)
    assert low.gain.value == pytest.approx(0.5)
    assert low.gain.interval.low < low.gain.ratio < low.gain.interval.high < 1
    (high,) = verdict(analysed(field(finals, initial=0.0), direction="maximize")).sections[0].recommendations
    assert (high.scheduler, high.gain.over) == ("constant", "cosine")
    assert high.gain.value == pytest.approx(0.5)


@settings(max_examples=5, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from([1, 3]))
def test_the_order_of_rows_does_not_change_the_verdict(random, seeds):
    rows = spread_out(seeds=seeds, gap=0.03, workloads=2)
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert to_plain(verdict(analysed(shuffled))) == to_plain(verdict(analysed(rows)))


def test_ties_are_ties_in_every_sentence():
    same = {"constant": [1.0] * 3, "cosine": [1.0] * 3, "linear": [1.0] * 3}
    rows = [row for w in range(8) for row in field(same, workload=f"w{w}")]
    said = lines(rows)
    assert "too many ties to test: every pair is equal on 8 workloads or more" in " ".join(said)
    assert NO_DIFFERENCE not in " ".join(said)
    for line in said:
        assert "leads" not in line
        assert "has the best" not in line
        assert "stopped early" not in line
    assert "constant, cosine and linear share the best mean rank" in " ".join(said)
    assert "constant, cosine and linear reach the target" in " ".join(said)


def test_few_workloads_without_a_tie_are_not_called_a_test_without_a_difference():
    rows = []
    for w in range(8):
        better = 0.5 + w / 100 if w < 3 else 1.0
        rows += field({"constant": [1.0] * 3, "cosine": [better] * 3}, workload=f"w{w}")
    claim = claims(rows, "across")[-1]
    assert "too many ties to test: every pair is equal on 5 workloads or more" in claim.sentence
    assert NO_DIFFERENCE not in claim.sentence


def test_who_leads_on_the_way_is_a_tie_at_step_0():
    rows = field({"constant": [1.0, 1.1, 1.2], "cosine": [0.5, 0.6, 0.7]})
    rows = [row for row in rows if row["step"] in (0, 40, 80, 100)]
    (claim,) = verdict(analysed(rows)).budgets
    assert "25 %" not in claim.sentence
    assert "at 50 % (step 40) cosine leads" in claim.sentence


def test_one_median_for_one_thing():
    rows = [row for seed in range(4) for row in run("w", "constant", seed, 1.0, hit=(0.1, 0.3, 0.4, 0.5)[seed])]
    rows += [row for seed in range(4) for row in run("w", "cosine", seed, 1.0, hit=(0.2, 0.3, 0.3, 0.9)[seed])]
    analysis = analysed(rows, target=1.0)
    (claim,) = claims(rows, "speed", target=1.0)
    assert "constant and cosine reach the target, val/loss 1 equally early, first, at step 30" in claim.sentence
    (section,) = analysis.sections
    assert [c.steps.median for c in section.cells] == [point.time for point in section.front] == [30.0, 30.0]
