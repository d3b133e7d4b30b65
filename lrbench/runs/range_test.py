"""One range test from its plan to its record: everything of `lrbench range-test` that needs torch."""

import csv
import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from lrbench.config import Plan
from lrbench.config.plan import flat_values
from lrbench.data import Splits
from lrbench.lr_range import RangeTest, SmoothedCurve, Suggestion, range_test, smoothed_curve, suggest
from lrbench.runs.assemble import workload_of
from lrbench.runs.destination import tracking_uri
from lrbench.runs.environment import environment, resolve_device
from lrbench.runs.loading import load_data
from lrbench.runs.range_test_settings import RangeTestSettings
from lrbench.runs.record_of_run import facts_of_dataset, tags_of_workload
from lrbench.runs.try_out import try_out
from lrbench.spec import Evaluation, RunState
from lrbench.tracking.record import Record
from lrbench.tracking.send_state import Unsent
from lrbench.tracking.sender import Sender
from lrbench.trials import call_model

_MOST_POINTS = 200  # of the curve that go to the tracker; the whole table is an artifact
# Parts of the config that a range test replaces by its own.
_NOT_USED = ("scheduler.", "warmup.", "budget.", "seed", "optimizer.lr", "optimizer.search.")


@dataclass(frozen=True)
class MeasuredRange:
    """What a range test found.

    Attributes:
        record: directory of the record: table, picture, suggestion.
        suggestion: `.low`, `.high`, `.suggested` (None where not found) and `.reasons`.
        unsent: what MLflow did not get.
    """

    record: Path
    suggestion: Suggestion
    unsent: list[Unsent]

    @property
    def overrides(self) -> dict[str, list[str]]:
        """Command-line words that hand the rates on, see `override_words`."""
        return override_words(self.suggestion)


def measure_range(plan: Plan, settings: RangeTestSettings) -> MeasuredRange:
    """Run the range test of a plan whose destination and data are checked, and send the record.

    Raises:
        ValueError: what `check` and `run_range_test` refuse.
    """
    check(plan)
    uri = tracking_uri(plan)
    sender = Sender(Path(plan.values["results_dir"]) / "sender.log") if uri else None
    if sender is not None:
        sender.allow(uri)
    try:
        record, suggestion = run_range_test(
            plan, settings, tracking_uri=uri, on_record=sender.follow if sender else lambda _: None
        )
    finally:
        unsent = sender.close() if sender else []
    return MeasuredRange(record, suggestion, unsent)


def check(plan: Plan) -> None:
    """Build the model before any data is read.

    Raises:
        ValueError: it refuses the shape of the data, or there is no such device.
    """
    resolve_device(plan.values["device"])
    call_model(plan.make_model, input_shape=plan.dataset.input_shape, num_outputs=plan.dataset.num_outputs)


def run_range_test(
    plan: Plan, settings: RangeTestSettings, *, tracking_uri: str, on_record: Callable[[Path], None]
) -> tuple[Path, Suggestion]:
    """Measure, read the range off, and leave the record.

    Args:
        plan: checked.
        settings: of the test.
        tracking_uri: where the record is to be sent; "" for nowhere.
        on_record: told the record's directory as soon as it exists.

    Returns:
        The record's directory, and the suggestion.

    Raises:
        ValueError: the data are missing or damaged.
        OSError: the disk is full.
    """
    device = resolve_device(plan.values["device"])
    torch.set_num_threads(plan.values["threads"])
    try_out(plan)
    data = load_data(plan)
    facts = environment(device)
    with _create_record(plan, settings, data, tracking_uri, facts) as record:
        on_record(record.path)
        (record.artifacts / "environment.json").write_text(json.dumps(facts, indent=1) + "\n")
        began = time.perf_counter()
        test = range_test(
            workload_of(plan, data, device),
            plan.make_optimizer,
            min_lr=settings.min_lr,
            max_lr=settings.max_lr,
            num_steps=settings.num_steps,
            seeds=_seeds(plan, settings),
        )
        seconds = time.perf_counter() - began
        curve, suggestion = smoothed_curve(test), suggest(test)
        for evaluation in _evaluations(test, curve, seconds):
            record.append(evaluation)
        write_table(record.artifacts / "range_test.csv", test, curve)
        _write_suggestion(record.artifacts / "suggestion.json", suggestion)
        _draw(plan, settings, test, suggestion, record.artifacts)
        record.end("FINISHED", RunState.OK)
        return record.path, suggestion


