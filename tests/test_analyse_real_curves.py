"""Facts 1 and 2 of docs/metrics.md, and what the authors' table says, read off the analysis of 235 real trainings."""

import pandas as pd
import pytest

from lrbench.analysis.analyse import Settings, analyse
from lrbench.analysis.model import to_plain
from lrbench.analysis.verdict.verdict import verdict
from lrbench.results.formats import read_format

TASK = "slimpajama-llama-124M-adamw-b100"


@pytest.fixture(scope="module")
def folder(shared_data):
    return shared_data / "curves" / "lr_scheduling_icml2025"


@pytest.fixture(scope="module")
def analysis(folder):
    with pytest.warns(UserWarning, match="repeat a step"):
        frame = read_format("lr_scheduling_icml2025", [str(folder)], columns={}, constants={})
    return analyse(frame, settings=Settings("val/loss", "minimize", target=3.05, num_resamples=100))


@pytest.fixture(scope="module")
def section(analysis):
    return next(s for s in analysis.sections if s.title == "50000 steps")


def test_each_section_has_one_budget_and_every_run_is_in_one(analysis):
    assert all(f"{w.total_steps} steps" == s.title for s in analysis.sections for w in s.workloads)
    assert sum(row.planned for s in analysis.sections for row in s.states) == 235


def test_the_ranking_reverses_between_two_shared_rates(section):
    losses = {r.rate: dict(r.ranking) for r in section.shared_rates if r.workload == f"{TASK}-50000steps"}
    assert losses[1e-4]["cos-zero"] - losses[1e-4]["wsd-0.2-linear"] == pytest.approx(0.068, abs=0.001)
    assert losses[2e-3]["wsd-0.2-linear"] - losses[2e-3]["cos-zero"] == pytest.approx(0.0216, abs=0.001)


def test_the_longer_planned_cosine_is_later_at_the_same_loss(analysis):
    def earliest(total_steps):
        section = next(s for s in analysis.sections if s.title == f"{total_steps} steps")
        name = f"{TASK}-{total_steps}steps"
        (curve,) = [c for c in section.rate_curves if (c.workload, c.scheduler) == (name, "cos-zero")]
        return min(point.time for point in curve.points if point.time is not None)

    assert (earliest(25_000), earliest(50_000)) == (19_000, 28_400)


def test_the_best_of_each_schedule_and_their_ranking_are_those_of_the_published_table(section, folder):
    runs = pd.read_csv(folder / "runs.csv")
    kept = runs[
        (runs["group"] == "main")
        & (runs["dataset"] == "slimpajama")
        & (runs["n_layer"] == 12)
        & (runs["iterations"] == 50_000)
    ]
    best = kept.groupby("schedule_label")["last_val_loss"].min()
    cells = {c.scheduler: c for c in section.cells if c.workload == f"{TASK}-50000steps"}
    assert {s: c.final.mean for s, c in cells.items()} == pytest.approx(best.to_dict(), abs=1e-6)
    assert {s: c.rank for s, c in cells.items()} == best.rank().to_dict()


def test_one_seed_is_said_and_nothing_is_tested(analysis, section):
    assert any("n = 1" in sentence for sentence in section.sentences)
    assert not any(cell.final.interval for s in analysis.sections for cell in s.cells)
    lines = " ".join(verdict(analysis).lines)
    assert "Not tested" in lines
    assert "significant difference" not in lines
    to_plain(analysis)


def test_the_diverged_run_that_never_printed_nan_is_named(section):
    assert any(f.check == "collapsed" and (f"{TASK}-50000steps", "cos-zero") in f.cells for f in section.findings)


def test_models_and_batch_sizes_under_one_name_are_told_apart_again(folder):
    """Named by dataset and length alone, a constant of twice the batch and three times the parameters led the field."""
    with pytest.warns(UserWarning, match="repeat a step"):
        frame = read_format("lr_scheduling_icml2025", [str(folder)], columns={}, constants={})
    name = frame["workload"].str.replace(r"-llama-\d+M-adamw-b\d+", "", regex=True)
    unnamed = {"model": pd.Series(pd.NA, index=frame.index, dtype="string")}
    cases = ({}, "mixed models", "llama-124M"), (unnamed, "mixed batch sizes", "batch size 100")
    for columns, check, ours in cases:
        named = frame.assign(workload=name, **columns)
        found = analyse(named, settings=Settings("val/loss", "minimize", num_resamples=100))
        assert check in {f.check for f in found.findings}
        sizes = named.drop_duplicates("run_id").set_index("run_id")["batch_size"]
        for section in found.sections:
            for facts in section.workloads:
                runs = [run for c in section.cells if c.workload == facts.name for run in c.runs]
                assert {int(sizes[run.run_id]) for run in runs} == {facts.batch_size}
        (advice,) = [
            item
            for section in verdict(found).sections
            for item in section.recommendations
            if item.workload == f"slimpajama-50000steps ({ours})"
        ]
        assert advice.scheduler != "constant"
