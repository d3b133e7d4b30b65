"""Where `report` and `recommend` get their runs, and what is declared about the metric."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lrbench.analysis.analyse import Settings
from lrbench.analysis.audit.findings import Finding, listed, plural
from lrbench.analysis.prepare import measured_metrics
from lrbench.analysis.statistics.terms import Direction
from lrbench.config.plan import absolute_folder
from lrbench.results.schema import as_floats
from lrbench.spec import Task
from lrbench.tracking.read import read_runs
from lrbench.typos import did_you_mean

NAMES = (
    "results", "tracking.experiment", "tracking.uri", "results_dir", "metric", "direction", "target", "bootstrap_seed",
)  # fmt: skip
_WORDS: dict[str, Direction] = {"minimize": "minimize", "maximize": "maximize"}
_HEADLINES = (Task.CLASSIFICATION.objective, Task.REGRESSION.objective)
_MOST_NAMED = 5  # experiments in a sentence
# Directions that the meaning of a column declares; those of any other metric must be given.
_DIRECTIONS = {"val/loss": "minimize", "val/accuracy": "maximize"}


@dataclass(frozen=True)
class Words:
    """What the command line asked for.

    Attributes:
        options: by name; see `NAMES`, and whatever the command itself takes.
        tags: `tag.NAME=VALUE`, of MLflow runs.
        columns: `column.NAME=THEIRS`, of a file.
        targets: `target.WORKLOAD=VALUE`.
    """

    options: Mapping[str, str]
    tags: Mapping[str, str]
    columns: Mapping[str, str]
    targets: Mapping[str, float]

    @property
    def results_dir(self) -> Path:
        """Folder of the records."""
        return Path(absolute_folder("results_dir", self.options.get("results_dir", "results")))

    @property
    def uri(self) -> str:
        """MLflow's tracking URI."""
        return self.options.get("tracking.uri", f"sqlite:///{self.results_dir / 'mlflow.db'}")


def parse(arguments: list[str], *, command: str, own: tuple[str, ...]) -> Words:
    """Sort the words of a command.

    Args:
        arguments: `name=value` words.
        command: its name, for messages.
        own: names that only this command takes.

    Raises:
        ValueError: a word is none of them, or two of them exclude each other.
    """
    options: dict[str, str] = {}
    prefixed: dict[str, dict[str, str]] = {"tag": {}, "column": {}, "target": {}}
    for word in arguments:
        key, equals, value = word.partition("=")
        prefix, dot, rest = key.partition(".")
        if equals and dot and prefix in prefixed:
            prefixed[prefix][rest] = value
        elif equals and key in (*NAMES, *own):
            options[key] = value
        else:
            known = (*NAMES, *own)
            raise ValueError(
                f"lrbench {command} does not know {word!r}{did_you_mean(key, known)} it takes {', '.join(known)}, "
                "tag.NAME, column.NAME and target.WORKLOAD, each followed by =VALUE"
            )
    for name in ("tracking.experiment", "tracking.uri"):
        if "results" in options and name in options:
            raise ValueError(f"results={options['results']} is a file and {name} asks MLflow; give one of them")
    if "results" in options and prefixed["tag"]:
        raise ValueError("tag.NAME selects runs of MLflow; it cannot be given with results=FILE")
    if "results" not in options and prefixed["column"]:
        raise ValueError("column.NAME maps the columns of a file; give it with results=FILE")
    if "target" in options and prefixed["target"]:
        raise ValueError("give either target=VALUE for every workload or target.WORKLOAD=VALUE for each")
    targets = {name: _number(f"target.{name}", value) for name, value in prefixed["target"].items()}
    return Words(options, prefixed["tag"], prefixed["column"], targets)


