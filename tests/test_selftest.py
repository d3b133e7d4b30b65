"""The self-test finds the truth, and finds out when anything on the way to it is broken."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import lrbench.trials
from lrbench.cli import known_truth, main, selftest
from lrbench.cli.known_truth import EVAL_EVERY, NUM_SEEDS, PROBLEMS, SCHEDULES, STEPS
from lrbench.results.schema import float_column, frame_from_rows
from lrbench.spec import evaluation_steps


def true_frame(problem):
    """What a perfect machine would read back: the expected losses, each seed a little above or below."""
    rows = []
    for schedule in SCHEDULES:
        losses, rates = problem.losses(schedule) - problem.floor, problem.rates(schedule)
        for seed in range(NUM_SEEDS):
            factor = 1 + 0.1 * (-1) ** seed * (1 + seed // 2) / NUM_SEEDS
            rows += [
                {"run_id": f"{schedule}{seed}", "workload": "w", "scheduler": schedule, "dataset": problem.dataset,
                 "seed": seed, "budget": STEPS, "state": "ok", "step": step, "lr": rates[step - 1] if step else None,
                 "val/loss": problem.floor + factor * losses[step]}
                for step in evaluation_steps(STEPS, EVAL_EVERY)
            ]  # fmt: skip
    return frame_from_rows(rows)


def failed(frame, problem):
    return [check.what for check in selftest.judge(frame, problem) if not check.passed]


def change_finals(frame, factor, schedule):
    """Scale the final losses of a schedule."""
    at = (frame["scheduler"] == schedule) & (frame["step"] == STEPS)
    return frame.assign(**{"val/loss": frame["val/loss"].where(~at, frame["val/loss"] * factor)})


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.dataset)
class TestJudge:
    def test_the_truth_passes(self, problem):
        checks = list(selftest.judge(true_frame(problem), problem))
        assert len(checks) == 10
        assert all(check.passed for check in checks)

    def test_the_closed_forms_rank_the_schedules_by_many_standard_errors(self, problem):
        ends = {schedule: problem.losses(schedule)[-1] - problem.floor for schedule in SCHEDULES}
        loser = next(schedule for schedule in SCHEDULES if schedule != problem.winner)
        assert ends[loser] > 8 * ends[problem.winner]
        assert (
            problem.time_to(problem.winner, problem.target_excess) < STEPS < problem.time_to(loser, 0.9 * ends[loser])
        )

    def test_swapped_labels_fail(self, problem):
        frame = true_frame(problem)
        swapped = frame["scheduler"].map({"constant": "linear", "linear": "constant"}).astype("string")
        found = failed(frame.assign(scheduler=swapped), problem)
        assert {"better at the end", "faster to the target", "Pareto front"} <= set(found)

    def test_a_lost_run_or_evaluation_fails(self, problem):
        frame = true_frame(problem)
        assert failed(frame[frame["run_id"] != "linear2"], problem) == ["runs read back, finished"]
        assert failed(frame.drop(index=5), problem) == ["runs read back, finished"]
        assert failed(frame[:0], problem) == ["runs read back, finished"]

    def test_a_diverged_run_fails(self, problem):
        frame = true_frame(problem)
        frame.loc[frame["run_id"] == "constant1", "state"] = "diverged"
        assert failed(frame, problem) == ["runs read back, finished"]

    def test_other_rates_in_the_record_fail(self, problem):
        frame = true_frame(problem)
        assert failed(frame.assign(lr=frame["lr"] * 1.001), problem) == [f"logged rates of {s}" for s in SCHEDULES]
        unlogged = frame.assign(lr=float_column([None] * len(frame)))
        assert failed(unlogged, problem) == [f"logged rates of {s}" for s in SCHEDULES]

    @pytest.mark.parametrize("schedule", SCHEDULES)
    @pytest.mark.parametrize("factor", [0.8, 1.3])
    def test_another_final_loss_fails_even_when_the_ranking_holds(self, problem, schedule, factor):
        frame = true_frame(problem)
        assert f"excess loss of {schedule}" in failed(change_finals(frame, factor, schedule), problem)

    def test_seeds_that_do_not_differ_fail(self, problem):
        frame = true_frame(problem)
        frame["val/loss"] = frame.groupby(["scheduler", "step"])["val/loss"].transform("first")
        assert "better at the end" in failed(frame, problem)

    def test_a_speed_that_is_off_fails(self, problem):
        frame = true_frame(problem)
        late = problem.floor + 2 * problem.target_excess
        slow = frame.assign(**{"val/loss": frame["val/loss"].where(frame["step"] == STEPS, late)})
        assert f"steps to target, {problem.winner}" in failed(slow, problem)


def both_problems():
    frames = [true_frame(p).assign(workload=p.dataset, **{"optimizer.lr": p.base_lr}) for p in PROBLEMS]
    return pd.concat([f.assign(run_id=f["workload"] + f["run_id"]) for f in frames], ignore_index=True)


def test_the_verdict_of_the_truth_names_the_winners():
    checks = selftest.judge_verdict(both_problems())
    assert len(checks) == 6
    assert all(check.passed for check in checks)


def test_a_verdict_of_swapped_labels_names_nobody_right():
    frame = both_problems()
    frame["scheduler"] = frame["scheduler"].map({"constant": "linear", "linear": "constant"}).astype("string")
    assert not any(check.passed for check in selftest.judge_verdict(frame))


def test_arguments_are_refused(capsys):
    assert main(["selftest", "fast"]) == 1
    assert "takes no arguments" in capsys.readouterr().err


@pytest.mark.slow
def test_this_installation_passes(capsys):
    assert main(["selftest"]) == 0
    printed = capsys.readouterr()
    assert "all 26 checks passed" in printed.out
    assert "FAIL" not in printed.out


@pytest.mark.slow
def test_a_training_that_uses_other_rates_than_it_should_is_found(monkeypatch, capsys):
    make_rates = lrbench.trials.make_rates

    def halved(*args, **kwargs):
        rates = make_rates(*args, **kwargs)
        rates.lr *= 0.5
        return rates

    monkeypatch.setattr(lrbench.trials, "make_rates", halved)
    monkeypatch.setattr(selftest, "PROBLEMS", PROBLEMS[:1])
    assert main(["selftest"]) == 1
    printed = capsys.readouterr()
    assert "selftest FAILED" in printed.err
    lines = [line for line in printed.out.splitlines() if line.startswith("FAIL")]
    assert any("logged rates of constant" in line for line in lines)
    assert any("excess loss of constant" in line for line in lines)


@pytest.mark.slow
def test_an_optimizer_that_steps_in_another_direction_is_found(monkeypatch, capsys):
    """Momentum that the closed form does not have: the rates are right, the losses are not."""
    words = known_truth.Problem.words
    wrong = lambda self, directory: [*words(self, directory), "optimizer.momentum=0.9"]  # noqa: E731
    monkeypatch.setattr(known_truth.Problem, "words", wrong)
    monkeypatch.setattr(selftest, "PROBLEMS", (dataclasses.replace(PROBLEMS[1], base_lr=0.02),))
    assert main(["selftest"]) == 1
    assert "FAIL  linear_regression excess loss" in capsys.readouterr().out


def test_expected_losses_follow_from_the_rates():
    problem = PROBLEMS[0]
    assert np.allclose(problem.expected(problem, np.zeros(STEPS)), problem.losses("constant")[0])
