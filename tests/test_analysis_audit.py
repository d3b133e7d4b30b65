import pytest

from lrbench.analysis.audit.audit import audit
from lrbench.results.schema import frame_from_rows

SCHEDULES = ("constant", "linear", "cosine")
RATES = (0.01, 0.1, 1.0)


def run(scheduler, seed, rate, role, **facts):
    losses = {0.01: 1.5, 0.1: 1.0, 1.0: 2.0}
    run_id = facts.pop("run_id", f"{facts.get('workload', 'w')}-{scheduler}-{seed}-{rate}-{role}")
    base = {
        "run_id": run_id, "workload": "w", "scheduler": scheduler, "seed": seed, "budget": 20, "state": "ok",
        "role": role, "commit": "abc", "device": "cpu",
        "trial": RATES.index(rate) if role == "tuning" and rate in RATES else None,
        "rate": rate, **facts,
    }  # fmt: skip
    steps = facts.pop("steps", (0, 10, 20))
    values = facts.pop("values", (3.0, 2.5, losses.get(rate)))
    return [
        {key: value for key, value in base.items() if key not in ("steps", "values")} | {"step": s, "val/loss": v}
        for s, v in zip(steps, values, strict=True)
    ]


def comparison(schedules=SCHEDULES, *, rates=RATES, seeds=(1, 2, 3), **facts):
    rows = []
    for schedule in schedules:
        rows += [row for rate in rates for row in run(schedule, 0, rate, "tuning", **facts)]
        rows += [row for seed in seeds for row in run(schedule, seed, 0.1, "final", **facts)]
    return rows


def findings(rows, **options):
    rates = {row["run_id"]: row["rate"] for row in rows}
    frame = frame_from_rows([{key: value for key, value in row.items() if key != "rate"} for row in rows])
    frame["optimizer.lr"] = frame["run_id"].map(rates).astype("Float64")
    return audit(frame, metric="val/loss", direction="minimize", **options)


def only(rows, **options):
    (finding,) = findings(rows, **options)
    return finding


def test_a_fair_comparison_has_no_finding():
    assert findings(comparison(), compares_seconds=True) == []


def test_unequal_trials():
    rows = [row for row in comparison() if not (row["scheduler"] == "linear" and row["trial"] == 2)]
    rows += run("linear", 0, 0.01, "tuning", run_id="again", trial=7)
    rows += run("linear", 0, 1.0, "tuning", run_id="more", trial=8)
    finding = only(rows)
    assert (finding.check, finding.severity) == ("trials", "serious")
    assert "constant 3, cosine 3 and linear 4 tuning runs" in finding.sentence
    assert finding.cells == tuple(("w", s) for s in sorted(SCHEDULES))


def test_mixed_budgets_and_cadence():
    rows = [*comparison(seeds=(1, 2)), *[r for s in SCHEDULES for r in run(s, 3, 0.1, "final", budget=40)]]
    assert only(rows).check == "steps"
    rows = [*comparison(seeds=(1, 2)), *[r for s in SCHEDULES for r in run(s, 3, 0.1, "final", steps=(0, 5, 20))]]
    finding = only(rows)
    assert (finding.check, finding.severity) == ("cadence", "serious")
    assert "step 5" in finding.sentence


def test_unequal_seeds_and_few_seeds():
    rows = [row for row in comparison() if not (row["scheduler"] == "linear" and row["seed"] == 3)]
    seeds, few = findings(rows)
    assert (seeds.check, few.check) == ("seeds", "few seeds")
    assert "constant 3, cosine 3 and linear 2" in seeds.sentence
    assert few.cells == (("w", "linear"),)


def test_a_schedule_that_was_tuned_but_never_rerun_has_no_seeds():
    rows = [row for row in comparison() if not (row["scheduler"] == "linear" and row["role"] == "final")]
    seeds, _ = findings(rows)
    assert "constant 3, cosine 3 and linear 0" in seeds.sentence


def test_equally_many_but_other_seeds_are_a_note():
    rows = [*comparison(("constant", "linear")), *comparison(("cosine",), seeds=(4, 5, 6))]
    assert [(f.check, f.severity) for f in findings(rows)] == [("seeds", "note")]


