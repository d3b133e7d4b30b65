import numpy as np
import pytest

from lrbench.analysis.statistics.states import divergence_rates, full_grid, last_rows, missing_runs, states_table
from lrbench.analysis.statistics.terms import Share
from lrbench.results.schema import as_floats, frame_from_rows


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


def test_states_are_counted_and_the_plan_shows_what_is_missing(frame):
    plan = full_grid(last_rows(frame))
    assert plan == [("w", s, seed) for s in ("cosine", "step") for seed in (0, 1, 2)]
    table = states_table(frame, planned=[*plan, ("w", "linear", 0)])
    assert table.columns.tolist() == ["ok", "diverged", "incomplete", "missing", "planned"]
    assert {key: row.tolist() for key, row in table.iterrows()} == {
        ("w", "cosine"): [1, 1, 1, 0, 3],
        ("w", "linear"): [0, 0, 0, 1, 1],
        ("w", "step"): [1, 0, 0, 2, 3],
    }


def test_without_a_plan_nothing_is_missing_and_repeating_a_plan_changes_nothing(frame):
    assert states_table(frame)["missing"].sum() == 0
    assert missing_runs(last_rows(frame), planned=[("w", "step", 7)] * 2) == [("w", "step", 7)]


def test_an_unknown_state_is_refused(frame):
    with pytest.raises(ValueError, match=r"state must be one of .* got \['crashed'\]"):
        states_table(frame.assign(state="crashed"))


def test_divergence_is_counted_among_finished_runs(frame):
    assert divergence_rates(frame) == {("w", "cosine"): Share(1, 2, None), ("w", "step"): Share(0, 1, None)}
    by_rate = divergence_rates(frame, by=("scheduler", "optimizer.lr"))
    assert by_rate["cosine", 1.0] == Share(1, 1, None)
    with pytest.raises(ValueError, match=r"no columns \['lr0'\]"):
        divergence_rates(frame, by=("lr0",))
