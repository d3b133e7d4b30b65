"""lrbench in Python: what `import lrbench` offers. Names and values are those of the command line, in Python's types.

    run = lrbench.run(scheduler="cosine", model="mlp", dataset="digits", budget={"epochs": 5}, seed=0)
    study = lrbench.sweep(scheduler=["constant", "cosine"], search={"num_trials": 4}, seed=[0, 1])
    lrbench.report(study).verdict

Nothing here prints or exits. Messages go to the logger "lrbench"; progress to `on_progress`, or to a bar where a person
can see one. What a user can do wrong is a `ValueError` with the message of the command line.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrbench.runs.progress import OnProgress

if TYPE_CHECKING:
    import pandas as pd
    from torch.optim import Optimizer

    from lrbench.analysis.prediction import Prediction
    from lrbench.analysis.verdict.recommend import Recommendation
    from lrbench.config import Plan
    from lrbench.lint import Finding
    from lrbench.reporting.report import Report
    from lrbench.runs.imported import RecordedResults
    from lrbench.runs.own_loop import TrainLoop
    from lrbench.runs.range_test import MeasuredRange
    from lrbench.runs.range_test_settings import RangeTestSettings
    from lrbench.runs.result import Result
    from lrbench.runs.run import Run
    from lrbench.runs.session import Session
    from lrbench.studies.settle import Settled
    from lrbench.studies.study import Study
    from lrbench.tracking.read import Parameters
    from lrbench.tracking.sync import SyncReport

    Source = Study | Run | Sequence[Run] | pd.DataFrame | Path | str

_SNIPPETS = ("torch", "optax", "transformers")


def run(*, on_progress: OnProgress | None = None, **config: object) -> "Run":
    """Train one run, as `lrbench ...` does; interrupted, the same call goes on.

    Args:
        on_progress: called with (steps done, steps in all, what there is to say).
        config: by the names of the command line; see `lrbench.runs.words`.

    Returns:
        Its record: frame, rates, path, metrics.

    Raises:
        ValueError: a name or a value is wrong, or it asks for several runs; nothing was trained.
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM.
    """
    from lrbench.runs.run import Run

    plan = _one_plan(config, "lrbench.run trains one run, and lrbench.sweep several")
    with _session(on_progress) as session:
        result = session.train(plan)
    if result.error is not None:
        raise result.error
    return Run.of(result)


def sweep(
    *, search: Mapping[str, object] | None = None, on_progress: OnProgress | None = None, **config: object
) -> "Study":
    """Train every combination of the choices, or tune every schedule fairly, as `lrbench -m ...` does.

    Args:
        search: settings of conf/hydra/sweeper/optuna.yaml, such as {"num_trials": 16, "final_seeds": 5}; {} for its
            defaults. None trains the grid, unless the experiment searches.
        on_progress: see `run`; about all runs together.
        config: see `run`; lists are choices.

    Raises:
        ValueError: see `run`. What goes wrong in one run stops no other; it is in `Study.failed`.
        KeyboardInterrupt: see `run`.
    """
    from lrbench.runs.words import override_words

    return _swept([*override_words(config), *_search_words(search)], on_progress)


def settle(
    *, search: Mapping[str, object] | None = None, on_progress: OnProgress | None = None, **config: object
) -> "Settled":
    """Take the next planned look at tuned schedules, as `lrbench settle` does; the first call tunes them.

        while (said := lrbench.settle(scheduler=["constant", "cosine"], dataset="digits")).state == "continue":
            print(said.document["num_runs"], said.document["seconds"])

    Args:
        search: settings of conf/hydra/sweeper/optuna.yaml, such as {"looks": [5, 10, 20], "reference": "cosine"}; what
            a look depends on is fixed before the first one.
        on_progress: see `run`.
        config: see `sweep`.

    Returns:
        Where every workload stands, and what the next look costs. Given again, the call takes the next look; after the
        last, or when nothing is open, it says the same.

    Raises:
        ValueError: see `sweep`, or what was fixed before the first look is asked for otherwise: recorded.
        KeyboardInterrupt: see `run`; the same call goes on.
    """
    from lrbench.runs.words import override_words

    with _session(on_progress) as session:
        settled = next_look([*override_words(config), *_search_words(search)], session)
    assert settled is not None, "a session that was not stopped has looked"
    return settled


def next_look(words: Sequence[str], session: "Session") -> "Settled | None":
    """Run the sweep of these words up to its next look; None where a signal stopped it."""
    from lrbench.runs.hydra_app import run_app

    session.one_look = True
    run_app(["-m", "hydra/sweeper=optuna", *words, "hydra.sweeper.final_seeds=settle"], session)
    found: Settled | None = session.settled
    return found


def compare(
    train: "TrainLoop",
    *,
    schedules: Sequence[str],
    total_steps: int,
    tune: int | None = 10,
    seeds: int = 5,
    tuning_seeds: int = 3,
    lr: Sequence[float] = (1e-3, 1.0),
    name: str | None = None,
    metric: str = "val/loss",
    on_progress: OnProgress | None = None,
    **config: object,
) -> "Study":
    """Compare schedules in a training loop of your own, by the whole protocol: tuned alike, then on fresh paired seeds.

    Args:
        train: `train(lr, total_steps, seed)` yields (updates completed, metrics); see `lrbench.runs.own_loop`. It runs
            in worker processes.
        schedules: names of schedules.
        total_steps: updates of every run.
        tune: trials of each schedule, which search its rate and its parameters; None trains at the rates in `lr`.
        seeds: fresh seeds on which the best point of each schedule is trained; without tuning, those of the runs.
        tuning_seeds: seeds of every trial.
        lr: the lowest and the highest rate of the search; without tuning, the rates to train at.
        name: of the workload; None for that of the function.
        metric: by which runs are judged: val/loss, val/accuracy, val/rmse and so on (`lrbench.spec.METRICS`).
        on_progress: see `run`.
        config: `warmup`, `results_dir`, `tracking`, `budget.eval_every` and the like; see `run`.

    Returns:
        Finished runs are not trained again by the same call; a changed `train` is another workload.

    Raises:
        ValueError: see `run`, or `train` cannot be sent to a worker process. What it raises is in `Study.failed`.
        KeyboardInterrupt: see `run`.
    """
    from lrbench.runs.own_loop import pickled, words_of
    from lrbench.runs.words import override_words

    words = words_of(train, name=name or train.__name__, metric=metric, total_steps=total_steps)
    words += override_words({"scheduler": list(schedules), **config})
    if tune is None:
        words += override_words({"optimizer.lr": list(lr), "seed": list(range(seeds))})
    else:
        low, high = lr
        words += [f"optimizer.lr=tag(log,interval({low!r},{high!r}))"]
        words += override_words({"seed": list(range(tuning_seeds))})
        words += _search_words({"num_trials": tune, "final_seeds": seeds})
    return _swept(words, on_progress, loop=pickled(train))


def read(
    source: "Source",
    *,
    experiments: Sequence[str] | None = None,
    tags: Mapping[str, str] | None = None,
    columns: Mapping[str, str] | None = None,
    parameters: "Parameters" = "varying",
) -> "pd.DataFrame":
    """Read results into the tidy frame of `lrbench.results.schema`: one row is one evaluation.

    Args:
        source: a study, runs, a frame, a CSV or Parquet file, or an MLflow tracking URI such as
            sqlite:////path/to/mlflow.db.
        experiments: names of MLflow experiments; None for all.
        tags: of MLflow runs, all of which they must have.
        columns: of a file: our name -> its name.
        parameters: config values as columns: those in which runs differ, or all.

    Raises:
        ValueError: there is no such file, database or experiment; nothing is there; or a column is missing.
    """
    import pandas as pd

    from lrbench.runs.run import Run
    from lrbench.studies.study import Study

    if isinstance(source, Study):
        return source.frame if parameters == "varying" else source.read(parameters)
    if isinstance(source, Run):
        return source.frame
    if isinstance(source, pd.DataFrame):
        from lrbench.results.completion import complete_frame

        return complete_frame(source, source="the frame")
    if not isinstance(source, str | Path):
        return pd.concat([item.frame for item in source], ignore_index=True)
    if "://" not in str(source):
        from lrbench.results.files import read_file  # pyarrow takes a while

        path = Path(source).expanduser()
        if not path.is_file():
            raise ValueError(f"results={source}: there is no such file")
        return read_file(path, columns=columns or {})
    from lrbench.tracking.read import read_runs

    frame = read_runs(str(source), experiments=experiments, tags=tags, parameters=parameters)
    if frame.empty:
        selected = [] if experiments is None else [f"tracking.experiment={','.join(experiments)}"]
        selected += [f"tag.{name}={value}" for name, value in (tags or {}).items()]
        which = f"selected by {' '.join(selected)} " if selected else ""
        raise ValueError(f"no runs {which}in {source}; train some with `lrbench`, or give results=FILE")
    return frame


def report(
    source: "Source",
    *,
    metric: str | None = None,
    direction: str | None = None,
    target: float | Mapping[str, float] | None = None,
    margin: float = 0.1,
    reference: str | None = None,
    bootstrap_seed: int = 0,
    prediction: "Prediction | None" = None,
    **selection: Any,
) -> "Report":
    """Compare the schedules of some runs, as `lrbench report` does.

    Args:
        source: see `read`.
        metric: validation metric; None for the endpoint by which all were judged, see `lrbench.analysis.declare`.
        direction: minimize or maximize; known for the metrics that lrbench measures.
        target: of the metric, for every workload or by the name of each; None for the median that `constant` reaches.
        margin: of equivalence, .1 = 10 % of the error or loss.
        reference: the schedule that all others are compared with, at one level for all of them; None compares all
            pairs.
        bootstrap_seed: of every bootstrap.
        prediction: shown beside what these runs measured at its length.
        selection: see `read`.

    Returns:
        `.verdict`, `.ranking`, `.analysis`; `.save(directory)` writes the files. It shows itself in a notebook.

    Raises:
        ValueError: see `read`, or the metric was not measured or its direction is not known.
    """
    from lrbench.analysis.declare import declare, mixture_of
    from lrbench.reporting.report import Report
    from lrbench.tracking.database import database_path

    frame = read(source, parameters="varying" if prediction is None else "all", **selection)
    if prediction is not None:
        from lrbench.studies.prediction import with_measured

        prediction = with_measured(prediction, frame)
    settings = declare(
        frame,
        metric=metric,
        direction=direction,
        target=target,
        margin=margin,
        reference=reference,
        bootstrap_seed=bootstrap_seed,
    )
    is_selected = "://" not in str(source) or bool(selection.get("experiments") or selection.get("tags"))
    mixture = mixture_of(frame, is_selected=is_selected)
    database = database_path(source) if isinstance(source, str) and "://" in source else None
    if database is not None and any((database.parent / "studies").glob("*.settle.json")):
        from lrbench.studies.settle import looks_before  # with Optuna, without which other reports do

        mixture += looks_before(database.parent, frame["workload"].unique())
    return Report.of(frame, settings, mixture=mixture, prediction=prediction)


def recommend(source: "Source | Report", **options: Any) -> "list[Recommendation]":
    """Say which schedule to use on each workload, from the runs there are.

    Args:
        source: a report, or what one is made from.
        options: see `report`.

    Raises:
        ValueError: see `report`.
    """
    from lrbench.reporting.report import Report

    return (source if isinstance(source, Report) else report(source, **options)).recommendations


def probes(*, on_progress: OnProgress | None = None, **config: object) -> "Study":
    """Train what `predict` needs: wsd with decays of .2 and .6, step and cosine, a quarter as long, on two seeds.

    Args:
        on_progress: see `run`; about all runs together.
        config: of the long training, its budget included; see `run`. `seed` may be a list.

    Raises:
        ValueError: see `run`; or a schedule is given, or the budget is too short. What goes wrong in one run is in
            `Study.failed`.
        KeyboardInterrupt: see `run`.
    """
    from lrbench.runs.words import override_words

    if "scheduler" in config:
        raise ValueError("the probes have schedules of their own; give those to be ranked to lrbench.predict")
    return probes_of_words(override_words(config), on_progress)


def probes_of_words(words: Sequence[str], on_progress: OnProgress | None = None) -> "Study":
    """See `probes`; `words` are overrides."""
    from lrbench.runs.compose import compose_plans
    from lrbench.runs.hydra_app import run_app
    from lrbench.studies.prediction import probe_words
    from lrbench.studies.study import Study

    shown: list[Result] = []
    with _session(on_progress) as session:
        for grid in probe_words(words, compose_plans(list(words))[0].budget.total_steps):
            if not session.stop_code:
                run_app(["-m", *grid], session)
                shown += session.shown
        session.arrange(shown)
    return Study.of(session)


def predict(
    source: "Source",
    *,
    total_steps: int,
    schedules: Sequence[str | Mapping[str, Any]] | None = None,
    optimise: bool = False,
    **selection: Any,
) -> "Prediction":
    """Rank schedules at a length that nobody trained, or refuse; see docs/predict.md for when to believe it.

    Args:
        source: short runs of one workload and peak rate, such as `probes` trains; see `read`.
        total_steps: of the training that is asked about, warmup included.
        schedules: names, or mappings with a name and parameters; None for the whole gallery. Those of the short runs
            are ranked as well.
        optimise: whether to add the shape with the lowest loss under the law.
        selection: see `read`.

    Returns:
        `.refused` says why there are no ranks, where the law does not hold or cannot be told.

    Raises:
        ValueError: see `read`; the runs are of several workloads, are not shorter, or their rates cannot be made again.
    """
    from lrbench.config.component import read_component
    from lrbench.studies.prediction import predict

    nodes = None
    if schedules is not None:
        given = [{"name": item} if isinstance(item, str) else dict(item) for item in schedules]
        nodes = [read_component("scheduler", item.pop("name"), item) for item in given]
    frame = read(source, parameters="all", **selection)
    return predict(frame, schedulers=nodes, total_steps=total_steps, optimise=optimise)


def range_test(
    *,
    min_lr: float = 1e-6,
    max_lr: float = 10.0,
    num_steps: int = 200,
    seeds: int = 3,
    out: str | Path | None = None,
    **config: object,
) -> "MeasuredRange":
    """Find the base rates at which a model learns, as `lrbench range-test` does.

    Args:
        min_lr: the rate of the first step.
        max_lr: the rate of the last step.
        num_steps: updates of every seed.
        seeds: how many, counted up from `seed`.
        out: a .png or .svg that gets a copy of the picture.
        config: see `run`; schedule, warmup and budget are not used.

    Raises:
        ValueError: see `run`, or an argument is outside its range.
        KeyboardInterrupt: stopped by Ctrl-C; a range test cannot be resumed.
    """
    from lrbench.runs.range_test_settings import RangeTestSettings

    picture = None if out is None else Path(out)
    # As numbers of the command: a whole one would be another record.
    low, high = float(min_lr), float(max_lr)
    settings = RangeTestSettings(min_lr=low, max_lr=high, num_steps=num_steps, num_seeds=seeds, out=picture)
    return range_test_of_plans(_plans(config), settings)


def range_test_of_plans(plans: "Sequence[Plan]", settings: "RangeTestSettings") -> "MeasuredRange":
    """See `range_test`; the plans must be one."""
    from lrbench.runs.destination import check_destination, report_unsent

    if len(plans) > 1:
        raise ValueError(f"a range test takes one combination at a time, got {len(plans)}")
    check_destination(plans[0])  # before torch is loaded
    plans[0].dataset.check()
    from lrbench.runs.range_test import measure_range

    found = measure_range(plans[0], settings)
    report_unsent(found.unsent)
    return found


def import_results(
    format: str,
    sources: "Sequence[str] | str",
    *,
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, str] | None = None,
) -> "pd.DataFrame":
    """Read results in the formats of others into the tidy frame, as `lrbench import` does.

    Args:
        format: see `lrbench import --help`.
        sources: paths, or patterns whose names in braces become columns.
        columns: our name -> that of the files.
        constants: the value of a column in every row.

    Raises:
        ValueError: no such format or file, or a file cannot be understood.
    """
    from lrbench.results.formats import read_format

    named = [sources] if isinstance(sources, str) else list(sources)
    return read_format(format, named, columns=columns or {}, constants=constants or {})


def record_results(
    frame: "pd.DataFrame",
    *,
    results_dir: str | Path = "results",
    tracking_uri: str | None = None,
    experiment: str | None = None,
) -> "RecordedResults":
    """Make one run in MLflow of each run of a frame, as `lrbench import ... to=mlflow` does; again, it adds nothing.

    Args:
        frame: of `read` or `import_results`.
        results_dir: gets the records.
        tracking_uri: None for the database of results_dir.
        experiment: None for the runs' own, or their workload.

    Raises:
        ValueError: the tracking store cannot be used.
    """
    from lrbench.addresses import sqlite_uri
    from lrbench.config.plan import absolute_folder
    from lrbench.runs.imported import record_runs

    folder = Path(absolute_folder("results_dir", str(results_dir)))
    uri = tracking_uri if tracking_uri is not None else sqlite_uri(folder / "mlflow.db")
    return record_runs(frame, results_dir=folder, tracking_uri=uri, experiment=experiment)


def sync(results_dir: str | Path = "results", *, tracking_uri: str | None = None) -> "SyncReport":
    """Send records that have not reached MLflow yet, as `lrbench sync` does.

    Args:
        results_dir: whose records; they go to the database in it.
        tracking_uri: the one other address that records may be sent to; None for MLFLOW_TRACKING_URI, if it is set.

    Returns:
        The records in `.sent`, `.unsent` with the reasons, and `.running`.

    Raises:
        ValueError: there is no such folder.
    """
    from lrbench.config.plan import absolute_folder
    from lrbench.runs.destination import report_unsent
    from lrbench.tracking.database import absolute_uri
    from lrbench.tracking.sync import sync

    uri = os.environ.get("MLFLOW_TRACKING_URI", "") if tracking_uri is None else tracking_uri
    folder = Path(absolute_folder("results_dir", str(results_dir)))
    found = sync(folder, tracking_uri=absolute_uri(uri, Path.cwd()))
    report_unsent(found.unsent)
    return found


def preview(**config: object) -> "pd.DataFrame":
    """Tabulate the rates of one or several schedules; nothing is trained and no data is loaded.

    Args:
        config: see `run`; lists are choices.

    Returns:
        Columns schedule, step (zero-based), lr, momentum (NaN where the schedule leaves it alone).

    Raises:
        ValueError: a name or a value is wrong, or a schedule gives a rate that cannot be used.
    """
    import pandas as pd

    from lrbench.runs.labels import labels_of
    from lrbench.runs.rates import table_of

    plans = _plans(config)
    tables = zip(labels_of(plans), map(table_of, plans), strict=True)
    return pd.concat(
        [
            pd.DataFrame({"schedule": label, "step": range(len(rates.lr)), "lr": rates.lr, "momentum": rates.momentum})
            for label, rates in tables
        ],
        ignore_index=True,
    ).astype({"momentum": "float64"})


def check(**config: object) -> "list[Finding]":
    """Say what is set up wrongly in a configuration, before anything trains.

    Args:
        config: see `run`; lists are choices.

    Raises:
        ValueError: a name or a value is wrong.
    """
    from lrbench.runs.lint import findings_of

    return [finding for plan in _plans(config) for finding in findings_of(plan)]


def export(*, to: str = "torch", **config: object) -> str:
    """Write a schedule as code that does without lrbench.

    Args:
        to: torch, optax or transformers.
        config: see `run`.

    Raises:
        ValueError: see `run`, or the library has no equal of the schedule.
    """
    from lrbench.runs.snippets import snippet_of

    if to not in _SNIPPETS:
        raise ValueError(f"to must be one of {', '.join(_SNIPPETS)}, got {to!r}")
    return snippet_of(_one_plan(config, "lrbench.export writes one schedule at a time"), to=to)


def scheduler(
    name: str,
    optimizer: "Optimizer",
    *,
    total_steps: int,
    warmup: str | Mapping[str, object] = "none",
    num_evaluations: int = 20,
    **parameters: object,
) -> Any:
    """Make a torch scheduler for a loop of your own; call its `step()` after every `optimizer.step()`.

    Args:
        name: of a schedule, see docs/gallery.md.
        optimizer: its `lr` is the rate that the schedule scales, in every parameter group.
        total_steps: optimizer steps of the whole training, warmup included.
        warmup: name of a file of `conf/warmup`, or a mapping with its name and parameters.
        num_evaluations: how often a schedule that follows the validation loss will see it, in `step(val_loss)`.
        parameters: of the schedule, such as decay_fraction=0.2.

    Returns:
        A torch `LRScheduler`, which stays at its last rate after `total_steps`.

    Raises:
        ValueError: no such schedule or parameter, a value outside its domain, or a warmup before a schedule that
            follows the validation loss.
    """
    from lrbench.config.component import read_component
    from lrbench.config.plan import bind_schedule, bind_warmup
    from lrbench.schedules.torch_scheduler import torch_scheduler  # torch

    ramp = {"name": warmup} if isinstance(warmup, str) else dict(warmup)
    ramp_name = str(ramp.pop("name", "linear"))
    return torch_scheduler(
        bind_schedule(read_component("scheduler", name, parameters)),
        optimizer,
        total_steps=total_steps,
        num_evaluations=num_evaluations,
        warmup=bind_warmup(read_component("warmup", ramp_name, ramp)),
        name=name,
    )


def _search_words(search: Mapping[str, object] | None) -> list[str]:
    from lrbench.runs.jobs import literal

    if search is None:
        return []
    return ["hydra/sweeper=optuna", *(f"hydra.sweeper.{name}={literal(value)}" for name, value in search.items())]


def _swept(words: Sequence[str], on_progress: OnProgress | None, *, loop: bytes | None = None) -> "Study":
    from lrbench.runs.hydra_app import run_app
    from lrbench.studies.study import Study

    with _session(on_progress, loop=loop) as session:
        run_app(["-m", *words], session)
    return Study.of(session)


def _plans(config: Mapping[str, object]) -> "list[Plan]":
    from lrbench.runs.compose import compose_plans
    from lrbench.runs.words import override_words

    return compose_plans(override_words(config))


def _one_plan(config: Mapping[str, object], rule: str) -> "Plan":
    plans = _plans(config)
    if len(plans) != 1:
        raise ValueError(f"{rule}, got {len(plans)} combinations")
    return plans[0]


@contextmanager
def _session(on_progress: OnProgress | None, *, loop: bytes | None = None) -> "Iterator[Session]":
    """A session of one call.

    Raises:
        KeyboardInterrupt: a signal stopped it.
    """
    from lrbench.runs.destination import report_unsent
    from lrbench.runs.session import Session

    session = Session(on_progress, loop=loop)
    try:
        yield session
    finally:
        report_unsent(session.close())
    if session.stop_code:
        raise KeyboardInterrupt
