"""Facts 1 and 2 of docs/metrics.md and two claims of the README, read off 235 real trainings."""

import numpy as np
import pandas as pd
import pytest

from lrbench.analysis.audit.audit import audit
from lrbench.analysis.statistics.curves import censoring_step, curves_of, final_value, time_to_target
from lrbench.analysis.statistics.states import last_rows
from lrbench.results.schema import float_column
from lrbench.spec import RunState

NUM_LAYERS = 12  # the 124M model, of which there is a full grid of rates


@pytest.fixture(scope="module")
def runs(shared_data):
    table = pd.read_csv(shared_data / "curves" / "lr_scheduling_icml2025" / "runs.csv")
    kept = (table["group"] == "main") & (table["dataset"] == "slimpajama") & (table["n_layer"] == NUM_LAYERS)
    return table[kept].set_index("run_id")


@pytest.fixture(scope="module")
def frame(shared_data, runs):
    rows = pd.read_csv(shared_data / "curves" / "lr_scheduling_icml2025" / "curves.csv.gz")
    rows = rows[rows["run_id"].isin(runs.index)].drop_duplicates(["run_id", "iter"], keep="last")
    facts = runs.loc[rows["run_id"]]
    return pd.DataFrame(
        {
            "run_id": rows["run_id"].to_numpy(),
            "workload": ["slimpajama-124M-" + str(n) for n in facts["iterations"]],
            "scheduler": facts["schedule_label"].to_numpy(),
            "seed": pd.array(facts["seed"].to_numpy(), dtype="Int64"),
            "budget": pd.array(facts["iterations"].to_numpy(), dtype="Int64"),
            "state": "ok",
            "optimizer.lr": facts["peak_lr"].to_numpy(),
            "step": pd.array(rows["iter"].to_numpy(), dtype="Int64"),
            "val/loss": float_column(rows["val_loss"]),
        }
    )


@pytest.fixture(scope="module")
def curves(frame):
    return curves_of(frame, metric="val/loss")


def finals(runs, curves, schedule, budget):
    kept = runs[(runs["schedule_label"] == schedule) & (runs["iterations"] == budget)]
    pairs = zip(kept.index, kept["peak_lr"], strict=True)
    return {rate: final_value(curves[run_id].steps, curves[run_id].values) for run_id, rate in pairs}


def test_ranking_reverses_between_two_shared_rates(runs, curves):
    cosine = finals(runs, curves, "cos-zero", 50_000)
    wsd = finals(runs, curves, "wsd-0.2-linear", 50_000)
    assert cosine[1e-4] - wsd[1e-4] == pytest.approx(0.068, abs=0.001)
    assert wsd[2e-3] - cosine[2e-3] == pytest.approx(0.0216, abs=0.001)


def fastest(runs, curves, budget):
    kept = runs[(runs["schedule_label"] == "cos-zero") & (runs["iterations"] == budget)]
    hits = []
    for run_id in kept.index:
        curve = curves[run_id]
        end = censoring_step(curve.steps, total_steps=budget, state=RunState.OK)
        hit = time_to_target(curve.steps, curve.values, target=3.05, direction="minimize", end=end)
        hits += [hit.value] if hit.observed else []
    return min(hits)


def test_the_longer_planned_cosine_is_later_at_the_same_loss(runs, curves):
    assert fastest(runs, curves, 25_000) == 19_000
    assert fastest(runs, curves, 50_000) == 28_400


def test_finals_equal_the_published_last_losses_although_rows_are_unordered_and_repeated(runs, frame, curves):
    last = last_rows(frame).set_index("run_id")["val/loss"]
    for run_id, published in runs["last_val_loss"].items():
        assert final_value(curves[run_id].steps, curves[run_id].values) == pytest.approx(published, abs=1e-6)
        assert last[run_id] == pytest.approx(published, abs=1e-6)


def test_the_audit_names_the_diverged_run_that_never_printed_nan_and_the_single_seed(frame, curves):
    assert all(np.isfinite(curve.values).all() for curve in curves.values())
    found = audit_of(frame, 50_000)
    assert found["collapsed"].cells == (("slimpajama-124M-50000", "cos-zero"),)
    assert "few seeds" in found


def test_the_audit_finds_the_edges_that_the_published_table_has(frame, runs):
    table = runs[runs["iterations"] == 50_000]
    edges = set()
    for schedule, group in table.groupby("schedule_label"):
        losses = group.groupby("peak_lr")["last_val_loss"].mean()
        if len(losses) > 1 and losses.idxmin() in (losses.index[0], losses.index[-1]):
            edges.add(("slimpajama-124M-50000", schedule))
    assert edges
    assert set(audit_of(frame, 50_000)["optimum at edge"].cells) == edges


def audit_of(frame, budget):
    kept = frame[frame["budget"] == budget]
    return {finding.check: finding for finding in audit(kept, metric="val/loss", direction="minimize")}