def override_words(suggestion: Suggestion) -> dict[str, list[str]]:
    """Command-line words by what they are for; without those that the test could not find."""
    words = {}
    if suggestion.low is not None and suggestion.high is not None:
        low, high = suggestion.low, suggestion.high
        words["for a search"] = [f"optimizer.search.lr.low={low:.3g}", f"optimizer.search.lr.high={high:.3g}"]
    if suggestion.suggested is not None:
        words["for a run"] = [f"optimizer.lr={suggestion.suggested:.3g}"]
    return words


def write_table(path: Path, test: RangeTest, curve: SmoothedCurve) -> None:
    """Write one row a step: zero-based step, its rate, the loss of each seed, and the smoothed curve."""
    columns = {
        "lr": test.lr,
        **{f"loss[seed={seed}]": losses for seed, losses in zip(test.seeds, test.losses, strict=True)},
        **{f"smoothed_{name}": values for name, values in vars(curve).items()},
    }
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["step", *columns])
        writer.writerows([step, *row] for step, row in enumerate(np.column_stack([*columns.values()]).tolist()))


def _seeds(plan: Plan, settings: RangeTestSettings) -> range:
    return range(plan.values["seed"], plan.values["seed"] + settings.num_seeds)


def _evaluations(test: RangeTest, curve: SmoothedCurve, seconds: float) -> list[Evaluation]:
    """The smoothed curve, thinned, up to the first NaN: one says that most seeds have diverged."""
    num_steps = len(test.lr)
    stride = max(1, math.ceil(num_steps / _MOST_POINTS))
    evaluations = []
    for step in range(stride - 1, num_steps, stride):
        metrics = {"range/lr": float(curve.lr[step]), "range/loss": float(curve.median[step])}
        # All steps cost the same, and the median belongs to no seed's clock.
        share = seconds * (step + 1) / num_steps
        evaluations.append(Evaluation(step + 1, share, metrics, [(step + 1, float(test.lr[step]), None)]))
        if math.isnan(metrics["range/loss"]):
            break
    return evaluations


def _write_suggestion(path: Path, suggestion: Suggestion) -> None:
    document = {**asdict(suggestion), "overrides": override_words(suggestion)}
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _draw(plan: Plan, settings: RangeTestSettings, test: RangeTest, suggestion: Suggestion, folder: Path) -> None:
    from lrbench.reporting.range_test_picture import draw_range_test
    from lrbench.reporting.rate_pictures import save_figure  # matplotlib is slow to import

    names = {group: plan.values[group]["name"] for group in ("model", "dataset", "optimizer")}
    title = "range test: {model} on {dataset}, {optimizer}".format(**names)
    title += f", batches of {plan.values['training']['batch_size']}"
    figure = draw_range_test(test, suggestion, title=title, task=plan.task)
    for suffix in (".png", ".svg"):
        save_figure(figure, folder / f"range_test{suffix}")
    if settings.out is not None:
        shutil.copyfile(folder / f"range_test{settings.out.suffix}", settings.out)


def _create_record(
    plan: Plan, settings: RangeTestSettings, data: Splits, tracking_uri: str, facts: dict[str, str]
) -> Record:
    values = plan.values
    names = {group: values[group]["name"] for group in ("model", "dataset", "optimizer")}
    options = {name: value for name, value in asdict(settings).items() if name != "out"}
    # Not the plan's own: an interrupted range test must not be taken up as a training.
    fingerprint = hashlib.sha256(f"range_test {plan.fingerprint} {options}".encode()).hexdigest()
    params = {name: value for name, value in flat_values(values).items() if not name.startswith(_NOT_USED)}
    return Record.create(
        Path(values["results_dir"]) / "runs",
        name=f"range_test-{names['optimizer']}",
        # An experiment of its own: it has no validation metrics to compare with those of the trainings.
        experiment=values["tracking"]["experiment"] or f"{plan.workload}-range_test",
        tracking_uri=tracking_uri,
        fingerprint=fingerprint,
        tags={
            **tags_of_workload(plan, facts),
            "scheduler": "range_test",
            "budget": settings.num_steps,
            "role": "range_test",
            "fingerprint": fingerprint,
        },
        params={
            **params,
            "seeds": list(_seeds(plan, settings)),
            **{f"range_test.{name}": value for name, value in options.items()},
        },
        dataset=facts_of_dataset(plan, data),
        note=f"Learning-rate range test of {names['model']} on {names['dataset']} with {names['optimizer']}: "
        f"{settings.num_seeds} seeds, {settings.num_steps} steps from {settings.min_lr:g} to {settings.max_lr:g}. "
        "`range/loss` is the median smoothed training loss, `range/lr` the rate it stands for.",
    )
