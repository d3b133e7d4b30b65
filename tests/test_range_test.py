"""The range test: smoothing against pandas, losses against the closed form, suggestions against made curves."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
import torch

from lrbench.cli.range_test import main, read_settings
from lrbench.data import NoisyQuadratic
from lrbench.data.synthetic import expected_quadratic_loss
from lrbench.lr_range import RangeTest, range_test, smoothed_curve, suggest
from lrbench.lr_range.measure import smoothing_steps
from lrbench.models import Diagonal
from lrbench.runs.compose import compose_plans
from lrbench.spec import Budget
from lrbench.tracking.facts import read_facts
from lrbench.tracking.record import Record
from lrbench.trials import Workload

NAN = float("nan")


def made(*losses, lr=None):
    """A range test of made-up losses, one row a seed, over five decades."""
    losses = np.array(losses, dtype=float)
    lr = np.geomspace(1e-5, 1, losses.shape[1]) if lr is None else lr
    return RangeTest(lr=lr, losses=losses, seeds=tuple(range(10, 10 + len(losses))))


# --- smoothing


def test_smoothing_is_pandas_adjusted_exponential_mean():
    losses = np.random.default_rng(0).normal(size=(3, 200))
    curve = smoothed_curve(made(*losses))
    expected = pd.DataFrame(losses.T).ewm(com=smoothing_steps(200) - 1, adjust=True).mean()
    assert curve.median == pytest.approx(expected.median(axis=1).to_numpy())
    assert curve.lowest == pytest.approx(expected.min(axis=1).to_numpy())
    assert curve.highest == pytest.approx(expected.max(axis=1).to_numpy())


def test_a_loss_linear_in_the_logarithm_of_the_rate_is_not_displaced():
    lr = np.geomspace(1e-5, 1, 100)
    curve = smoothed_curve(made(3 - np.log(lr), lr=lr))
    assert curve.median == pytest.approx(3 - np.log(curve.lr))


def test_a_diverged_seed_counts_as_infinite_in_the_median_and_not_at_all_in_the_band():
    ones = np.ones(10)
    gone = np.where(np.arange(10) < 6, 2.0, NAN)
    one_gone = smoothed_curve(made(ones, 3 * ones, gone))
    assert one_gone.median == pytest.approx([2] * 6 + [3] * 4)
    assert one_gone.highest == pytest.approx([3] * 10)
    two_gone = smoothed_curve(made(ones, gone, gone))
    assert two_gone.median == pytest.approx([2] * 6 + [NAN] * 4, nan_ok=True)
    assert two_gone.lowest == pytest.approx([1] * 10)
    assert np.isnan(smoothed_curve(made(gone)).lowest[6:]).all()


# --- suggestions, for curves in u = log10(rate) whose answers are known

U = np.linspace(-5, 0, 400)


def falls(center, width=0.2):
    """From 2 to 0.5, steepest at `center`, with 10 % done 2.2 widths before."""
    return 2 - 1.5 / (1 + np.exp(-(U - center) / width))


def rises(begin):
    """One more for every decade: 10 % of the fall of `falls` is lost after 0.15 decades."""
    return np.maximum(0, U - begin)


def test_low_high_and_steepest_of_a_made_curve():
    found = suggest(made(falls(-3) + rises(-1)))
    assert np.log10([found.low, found.suggested, found.high]) == pytest.approx([-3.44, -3, -0.85], abs=0.05)
    assert [reason.split()[0] for reason in found.reasons] == ["low", "high", "suggested"]


def test_the_suggestion_does_not_depend_on_how_finely_the_range_is_stepped_through():
    loss = falls(-3) + rises(-1)
    fine, coarse = suggest(made(loss)), suggest(made(loss[::4], lr=np.geomspace(1e-5, 1, 400)[::4]))
    for name in ("low", "high", "suggested"):
        assert np.log10(getattr(coarse, name)) == pytest.approx(np.log10(getattr(fine, name)), abs=0.06)


def test_a_suggestion_close_to_high_is_a_third_of_high():
    found = suggest(made(falls(-1.3) + 10 * rises(-1.1)))
    assert found.suggested == found.high / 3
    assert "a third of high" in found.reasons[2]


def test_a_narrow_range_suggests_its_low_end():
    found = suggest(made(np.where(falls(-1.3, 0.03) + 20 * rises(-1.2) > 4, NAN, falls(-1.3, 0.03) + 20 * rises(-1.2))))
    assert found.low < found.high < 3 * found.low
    assert found.suggested == found.low
    assert "narrow" in found.reasons[2]


def test_high_ends_one_step_before_the_first_seed_diverges():
    good = falls(-3) + rises(-0.5)
    bad = np.where(np.arange(400) < 300, good, NAN)
    test = made(good, bad, good)
    found = suggest(test)
    assert found.high == test.lr[299]
    assert "before seed 11 diverged" in found.reasons[1]


@pytest.mark.parametrize("seed", range(5))
def test_noise_on_the_losses_moves_the_suggestion_little(seed):
    noise = np.random.default_rng(seed).normal(scale=0.1, size=(3, 400))
    found = suggest(made(*(falls(-3) + rises(-1) + noise)))
    assert np.log10([found.low, found.suggested, found.high]) == pytest.approx([-3.44, -3, -0.85], abs=0.3)


@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_is_no_fall(seed):
    noise = np.random.default_rng(seed).normal(scale=0.1, size=(3, 400))
    found = suggest(made(*(1 + noise)))
    assert (found.low, found.high, found.suggested) == (None, None, None)
    assert found.reasons == ["the loss neither falls nor rises between 1e-05 and 1: raise max_lr"]


@pytest.mark.parametrize(
    ("loss", "known", "advice"),
    [
        (np.full(400, 2.0), set(), "neither falls nor rises between 1e-05 and 1: raise max_lr"),
        (2 + rises(-3), set(), "rises without having fallen: lower min_lr, which is 1e-05"),
        (np.where(U < -2, 2.0, NAN), set(), "rises without having fallen: lower min_lr"),
        (np.where(U < -4.95, 2.0, NAN), set(), "seed 10 diverges at step 4 already: lower min_lr"),
        (falls(-2), {"low"}, "the loss has not risen by 1: raise max_lr"),
        (2 * np.exp(-np.arange(400) / 20) + 1 + rises(-1), {"high", "suggested"}, "falls from the first step on"),
    ],
    ids=["flat", "only rises", "flat, then diverges", "diverges at once", "never rises", "falls at once"],
)
def test_what_cannot_be_known_is_none_with_the_reason(loss, known, advice):
    found = suggest(made(loss))
    assert {name for name in ("low", "high", "suggested") if getattr(found, name) is not None} == known
    assert advice in " ".join(found.reasons)


def test_no_range_is_suggested_when_a_seed_diverges_before_the_others_learn():
    found = suggest(made(falls(-1), falls(-1), np.where(U < -3, 2.0, NAN)))
    assert (found.low, found.suggested) == (None, None)
    assert np.log10(found.high) == pytest.approx(-3, abs=0.02)
    assert "try more seeds" in found.reasons[0]


# --- the measurement, on a problem whose expected loss is known at every step

PROBLEM = NoisyQuadratic(num_dimensions=4, condition_number=10.0, num_examples=10_000)


@pytest.fixture(scope="module")
def workload():
    return Workload(
        data=PROBLEM.load(),
        task=PROBLEM.task,
        make_model=Diagonal,
        input_shape=PROBLEM.input_shape,
        num_outputs=PROBLEM.num_outputs,
        budget=Budget(total_steps=3, steps_per_epoch=100),  # not the range test's
        batch_size=100,
        eval_every=1.0,
        eval_batch_size=10,
        device=torch.device("cpu"),
    )


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=123.0)


@pytest.fixture(scope="module")
def measured(workload):
    return range_test(workload, sgd, min_lr=1e-3, max_lr=100.0, num_steps=80, seeds=range(5))


@pytest.fixture(scope="module")
def expected(measured):
    """Loss before each update: that of the batch, in expectation."""
    return expected_quadratic_loss(
        measured.lr, curvature=PROBLEM.curvature, noise_std=1.0, batch_size=100, initial=0.0, optimum=1.0
    )[:-1]


def test_losses_follow_the_closed_form_at_every_step(measured, expected):
    assert measured.lr == pytest.approx(1e-3 * 10 ** (np.arange(80) * 5 / 79))
    stable = measured.lr < 1.9
    assert measured.losses[:, stable].mean(axis=0) == pytest.approx(expected[stable], rel=0.15)


def test_every_seed_diverges_above_the_largest_stable_rate(measured):
    """Gradient descent without momentum is stable below 2 / curvature, here 2."""
    diverged = np.isnan(measured.losses)
    assert diverged[:, -1].all()
    assert (np.diff(diverged.astype(int), axis=1) >= 0).all(), "NaN from there on"
    assert (measured.lr[diverged.argmax(axis=1)] > 2).all()


def test_a_seed_ends_before_its_smoothed_loss_exceeds_four_times_its_lowest(measured):
    for losses in measured.losses:
        smoothed = pd.Series(losses[np.isfinite(losses)]).ewm(com=smoothing_steps(80) - 1, adjust=True).mean()
        assert (smoothed <= 4 * smoothed.cummin()).all()
        assert smoothed.iloc[-1] > 1.2 * smoothed.min()


def test_the_range_is_that_of_the_expected_loss(measured, expected):
    start, bottom = expected[0], expected.argmin()
    tenth = 0.1 * (start - expected[bottom])
    low = measured.lr[(expected > start - tenth)[:bottom].argmin()]
    high = measured.lr[bottom + (expected > expected[bottom] + tenth)[bottom:].argmax()]
    assert high > 2
    found = suggest(measured)
    two_steps = (measured.lr[1] / measured.lr[0]) ** 2
    assert low / two_steps < found.low < low * two_steps
    assert high / two_steps < found.high < high * two_steps
    assert found.low < found.suggested <= found.high / 3


def test_a_loss_that_is_not_finite_ends_its_seed_only(workload):
    class BreaksFirst(torch.optim.SGD):
        """The first one built spoils its weights in its third step."""

        num_built = 0

        def __init__(self, parameters):
            super().__init__(parameters, lr=1.0)
            self.steps_left = 3 if self.num_built == 0 else None
            type(self).num_built += 1

        def step(self):
            super().step()
            if self.steps_left is not None:
                self.steps_left -= 1
                if self.steps_left == 0:
                    self.param_groups[0]["params"][0].data.fill_(NAN)

    options = {"min_lr": 1e-3, "max_lr": 1e-2, "num_steps": 6, "seeds": [0, 1]}
    broken, whole = range_test(workload, BreaksFirst, **options), range_test(workload, sgd, **options)
    assert np.isnan(broken.losses[0]).tolist() == [False] * 3 + [True] * 3
    assert np.array_equal(broken.losses[0, :3], whole.losses[0, :3])
    assert np.array_equal(broken.losses[1], whole.losses[1])


def test_a_seed_measures_the_same_alone_and_with_others(workload):
    options = {"min_lr": 1e-3, "max_lr": 1.0, "num_steps": 5}
    both = range_test(workload, sgd, seeds=[4, 7], **options)
    alone = range_test(workload, sgd, seeds=[7], **options)
    assert np.array_equal(both.losses[1], alone.losses[0])
    assert not np.array_equal(both.losses[0], both.losses[1])
    assert both.seeds == (4, 7)


def test_nothing_of_the_callers_is_changed(workload):
    torch.manual_seed(5)
    state, train = torch.get_rng_state(), workload.data.train.inputs.clone()
    range_test(workload, sgd, min_lr=1e-3, max_lr=1.0, num_steps=3, seeds=[0])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(workload.data.train.inputs, train)
    assert workload.budget.total_steps == 3


# --- the command


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"min_lr": "0"}, "min_lr must be greater than 0, got 0"),
        ({"min_lr": "small"}, "min_lr must be a finite number, got 'small'"),
        ({"max_lr": "inf"}, "max_lr must be a finite number, got 'inf'"),
        ({"min_lr": "1", "max_lr": "0.5"}, "max_lr must be greater than min_lr=1, got 0.5"),
        ({"num_steps": "9"}, "num_steps must be at least 10, got 9"),
        ({"num_steps": "1e3"}, "num_steps must be a whole number, got '1e3'"),
        ({"seeds": "0"}, "seeds must be at least 1, got 0"),
        ({"out": "range.pdf"}, "out must end in .png or .svg, got 'range.pdf'"),
        ({"out": "nowhere/range.png"}, "there is no directory"),
    ],
)
def test_a_bad_option_is_refused_by_name(words, message):
    with pytest.raises(ValueError, match=message):
        read_settings(words)


def test_several_combinations_are_refused(tmp_path):
    with pytest.raises(ValueError, match="one combination at a time, got 2"):
        main(["model=mlp,logistic", f"results_dir={tmp_path}"])


def test_the_command_measures_digits_and_leaves_a_record(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LRBENCH_CACHE_DIR", str(tmp_path / "cache"))
    words = ["tracking=none", f"results_dir={tmp_path}", "seed=3", "optimizer.momentum=0"]
    options = ["min_lr=1e-3", "max_lr=1000", "num_steps=60", "seeds=2", f"out={tmp_path}/range.svg"]
    assert main([*words, *options]) == 0
    said = dict(line.split("\t", 1) for line in capsys.readouterr().out.splitlines())
    low, suggested, high = (float(said[name]) for name in ("low", "suggested", "high"))
    assert 1e-3 < low < suggested < high < 100
    assert said["for a search"] == f"optimizer.search.lr.low={low:.3g} optimizer.search.lr.high={high:.3g}"
    assert said["for a run"] == f"optimizer.lr={suggested:.3g}"

    (path,) = (tmp_path / "runs").iterdir()
    assert said["record"] == str(path)
    artifacts = path / "artifacts"
    assert (artifacts / "range_test.svg").read_bytes() == (tmp_path / "range.svg").read_bytes()
    assert (artifacts / "range_test.png").read_bytes().startswith(b"\x89PNG")
    suggestion = json.loads((artifacts / "suggestion.json").read_text())
    assert f"{suggestion['high']:.3g}" == said["high"]
    with (artifacts / "range_test.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    assert float(rows[0]["loss[seed=3]"]) == pytest.approx(np.log(10), rel=0.1)
    assert rows[-1]["loss[seed=4]"] == "nan"

    facts = read_facts(path)
    assert facts.tags["role"] == "range_test"
    assert facts.params["seeds"] == [3, 4]
    assert not any(name.startswith(("scheduler.", "budget.", "optimizer.lr")) for name in facts.params)
    (plan,) = compose_plans(words)
    assert facts.fingerprint != plan.fingerprint, "a training must not take up a killed range test"
    with pytest.raises(ValueError, match="is finished"):
        Record.open(path)


def test_the_journal_holds_the_smoothed_curve_up_to_its_first_nan(tmp_path):
    from lrbench.runs.range_test import _evaluations

    losses = np.where(np.arange(80) < 6, 2.0, NAN)
    curve = smoothed_curve(made(losses))
    evaluations = _evaluations(made(losses), curve, seconds=40.0)
    assert [e.step for e in evaluations] == [1, 2, 3, 4, 5, 6, 7]
    assert [e.metrics["range/loss"] for e in evaluations] == pytest.approx([2.0] * 6 + [NAN], nan_ok=True)
    assert [e.metrics["range/lr"] for e in evaluations] == pytest.approx(curve.lr[:7])
    assert [e.rates[0][1] for e in evaluations] == pytest.approx(made(losses).lr[:7])
    assert evaluations[-1].seconds == pytest.approx(3.5)


@pytest.mark.slow
def test_the_curve_reaches_mlflow(tmp_path, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.setenv("LRBENCH_CACHE_DIR", str(tmp_path / "cache"))
    words = [f"results_dir={tmp_path}", "tracking.experiment=ranges", "num_steps=20", "seeds=1", "max_lr=1"]
    assert main(words) == 0
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("ranges")
    (run,) = client.search_runs([experiment.experiment_id], filter_string="tags.role = 'range_test'")
    assert run.info.status == "FINISHED"
    points = client.get_metric_history(run.info.run_id, "range/loss")
    assert [point.step for point in points] == list(range(1, 21))
    assert {a.path for a in client.list_artifacts(run.info.run_id)} >= {"range_test.png", "suggestion.json"}
