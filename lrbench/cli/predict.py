"""`lrbench predict [overrides] [scheduler=NAME,...] budget.steps=STEPS [--optimise] [--json]`.

Which schedule is best at that length, from four short runs: wsd with decays of .2 and .6, step and cosine, a quarter as
long, on two seeds. They are trained like any other runs, or found among the records. All schedules of the gallery, or
those of `scheduler`, are ranked by what the multi-power law, fitted to the short runs, predicts; beside it stands their
order in the short runs themselves. Losses are not predicted, and a law that does not hold is refused: exit code 4.

Runs that exist take the place of the training: `results=FILE`, or `tracking.experiment=A`, with nothing else but
`budget.steps`, `scheduler...` and what selects runs for `lrbench report`.

* `--optimise` adds the shape with the lowest loss under the law, and prints the words that train it;
* `--json` prints one JSON object; a refusal is in it.
"""

import sys

from lrbench import api
from lrbench.analysis.prediction import OPTIMISED, Prediction
from lrbench.cli import results_source
from lrbench.cli.outputs import print_json, split_json
from lrbench.runs.compose import compose_plans, split_options
from lrbench.runs.jobs import literal


def main(arguments: list[str]) -> int:
    """Print ranks, or one sentence with the reason why there are none, and return 4.

    Raises:
        ValueError: see `lrbench.api.probes` and `lrbench.api.predict`; or some probes could not be trained.
    """
    as_json, words = split_json(arguments)
    optimise, words = "--optimise" in words, [word for word in words if word != "--optimise"]
    ranked = [word for word in words if word.startswith(("scheduler=", "scheduler.", "+scheduler.", "++scheduler."))]
    rest = [word for word in words if word not in ranked]
    schedules = [dict(plan.values["scheduler"]) for plan in compose_plans(ranked)] if ranked else None
    if _names_runs(rest):
        steps, selecting = split_options(rest, "budget.steps")
        chosen = results_source.parse(selecting, command="predict", own=("budget.steps",))
        total_steps = _whole(steps.get("budget.steps"))
        found = api.predict(
            chosen.source, total_steps=total_steps, schedules=schedules, optimise=optimise, **chosen.selection
        )
    else:
        total_steps = compose_plans(rest)[0].budget.total_steps
        study = api.probes_of_words(rest)
        for name, error in study.failed.items():
            raise ValueError(f"the probe {name} could not be trained: {error}") from error
        found = api.predict(study, total_steps=total_steps, schedules=schedules, optimise=optimise)
    if as_json:
        print_json(found.document)
    elif found.refused is not None:
        print(f"lrbench: no prediction: {found.refused.reason}", file=sys.stderr)
    else:
        print("\n".join(_lines(found)))
    return 0 if found.refused is None else 4


def _names_runs(words: list[str]) -> bool:
    """Whether the words select runs that exist: one that names them, and none that could be a setting of a training."""
    keys = {word.partition("=")[0] for word in words}
    selecting = {*results_source.NAMES, "budget.steps"}
    return bool({"results", "tracking.experiment"} & keys) and (
        "results" in keys or all(key in selecting or key.startswith(("tag.", "column.")) for key in keys)
    )


def _whole(steps: str | None) -> int:
    if steps is None or not steps.isdecimal():
        raise ValueError(f"budget.steps must be a whole number, the length that is asked about, got {steps!r}")
    return int(steps)


def _lines(found: Prediction) -> list[str]:
    """The table, and what follows from it."""
    lines = ["rank  80 % interval  short runs  schedule"]
    for row in found.rows:
        interval = "" if row["rank_low"] is None else f"{row['rank_low']:g} to {row['rank_high']:g}"
        lines.append(f"{row['rank']:>4}  {interval:>13}  {row['short_rank'] or '':>10}  {row['schedule']}")
    lines.append(f"Predicted best of {len(found.ranks)} at {found.total_steps:,} steps: {found.pick}.")
    best_short = min(found.short_ranks, key=lambda name: found.short_ranks[name])
    lines.append(f"Best of the {len(found.short_ranks)} short runs: {best_short}.")
    if found.decay_fraction is not None:
        best, ends = found.decay_fraction
        lines.append(f"wsd: decay_fraction={best:g}{f', {ends.low:g} to {ends.high:g}' if ends else ''}.")
    if found.optimised is not None:
        name, *values = found.optimised.items()
        words = [f"scheduler={name[1]}", *(f"scheduler.{key}={literal(value)}" for key, value in values)]
        lines.append(f"{OPTIMISED}: {' '.join(words)}")
    lines += [f"Not ranked: {name}: {reason}." for name, reason in found.left_out.items()]
    return lines
