import numpy as np
import pytest

from lrbench.analysis.statistics.states import judged_states, last_rows, missing_runs
from lrbench.results.schema import as_floats, frame_from_rows

LOSS = {"metric": "val/loss", "direction": "minimize"}


def run(run_id, scheduler, seed, state, workload="w"):
    base = {"run_id": run_id, "workload": workload, "scheduler": scheduler, "seed": seed, "state": state}
    last = float("nan") if state == "diverged" else 1.0
    return [base | {"budget": 10, "step": s, "val/loss": v} for s, v in [(10, last), (0, 2.0)]]


@pytest.fixture
def frame():
    rows = frame_from_rows(
        [
            *run("a", "cosine", 0, "ok"),
            *run("b", "cosine", 1, "diverged"),
            *run("c", "cosine", 2, "incomplete"),
            *run("d", "step", 0, "ok"),
        ]
    )
    return rows.assign(**{"optimizer.lr": (rows["run_id"] == "b").map({True: 1.0, False: 0.1})})


def test_last_rows_keep_the_nan_of_a_diverged_run(frame):
    values, missing = as_floats(last_rows(frame.sample(frac=1, random_state=1))["val/loss"])
    assert np.isnan(values).sum() == 1
    assert not missing.any()


def test_a_planned_run_that_is_absent_is_missing_once(frame):
    assert missing_runs(last_rows(frame), planned=[("w", "step", 7), ("w", "step", 0)] * 2) == [("w", "step", 7)]


def test_an_unknown_state_is_refused(frame):
    with pytest.raises(ValueError, match=r"state must be one of .* got \['crashed'\]"):
        judged_states(frame.assign(state="crashed"), metric="val/loss", direction="minimize")


NAN = float("nan")
# Recorded state, then by step val/loss and val/auc; None = not measured. The state in val/loss, and in val/auc.
JUDGED = {
    "all is well": ("ok", [2.0, 1.0, 0.5], [0.5, 0.6, 0.7], "ok", "ok"),
    "a metric of any name that ends in NaN": ("ok", [2.0, 1.0, 0.5], [0.5, 0.6, NAN], "ok", "diverged"),
    "NaN on the way only": ("ok", [2.0, NAN, 0.5], [0.5, NAN, 0.7], "ok", "ok"),
    "the NaN that pandas wrote as an empty cell": ("ok", [2.0, 1.0, None], [0.5, 0.6, 0.7], "incomplete", "ok"),
    "both cells empty": ("ok", [2.0, 1.0, None], [0.5, 0.6, None], "incomplete", "incomplete"),
    "a loss that is no number": ("ok", [2.0, 1.0, NAN], [0.5, 0.6, 0.7], "diverged", "diverged"),
    "label noise, by our own rule of the loss": ("diverged", [1.0, 1.1, 1.2], [0.3, 0.6, 0.7], "diverged", "ok"),
    "label noise, recorded as ok": ("ok", [1.0, 1.1, 1.2], [0.3, 0.6, 0.7], "diverged", "ok"),
    "back at chance, and the loss rose": ("diverged", [1.0, 5.0, 9.0], [0.5, 0.6, 0.5], "diverged", "diverged"),
    "worse than it began, and the loss rose": ("ok", [1.0, 5.0, 9.0], [0.5, 0.6, 0.4], "diverged", "diverged"),
    "worse than it began by noise": ("ok", [1.0, 0.99, 0.98], [0.5, 0.5, 0.4], "ok", "ok"),
    "diverged by somebody's own rule": ("diverged", [2.0, 1.0, 0.5], [0.5, 0.6, 0.7], "diverged", "diverged"),
    "killed": ("incomplete", [2.0, 1.0], [0.5, 0.6], "incomplete", "incomplete"),
    "killed after it diverged": ("incomplete", [2.0, NAN], [0.5, 0.6], "diverged", "diverged"),
    "never measured": ("ok", [2.0, 1.0, 0.5], [None, None, None], "ok", "ok"),
}


@pytest.mark.parametrize(("recorded", "losses", "aucs", "by_loss", "by_auc"), JUDGED.values(), ids=JUDGED)
def test_a_run_is_judged_by_the_metric_in_use(recorded, losses, aucs, by_loss, by_auc):
    base = {"run_id": "a", "workload": "w", "scheduler": "cosine", "state": recorded, "budget": 20}
    pairs = enumerate(zip(losses, aucs, strict=True))
    frame = frame_from_rows([base | {"step": 10 * k, "val/loss": loss, "val/auc": auc} for k, (loss, auc) in pairs])
    for metric, direction, expected in (("val/loss", "minimize", by_loss), ("val/auc", "maximize", by_auc)):
        assert set(judged_states(frame, metric=metric, direction=direction)) == {expected}


def test_a_line_of_a_training_log_after_the_last_evaluation_is_none():
    base = {"run_id": "a", "workload": "w", "scheduler": "cosine", "state": "ok", "budget": 25}
    rows = [base | {"step": 10 * k, "val/loss": 2.0 - k} for k in range(3)]
    for extra in ({"step": 25, "train/loss": 0.1}, {"step": 25, "test/accuracy": 0.9}):
        assert set(judged_states(frame_from_rows([*rows, base | extra]), **LOSS)) == {"ok"}
    # An evaluation was due at step 30, and what else was evaluated at 25 shows one that lacks this metric.
    for extra in ({"step": 30, "train/loss": 0.1}, {"step": 25, "val/accuracy": 0.9}, {"step": 25}):
        frame = frame_from_rows([*rows, base | extra]).assign(budget=30)
        assert set(judged_states(frame, **LOSS)) == {"incomplete"}
