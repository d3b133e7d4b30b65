"""Every file of every config group keeps the contract of its group, and composes."""

import re
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf

from lrbench.config import CONFIG_DIR, make_plan, register_schema
from lrbench.config.plan import flat_values
from lrbench.config.schema import Config
from lrbench.runs.errors import explain

COMPONENTS = ("scheduler", "warmup", "optimizer", "model", "dataset")
FILES = sorted(path for path in CONFIG_DIR.glob("*/**/*.yaml") if path.relative_to(CONFIG_DIR).parts[0] != "hydra")


def group_of(path):
    return path.relative_to(CONFIG_DIR).parts[0]


def word_of(path):
    """What the command line calls it: own/custom for a file in the folder `own`."""
    return path.relative_to(CONFIG_DIR / group_of(path)).with_suffix("").as_posix()


def label(path):
    return f"{group_of(path)}/{word_of(path)}"


COMPONENT_FILES = [path for path in FILES if group_of(path) in COMPONENTS]
# Templates for a person's own things have mandatory values; they live in `own/`, out of the reach of glob(*).
YOURS = ("image_folder", "table", "text", "lines", "triples", "arrays")  # datasets that need a file
COMPLETE_FILES = [path for path in COMPONENT_FILES if path.parent.name != "own" and path.stem not in YOURS]


def composed(*overrides):
    register_schema()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("config", overrides=list(overrides))


@pytest.mark.parametrize("path", FILES, ids=label)
def test_every_file_opens_with_the_command_that_uses_it(path):
    first = path.read_text().removeprefix("# @package _global_\n").splitlines()[0]
    assert first.startswith("# python -m lrbench ")
    assert f"{group_of(path)}={word_of(path)}" in first


@pytest.mark.parametrize("path", COMPONENT_FILES, ids=label)
def test_every_component_names_itself_its_purpose_and_its_source(path):
    node = yaml.safe_load(path.read_text())
    assert node["name"] == path.stem
    assert node["purpose"].endswith(".")
    assert node["source"]
    assert "_target_" in node


@pytest.mark.parametrize("path", COMPONENT_FILES, ids=label)
def test_search_spaces_are_well_formed_and_search_existing_parameters(path):
    node = yaml.safe_load(path.read_text())
    if group_of(path) in ("scheduler", "warmup", "optimizer"):
        assert "search" in node
    for name, space in (node.get("search") or {}).items():
        assert name in node, f"{name} is searched but is no parameter"
        if "choices" in space:
            assert set(space) <= {"choices", "when"}
            assert len(space["choices"]) > 1
        else:
            assert set(space) <= {"low", "high", "log", "int", "when"}
            assert space["low"] < space["high"]
            assert not space.get("log") or space["low"] > 0


@pytest.mark.parametrize("path", COMPLETE_FILES, ids=label)
def test_every_component_binds_with_its_defaults_and_at_the_ends_of_its_search_space(path):
    group = group_of(path)
    cfg = composed(f"{group}={word_of(path)}", "budget=steps", "budget.steps=1000", "training.batch_size=32")
    assert make_plan(cfg).values[group]["name"] == path.stem
    for name, space in (cfg[group].get("search") or {}).items():
        default = cfg[group][name]
        for value in space["choices"] if "choices" in space else (space["low"], space["high"]):
            cfg[group][name] = value
            make_plan(cfg)
        cfg[group][name] = default


def test_plans_of_equal_data_share_one_dataset():
    """It may list many thousand files, once rather than for every plan of a sweep."""
    one, other = (make_plan(composed(f"seed={seed}")) for seed in (0, 1))
    assert one.dataset is other.dataset
    assert make_plan(composed("dataset.validation_fraction=0.3")).dataset != one.dataset


@pytest.mark.parametrize("path", sorted(CONFIG_DIR.glob("experiment/*.yaml")), ids=label)
def test_every_experiment_composes(path):
    make_plan(composed(f"experiment={path.stem}"))


@pytest.mark.parametrize(
    "path", sorted([*CONFIG_DIR.glob("workload/*.yaml"), *CONFIG_DIR.glob("experiment/*.yaml")]), ids=label
)
def test_workloads_and_experiments_have_the_last_word_over_the_defaults(path):
    asked = OmegaConf.load(path)
    cfg = OmegaConf.to_container(composed(f"{path.parent.name}={path.stem}", "data_dir=DATA"), resolve=True)
    values = {key: value for key, value in asked.items() if key not in ("defaults", "hydra")}
    assert values
    for key, value in OmegaConf.to_container(OmegaConf.create({**values, "data_dir": "DATA"}), resolve=True).items():
        for name, inner in value.items() if isinstance(value, dict) else [(None, value)]:
            assert (cfg[key] if name is None else cfg[key][name]) == inner, (key, name)


