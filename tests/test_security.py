"""Canaries: configurations, folders and names that try what they must not, and files that must not appear."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from lrbench.cli import main
from lrbench.config import make_plan
from lrbench.config.targets import locate
from lrbench.runs import hydra_app
from lrbench.runs.compose import compose_plans
from lrbench.runs.session import Session

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