def read_results(words: Words) -> pd.DataFrame:
    """Read the runs that the words name, from a file or from MLflow.

    Raises:
        ValueError: no such file, database or experiment; nothing there; or a column is missing.
    """
    if "results" in words.options:
        from lrbench.results.files import read_file  # pyarrow takes a while

        path = Path(words.options["results"]).expanduser()
        if not path.is_file():
            raise ValueError(f"results={words.options['results']}: there is no such file")
        return read_file(path, columns=words.columns)
    given = words.options.get("tracking.experiment")
    experiments = None if given is None else given.split(",")
    frame = read_runs(words.uri, experiments=experiments, tags=words.tags, parameters="varying")
    if frame.empty:
        selected = " ".join(
            ([] if given is None else [f"tracking.experiment={given}"])
            + [f"tag.{name}={value}" for name, value in words.tags.items()]
        )
        which = f"selected by {selected} " if selected else ""
        raise ValueError(f"no runs {which}in {words.uri}; train some with `lrbench`, or give results=FILE")
    return frame


def settings_of(words: Words, frame: pd.DataFrame) -> Settings:
    """Declare metric, direction, target and seed.

    Without a metric it is `val/accuracy` where every run measured it, else `val/loss`; where neither was measured in
    every run, the one that more workloads have.

    Raises:
        ValueError: the metric was not measured, its direction is unknown, or a number is none.
    """
    metric = words.options.get("metric") or _default_metric(frame)
    given = words.options.get("direction") or _DIRECTIONS.get(metric)
    if given is None:
        raise ValueError(f"direction must be declared for metric={metric}: direction=minimize or direction=maximize")
    direction = _WORDS.get(given)
    if direction is None:
        raise ValueError(f"direction must be minimize or maximize, got {given!r}")
    target: float | Mapping[str, float] | None = words.targets or None
    if "target" in words.options:
        target = _number("target", words.options["target"])
    seed = words.options.get("bootstrap_seed", "0")
    if not seed.isdecimal():
        raise ValueError(f"bootstrap_seed must be a whole number >= 0, got {seed!r}")
    return Settings(metric=metric, direction=direction, target=target, bootstrap_seed=int(seed))


def mixture_of(words: Words, frame: pd.DataFrame) -> list[Finding]:
    """Say what is mixed where nothing was selected, and what was left out."""
    findings = []
    runs = frame.loc[~frame["run_id"].duplicated()]
    counts = runs["experiment"].value_counts().sort_index()
    selects = {"results", "tracking.experiment"} & set(words.options) or words.tags
    if len(counts) > 1 and not selects:
        shown = [f"{name} ({plural(count, 'run')})" for name, count in counts.items()]
        if len(shown) > _MOST_NAMED:
            shown = [*shown[:_MOST_NAMED], f"{len(counts) - _MOST_NAMED} more"]
        sentence = (
            f"All runs of this store are taken, of {len(counts)} experiments that need not belong together: "
            f"{listed(shown)}; tracking.experiment=NAME takes those of one."
        )
        findings.append(Finding("several experiments", "note", sentence, ()))
    if num_superseded := frame.attrs.get("num_superseded", 0):
        sentence = (
            f"{plural(num_superseded, 'older run')} left out that {'was' if num_superseded == 1 else 'were'} begun "
            "anew, because code or data had changed or for want of a checkpoint; tag.code=DIGEST takes them."
        )
        findings.append(Finding("superseded runs", "note", sentence, ()))
    return findings


def _default_metric(frame: pd.DataFrame) -> str:
    candidates = [metric for metric in _HEADLINES if metric in frame.columns]
    measured = {metric: frame[~as_floats(frame[metric])[1]] for metric in candidates}
    for metric, rows in measured.items():
        if rows["run_id"].nunique() == frame["run_id"].nunique():
            return metric
    num_workloads = {metric: rows["workload"].nunique() for metric, rows in measured.items()}
    if any(num_workloads.values()):
        return max(num_workloads, key=lambda metric: num_workloads[metric])
    found = measured_metrics(frame)
    if not found:
        raise ValueError("no metric was measured: no column train/..., val/... or test/... has a value")
    raise ValueError(f"neither {' nor '.join(_HEADLINES)} was measured; choose metric=NAME direction=..., of {found}")


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} must be a number, got {text!r}") from None