def test_final_runs_on_tuning_seeds():
    assert only(comparison(seeds=(0, 1, 2))).check == "reused seeds"


def test_hardware_is_serious_only_for_seconds():
    rows = [*comparison(("constant", "linear")), *comparison(("cosine",), device="cuda")]
    assert [only(rows, compares_seconds=flag).severity for flag in (True, False)] == ["serious", "note"]
    unknown = comparison(device=None)
    assert only(unknown, compares_seconds=True).severity == "warning"
    assert findings(unknown) == []


def test_one_shared_rate_and_one_untuned_schedule():
    shared = only(comparison(rates=(0.1,)))
    assert (shared.check, shared.severity) == ("untuned rates", "serious")
    assert "every schedule ran at the one rate 0.1" in shared.sentence
    rows = [row for row in comparison() if not (row["scheduler"] == "linear" and row["role"] == "tuning")]
    trials, untuned = findings(rows)
    assert "linear 0 tuning runs" in trials.sentence
    assert untuned.cells == (("w", "linear"),)
    assert "linear (0.1)" in untuned.sentence


def test_unrecorded_rates():
    frame = frame_from_rows([{k: v for k, v in row.items() if k != "rate"} for row in comparison()])
    checks = {f.check for f in audit(frame, metric="val/loss", direction="minimize")}
    assert checks == {"unknown rates"}


def test_optimum_at_the_edge():
    finding = only(comparison(rates=(0.1, 1.0)))
    assert (finding.check, finding.severity) == ("optimum at edge", "serious")
    assert "cosine (0.1, the smallest)" in finding.sentence


def search(scheduler, losses):
    """Tuning runs at the rates of a search with these losses, and three finals."""
    rows = [
        row
        for trial, (rate, loss) in enumerate(losses.items())
        for row in run(scheduler, 0, rate, "tuning", trial=trial, values=(3.0, 2.5, loss))
    ]
    return [*rows, *(row for seed in (1, 2, 3) for row in run(scheduler, seed, 0.1, "final"))]


LADDER = {0.01: 1.5, 0.1: 1.0, 1.0: 2.0}


def test_refinement_around_ones_own_best_rung_is_the_same_chance():
    searches = {"constant": LADDER | {0.03: 1.2}, "linear": LADDER | {0.3: 1.1}, "cosine": LADDER | {0.05: 0.9}}
    assert findings([row for name, losses in searches.items() for row in search(name, losses)]) == []
    edge = {0.01: 1.5, 0.1: 1.2, 1.0: 1.1}
    searches["cosine"] = edge | {3.0: 1.3}
    assert findings([row for name, losses in searches.items() for row in search(name, losses)]) == []


def test_other_rates_than_the_rest_is_serious():
    searches = {"constant": LADDER | {0.03: 1.2}, "linear": LADDER | {0.3: 1.1}, "cosine": LADDER | {3.0: 2.5}}
    finding = only([row for name, losses in searches.items() for row in search(name, losses)])
    assert (finding.check, finding.severity, finding.cells) == ("offered rates", "serious", (("w", "cosine"),))
    assert "beyond the common ladder: cosine (3 to 3)" in finding.sentence
    moved = {rate * 1.5: loss for rate, loss in LADDER.items()}
    finding = only(
        [row for name, x in (("constant", LADDER), ("linear", LADDER), ("cosine", moved)) for row in search(name, x)]
    )
    assert (finding.check, len(finding.cells)) == ("offered rates", 3)
    assert "only 0 rates offered to all: constant (0.01 to 1), cosine (0.015 to 1.5)" in finding.sentence


def test_a_diverged_rate_is_not_the_best_one():
    rows = []
    for schedule in SCHEDULES:
        rows += run(schedule, 0, 0.01, "tuning") + run(schedule, 0, 0.1, "tuning")
        rows += run(schedule, 0, 1.0, "tuning", state="diverged", values=(3.0, 0.0, 0.1))
        rows += [row for seed in (1, 2, 3) for row in run(schedule, seed, 0.1, "final")]
    assert findings(rows) == []