def test_folders_are_groups_of_the_schema():
    groups = {path.name for path in CONFIG_DIR.iterdir() if path.is_dir()} - {"hydra"}
    assert groups <= set(Config.__dataclass_fields__)


def test_the_defaults_train_the_embedded_digits():
    plan = make_plan(composed())
    values = plan.values
    assert [values[g]["name"] for g in COMPONENTS] == ["cosine", "none", "sgd", "mlp", "digits"]
    assert plan.run_name == "cosine-s0"
    assert Path(values["results_dir"]).is_absolute()
    assert values["tracking"]["uri"].startswith("sqlite:////")


def test_params_are_flat_dotted_names_without_documentation():
    flat = flat_values(make_plan(composed("scheduler=step")).values)
    assert flat["scheduler.gamma"] == 0.1
    assert flat["scheduler.name"] == "step"
    assert not [name for name in flat if re.search(r"\.(search|purpose|source|formula|libraries)", name)]


def fingerprint(*overrides):
    return make_plan(composed(*overrides)).fingerprint


def test_the_fingerprint_knows_what_shapes_a_curve_and_nothing_else():
    base = fingerprint()
    for same in (
        "tracking=none",
        "results_dir=elsewhere",
        "threads=2",
        "training.checkpoint_seconds=1",
        "cache_dir=x",
        "task=classification",
        "endpoint=val/accuracy",
        "training.accumulation=1",
        "training.average_fraction=0.1",
    ):
        assert fingerprint(same) == base, same
    for other in (
        "seed=1",
        "optimizer.lr=0.2",
        "scheduler=linear",
        "training.batch_size=32",
        "budget.epochs=3",
        "warmup=linear",
        "endpoint=val/loss",
        "training.accumulation=2",
        "training.average=tail",
    ):
        assert fingerprint(other) != base, other


def test_runs_that_may_be_compared_share_a_workload():
    def workload(*overrides):
        return make_plan(composed(*overrides)).workload

    base = workload()
    for same in ("scheduler=linear", "optimizer.lr=0.2", "seed=3", "warmup=linear", "device=cpu"):
        assert workload(same) == base, same
    for other in ("model.hidden=[7]", "budget.epochs=3", "optimizer.momentum=0.5", "training.batch_size=32"):
        assert workload(other) != base, other


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["scheduler=cosin"], r"scheduler=cosin: no such option; did you mean cosine\? There are: .*step"),
        (
            ["scheduler.min_rati=1"],
            r"scheduler.min_rati: no key 'min_rati' in scheduler; did you mean min_ratio\?",
        ),
        (["sed=1"], r"sed: no key 'sed'; did you mean seed\? There are: "),
        (["seed=abc"], "seed: Value 'abc' of type 'str' could not be converted to Integer"),
        (["budget.epochs=-3"], "budget.epochs should be greater than 0, got -3"),
        (["budget.epochs=nan"], "budget.epochs should be a finite number, got nan"),
        (["budget.steps=10"], "exactly one of budget.steps and budget.epochs"),
        (["optimizer.lr=-1"], "optimizer.lr should be greater than 0, got -1"),
        (["optimizer.lr=abc"], "optimizer.lr should be a valid number, got 'abc'"),
        (["threads=0"], "threads should be greater than or equal to 1, got 0"),
        (
            ["training.batch_size=5000"],
            "training.batch_size must be at most the .* training examples, got 5000",
        ),
        (["warmup=linear", "warmup.fraction=1"], "warmup must be shorter than the budget"),
        (["model._target_=os.system"], "model._target_ must lie in a trusted module, got 'os.system'"),
        (["dataset=noisy_quadratic"], "budget.epochs must be at most 1 for dataset=noisy_quadratic"),
    ],
)
def test_bad_input_gives_one_message_with_path_rule_value_and_what_exists(overrides, message):
    with pytest.raises((ValueError, HydraException)) as caught:
        make_plan(composed(*overrides))
    assert re.search(message, explain(caught.value)), explain(caught.value)
