import csv
import json
import re

import pandas as pd
import pytest
from analysis_frames import analysed, field, run, spread_out
from rich.console import Console

from lrbench.analysis.analyse import Settings
from lrbench.analysis.declare import mixture_of
from lrbench.analysis.short_names import short_names
from lrbench.analysis.verdict.verdict import verdict
from lrbench.cli import main
from lrbench.cli.report import fitted, print_summary
from lrbench.reporting.report import Report
from lrbench.results.files import write_file
from lrbench.results.schema import frame_from_rows
from lrbench.spec import Evaluation, RunState
from lrbench.tracking.facts import read_facts
from lrbench.tracking.read import read_runs
from lrbench.tracking.record import Record
from lrbench.tracking.sender import Sender


@pytest.fixture
def without_page(monkeypatch):
    """The page and its pictures have tests of their own; here they would take most of the time."""
    monkeypatch.setattr(
        "lrbench.reporting.page.write_html", lambda analysis, said, directory, **_: directory / "report.html"
    )


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(rows):
        write_file(frame_from_rows(rows), tmp_path / "results.csv")
        return "results=results.csv"

    return write


def refusal(capsys, *words):
    assert main([*words]) == 1
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.err.splitlines()[0]


def test_the_machine_outputs_agree_with_each_other(results, without_page, tmp_path, capsys):
    assert main(["report", results(spread_out(workloads=2)), "out=there", "bootstrap_seed=3", "--full"]) == 0
    with (tmp_path / "there" / "ranking.csv").open() as file:
        ranking = list(csv.DictReader(file))
    assert [(row["workload"], row["rank"], row["scheduler"]) for row in ranking if row["workload"] == "w0"] == [
        ("w0", "1.0", "linear"), ("w0", "2.0", "cosine"), ("w0", "3.0", "constant"),
    ]  # fmt: skip
    assert [(row["workload"], row["mean_rank"]) for row in ranking if row["scheduler"] == "linear"][-1] == (
        "all",
        "1.0",
    )
    document = json.loads((tmp_path / "there" / "verdict.json").read_text())
    assert document["question"]["bootstrap_seed"] == 3
    assert document["sections"][0]["workloads"][0]["target"]["value"] == pytest.approx(1.5, abs=0.05)
    page = (tmp_path / "there" / "report.md").read_text()
    printed = capsys.readouterr().out
    assert document["verdict"]["sections"][0]["screen"]["rows"][0]["state"] == "best"
    for line in document["lines"]:
        assert f"verdict\t{line}\n" in printed
    assert document["verdict"]["sections"][0]["headline"] in page
    with (tmp_path / "there" / "metrics.csv").open() as file:
        metrics = list(csv.DictReader(file))
    (final,) = [r for r in metrics if (r["workload"], r["scheduler"], r["statistic"]) == ("w0", "linear", "final")]
    assert final["value"] == ranking[0]["final"]
    assert all((row["value"] == "") == (row["unavailable"] != "") for row in metrics)


def test_the_summary_is_tab_separated_when_piped_and_with_full_the_whole_ranking(results, without_page, capsys):
    file = results(field({"constant": [1.0, 1.1, 1.2], "cosine": [0.5, 0.6, 0.7]}))
    main(["report", file])
    header, first, *rest = capsys.readouterr().out.splitlines()
    row = dict(zip(header.split("\t"), first.split("\t"), strict=True))
    assert (row["schedule"], row["state"], row["speed"], row["failures"]) == ("cosine", "best", "1.25 x", "0 of 3")
    assert rest[1].startswith("verdict\tUse cosine: constant is shown to end worse on w.")
    main(["report", file, "--full"])
    header, first, *_ = capsys.readouterr().out.splitlines()
    row = dict(zip(header.split("\t"), first.split("\t"), strict=True))
    assert (row["scheduler"], row["state"], row["num_ok"], row["steps_to_target"]) == ("cosine", "leader", "3", "80")


@pytest.mark.parametrize("width", [60, 80, 140])
def test_a_terminal_shows_one_screen_and_drops_columns_instead_of_cutting_them(width, capsys, monkeypatch):
    finals = {f"schedule_of_a_long_name_{i}": [1 + i / 10 + seed / 50 for seed in range(3)] for i in range(14)}
    rows = [row for w in range(3) for row in field(finals, workload=f"w{w}")]
    monkeypatch.setattr("lrbench.cli.report.Console", lambda: Console(force_terminal=True, width=width))
    analysis = analysed(rows)
    print_summary(Report(pd.DataFrame(), Settings("val/loss", "minimize"), analysis, verdict(analysis)))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 23  # and two for the files
    assert all(len(line) <= width for line in lines)
    assert any(re.fullmatch(r"schedule_of_a_long_name_0 +(may be )?best\b.*", line) for line in lines)
    assert any("other schedule" in line for line in lines)


