"""A loop of one's own gets the rates of the table, and what it yields is recorded and compared like any run."""

import math
from functools import partial

import numpy as np
import pytest

import lrbench
from lrbench.data import OwnLoop
from lrbench.runs.compose import compose_plans
from lrbench.runs.own_loop import Rate, _checked, _source_digest, pickled, words_of
from lrbench.schedules.rates import Rates

pytestmark = pytest.mark.xdist_group("own loops")
STEPS = 20


def descend(lr, total_steps, seed):
    """Gradient descent on x^2 / 2 from x = 1 + seed: every update multiplies x by 1 - rate."""
    x = 1.0 + seed
    yield 0, {"val/loss": x * x / 2}
    for step in range(total_steps):
        x -= lr(step) * x
        if (step + 1) % 5 == 0:
            yield step + 1, {"val/loss": x * x / 2, "train/loss": x * x / 2, "val/lr": lr(step)}


def compare(train, tmp_path, **words):
    given = {"schedules": ["linear"], "total_steps": STEPS, "tune": None, "seeds": 1, "lr": [0.5], "tracking": "none"}
    return lrbench.compare(train, results_dir=str(tmp_path / "results"), **{**given, **words})


@pytest.mark.slow
def test_the_loop_descends_with_the_rates_of_the_schedule_on_workers_and_is_not_trained_again(tmp_path, capsys):
    words = {"schedules": ["linear", "constant", "plateau"], "seeds": 2}
    study = compare(descend, tmp_path, **words)
    assert capsys.readouterr().out == ""
    assert not study.failed
    frame = study.frame
    rates = {"linear": 0.5 * (1 - np.arange(STEPS) / STEPS), "constant": np.full(STEPS, 0.5)}
    for name, lr in rates.items():
        for seed in (0, 1):
            rows = frame[(frame["scheduler"] == name) & (frame["seed"] == seed)]
            assert rows["step"].tolist() == [0, 5, 10, 15, 20]
            expected = [((1 + seed) * np.prod(1 - lr[:step])) ** 2 / 2 for step in rows["step"]]
            assert rows["val/loss"].to_numpy(float) == pytest.approx(expected)
            assert rows["lr"].iloc[-1] == rows["val/lr"].iloc[-1] == pytest.approx(lr[-1])
    assert set(frame["state"]) == {"ok"}
    assert all(name.startswith("descend-own-own-b1-20steps") for name in set(frame["workload"]))
    again = compare(descend, tmp_path, **words)
    assert again.records == study.records


@pytest.mark.slow
def test_the_metric_that_is_named_judges_and_a_loop_without_it_says_so(tmp_path):
    def learns(lr, total_steps, seed):
        yield 0, {"val/loss": 1.0, "val/accuracy": 0.1}
        yield total_steps, {"val/loss": 2.0, "val/accuracy": 0.5 + 0.1 * (seed % 2)}

    study = compare(learns, tmp_path, metric="val/accuracy", tune=1, seeds=2, tuning_seeds=1, lr=(0.1, 1.0))
    finals = study.frame[study.frame["role"] == "final"].groupby("seed").last()
    assert set(finals["state"]) == {"ok"}, "a loss that rises is not what it is judged by"
    assert finals["val/accuracy"].nunique() == 2
    assert lrbench.report(study).analysis.question.metric == "val/accuracy"
    with pytest.raises(ValueError, match=r"no trial of .* the first failure: train raised ValueError .* val/accuracy"):
        compare(descend, tmp_path, metric="val/accuracy", tune=1, tuning_seeds=1, lr=(0.1, 1.0))