def test_mixed_code_versions():
    finding = only([*comparison(("constant", "linear")), *comparison(("cosine",), commit="def")])
    assert (finding.check, finding.severity) == ("code versions", "warning")
    assert "abc and def" in finding.sentence


def test_missing_cells_and_missing_planned_runs():
    rows = [*comparison(), *comparison(("constant", "linear"), workload="v")]
    finding = only(rows)
    assert (finding.check, finding.cells) == ("missing cells", (("v", "cosine"),))
    assert "cosine on v" in finding.sentence
    many = only([*comparison(), *comparison(("constant",), workload="v"), *comparison([f"s{i}" for i in range(9)])])
    assert "cosine, linear, s0, s1, s2 and 6 more on v; there is no ranking over all 24 cells" in many.sentence
    planned = only(comparison(), planned=[("w", "cosine", 1), ("w", "cosine", 9)])
    assert planned.sentence == "1 planned run is missing: cosine on w seed 9."


def test_diverged_and_unfinished_finals():
    rows = comparison(seeds=(1, 2))
    rows += run("constant", 3, 0.1, "final", state="diverged", values=(3.0, 2.0, float("nan")))
    rows += run("linear", 3, 0.1, "final", state="incomplete", steps=(0, 10), values=(3.0, 2.0))
    rows += run("cosine", 3, 0.1, "final")
    diverged, incomplete = findings(rows)
    assert (diverged.check, diverged.cells) == ("diverged", (("w", "constant"),))
    assert "1 of 3 runs of constant diverged" in diverged.sentence
    assert (incomplete.check, incomplete.cells) == ("incomplete", (("w", "linear"),))


def test_repeated_runs_and_absent_baselines():
    finding = only([*comparison(), *run("cosine", 3, 0.1, "final", run_id="again")])
    assert (finding.check, finding.cells) == ("repeated runs", (("w", "cosine"),))
    assert only(comparison(("constant", "cosine"))).sentence.endswith("should be: linear.")


def test_a_run_that_lost_what_it_had_reached_is_named():
    rows = [*comparison(seeds=(1, 2)), *run("constant", 3, 0.1, "final"), *run("linear", 3, 0.1, "final")]
    finding = only([*rows, *run("cosine", 3, 0.1, "final", values=(3.0, 1.0, 2.0))])
    assert (finding.check, finding.severity, finding.cells) == ("collapsed", "serious", (("w", "cosine"),))
    assert "1 run of cosine collapsed or overfitted: over 25% of the improvement was lost again" in finding.sentence


def test_a_rate_of_a_search_that_collapsed_is_a_warning_for_it_is_not_chosen():
    rows = [row for row in comparison() if not (row["scheduler"] == "cosine" and row["trial"] == 2)]
    finding = only([*rows, *run("cosine", 0, 1.0, "tuning", values=(3.0, 1.0, 2.0))])
    assert (finding.check, finding.severity, finding.cells) == ("collapsed", "warning", (("w", "cosine"),))


def test_a_metric_never_measured():
    rows = [*comparison(seeds=(1, 2)), *run("constant", 3, 0.1, "final"), *run("linear", 3, 0.1, "final")]
    finding = only([*rows, *run("cosine", 3, 0.1, "final", values=(None, None, None))])
    assert (finding.check, finding.severity) == ("unmeasured", "serious")


def test_serious_findings_come_first_and_the_order_of_rows_does_not_matter():
    rows = [*comparison(("constant",), seeds=(1,)), *comparison(("cosine",), rates=(0.1,), commit="def")]
    first = findings(rows)
    severities = [f.severity for f in first]
    assert severities == sorted(severities, key=["serious", "warning", "note"].index)
    assert len(set(severities)) == 3
    assert findings(rows[::-1]) == first


def test_no_runs_and_no_metric_are_refused():
    frame = frame_from_rows([{key: value for key, value in comparison()[0].items() if key != "rate"}])
    with pytest.raises(ValueError, match="no runs to audit"):
        audit(frame.iloc[:0], metric="val/loss", direction="minimize")
    with pytest.raises(ValueError, match="no metric 'val/f1'"):
        audit(frame, metric="val/f1", direction="minimize")
