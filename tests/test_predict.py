"""`lrbench.predict` and `lrbench predict`: probes read from runs, their refusals, and what is printed."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import lrbench
from lrbench.analysis.optimised_shape import optimised_shape
from lrbench.analysis.prediction import Prediction
from lrbench.analysis.statistics.power_law import multi_power_law
from lrbench.analysis.statistics.power_law_fit import Law, split_warmup
from lrbench.analysis.statistics.terms import Unavailable
from lrbench.cli import main
from lrbench.config.component import read_component
from lrbench.reporting.predicted import predicted_part
from lrbench.runs.relative_rates import probes_of
from lrbench.studies.prediction import with_measured

TRUE = {"L0": 1.4, "A": 6.0, "alpha": 0.5, "B": 0.25, "C": 0.3, "beta": 0.5, "gamma": 0.64}
SHORT, LR = 200, 0.1
PROBES = [("wsd", 0.2), ("wsd", 0.6), ("step", None), ("cosine", None)]
RANKED = ["constant", "linear", "plateau", {"name": "wsd", "decay_fraction": 0.9}]


def probes(*, seeds=(0,), lrs=(LR,), warmup="none", change=lambda step, loss: loss, schedules=PROBES, total=SHORT):
    """A frame of runs that follow the law."""
    rows = []
    for name, decay in schedules:
        scheduler = {"name": name} | ({} if decay is None else {"decay_fraction": decay})
        factors = lrbench.preview(scheduler=scheduler, warmup=warmup, budget={"steps": total}, optimizer={"lr": 1.0})
        rates = factors["lr"].to_numpy()
        sum_of_warmup, rest = split_warmup(rates)
        for seed in seeds:
            for lr in lrs:
                for step in range(total // 10, total + 1, total // 10):
                    loss = multi_power_law(rest, step - total + len(rest), **TRUE, S0=sum_of_warmup) + seed / 1000
                    rows.append(
                        {
                            "run_id": f"{name} {decay} {seed} {lr}",
                            "workload": "made",
                            "scheduler": name,
                            "scheduler.decay_fraction": decay,
                            "warmup.name": warmup,
                            "seed": seed,
                            "budget": total,
                            "step": step,
                            "state": "ok",
                            "optimizer.lr": lr,
                            "lr": lr * rates[step - 1],
                            "val/loss": float(change(step, loss)),
                        }
                    )
    return lrbench.read(pd.DataFrame(rows))


@pytest.fixture(scope="module")
def answered():
    """One seed: no refits, which take most of the time."""
    return lrbench.predict(probes(), total_steps=4 * SHORT, schedules=RANKED, optimise=True)


def test_schedules_of_names_and_of_parameters_are_ranked_as_the_law_has_them(answered):
    tables = {
        "wsd": ("wsd", {}),
        "wsd decay_fraction=0.6": ("wsd", {"decay_fraction": 0.6}),
        "wsd decay_fraction=0.9": ("wsd", {"decay_fraction": 0.9}),
        "step": ("step", {}),
        "cosine": ("cosine", {}),
        "constant": ("constant", {}),
        "linear": ("linear", {}),
    }
    steps = np.arange(4 * SHORT)
    true = {
        name: float(multi_power_law(getattr(lrbench.schedules, family)(steps, len(steps), **given), len(steps), **TRUE))
        for name, (family, given) in tables.items()
    }
    ranked = [item.name for item in answered.ranks if item.name != "optimised"]
    assert ranked == sorted(true, key=true.get)
    assert answered.pick == ranked[0]
    assert answered.left_out == {"plateau": "its rates depend on the loss"}


def test_the_baseline_stands_beside(answered):
    last = probes().groupby("run_id")["val/loss"].last().rank().astype(int)
    names = {"cosine None": "cosine", "step None": "step", "wsd 0.2": "wsd", "wsd 0.6": "wsd decay_fraction=0.6"}
    expected = {names[run_id.removesuffix(" 0 0.1")]: rank for run_id, rank in last.items()}
    assert dict(answered.short_ranks) == expected
    beside = answered.table.set_index("schedule")["short_rank"].dropna().to_dict()
    assert beside == expected


def test_the_optimised_shape_wins_under_the_law_and_is_a_schedule_like_any_other(answered):
    assert answered.ranks[0].name == "optimised"
    assert np.all(np.diff(answered.optimised["ratios"]) <= 0)
    assert "def " in lrbench.export(scheduler=answered.optimised, budget={"steps": 4 * SHORT})
    assert not [f for f in lrbench.check(scheduler=answered.optimised, workload="digits_mlp") if f.level == "error"]
    drawn = lrbench.preview(scheduler=answered.optimised, budget={"steps": 48})["lr"].to_numpy()
    assert drawn[::4] == pytest.approx(drawn[0] * np.array(answered.optimised["ratios"][:-1]))


def test_a_long_training_is_optimised_in_units_of_several_updates():
    law = Law(np.log(list(TRUE.values())))
    few, many = optimised_shape(law, 2000), optimised_shape(law, 2001 * 2)
    assert few.boundary_fractions == many.boundary_fractions

    def loss(shape):
        knots = [0.0, *shape.boundary_fractions]
        return law.loss(np.interp(np.arange(4002) / 4002, knots, shape.ratios), warmup=0.0)

    assert loss(many) <= loss(few) + 1e-6


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (lambda: probes(lrs=(0.1, 0.2)), "one peak rate, and the probes have several: 0.1, 0.2"),
        (lambda: probes().assign(state="diverged"), "of seed 0 is diverged"),
        (lambda: probes().query("scheduler == 'wsd'").query("`scheduler.decay_fraction` == .2"), "two schedules whose"),
        (lambda: probes(change=lambda step, loss: loss + max(step - 100, 0) * 5e-3), "rises by"),
        (lambda: probes(change=lambda step, loss: loss - 0.3 * (step > 170)), "misses the end"),
    ],
    ids=["peaks", "diverged", "one fall", "overfits", "breaks the law"],
)
def test_it_refuses_with_the_reason(frame, reason):
    found = lrbench.predict(frame(), total_steps=4 * SHORT)
    assert reason in found.refused.reason
    assert not found.ranks
    assert found.pick is None


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (lambda: probes().drop(columns="scheduler.decay_fraction"), "its rates cannot be made again"),
        (lambda: probes().drop(columns="lr"), "needs lr of the probes"),
        (
            lambda: pd.concat([probes(), probes().assign(workload="other", run_id=lambda f: f["run_id"] + "b")]),
            "one workload, got 2: made, ot",
        ),
        (lambda: probes().assign(budget=4 * SHORT), "more than the 800 of the probes"),
    ],
)
def test_what_cannot_be_probes_is_an_error(frame, message):
    with pytest.raises(ValueError, match=message):
        lrbench.predict(frame(), total_steps=4 * SHORT)


def test_a_warmup_is_what_was_trained_before_the_law_begins():
    found = probes_of(probes(warmup="linear"))
    ramp = np.linspace(0.01, 1, 10, endpoint=False)
    assert {round(probe.warmup, 6) for probe in found.probes} == {round(ramp.sum(), 6)}
    assert all(len(probe.rates) == SHORT - 10 and probe.steps[0] == 10 for probe in found.probes)
    rates, _ = found.candidates([read_component("scheduler", "constant", {})], 400)
    assert rates["constant"][:20] == pytest.approx(np.linspace(0.01, 1, 20, endpoint=False))


def test_probes_have_schedules_of_their_own_and_enough_steps(tmp_path):
    with pytest.raises(ValueError, match="schedules of their own"):
        lrbench.probes(scheduler="cosine", results_dir=str(tmp_path))
    with pytest.raises(ValueError, match=r"budget\.steps must be at least 80"):
        lrbench.probes(budget={"steps": 79}, results_dir=str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_the_command_reads_a_file_and_refuses_with_4(tmp_path, capsys):
    probes(lrs=(0.1, 0.2)).to_csv(tmp_path / "runs.csv", index=False)
    words = ["predict", f"results={tmp_path / 'runs.csv'}", "budget.steps=800"]
    assert main(words) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "lrbench: no prediction: the law holds at one peak rate, and the probes have several: 0.1, 0.2\n"
    assert main([*words, "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["refused"].startswith("the law holds at one peak rate")


def test_a_prediction_survives_json(answered):
    again = Prediction.of(json.loads(json.dumps(answered.document, allow_nan=False)))
    assert again == replace(answered, left_out=dict(answered.left_out))
    with pytest.raises(ValueError, match="not what lrbench predict --json prints: KeyError"):
        Prediction.of({"verdict": 1})


def test_the_report_shows_predicted_beside_measured_where_both_exist(answered):
    frame = probes(schedules=[("constant", None), ("linear", None), ("wsd", 0.9), ("wsd", 0.5)], total=4 * SHORT)
    shown = with_measured(answered, pd.concat([probes(), frame], ignore_index=True))
    assert set(shown.measured) == {"constant", "linear", "wsd decay_fraction=0.9", "wsd decay_fraction=0.5"}
    last = frame.groupby("scheduler")["val/loss"].last()
    assert shown.measured["constant"] == last["constant"]
    table = next(item for item in predicted_part(shown).groups[0].items if item.kind == "table")
    places = {row.cells[0]: (row.cells[4], row.cells[5]) for row in table.rows if row.cells[5]}
    order = sorted(set(shown.measured) - {"wsd decay_fraction=0.5"}, key=shown.measured.get)
    assert places == {name: (str(place), str(place)) for place, name in enumerate(order, start=1)}
    assert not with_measured(answered, frame.assign(**{"optimizer.lr": 0.2})).measured


@pytest.mark.slow
def test_the_page_has_the_prediction_folded_at_its_end(tmp_path, answered):
    (tmp_path / "prediction.json").write_text(json.dumps(answered.document))
    long = probes(schedules=[("constant", None), ("linear", None)], total=4 * SHORT, seeds=(0, 1, 2))
    long.to_csv(tmp_path / "long.csv", index=False)
    words = [
        f"results={tmp_path / 'long.csv'}",
        f"out={tmp_path / 'out'}",
        f"prediction={tmp_path / 'prediction.json'}",
    ]
    assert main(["report", *words]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    part = page[page.index("Predicted from short runs") :]
    assert '<section id="part-12"><details class="part">' in page
    assert "measured val/loss" in part
    assert 'data-picture="12-predicted"' in part
    refused = replace(answered, refused=Unavailable("the law misses"), ranks=(), shapes={})
    report = lrbench.report(long, prediction=refused)
    assert "No prediction: the law misses." in report.save(tmp_path / "refused")[0].read_text()


@pytest.mark.slow
def test_the_command_prints_what_the_call_returns(tmp_path, capsys, answered):
    probes().to_csv(tmp_path / "runs.csv", index=False)
    words = [f"results={tmp_path / 'runs.csv'}", "budget.steps=800", "scheduler=constant,linear,plateau", "--optimise"]
    assert main(["predict", *words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    expected = [row["schedule"] for row in answered.rows if row["schedule"] != "wsd decay_fraction=0.9"]
    assert [row["schedule"] for row in document["ranks"]] == expected
    assert document["optimised"] == answered.optimised


@pytest.mark.slow
@pytest.mark.parametrize("workload", ["digits_mlp", "mnist1d_mlp"])
def test_classifiers_that_see_their_data_many_times_are_refused_and_probes_are_trained_once(workload, tmp_path, capsys):
    words = ["predict", f"workload={workload}", f"results_dir={tmp_path}", "tracking=none", "--json"]
    code, printed = main(words), json.loads(capsys.readouterr().out)
    assert code == 4, printed["refused"]
    assert set(printed["short_ranks"]) == {"wsd", "wsd decay_fraction=0.6", "step", "cosine"}
    records = sorted(
        (path.parent.name, path.stat().st_mtime_ns) for path in (tmp_path / "runs").glob("*/journal.jsonl")
    )
    assert len(records) == 8
    assert (main(words), json.loads(capsys.readouterr().out)) == (4, printed)
    assert (
        sorted((path.parent.name, path.stat().st_mtime_ns) for path in (tmp_path / "runs").glob("*/journal.jsonl"))
        == records
    )
