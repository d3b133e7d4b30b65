"""A loop of one's own gets the rates of the table, and what it yields is recorded and compared like any run."""

import math

import numpy as np
import pytest

from lrbench.cli import main
from lrbench.runs.own_loop import run
from lrbench.spec import RunState
from lrbench.tracking.facts import read_facts
from lrbench.tracking.journal import Ended, Evaluated, read_all
from lrbench.tracking.read import read_runs
from lrbench.tracking.record import Record

STEPS = 20


def descend(rate, steps, seed):
    """Gradient descent on x^2 / 2 from x = 1 + seed: every update multiplies x by 1 - rate."""
    x = 1.0 + seed
    yield 0, {"val/loss": x * x / 2}
    for step in range(steps):
        x -= rate(step) * x
        if (step + 1) % 5 == 0:
            yield step + 1, {"val/loss": x * x / 2, "train/loss": x * x / 2}


@pytest.fixture
def words(tmp_path):
    return [f"budget.steps={STEPS}", f"results_dir={tmp_path}/results", "tracking=none"]


def evaluations(record):
    return [entry.evaluation for entry in read_all(record / "journal.jsonl") if isinstance(entry, Evaluated)]


def end(record):
    last = read_all(record / "journal.jsonl")[-1]
    assert isinstance(last, Ended)
    return last


def test_the_function_descends_with_the_rates_of_the_schedule(words):
    (record,) = run(descend, ["scheduler=linear", "optimizer.lr=0.5", "seed=2", *words], name="parabola")
    rates = 0.5 * (1 - np.arange(STEPS) / STEPS)
    found = evaluations(record)
    assert [e.step for e in found] == [0, 5, 10, 15, 20]
    for e in found:
        assert e.metrics["val/loss"] == pytest.approx((3 * np.prod(1 - rates[: e.step])) ** 2 / 2)
    recorded = {step: lr for e in found for step, lr, _ in e.rates}
    # A straight line has no other corners.
    assert recorded == pytest.approx({step: rates[step - 1] for step in (1, 5, 10, 15, 20)})
    assert end(record).status == "FINISHED"
    assert end(record).state is RunState.OK


def test_every_combination_is_a_run_that_says_what_it_was(words):
    choices = ["scheduler=constant,step", "optimizer.lr=0.1,0.2", "seed=0,1", "warmup=linear"]
    records = run(descend, [*choices, *words], name="parabola")
    facts = [read_facts(record) for record in records]
    assert len({f.fingerprint for f in facts}) == len(facts) == 8
    assert {f.name for f in facts} == {"constant-s0", "constant-s1", "step-s0", "step-s1"}
    first = facts[0]
    assert first.experiment == first.tags["workload"] == "parabola-20steps"
    assert first.tags["role"] == "run"
    assert first.params["optimizer.lr"] == 0.1
    assert first.params["warmup.fraction"] == 0.05
    assert facts[-1].params["scheduler.gamma"] == 0.1
    assert not [name for name in first.params if name.startswith(("model.", "dataset.", "training."))]


def test_a_schedule_that_watches_the_loss_is_told_of_it(words):
    def never_improve(rate, steps, seed):
        yield 0, {"val/loss": 1.0}
        for step in range(steps):
            used.append(rate(step))
            yield step + 1, {"val/loss": 1.0}

    used = []
    run(never_improve, ["scheduler=plateau", "optimizer.lr=1.0", "budget.eval_every=0.05", *words], name="flat")
    # A tenth of 20 evaluations is the patience: the first sets the mark, then every third without gain cuts.
    assert used[:4] == [1.0] * 4
    assert used[4] == used[5] == pytest.approx(0.1)
    assert used[-1] < used[4]


def test_a_loss_that_is_no_number_ends_the_run_as_diverged(words):
    def explode(rate, steps, seed):
        yield 0, {"val/loss": 1.0, "val/accuracy": 0.1}
        yield 10, {"val/loss": math.nan, "val/accuracy": 0.1}
        raise AssertionError("a diverged run must not be continued")

    (record,) = run(explode, words, name="bomb")
    assert end(record).state is RunState.DIVERGED
    assert end(record).status == "FINISHED"
    assert [e.step for e in evaluations(record)] == [0, 10]


