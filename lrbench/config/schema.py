"""The closed, typed part of the config, the rules its values obey, and where `conf/` is."""

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from hydra.core.config_store import ConfigStore

from lrbench.spec import Count, CountOrZero, Fraction, FractionOrZero, NonNegative, Positive, Probability

_PACKAGE = Path(__file__).resolve().parent.parent
# A wheel carries conf/ inside the package; in a checkout it stands beside it.
CONFIG_DIR = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"


@dataclass
class BudgetConfig:
    """Length of the training, in steps or in epochs, and how often it is evaluated."""

    steps: int | None = None
    epochs: float | None = None
    eval_every: float = 0.05


@dataclass
class TrackingConfig:
    """Where records are sent."""

    enabled: bool = True
    uri: str | None = None
    experiment: str | None = None
    required: bool = True


class Learner(Enum):
    """How the jobs of a sweep that share workload and seed are stepped; one training alone is always sequential."""

    auto = "auto"
    sequential = "sequential"
    fused = "fused"


class Average(Enum):
    """Which average of the weights is evaluated; see lrbench.training.averaging."""

    none = "none"
    tail = "tail"
    ema = "ema"


@dataclass
class TrainingConfig:
    """How updates and evaluations are made."""

    learner: Learner = Learner.auto
    stack_gib: float = 2.0
    batch_size: int = 64
    eval_batch_size: int = 250
    label_smoothing: float = 0.0
    grad_clip: float | None = None
    autocast: bool = False
    compile: bool = False
    channels_last: bool = False
    accumulation: int = 1
    average: Average = Average.none
    average_fraction: float = 0.2
    stop_diverged: bool = True
    read_test: bool = True
    checkpoint_seconds: float = 30.0


@dataclass
class StudyConfig:
    """Where a run stands in a sweep; the sweeper fills it in, nobody else."""

    name: str | None = None
    trial: int | None = None
    role: str = "run"
    searched: list[str] = field(default_factory=list)
    parent: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    prune_steps: list[int] = field(default_factory=list)
    prune_values: list[float] = field(default_factory=list)


@dataclass
class Config:
    """The whole config; the groups that hold a `_target_` are open, the rest is closed."""

    scheduler: dict[str, Any] = field(default_factory=dict)
    warmup: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    dataset: dict[str, Any] = field(default_factory=dict)
    task: str | None = None
    endpoint: str | None = None
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    study: StudyConfig = field(default_factory=StudyConfig)
    workload: Any = None
    experiment: Any = None
    seed: int = 0
    device: str = "auto"
    threads: int = 1
    strict: bool = False
    results_dir: str = "results"
    data_dir: str | None = None
    cache_dir: str = ""
    trusted_modules: list[str] = field(default_factory=list)


# What Hydra's types cannot say. Checked before anything is built.
RULES: dict[str, Any] = {
    "seed": CountOrZero,
    "task": Literal["classification", "tokens", "regression", "own_loss"] | None,
    "threads": Annotated[int, Ge(1), Le(4096)],
    "budget.steps": Count | None,
    "budget.epochs": Positive | None,
    "budget.eval_every": Fraction,
    "training.batch_size": Count,
    "training.stack_gib": Positive,
    "training.eval_batch_size": Count,
    "training.label_smoothing": Probability,
    "training.grad_clip": Positive | None,
    "training.accumulation": Count,
    "training.average_fraction": Fraction,
    "training.checkpoint_seconds": NonNegative,
    "optimizer.decay_norm_and_bias": bool,
}
# Lengths of a warmup; `warmup=none` has none.
WARMUP_RULES: dict[str, Any] = {"fraction": FractionOrZero | None, "steps": CountOrZero | None}


def register_schema() -> None:
    """Make the schema known to Hydra under the name that `conf/config.yaml` starts from."""
    ConfigStore.instance().store(name="schema", node=Config)