def test_columns_that_do_not_fit_are_dropped_from_the_end():
    rows = [["schedule", "state", "speed"], ["one_cycle", "worse", "1.25 x"]]
    assert fitted(rows, 26) == ["schedule   state  speed", "one_cycle  worse  1.25 x"]
    assert fitted(rows, 20) == ["schedule   state", "one_cycle  worse"]
    assert fitted(rows, 5) == ["schedule", "one_cycle"]


def test_the_report_of_a_pull_request_has_at_most_60_lines_and_short_names(results, without_page, tmp_path):
    finals = {f"s{i}": [1 + i + seed / 50 for seed in range(3)] for i in range(50)}
    rows = field(finals, workload="digits-mlp-sgd-b64-100steps-18c9")
    main(["report", results(rows)])
    text = (tmp_path / "report" / "report.md").read_text()
    assert len(text.splitlines()) <= 60
    assert text.startswith("**Use s0: the 49 others are shown to end worse on digits_mlp")
    assert "18c9" not in text
    assert "digits-mlp-sgd-b64-100steps-18c9" in (tmp_path / "report" / "verdict.json").read_text()


def test_names_of_workloads_are_as_short_as_leaves_them_apart():
    a, b, c = "digits-mlp-sgd-b64-9steps-18c9", "digits-mlp-sgd-b64-9steps-28c9", "mnist1d-cnn1d-adamw-b8-9steps-38c9"
    assert short_names([a, c, "own"]) == {a: "digits_mlp", c: "mnist1d_cnn1d", "own": "own"}
    assert short_names([a, b])[a] == a
    assert short_names([a, a.replace("b64", "b32")])[a] == "digits-mlp-sgd-b64"


def test_a_table_in_markdown_survives_a_bar_in_a_name(results, without_page, tmp_path):
    main(["report", results(field({"constant": [1.0], "a|b": [0.5]}))])
    rows = [line for line in (tmp_path / "report" / "report.md").read_text().splitlines() if line.startswith("|")]
    assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} == {7}


@pytest.mark.parametrize(
    ("rows", "code", "sentence"),
    [
        (field({"constant": [1.0], "cosine": [0.5]}), 0, "n = 1"),
        (field({"cosine": [0.5, 0.6, 0.7]}), 4, "is the only schedule"),
        (field({"constant": [1.0] * 3, "cosine": [0.5] * 3}, state="diverged"), 4, "there is no ranking"),
        (
            run("w", "cosine", 0, 0.5, state="incomplete") + run("w", "constant", 0, 0.5, state="incomplete"),
            4,
            "no run",
        ),
    ],
    ids=["one seed", "one schedule", "all diverged", "none finished"],
)
def test_a_report_says_what_it_cannot_say(rows, code, sentence, results, without_page, capsys):
    assert main(["report", results(rows)]) == code
    assert sentence in capsys.readouterr().out


def test_what_is_wrong_is_one_sentence_with_what_exists(results, without_page, tmp_path, capsys):
    file = results([row | {"val/f1": 0.5} for row in field({"cosine": [0.5]})])
    assert "there is no such file" in refusal(capsys, "report", "results=nowhere.csv")
    assert "metric=val/x was not measured in any run; measured are" in refusal(
        capsys, "report", file, "metric=val/x", "direction=minimize"
    )
    assert "direction must be declared for metric=val/f1" in refusal(capsys, "report", file, "metric=val/f1")
    assert "direction must be minimize or maximize, got 'up'" in refusal(capsys, "report", file, "direction=up")
    assert "target must be a number, got 'high'" in refusal(capsys, "report", file, "target=high")
    assert "does not know 'scheduler=cosine'; it takes results" in refusal(capsys, "report", file, "scheduler=cosine")
    assert "does not know 'uri=x'; did you mean tracking.uri? it takes" in refusal(capsys, "report", "uri=x")
    assert "'experiment=x'; did you mean tracking.experiment?" in refusal(capsys, "report", "experiment=x")
    assert "does not know 'steps=9'; did you mean budget.steps?" in refusal(capsys, "recommend", file, "steps=9")
    assert "give one of them" in refusal(capsys, "report", file, "tracking.experiment=a")
    assert "target names the workloads ['v']; the runs have ['w']" in refusal(capsys, "report", file, "target.v=1")
    assert "there is no database" in refusal(capsys, "report")
    (tmp_path / "empty.csv").write_text("run_id,step,scheduler,val/loss\n")
    assert "empty.csv has no rows" in refusal(capsys, "report", "results=empty.csv")


