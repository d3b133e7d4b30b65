"""`import lrbench`: the same records as the command line, no printing, the messages of the command line."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import lrbench
from lrbench.cli import main
from lrbench.runs.words import override_words
from lrbench.tracking.facts import read_facts

SMALL = {"model": {"hidden": [4]}, "budget": {"epochs": 1}, "tracking": "none"}


def weights(record):
    """The digest of the weights that a run ended with."""
    return json.loads((record / "artifacts" / "outcome.json").read_text())["weights_sha256"]


def sgd(lr=0.5, **options):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, **options)


def test_importing_lrbench_imports_nothing_heavy():
    program = (
        "import sys, lrbench; heavy = {'torch', 'hydra', 'mlflow', 'optuna', 'pandas', 'numpy'}; "
        "print(sorted(heavy & set(sys.modules)), set(lrbench.__all__) <= set(dir(lrbench)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] True"


def test_a_name_that_is_not_public_says_which_are():
    with pytest.raises(AttributeError, match="no attribute 'train'; it has check, compare"):
        lrbench.train  # noqa: B018


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"scheduler": "cosine", "seed": 3}, ["scheduler=cosine", "seed=3"]),
        ({"scheduler": {"name": "wsd", "decay_fraction": 0.2}}, ["scheduler=wsd", "++scheduler.decay_fraction=0.2"]),
        ({"budget": {"epochs": 5}}, ["budget.epochs=5"]),
        ({"model": {"hidden": [4, 2]}}, ["++model.hidden=[4,2]"]),
        ({"scheduler": ["cosine", "wsd"], "seed": [0, 1]}, ["scheduler=cosine,wsd", "seed=0,1"]),
        ({"optimizer.lr": [0.1, 0.2]}, ["optimizer.lr=0.1,0.2"]),
        ({"trusted_modules": ["mine"]}, ["trusted_modules=['mine']"]),
        ({"data_dir": None, "strict": True}, ["data_dir=null", "strict=true"]),
        ({"results_dir": "a b,c"}, ["results_dir='a b,c'"]),
    ],
)
def test_keyword_arguments_are_overrides(config, words):
    assert override_words(config) == words


def test_a_run_is_the_record_of_the_command(tmp_path, capsys):
    words = ["scheduler=linear", "model.hidden=[4]", "budget.epochs=1", "tracking=none", "seed=2"]
    assert main([*words, f"results_dir={tmp_path / 'command'}"]) == 0
    capsys.readouterr()
    told = []
    run = lrbench.run(
        scheduler="linear",
        seed=2,
        **SMALL,
        results_dir=str(tmp_path / "api"),
        on_progress=lambda *done: told.append(done),
    )
    assert capsys.readouterr() == ("", "")
    (other,) = (tmp_path / "command" / "runs").glob("*/run.json")
    assert read_facts(run.path).fingerprint == read_facts(other.parent).fingerprint
    assert weights(run.path) == weights(other.parent)
    assert run.state == "ok"
    assert told[-1][:2] == (run.metrics["steps"], run.metrics["steps"])
    assert run.frame["step"].iloc[-1] == run.metrics["steps"]
    assert run.frame["val/loss"].iloc[-1] == run.metrics["val/loss"]
    assert run.rates["lr"].iloc[0] == lrbench.preview(scheduler="linear", **SMALL)["lr"].iloc[0]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"scheduler": "cosin"}, "cosin"),
        ({"scheduler": ["cosine", "linear"]}, "lrbench.run trains one run, and lrbench.sweep several, got 2"),
        ({"optimizer": {"lr": -1.0}}, "optimizer.lr"),
        ({"scheduler": 3}, "scheduler must be the name of a file of conf/scheduler"),
    ],
)
def test_what_is_wrong_is_an_exception_with_the_message_of_the_command(config, message, tmp_path):
    with pytest.raises(Exception, match=message):
        lrbench.run(**{**SMALL, **config}, results_dir=str(tmp_path))
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.slow
def test_a_sweep_and_its_report(tmp_path):
    study = lrbench.sweep(
        scheduler=["constant", "linear"],
        seed=[0, 1],
        search={"num_trials": 2, "final_seeds": 3},
        results_dir=str(tmp_path),
        **SMALL,
    )
    assert sorted(set(study.frame["role"])) == ["final", "tuning"]
    assert study.frame["run_id"].nunique() == 2 * (2 * 2 + 3)
    assert not study.failed
    assert [sorted(point) for point in study.best.values()] == [["optimizer.lr"]] * 2 or len(study.best) == 2
    report = lrbench.report(study)
    assert set(report.ranking["scheduler"]) == {"constant", "linear"}
    assert report.verdict.lines
    assert "<table" in report._repr_html_()
    assert (report.save(tmp_path / "out")[0]).name == "report.html"


def test_a_report_takes_a_frame_a_file_and_its_own_words(tmp_path):
    rows = ["scheduler,seed,step,val/loss"]
    rows += [f"{s},{k},{t},{1 / (t + 1) + 0.1 * (s == 'a') + k / 1000}" for s in "ab" for k in range(3) for t in (0, 9)]
    file = tmp_path / "mine.csv"
    file.write_text("\n".join(rows))
    report = lrbench.report(file)
    assert report.ranking.iloc[0]["scheduler"] == "b"
    again = lrbench.report(lrbench.read(file), metric="val/loss", target=0.5)
    assert again.ranking["final"].tolist() == report.ranking["final"].tolist()
    with pytest.raises(ValueError, match="there is no such file"):
        lrbench.report(tmp_path / "none.csv")
    assert [item.workload for item in lrbench.recommend(report)] == ["default"]


@pytest.mark.parametrize("name", ["cosine", "linear", "exponential", "step", "polynomial", "one_cycle", "wsd", "rex"])
def test_every_family_gives_factors_by_the_same_call_and_trains_with_them(name):
    family = getattr(lrbench.schedules, name)
    factors = family(np.arange(40), 40)
    assert factors.shape == (40,)
    assert family(7, 40) == factors[7]
    assert family(99, 40) == pytest.approx(family(40, 40)) or family(99, 40) == factors[-1]
    optimizer = sgd(lr=0.5, momentum=0.9)
    defaults = {"power": 1.0} if name == "polynomial" else {}  # conf/ has a default of its own
    schedule = lrbench.scheduler(name, optimizer, total_steps=40, **defaults)
    used = []
    for _ in range(40):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose(used, 0.5 * factors, rtol=1e-12)


def test_a_closed_loop_family_has_no_factors():
    with pytest.raises(ValueError, match="open-loop"):
        lrbench.schedules.plateau(3, 10)


def test_a_scheduler_of_a_loop_warms_up_scales_groups_and_resumes():
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (1.0, 0.1)]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    schedule = lrbench.scheduler("linear", optimizer, total_steps=10, warmup={"name": "linear", "fraction": 0.2})
    rates = []
    for _ in range(12):
        rates.append(schedule.get_last_lr())
        optimizer.step()
        schedule.step()
    assert rates[2] == [1.0, 0.1]
    assert rates[0][0] < rates[1][0] < 1
    assert rates[9] == rates[11]
    np.testing.assert_allclose(np.array(rates)[:, 1], 0.1 * np.array(rates)[:, 0])
    fresh = lrbench.scheduler("linear", optimizer, total_steps=10, warmup={"name": "linear", "fraction": 0.2})
    fresh.load_state_dict(schedule.state_dict())
    assert fresh.last_epoch == 12


def test_a_cycling_momentum_is_set_too():
    optimizer = sgd(momentum=0.9)
    schedule = lrbench.scheduler("one_cycle", optimizer, total_steps=10)
    momenta = []
    for _ in range(10):
        momenta.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        schedule.step()
    assert momenta[0] == 0.95
    assert min(momenta) == pytest.approx(0.85)


def test_wrong_words_of_a_scheduler_are_refused():
    with pytest.raises(ValueError, match="no scheduler 'cosin'; did you mean cosine"):
        lrbench.scheduler("cosin", sgd(), total_steps=10)
    with pytest.raises(ValueError, match="no parameter 'decay'"):
        lrbench.scheduler("wsd", sgd(), total_steps=10, decay=0.2)
    with pytest.raises(ValueError, match="follows the validation loss and takes no warmup"):
        lrbench.scheduler("plateau", sgd(), total_steps=100, warmup="linear")


def test_preview_check_and_export():
    table = lrbench.preview(scheduler=["cosine", "linear"], budget={"steps": 10, "epochs": None})
    assert set(table["schedule"]) == {"cosine", "linear"}
    assert len(table) == 20
    assert table["lr"].iloc[0] == table["lr"].max()
    assert [f.rule for f in lrbench.check(scheduler="one_cycle", optimizer="sgd")] == ["momentum-overwritten"]
    assert "def make_scheduler(optimizer)" in lrbench.export(scheduler="wsd")
    with pytest.raises(ValueError, match="to must be one of torch"):
        lrbench.export(to="keras")


def test_a_range_test_is_the_record_of_the_command(tmp_path, capsys):
    small = {"model": {"hidden": [4]}, "tracking": "none", "results_dir": str(tmp_path)}
    found = lrbench.range_test(min_lr=1e-3, max_lr=10, num_steps=12, seeds=1, **small)
    words = [*override_words(small), "min_lr=1e-3", "max_lr=10", "num_steps=12", "seeds=1"]
    assert main(["range-test", *words]) == 0
    other = next(path for path in (tmp_path / "runs").iterdir() if path != found.record)
    for name in ("range_test.csv", "suggestion.json"):
        assert (other / "artifacts" / name).read_bytes() == (found.record / "artifacts" / name).read_bytes()
    assert read_facts(other).params == read_facts(found.record).params
    assert read_facts(other).fingerprint == read_facts(found.record).fingerprint
    with pytest.raises(ValueError, match="num_steps must be at least 10, got 9"):
        lrbench.range_test(num_steps=9)


def test_import_and_sync_are_those_of_the_command(tmp_path, capsys):
    rows = "run_id,workload,scheduler,seed,step,val/loss\na,w,cosine,0,0,2.0\na,w,cosine,0,5,1.0\n"
    (tmp_path / "given.csv").write_text(rows)
    out, folder = tmp_path / "out.csv", tmp_path / "results"
    assert main(["import", "tidy", str(tmp_path / "given.csv"), f"out={out}"]) == 0
    frame = lrbench.import_results("tidy", str(tmp_path / "given.csv"))
    assert lrbench.read(out)["val/loss"].tolist() == frame["val/loss"].tolist() == [2.0, 1.0]
    assert lrbench.record_results(frame, results_dir=folder).num_known == 0
    assert main(["import", "tidy", str(tmp_path / "given.csv"), "to=mlflow", f"results_dir={folder}"]) == 0
    assert "recorded before\t1" in capsys.readouterr().out  # the same record: nothing is written again
    found = lrbench.sync(folder)
    assert (found.sent, found.unsent, found.running) == ([], [], [])
