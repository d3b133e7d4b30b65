"""`lrbench export RUN | overrides [to=torch|optax|transformers]`: print a schedule as code without lrbench."""

import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

import lrbench
from lrbench.config import Plan, make_plan
from lrbench.config.schema import Config
from lrbench.runs.compose import compose_plans, split_options
from lrbench.tracking.send_state import load_state

_LIBRARIES = ("torch", "optax", "transformers")


def main(arguments: list[str]) -> int:
    """Print the snippet of one schedule to the standard output.

    A run is the directory of its record, or its MLflow run id, looked up among the records in `results_dir`; MLflow
    itself is not asked.

    Raises:
        ValueError: no such run, more than one schedule, or no equal of the schedule in that library.
    """
    options, words = split_options(arguments, "to")
    library = options.get("to", "torch")
    if library not in _LIBRARIES:
        raise ValueError(f"to must be one of {', '.join(_LIBRARIES)}, got {library!r}")
    plan, origin = _plan(words)
    # torch comes after everything that can be refused without it.
    from lrbench.runs.snippets import snippet_of

    snippet = snippet_of(plan, to=library)
    sys.stdout.write(f"# lrbench {lrbench.__version__}: {origin}\n{snippet}")
    return 0


def _plan(words: list[str]) -> tuple[Plan, str]:
    """The plan that the words mean, and what to call it."""
    runs = [word for word in words if "=" not in word and not word.startswith("~")]
    if not runs:
        plans = compose_plans(words)
        if len(plans) > 1:
            raise ValueError(f"lrbench export prints one schedule at a time, got {len(plans)} combinations")
        return plans[0], " ".join(["export", *words])
    options, rest = split_options([word for word in words if word not in runs], "results_dir")
    if len(runs) > 1 or rest:
        raise ValueError(f"lrbench export takes one run, or overrides, got {' '.join([*runs, *rest])}")
    record = _find_record(runs[0], Path(options.get("results_dir", "results")))
    # The record of an older version has not all that a config has now.
    defaults = OmegaConf.to_container(OmegaConf.structured(Config), enum_to_str=True)
    cfg = OmegaConf.merge(defaults, OmegaConf.load(record / "artifacts" / "config.yaml"))
    assert isinstance(cfg, DictConfig)
    return make_plan(cfg), f"run {runs[0]}"


def _find_record(run: str, results_dir: Path) -> Path:
    """The record directory that is, or whose copy in MLflow has the id, `run`.

    Raises:
        ValueError: there is none; says which there are.
    """
    if Path(run).is_dir():
        if not (Path(run) / "artifacts" / "config.yaml").is_file():
            raise ValueError(f"{run} must be the record of a run, with artifacts/config.yaml in it")
        return Path(run)
    records = sorted(path.parent.parent for path in results_dir.glob("runs/*/artifacts/config.yaml"))
    for record in records:
        if run in (record.name, load_state(record).run_id):
            return record
    existing = ", ".join(record.name for record in records) or "none"
    raise ValueError(
        f"no run {run!r}: neither a record directory nor the id of one in {results_dir}/runs; it has {existing}"
    )