def test_a_metric_of_ones_own_works_once_its_direction_is_declared(results, without_page, tmp_path):
    rows = [row | {"val/f1": 3 - row["val/loss"]} for row in field({"constant": [1.0], "cosine": [0.5]})]
    assert main(["report", results(rows), "metric=val/f1", "direction=maximize"]) == 0
    question = json.loads((tmp_path / "report" / "verdict.json").read_text())["question"]
    assert (question["metric"], question["direction"], question["endpoint"]) == ("val/f1", "maximize", "val/f1")


def test_columns_of_a_file_can_be_mapped(results, without_page, tmp_path, capsys):
    results(field({"constant": [1.0], "cosine": [0.5]}))
    text = (tmp_path / "results.csv").read_text()
    (tmp_path / "theirs.csv").write_text(text.replace("scheduler", "sched", 1))
    assert main(["report", "results=theirs.csv", "column.scheduler=sched"]) == 0


def test_accuracy_is_the_default_metric_where_all_runs_have_it(results, without_page, tmp_path):
    rows = [row | {"val/accuracy": 1 - row["val/loss"] / 4} for row in field({"constant": [1.0], "cosine": [0.5]})]
    main(["report", results(rows)])
    question = json.loads((tmp_path / "report" / "verdict.json").read_text())["question"]
    assert (question["metric"], question["direction"]) == ("val/accuracy", "maximize")


def test_recommend_says_what_to_use_for_the_described_workload(results, capsys):
    rows = spread_out(workloads=1, model="mlp") + field(
        {"constant": [0.2] * 3, "cosine": [0.9] * 3}, workload="other", model="cnn", dataset="x", budget=400
    )
    file = results(rows)
    assert main(["recommend", file, "model=mlp"]) == 0
    assert "w0, 100 steps: use linear" in capsys.readouterr().out
    assert main(["recommend", file, "model=cnn", "budget.steps=300"]) == 0
    said = capsys.readouterr().out
    assert "No run was planned for 300 steps; the evidence is from 400 steps" in said
    assert "other, 400 steps: use constant" in said
    assert "model=gru: no runs of it; they have cnn, mlp" in refusal(capsys, "recommend", file, "model=gru")
    assert "budget.steps must be a positive number" in refusal(capsys, "recommend", file, "budget.steps=soon")
    diverged = results(field({"constant": [1.0] * 3}, state="diverged"))
    assert main(["recommend", diverged]) == 4


def test_a_reference_and_a_margin_are_words_of_the_command_line_and_of_the_verdict(results, without_page, capsys):
    file = results(spread_out(workloads=2, noise=0.01))
    assert main(["report", file, "reference=cosine", "margin=0.02", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["question"]["reference"], document["question"]["margin"]) == ("cosine", 0.02)
    screen = document["verdict"]["sections"][0]["screen"]
    assert screen["sentence"].startswith("Against cosine on these 2 workloads, ends better: linear -")
    assert {row["scheduler"]: row["state"] for row in screen["rows"]} == {
        "linear": "better", "cosine": "reference", "constant": "worse",
    }  # fmt: skip
    (contenders,) = {item["found"]["reference"] for item in document["sections"][0]["contenders"]}
    assert contenders == "cosine"
    assert main(["report", file, "reference=cosine"]) == 0
    assert "loss against cosine" in capsys.readouterr().out
    assert "reference=cos is none of the schedules; they are constant, cosine, linear" in refusal(
        capsys, "report", file, "reference=cos"
    )
    assert "margin must be above 0" in refusal(capsys, "report", file, "margin=0")


@pytest.mark.parametrize("command", ["report", "recommend"])
def test_json_is_one_object_by_the_names_of_the_verdict_with_the_same_exit_code(
    results, without_page, tmp_path, capsys, command
):
    file = results(spread_out(workloads=1))
    code = main([command, file])
    said = capsys.readouterr().out
    assert main([command, file, "--json"]) == code == 0
    document = json.loads(capsys.readouterr().out)
    verdict_file = json.loads((tmp_path / "report" / "verdict.json").read_text()) if command == "report" else None
    if verdict_file is None:
        assert document["recommendations"][0]["scheduler"] == "linear"
        assert document["recommendations"][0]["sentence"] in said
    else:
        assert document == verdict_file
    nothing = results(field({"constant": [1.0] * 3}, state="diverged"))
    assert main([command, nothing, "--json"]) == 4
    assert isinstance(json.loads(capsys.readouterr().out), dict)
    assert main([command, "results=absent.csv", "--json"]) == 1
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_a_report_on_runs_of_mlflow_is_logged_there_as_a_run_of_its_own(tmp_path, capsys):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with Sender(tmp_path / "sender.log") as sender:
        for scheduler, final in (("constant", 1.0), ("cosine", 0.5)):
            record_one(tmp_path / "runs", uri, scheduler, final, sender)
        assert sender.close(patience=None) == []
    before = len(read_runs(uri))
    new = tmp_path / "not made yet"
    assert main(["report", f"tracking.uri={uri}", f"results_dir={new}"]) == 0
    assert len(read_runs(uri)) == before  # a report is no training
    (record,) = [p.parent for p in new.glob("runs/*/run.json") if read_facts(p.parent).tags["role"] == "report"]
    assert {"report.html", "report.md", "ranking.csv", "verdict.json"} <= {
        p.name for p in (record / "artifacts").iterdir()
    }
    assert read_facts(record).experiment == "trial"
    places = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("verdict.json")}
    assert len(places - {new.name}) == 1  # MLflow's own copy
    assert "no experiment 'x'" in refusal(capsys, "report", f"results_dir={tmp_path}", "tracking.experiment=x")
    assert "no runs selected by tag.seed=7" in refusal(capsys, "report", f"results_dir={tmp_path}", "tag.seed=7")


