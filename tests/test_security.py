"""Canaries: configurations, folders and names that try what they must not, and files that must not appear."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import warnings
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from analysis_frames import run
from mlflow import MlflowClient
from test_tracking_record import evaluation, make_record

from lrbench.addresses import masked, quoted_uri, sqlite_uri
from lrbench.analysis.analyse import Settings
from lrbench.analysis.markdown import plain
from lrbench.cli import main
from lrbench.cli.report import show
from lrbench.config import make_plan
from lrbench.config.targets import locate
from lrbench.reporting.report import Report
from lrbench.results.schema import frame_from_rows
from lrbench.runs import hydra_app
from lrbench.runs.compose import compose_plans
from lrbench.runs.errors import explain
from lrbench.runs.record_of_run import write_yaml
from lrbench.runs.session import Session
from lrbench.search.storage import open_storage
from lrbench.spec import RunState
from lrbench.tracking.facts import read_facts
from lrbench.tracking.read import read_runs
from lrbench.tracking.read_sql import recorded_experiments
from lrbench.tracking.record import Record
from lrbench.tracking.send_queue import SendQueue
from lrbench.tracking.send_state import SendState, find_unsent, load_state, save_state
from lrbench.tracking.sync import sync

REPO = Path(__file__).resolve().parent.parent


@pytest.fixture
def run_app(monkeypatch):
    """Compose as a command does and hand the config to a function instead of training it."""

    def run(words, task):
        monkeypatch.setattr(hydra_app, "job", task)
        hydra_app.run_app(words, Session())

    return run


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A file that appears when the module `strangers` is imported, which anybody could."""
    canary = tmp_path / "canary"
    (tmp_path / "strangers.py").write_text(f"open({str(canary)!r}, 'w').close()\nThing = lambda: None\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield canary
    sys.modules.pop("strangers", None)


def words_of(folder: Path, experiment: str) -> list[str]:
    """The command line of somebody who tries an experiment from elsewhere."""
    (folder / "theirs" / "experiment").mkdir(parents=True)
    (folder / "theirs" / "experiment" / "evil.yaml").write_text(f"# @package _global_\n{experiment}\n")
    return ["--config-dir", str(folder / "theirs"), "experiment=evil", "tracking=none", f"results_dir={folder}/results"]


CALLS = {
    "a callback": "hydra: {callbacks: {x: {_target_: strangers.Thing}}}",
    "a callback by a detour": "hydra: {callbacks: '${experiment}'}\nexperiment: {x: {_target_: strangers.Thing}}",
    "a target below one": "hydra: {callbacks: {x: {_target_: logging.NullHandler, y: {_target_: strangers.Thing}}}}",
    "a factory": "hydra: {job_logging: {root: {level: INFO}, formatters: {x: {'()': strangers.Thing}}}}",
    "a factory of Hydra's own log": "hydra: {hydra_logging: {formatters: {x: {'()': strangers.Thing}}}}",
    "a handler": "hydra: {hydra_logging: {handlers: {x: {class: strangers.Thing}}}}",
    "an external value": "hydra: {hydra_logging: {handlers: {x: {class: logging.StreamHandler, stream: 'ext://strangers.x'}}}}",
    "a log in any file": "hydra: {hydra_logging: {handlers: {x: {class: logging.FileHandler, filename: canary}}}}",
    "a log that changes later": "hydra: {job_logging: {root: {level: INFO, handlers: []}, handlers: '${experiment}'}}\n"
    "experiment: {x: {class: strangers.Thing}}",
    "a launcher's target": "hydra: {launcher: {num_workers: {_target_: strangers.Thing}}}",
    "another launcher": "hydra: {launcher: {_target_: strangers.Thing}}",
    "a model that trusts itself": "trusted_modules: [strangers]\nmodel: {_target_: strangers.Thing}",
    "a variable": "hydra: {job: {env_set: {LD_PRELOAD: evil.so}}}",
    "a variable by a detour": "hydra: {job: {env_set: '${experiment}'}}\nexperiment: {LD_PRELOAD: evil.so}",
    "files elsewhere": "hydra: {output_subdir: canary}",
}


@pytest.mark.parametrize("what", CALLS)
def test_a_configuration_from_elsewhere_runs_and_writes_nothing(run_app, what, canary, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reached = []
    with pytest.raises(ValueError, match=r"trusted module, got|may be set on the command line only"):
        run_app(words_of(tmp_path, CALLS[what]), lambda cfg: reached.append(make_plan(cfg)))
    assert not canary.exists()
    assert not reached


def test_what_the_command_line_trusts_runs(run_app, canary, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [*words_of(tmp_path, CALLS["a callback"]), "trusted_modules=[strangers]", "+hydra.job.env_set.A=b"]
    reached = []
    with pytest.warns(UserWarning, match="Callback NoneType"):  # which has none of the methods
        run_app(words, lambda cfg: reached.append(os.environ["A"]))
    assert canary.exists()
    assert reached == ["b"]


def test_choices_of_a_sweep_in_a_file_trust_nothing(canary, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    choices = "{trusted_modules: '[strangers]', model._target_: strangers.Thing}"
    words = words_of(tmp_path, f"hydra: {{mode: MULTIRUN, sweeper: {{params: {choices}}}}}")
    assert main(words) == 1
    assert "trusted_modules may be set on the command line only" in capsys.readouterr().err
    assert not canary.exists()


def test_the_commands_that_do_not_train_trust_no_file_either(canary, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = words_of(tmp_path, CALLS["a model that trusts itself"])
    with pytest.raises(ValueError, match="trusted_modules may be set on the command line only"):
        compose_plans([f"hydra.searchpath=[{tmp_path}/theirs]", *words[2:]])
    assert not canary.exists()


def test_an_address_in_a_file_does_not_get_this_users_credentials(run_app, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    words = [word for word in words_of(tmp_path, "tracking: {uri: 'http://evil.example'}") if word != "tracking=none"]
    with pytest.raises(ValueError, match=r"tracking.uri may be set on the command line only.*'evil.example'"):
        run_app(words, make_plan)
    run_app([*words, "tracking.uri=http://mine.example"], lambda cfg: None)


@pytest.mark.parametrize(
    "name",
    [
        "lrbench.data.cache.cached",
        "lrbench.data.image_files.os.system",
        "lrbench.schedules.rates.Rates",
        "torch.nn.attention.importlib.import_module",
        "torch.nn.init.uniform_",
        "torch.nn.functional.relu",
        "torch.nn.utils.parametrize.register_parametrization",
        "torch.optim.swa_utils.update_bn",
        "torchvision.models.get_model",
        "torchvision.models.get_weight",
        "torchvision.models.list_models",
        "schedulefree.torch.load",
    ],
)
def test_a_target_is_allowed_by_name_and_kind_not_by_prefix(name):
    with pytest.raises(ValueError, match=r"no name in|must be an optimizer, a schedule or a module"):
        locate("model._target_", name)


@pytest.mark.parametrize(
    "name",
    ["torch.optim.SGD", "torch.optim.lr_scheduler.StepLR", "torch.nn.Linear", "torchvision.models.resnet18"],
)
def test_parts_of_the_libraries_are_targets(name):
    assert callable(locate("model._target_", name))


def shadowed(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`python -m lrbench` where modules named as installed ones lie beside the data."""
    for name in ("numpy", "hydra_plugins/evil", "yaml", "multiprocessing"):
        module = folder / f"{name}.py"
        module.parent.mkdir(exist_ok=True)
        module.write_text(f"open({str(folder / 'canary')!r}, 'w').close()\n")
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    return subprocess.run(
        [sys.executable, "-m", "lrbench", *words], cwd=folder, env=env, capture_output=True, text=True
    )


def test_a_module_beside_the_data_does_not_shadow_an_installed_one(tmp_path):
    assert "did you mean cosine?" in shadowed(tmp_path, "preview", "scheduler=cosin").stderr
    assert not (tmp_path / "canary").exists()


@pytest.mark.slow
def test_a_module_beside_the_data_shadows_none_in_workers_and_sender(tmp_path):
    words = ["-m", "scheduler=constant", "seed=0,1", "budget=steps", "budget.steps=3"]
    done = shadowed(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "canary").exists()


def test_a_trusted_module_beside_the_data_is_found_after_the_installed_ones(tmp_path, monkeypatch):
    (tmp_path / "beside_data.py").write_text("class Net: ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    locate("model._target_", "beside_data.Net", trusted_modules=["beside_data"])
    assert sys.path[-1] == str(tmp_path)
    sys.modules.pop("beside_data")


def test_a_command_leaves_the_process_as_it_was(tmp_path, monkeypatch, capsys):
    (tmp_path / "beside_data.py").write_text("class Net: ...\n")
    monkeypatch.chdir(tmp_path)
    before = (list(sys.path), warnings.showwarning, dict(os.environ))
    words = ["model=own/custom", "model._target_=beside_data.Net", "trusted_modules=[beside_data]", "optimizer.lr=-1"]
    assert main(words) == 1
    assert (list(sys.path), warnings.showwarning, dict(os.environ)) == before
    sys.modules.pop("beside_data", None)


def received(root: Path, uri: str = "", **facts: object) -> Path:
    """A record from somebody else in `root`, which ended, with some facts of run.json changed."""
    with make_record(root, tracking_uri=uri or f"sqlite:///{root}/mlflow.db") as record:
        (record.artifacts / "config.yaml").write_text("a: 1")
        record.append(evaluation(0))
        record.end("FINISHED", RunState.OK)
    document = json.loads((record.path / "run.json").read_text())
    (record.path / "run.json").write_text(json.dumps(document | facts))
    return record.path


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"record_id": "../../victim"}, r"an id must be 32 hexadecimal digits, got '../../victim'"),
        ({"record_id": "A" * 32}, "an id must be 32 hexadecimal digits"),
        ({"replaces": ["x' OR '1'='1"]}, "an id must be 32 hexadecimal digits"),
        ({"parent": "../../victim"}, "the parent must be the name of a folder beside the record"),
        ({"parent": ".."}, "the parent must be the name of a folder beside the record"),
        ({"tracking_uri": "http://127.0.0.1:9"}, r"sent to http://127.0.0.1:9, which its own folder says and nobody"),
        ({"tracking_uri": "sqlite:////tmp/nobodys.db"}, r"sent to sqlite:////tmp/nobodys.db, which its own folder"),
        ({"tracking_uri": "sqlite:///../nobodys.db"}, r"nobodys.db, which its own folder says"),
    ],
)
def test_a_received_record_names_no_other_folder_and_no_other_address(facts, reason, tmp_path):
    received(tmp_path / "theirs", **facts)
    (unsent,) = sync(tmp_path / "theirs").unsent
    assert re.search(reason, unsent.reason)
    assert not (tmp_path / "theirs" / "sync.log").exists()  # no process was started


def test_an_address_that_was_configured_here_is_allowed(tmp_path):
    uri = "http://me:hunter2@127.0.0.1:9"
    path = received(tmp_path, uri=uri)
    assert read_facts(path).tracking_uri == "http://***@127.0.0.1:9"
    queue = SendQueue()
    queue.follow(path)
    assert "nobody here" in find_unsent(path).reason
    queue.allow(uri)
    queue.follow(path)
    assert queue.followed[path].uri == uri


@pytest.mark.parametrize("link", ["artifacts/key", "artifacts", "journal.jsonl", "mlflow.json.tmp", "reserve", "."])
def test_links_of_a_received_record_are_refused(link, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    path = received(tmp_path / "theirs")
    place = path / link
    if place.exists() and link != ".":
        place.rename(victim / place.name)
    if link == ".":
        path.rename(victim / path.name)
        path.symlink_to(victim / path.name)
    else:
        place.symlink_to(victim / place.name)
    before = {file: file.read_bytes() for file in victim.rglob("*") if file.is_file()}
    (unsent,) = sync(tmp_path / "theirs").unsent
    assert "is a link, and a record holds files only" in unsent.reason
    with pytest.raises(ValueError, match="is a link, and a record holds files only"):
        Record.restart(path, tags={}, params={})
    assert {file: file.read_bytes() for file in victim.rglob("*") if file.is_file()} == before


def test_a_record_inside_of_itself_is_refused(tmp_path):
    path = received(tmp_path)
    document = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(document | {"parent": path.name}))
    queue = SendQueue()
    queue.follow(path)
    assert "is inside of itself" in find_unsent(path).reason


def test_a_received_database_puts_no_artifacts_elsewhere(results, tmp_path):
    victim = tmp_path / "victim"
    path = received(results)
    with closing(sqlite3.connect(results / "mlflow.db")) as database, database:
        columns = "experiment_id, name, artifact_location, lifecycle_stage"
        values = (7, read_facts(path).experiment, victim.as_uri(), "active")
        database.execute(f"insert into experiments ({columns}) values (?, ?, ?, ?)", values)
    queue = SendQueue()
    queue.follow(path)
    queue.visit_all(also_young=True)
    assert "which is not in its folder" in find_unsent(path).reason
    assert not victim.exists()


def test_the_senders_log_does_not_go_through_a_link(tmp_path):
    (tmp_path / "sync.log").symlink_to(tmp_path / "victim")
    received(tmp_path)
    with pytest.raises(OSError, match="sync"):
        sync(tmp_path)
    assert not (tmp_path / "victim").exists()


PASSWORD = "hunter2"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:hunter2@host:5000/x", "http://***@host:5000/x"),
        ("postgresql+psycopg://me:hunter2/y@host/db", "postgresql+psycopg://***@host/db"),
        ("postgresql://host/db?user=me&password=hunter2&a=b", "postgresql://host/db?user=me&password=***&a=b"),
        ("https://hunter2@host", "https://***@host"),
        ("http://127.0.0.1:5000/#/a@b and me@host", "http://127.0.0.1:5000/#/a@b and me@host"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
    ],
)
def test_what_is_secret_in_an_address_is_masked(text, shown):
    assert masked(text) == shown


def test_a_record_holds_no_password_whatever_it_is_told(tmp_path):
    uri = f"postgresql://me:{PASSWORD}@host/db"
    with make_record(tmp_path, tracking_uri=uri, params={"tracking.uri": uri}, tags={"x": uri}, note=uri) as record:
        record.describe(tags={"y": uri})
        write_yaml(record.artifacts / "config.yaml", {"tracking": {"uri": uri}})
        record.end("FAILED", RunState.INCOMPLETE, f"cannot reach {uri}")
    save_state(record.path, SendState(error=f"cannot reach {uri}"))
    texts = [file.read_text() for file in record.path.rglob("*") if file.is_file()]
    assert sum("postgresql://***@host/db" in text for text in texts) == 4
    assert not any(PASSWORD in text for text in texts)


@pytest.mark.slow  # a minute of waiting for servers that are not there
def test_a_password_is_in_no_file_and_no_message(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    words = ["scheduler=constant", "budget=steps", "budget.steps=2", "tracking.required=false"]
    main([*words, f"tracking.uri=http://me:{PASSWORD}@127.0.0.1:9", "optimizer.lr=-1"])
    code = main([*words, f"tracking.uri=http://me:{PASSWORD}@127.0.0.1:9"])
    assert code == 3
    main(["sync", f"tracking.uri=http://me:{PASSWORD}@127.0.0.1:9"])
    main(["report", f"tracking.uri=postgres://me:{PASSWORD}@127.0.0.1:9/db"])
    main(["ui", f"tracking.uri=postgresql://me:{PASSWORD}@127.0.0.1:9/db"])
    main([*words, f"tracking.uri=ftp://me:{PASSWORD}@127.0.0.1:9", "tracking.required=true"])
    output = "".join(capfd.readouterr())
    assert "127.0.0.1:9" in output
    assert PASSWORD not in output
    holders = [path for path in tmp_path.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
    assert not holders


@pytest.mark.slow
def test_a_password_is_in_no_file_of_a_sweep(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    words = ["-m", "budget=steps", "budget.steps=2", "tracking.required=false", "seed=0,1"]
    assert main([*words, f"tracking.uri=http://me:{PASSWORD}@127.0.0.1:9"]) == 3
    optuna = ["hydra/sweeper=optuna", "hydra.sweeper.num_trials=1", "hydra.sweeper.final_seeds=1", "scheduler=constant"]
    main(["-m", *words[1:-1], *optuna, f"tracking.uri=http://me:{PASSWORD}@127.0.0.1:9"])
    storage = f"hydra.sweeper.storage=postgresql://me:{PASSWORD}@127.0.0.1:9/db"
    assert main(["-m", *words[1:-1], *optuna, storage]) == 1
    assert PASSWORD not in "".join(capfd.readouterr())
    assert list(tmp_path.rglob("multirun.yaml"))
    holders = [path for path in tmp_path.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
    assert not holders


@pytest.mark.slow
def test_a_launcher_leaves_no_password_in_the_pickles_of_its_jobs(tmp_path, monkeypatch, capfd):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lrbench.runs.launch.check_destination", lambda plan: "")  # of a server that is not there
    words = ["-m", "hydra/launcher=submitit_local", "budget=steps", "budget.steps=2"]
    main([*words, f"tracking.uri=http://me:{PASSWORD}@127.0.0.1:9"])
    (job,) = tmp_path.rglob("*_submitted.pkl")
    assert b"http://***@127.0.0.1:9" in job.read_bytes()
    holders = [path for path in tmp_path.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
    assert not holders
    assert len(list(tmp_path.glob("results/runs/*/artifacts/outcome.json"))) == 1


NAMES = ["per%20cent", "h#sh", "what?", "a=b", "a,b", "a b", "back\\slash", "q?a=b&c", "{braces}", "at@host:1"]


@pytest.mark.parametrize("name", NAMES)
def test_a_database_is_opened_under_exactly_the_name_of_its_folder(name, tmp_path, empty_database):
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy(empty_database, folder / "mlflow.db")
    path = received(folder)
    queue = SendQueue()
    queue.follow(path)
    queue.visit_all(also_young=True)
    assert find_unsent(path) is None
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert (folder / "mlartifacts").is_dir()
    uri = read_facts(path).tracking_uri
    assert uri == sqlite_uri(folder / "mlflow.db")
    assert len(read_runs(uri)) == 1
    assert recorded_experiments(uri)
    (artifact,) = MlflowClient(quoted_uri(folder / "mlflow.db")).list_artifacts(load_state(path).run_id)
    assert artifact.path == "config.yaml"
    storage = open_storage(sqlite_uri(folder / "studies.db"))
    assert storage.get_all_studies() == []
    storage.engine.dispose()
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


HOSTILE = "<img src=x onerror=alert(1)> [a](javascript:b) ![c](d) `e` \\<script> |f\n# g\x1b]0;h\x07 [red]i[/red]"


def test_names_are_text_in_the_report_the_tables_and_on_the_terminal(tmp_path, capsys):
    rows = [
        row
        for name, final in ((HOSTILE, 0.5), ("=cmd|'/C calc'!A0", 0.6))
        for seed in range(3)
        for row in run("@SUM(1)", name, seed, final + seed / 100)
    ]
    settings = Settings(metric="val/loss", direction="minimize")
    assert show(Report.of(frame_from_rows(rows), settings), tmp_path, log_to=None) == 0
    page = (tmp_path / "report.md").read_text()
    assert not re.search(r"(?<!\\)(\\\\)*<(img|script)", page)
    assert not re.search(r"(?<!\\)(\\\\)*\]\(", page)
    assert "\n# g" not in page
    assert "<img" not in (tmp_path / "report.html").read_text()
    for name in ("ranking.csv", "metrics.csv"):
        table = pd.read_csv(tmp_path / name, dtype=str)
        texts = [cell for column in table for cell in table[column].dropna() if not re.fullmatch(r"-?[\d.e+-]+", cell)]
        assert "'=cmd|'/C calc'!A0" in texts
        assert "'@SUM(1)" in texts
        assert not [text for text in texts if text.startswith(("=", "+", "-", "@"))]
    for path in [*tmp_path.glob("*.*")]:
        assert "\x1b" not in path.read_text(), path
    assert "\x1b" not in capsys.readouterr().out


def test_a_message_steers_no_terminal():
    assert (
        explain(ValueError("bad \x1b]0;title\x07 \u202e name\nline two"))
        == "bad \\x1b]0;title\\x07 \\u202e name\nline two"
    )


def test_plain_words_of_a_report_stay_as_they_are():
    assert (
        plain("cosine < linear, p < 0.05 [0.9, 0.95] (n = 3) a_b")
        == "cosine < linear, p < 0.05 [0.9, 0.95] (n = 3) a_b"
    )
