"""A composed config turned into the objects of one run, before data is read and before torch is needed."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from lrbench.config.schema import RULES, WARMUP_RULES
from lrbench.config.targets import bind, check_value
from lrbench.data import Dataset
from lrbench.schedules import Warmup
from lrbench.spec import DOCUMENTATION, Budget, Direction, Task, direction_of, resolve_budget

# Where a run happens or is written does not change what it computes.
_NOT_IN_FINGERPRINT = (
    "strict",
    "tracking",
    "results_dir",
    "cache_dir",
    "trusted_modules",
    "threads",
    "device",
    "workload",
    "experiment",
    "data_dir",
    "study",
)
_MACHINE_KEYS = {
    "dataset": ("root", "cache_dir", "num_workers", "in_memory"),
    "training": ("checkpoint_seconds", "learner", "stack_gib"),
}


@dataclass(frozen=True)
class Plan:
    """One run, ready to be built.

    Attributes:
        values: the resolved config as plain dictionaries.
        schedule: hyperparameters bound, see lrbench.schedules.rates.
        warmup: or None.
        make_optimizer: hyperparameters bound; takes parameters.
        dataset: not loaded.
        task: of the dataset, or the one asked for.
        budget: resolved to steps.
        fingerprint: sha256 hex digest of every value that shapes the curve.
        workload: readable and unique name of what is compared: everything but schedule, warmup, rate and seed.
    """

    values: dict[str, Any]
    schedule: Callable[..., Any]
    warmup: Warmup | None
    make_optimizer: Callable[..., Any]
    dataset: Dataset
    task: Task
    budget: Budget
    fingerprint: str
    workload: str

    @property
    def run_name(self) -> str:
        """Readable name of the run, e.g. cosine-s0."""
        return f"{self.contestant}-s{self.values['seed']}"

    @property
    def contestant(self) -> str:
        """The schedule's name, and with it the average that is evaluated: `constant+tail` competes with `cosine`."""
        return contestant_name(self.values)

    @property
    def endpoint(self) -> str:
        """The validation metric by which runs are judged."""
        return str(self.values["endpoint"])

    @property
    def direction(self) -> Direction:
        """Whether larger or smaller values of the endpoint are better."""
        direction = direction_of(self.endpoint)
        assert direction is not None  # checked by `plan_of`
        return direction

    @cached_property
    def make_model(self) -> Callable[..., Any]:
        """Hyperparameters bound; takes input_shape and num_outputs where it asks for them.

        Found when it is asked for: models need torch, and a process that only hands out work does not.

        Raises:
            ValueError: see `make_plan`.
        """
        return bind_model(self.values)


def make_plan(cfg: DictConfig) -> Plan:
    """Check a composed config and bind its parts, the model too.

    Raises:
        ValueError: naming the config path, the rule, the value and what exists.
    """
    plan = plan_of(plain_values(cfg))
    bind_model(plan.values)
    return plan


def plan_of(values: dict[str, Any]) -> Plan:
    """Check the values of a config and bind its parts; the model waits, see `Plan.make_model`.

    Args:
        values: plain and resolved, as `plain_values` gives them; of these, the plan names task and endpoint.

    Raises:
        ValueError: see `make_plan`.
    """
    for group in ("scheduler", "warmup", "optimizer", "model", "dataset"):
        if not values[group]:
            none = " (warmup=none for none)" if group == "warmup" else ""
            raise ValueError(f"~{group}: a run needs a {group}; write {group}=NAME{none}")
    for path, rule in RULES.items():
        check_value(path, lookup(values, path), rule)
    trusted = values["trusted_modules"]

    make_optimizer = bind(
        "optimizer",
        values["optimizer"],
        trusted_modules=trusted,
        given=("params",),
        reserved=("decay_norm_and_bias",),
    )
    schedule = bind_schedule(values["scheduler"], trusted)
    dataset = _dataset(json.dumps(values["dataset"]), tuple(trusted))
    batch_size, num_parts = values["training"]["batch_size"], values["training"]["accumulation"]
    if batch_size % num_parts:
        raise ValueError(f"training.accumulation must divide training.batch_size={batch_size}, got {num_parts}")
    task = dataset.task if values["task"] is None else Task(values["task"])
    values = {**values, "task": str(task), "endpoint": _endpoint(values["endpoint"], task)}
    budget = resolve_budget(
        steps=values["budget"]["steps"],
        epochs=values["budget"]["epochs"],
        num_train=dataset.num_train,
        batch_size=values["training"]["batch_size"],
    )
    if dataset.max_epochs is not None and budget.epochs > dataset.max_epochs:
        raise ValueError(
            f"budget.epochs must be at most {dataset.max_epochs:g} for dataset={values['dataset']['name']}, whose "
            f"expected loss holds for fresh examples only, got {budget.epochs:g}; raise dataset.num_examples or lower "
            "the budget"
        )
    warmup = bind_warmup(values["warmup"], trusted)
    if warmup is not None:
        warmup.num_steps(budget.total_steps)
    return Plan(
        values=values,
        schedule=schedule,
        warmup=warmup,
        make_optimizer=make_optimizer,
        dataset=dataset,
        task=task,
        budget=budget,
        fingerprint=_digest(shaping_values(values)),
        workload=_workload_name(values, budget),
    )


def contestant_name(values: Mapping[str, Any]) -> str:
    """Name what is compared; see `Plan.contestant`."""
    average = values["training"]["average"]
    return str(values["scheduler"]["name"]) + ("" if average == "none" else f"+{average}")