@pytest.mark.slow
def test_schedules_are_tuned_alike_and_measured_on_fresh_paired_seeds(tmp_path):
    def diverges_above_two(lr, total_steps, seed):
        generator = np.random.default_rng(seed)
        x = 1.0
        yield 0, {"val/loss": x * x}
        for step in range(total_steps):
            x = x - lr(step) * (x + 0.1 * generator.normal())
        yield total_steps, {"val/loss": x * x, "test/loss": x * x}

    words = {"schedules": ["constant", "linear"], "tune": 3, "seeds": 3, "tuning_seeds": 2, "lr": (0.01, 3.0)}
    study = compare(diverges_above_two, tmp_path, **words)
    frame = study.frame
    runs = frame.drop_duplicates("run_id")
    assert runs.groupby(["scheduler", "role"]).size().to_dict() == {
        (scheduler, role): number
        for scheduler in ("constant", "linear")
        for role, number in (("final", 3), ("tuning", 6))
    }
    seeds = runs[runs["role"] == "final"].groupby("scheduler")["seed"].apply(sorted)
    assert seeds["constant"] == seeds["linear"]
    assert all(0.01 <= point["optimizer.lr"] <= 3 for point in study.best.values())
    report = lrbench.report(study)
    assert set(report.ranking["scheduler"].dropna()) == {"constant", "linear"}


@pytest.mark.slow
def test_what_the_loop_does_wrong_is_in_the_study_and_in_its_record(tmp_path):
    def odd(lr, total_steps, seed):
        yield 0, {"val/loss": 1.0}
        if seed == 0:
            raise KeyError("mine")
        if seed == 1:
            yield 10, {"val/loss": math.nan}
            raise AssertionError("a diverged run must not be continued")
        if seed == 2:
            yield 7, {"val/loss": 0.5}

    study = compare(odd, tmp_path, seeds=3)
    assert [str(error) for error in study.failed.values()] == ["train raised KeyError with seed=0: 'mine'"]
    states = study.frame.drop_duplicates("run_id").set_index("seed")["state"].to_dict()
    assert states == {1: "diverged", 2: "incomplete"}


def test_a_schedule_that_moves_the_momentum_tells_the_loop(tmp_path):
    lr = Rate(Rates(np.array([0.5, 0.1]), np.array([0.8, 0.9]), 0, "one_cycle"))
    assert (lr(0), lr.momentum(1)) == (0.5, 0.9)
    assert Rate(Rates(np.array([0.5]), None, 0, "linear")).momentum(0) is None
    with pytest.raises(ValueError, match=r"lr\(step\) needs a step from 0 to 1, got 2"):
        lr(2)


@pytest.mark.parametrize(
    ("yielded", "message"),
    [
        ([(0, {"loss": 1.0})], r"must yield val/loss at every evaluation; at step 0 it has \['loss'\]"),
        ([(5, {"val/loss": 1.0}), (5, {"val/loss": 1.0})], "rising steps up to 20, got 5 after 5"),
        ([(21, {"val/loss": 1.0})], "rising steps up to 20, got 21 after 0"),
    ],
)
def test_a_loop_that_yields_nonsense_is_told(yielded, message):
    with pytest.raises(ValueError, match=message):
        list(_checked(yielded, STEPS, {"val/loss"}))


def test_a_changed_loop_is_another_workload(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    digests = []
    for number in (1, 2):
        (tmp_path / f"loop{number}.py").write_text(
            f"import part{number}\ndef train(lr, total_steps, seed):\n    yield 0, {{}}\n"
        )
        (tmp_path / f"part{number}.py").write_text("x = 1\n")
        module = __import__(f"loop{number}")
        digests.append(_source_digest(module.train))
        assert _source_digest(partial(module.train)) == digests[-1]
        (tmp_path / f"part{number}.py").write_text("x = 2\n")
        digests.append(_source_digest(module.train))
    assert len(set(digests)) == 4


def test_the_source_is_part_of_the_fingerprint():
    one, other = (words_of(loop, name="mine", metric="val/loss", total_steps=5) for loop in (descend, max))
    (first,), (second,) = compose_plans(one), compose_plans(other)
    assert first.fingerprint != second.fingerprint
    assert first.workload.startswith("mine-own-own-b1-5steps")


def test_what_cannot_travel_is_refused_before_anything_is_trained(tmp_path):
    import threading

    lock = threading.Lock()
    with pytest.raises(ValueError, match="can be sent to a worker process; something in it cannot"):
        pickled(lambda lr, total_steps, seed: lock)


def test_the_place_of_the_data_says_how_runs_are_judged():
    assert OwnLoop(code="a").load().digest != OwnLoop(code="b").load().digest
