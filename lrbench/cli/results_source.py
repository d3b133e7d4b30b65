"""Where `report` and `recommend` get their runs, and what is declared about the metric."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrbench.addresses import sqlite_uri
from lrbench.config.plan import absolute_folder
from lrbench.typos import did_you_mean

NAMES = (
    "results", "tracking.experiment", "tracking.uri", "results_dir", "metric", "direction", "target", "margin",
    "reference", "bootstrap_seed",
)  # fmt: skip


@dataclass(frozen=True)
class Words:
    """What the command line asked for.

    Attributes:
        options: by name; see `NAMES`, and whatever the command itself takes.
        tags: `tag.NAME=VALUE`, of MLflow runs.
        columns: `column.NAME=THEIRS`, of a file.
        target: `target=VALUE`, or `target.WORKLOAD=VALUE` of some.
        bootstrap_seed: of every bootstrap.
    """

    options: Mapping[str, str]
    tags: Mapping[str, str]
    columns: Mapping[str, str]
    target: float | Mapping[str, float] | None
    bootstrap_seed: int

    @property
    def results_dir(self) -> Path:
        """Folder of the records."""
        return Path(absolute_folder("results_dir", self.options.get("results_dir", "results")))

    @property
    def uri(self) -> str:
        """MLflow's tracking URI."""
        return self.options.get("tracking.uri", sqlite_uri(self.results_dir / "mlflow.db"))

    @property
    def source(self) -> str | Path:
        """What `lrbench.read` reads."""
        return Path(self.options["results"]) if "results" in self.options else self.uri

    @property
    def selection(self) -> dict[str, Any]:
        """Arguments of `lrbench.read` that say which runs."""
        given = self.options.get("tracking.experiment")
        experiments = None if given is None else given.split(",")
        return {"experiments": experiments, "tags": self.tags, "columns": self.columns}

    @property
    def is_selected(self) -> bool:
        """Whether these runs were chosen, so that they belong together."""
        return bool({"results", "tracking.experiment"} & set(self.options) or self.tags)

    @property
    def declared(self) -> dict[str, Any]:
        """Arguments of `lrbench.analysis.declare`."""
        return {
            "metric": self.options.get("metric"),
            "direction": self.options.get("direction"),
            "target": self.target,
            "margin": _number("margin", self.options.get("margin", "0.1")),
            "reference": self.options.get("reference"),
            "bootstrap_seed": self.bootstrap_seed,
        }


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
    target: float | Mapping[str, float] | None = {
        name: _number(f"target.{name}", value) for name, value in prefixed["target"].items()
    } or None
    if "target" in options:
        target = _number("target", options["target"])
    seed = options.get("bootstrap_seed", "0")
    if not seed.isdecimal():
        raise ValueError(f"bootstrap_seed must be a whole number >= 0, got {seed!r}")
    return Words(options, prefixed["tag"], prefixed["column"], target, int(seed))


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} must be a number, got {text!r}") from None