def record_one(root, uri, scheduler, final, sender):
    tags = {"scheduler": scheduler, "workload": "w", "seed": "0", "budget": "100", "role": "run"}
    with Record.create(
        root, name=scheduler, experiment="trial", tracking_uri=uri, fingerprint=f"{scheduler:0<8}", tags=tags, params={}
    ) as record:
        sender.follow(record.path)
        for step, loss in ((0, 3.0), (50, 2.0), (100, final)):
            record.append(Evaluation(step, step / 10, {"val/loss": loss}))
        record.end("FINISHED", RunState.OK)


def mixed_rows():
    """A task of two budgets that measured the accuracy, and two other tasks that did not."""
    rows = []
    for budget in (100, 200):
        for row in spread_out(("constant", "cosine"), budget=budget, seeds=3):
            rows.append({**row, "workload": f"digits-{budget}steps", "run_id": f"digits{budget}-{row['run_id']}"})
            rows[-1]["val/accuracy"] = 1 - rows[-1]["val/loss"] / 10
    for budget in (100, 300):
        rows += [
            {**row, "workload": f"curves-{budget}steps", "run_id": f"curves{budget}-{row['run_id']}"}
            for row in spread_out(("constant", "cosine"), budget=budget, seeds=3)
        ]
    return rows


def test_workloads_without_the_metric_are_named_and_left_out(results, without_page, tmp_path, capsys):
    assert main(["report", results(mixed_rows()), "metric=val/accuracy", "out=there"]) == 0
    document = json.loads((tmp_path / "there" / "verdict.json").read_text())
    assert {w["name"] for section in document["sections"] for w in section["workloads"]} == {
        "digits-100steps",
        "digits-200steps",
    }
    left_out = "val/accuracy was not measured on curves-100steps and curves-300steps; 12 runs left out."
    assert left_out in (tmp_path / "there" / "report.md").read_text()
    assert left_out in capsys.readouterr().out
    # One name for two lengths, of which one measured it.
    rows = [{**row, "workload": "digits"} for row in mixed_rows()]
    assert main(["report", results(rows), "metric=val/accuracy", "out=there"]) == 0
    assert "not measured on digits (300 steps); 6 runs left out" in (tmp_path / "there" / "report.md").read_text()
    results(mixed_rows())
    assert main(["recommend", "results=results.csv", "metric=val/accuracy"]) == 0
    said = capsys.readouterr().out
    assert left_out in said
    assert "digits-100steps" in said


def test_where_no_metric_is_in_all_runs_the_one_of_most_workloads_is_taken(results, without_page, capsys):
    rows = [{**row, "val/loss": None} if row["workload"].startswith("digits") else row for row in mixed_rows()]
    rows = [row for row in rows if row["workload"] != "curves-300steps"]
    assert main(["report", results(rows), "out=there"]) == 0
    assert "val/accuracy was not measured on curves-100steps; 6 runs left out." in capsys.readouterr().out


def test_a_report_of_everything_says_what_it_mixes():
    frame = pd.DataFrame({"run_id": ["a", "a", "b", "c"], "experiment": ["x", "x", "x", "y"]})
    (finding,) = mixture_of(frame, is_selected=False)
    assert finding.sentence.startswith(
        "All runs of this store are taken, of 2 experiments that need not belong together"
    )
    assert "x (2 runs) and y (1 run)" in finding.sentence
    assert mixture_of(frame[:3], is_selected=False) == []
    assert mixture_of(frame, is_selected=True) == []
    frame.attrs["num_superseded"] = 2
    assert "2 older runs left out that were begun anew" in mixture_of(frame, is_selected=False)[1].sentence