def bind_model(values: Mapping[str, Any]) -> Callable[..., Any]:
    """Bind the model of a config's plain values; see `Plan.make_model`."""
    trusted = values["trusted_modules"]
    return bind("model", values["model"], trusted_modules=trusted, given=("input_shape", "num_outputs"))


def _endpoint(asked: str | None, task: Task) -> str:
    measured = [f"val/{name}" for name in task.metrics]
    if asked is not None and asked not in measured:
        raise ValueError(f"endpoint must be one of {', '.join(measured)}, which task={task} has, got {asked!r}")
    return asked or task.objective


@lru_cache(maxsize=4)
def _dataset(node: str, trusted: tuple[str, ...]) -> Dataset:
    """Make a dataset, once for all plans of a sweep: it may list a folder of many thousand files."""
    dataset: Dataset = bind("dataset", json.loads(node), trusted_modules=trusted)()
    return dataset


def plain_values(cfg: DictConfig) -> dict[str, Any]:
    """Resolve interpolations, make folders absolute, and return plain dictionaries."""
    private = OmegaConf.create(cast("dict[str, Any]", OmegaConf.to_container(cfg, enum_to_str=True)))
    for folder in ("results_dir", "cache_dir", "data_dir"):
        if private[folder] is None:
            continue
        private[folder] = absolute_folder(folder, private[folder])
    values = OmegaConf.to_container(private, resolve=True, throw_on_missing=True, enum_to_str=True)
    assert isinstance(values, dict)
    return {str(k): v for k, v in values.items()}


def absolute_folder(setting: str, folder: str) -> str:
    """Make a folder absolute, its `~` replaced.

    Raises:
        ValueError: naming the setting, where this user has no home.
    """
    try:
        return str(Path(folder).expanduser().absolute())
    except RuntimeError:
        raise ValueError(f"{setting}={folder} is in a home that this user has not; give {setting}=FOLDER") from None


def flat_values(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested values to dotted names, leaving out the documentation of components and the sweep's notes."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if not prefix and key == "study":
            continue
        if prefix.count(".") == 1 and key in DOCUMENTATION - {"name"}:
            continue
        if isinstance(value, Mapping) and value:
            flat |= flat_values(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def lookup(values: Mapping[str, Any], path: str) -> Any:
    """Read a nested value by its dotted path."""
    found: Any = values
    for part in path.split("."):
        found = found[part]
    return found


def bind_schedule(node: Mapping[str, Any], trusted: Sequence[str] = ()) -> Callable[..., Any]:
    """Bind the node of a schedule; what `lrbench.schedules.rates` takes.

    Raises:
        ValueError: see `bind`.
    """
    given = ("optimizer", "step", "total_steps", "num_evaluations")
    return bind("scheduler", node, trusted_modules=trusted, given=given)


def bind_warmup(node: Mapping[str, Any], trusted: Sequence[str] = ()) -> Warmup | None:
    """Bind the node of a warmup; None for none.

    Raises:
        ValueError: see `bind`.
    """
    if node["_target_"] is None:
        return None
    shape = bind(
        "warmup",
        node,
        trusted_modules=trusted,
        given=("step", "warmup_steps"),
        reserved=("fraction", "steps"),
    )
    fraction = check_value("warmup.fraction", node["fraction"], WARMUP_RULES["fraction"])
    steps = check_value("warmup.steps", node["steps"], WARMUP_RULES["steps"])
    return Warmup(shape=shape, fraction=fraction, steps=steps)


def shaping_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that shapes the curve of a run."""
    kept: dict[str, Any] = {k: v for k, v in values.items() if k not in _NOT_IN_FINGERPRINT}
    for group, value in kept.items():
        if isinstance(value, Mapping):
            drop = (DOCUMENTATION - {"name"}) | set(_MACHINE_KEYS.get(group, ()))
            kept[group] = {k: v for k, v in value.items() if k not in drop}
    # Options that came later count only where they change something: what was finished without them stays finished.
    usual = _dataset(json.dumps(values["dataset"]), tuple(values["trusted_modules"])).task
    task = Task(values["task"] or usual)
    if task is usual:
        del kept["task"]
    if values["endpoint"] in (None, task.objective):
        del kept["endpoint"]
    if values["training"]["accumulation"] == 1:
        del kept["training"]["accumulation"]
    if values["training"]["average"] == "none":
        del kept["training"]["average"], kept["training"]["average_fraction"]
    return kept


def _workload_name(values: Mapping[str, Any], budget: Budget) -> str:
    shared = shaping_values(values)
    for key in ("scheduler", "warmup", "seed"):
        del shared[key]
    # What a study searches differs between its trials, and they belong to one workload. Whether the test split is read
    # changes no weight.
    of_contestant = ("training.average", "training.average_fraction")
    for path in ("optimizer.lr", "training.read_test", *of_contestant, *values["study"]["searched"]):
        group, _, key = path.partition(".")
        if group in shared:
            shared[group] = {k: v for k, v in shared[group].items() if k != key}
    parts = [shared[group]["name"] for group in ("dataset", "model", "optimizer")]
    name = "-".join([*parts, f"b{shared['training']['batch_size']}", f"{budget.total_steps}steps", _digest(shared)[:4]])
    return re.sub(r"[^\w.-]+", "_", name)


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