def test_a_loop_that_stops_early_is_incomplete(words):
    (record,) = run(lambda rate, steps, seed: [(0, {"val/loss": 1.0}), (7, {"val/loss": 0.5})], words, name="short")
    assert end(record).state is RunState.INCOMPLETE


def test_an_error_of_the_function_ends_its_record_as_failed(words, tmp_path):
    def fail(rate, steps, seed):
        yield 0, {"val/loss": 1.0}
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run(fail, words, name="broken")
    (record,) = (tmp_path / "results" / "runs").iterdir()
    assert (end(record).status, end(record).message) == ("FAILED", "KeyError: 'mine'")
    with Record.open(record):
        pass  # nobody holds it


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("model=lenet", "your function decides the rest, got 'model=lenet'"),
        ("optimizer.momentum=0.5", "your function decides the rest, got 'optimizer.momentum=0.5'"),
        ("budget.epochs=3", "your function decides the rest, got 'budget.epochs=3'"),
        ("-m", "your function decides the rest, got '-m'"),
        ("scheduler=one_cycle", "scheduler=one_cycle moves the momentum, .* write scheduler.cycle_momentum=false"),
        ("optimizer.lr=-1", "optimizer.lr should be greater than 0, got -1"),
    ],
)
def test_words_that_cannot_work_are_refused_before_anything_is_trained(words, tmp_path, word, message):
    with pytest.raises(ValueError, match=message):
        run(descend, [word, *words], name="parabola")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("yielded", "message"),
    [
        ([], "train yielded nothing"),
        ([(0, {"loss": 1.0})], r"must yield val/loss at every evaluation; at step 0 it has \['loss'\]"),
        ([(5, {"val/loss": 1.0}), (5, {"val/loss": 1.0})], "rising steps up to 20, got 5 after 5"),
        ([(21, {"val/loss": 1.0})], "rising steps up to 20, got 21 after 0"),
    ],
)
def test_a_function_that_yields_nonsense_is_told(words, yielded, message):
    with pytest.raises(ValueError, match=message):
        run(lambda rate, steps, seed: yielded, words, name="odd")


def test_a_rate_beyond_the_budget_is_refused(words):
    def too_long(rate, steps, seed):
        yield 0, {"val/loss": rate(steps)}

    with pytest.raises(ValueError, match=r"rate\(step\) needs a step from 0 to 19, got 20"):
        run(too_long, words, name="odd")


@pytest.mark.slow
def test_the_report_compares_them(words, tmp_path, capsys):
    words = [*words[:2], f"tracking.uri=sqlite:///{tmp_path}/results/mlflow.db"]
    choices = ["scheduler=constant,linear,cosine", "optimizer.lr=0.02", "seed=0,1,2"]
    run(descend, [*choices, *words], name="parabola")
    frame = read_runs(f"sqlite:///{tmp_path}/results/mlflow.db")
    assert frame["run_id"].nunique() == 9
    assert set(frame["workload"]) == {"parabola-20steps"}
    final = frame[(frame["step"] == STEPS) & (frame["scheduler"] == "constant") & (frame["seed"] == 1)]
    assert final["val/loss"].item() == pytest.approx((2 * 0.98**STEPS) ** 2 / 2)
    capsys.readouterr()
    assert main(["report", f"results_dir={tmp_path}/results", "log=false"]) == 0
    printed = capsys.readouterr().out
    # Less decay of the rate goes further down a parabola without noise.
    rows = [line.split("\t") for line in printed.splitlines()]
    ranks = {row[3]: row[2] for row in rows if len(row) > 5 and row[1] == "parabola-20steps"}
    assert ranks["constant"] == "1"
    assert "untuned rates" in printed, "all of them ran at one rate"
