"""From the tidy frame to the analysis: every number of a report, and why a number is not there."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import pandas as pd

import lrbench
from lrbench.analysis.across_results import across_of
from lrbench.analysis.audit.audit import audit
from lrbench.analysis.audit.findings import Finding, Severity
from lrbench.analysis.cell_results import cells_of
from lrbench.analysis.compared import Compared, choose_compared, origin_findings
from lrbench.analysis.contender_results import contenders_of
from lrbench.analysis.dependence import robustness_of
from lrbench.analysis.field import Field, decide_endpoint, endpoint_values, make_field
from lrbench.analysis.fronts import front_of, overall_front
from lrbench.analysis.learning_curves import learning_curves_of
from lrbench.analysis.ledger import costs_of, sentences_of, states_of
from lrbench.analysis.model import Analysis, Question, Section, SweepPoint
from lrbench.analysis.pair_results import pairs_of
from lrbench.analysis.prepare import (
    RATE,
    Run,
    by_cell,
    check_needed,
    configs_of,
    judged,
    parameters_of,
    printable_names,
    runs_of,
    slim,
)
from lrbench.analysis.rate_curves import rate_curves_of, shared_rates_of
from lrbench.analysis.speed_profiles import ecdfs_of, profiles_of
from lrbench.analysis.statistics.over_workloads import Levels, share_alpha
from lrbench.analysis.statistics.terms import NUM_RESAMPLES, Direction, Unavailable
from lrbench.analysis.tasks import leave_out_unmeasured, separate_workloads, sources_of, tasks_of

_LIBRARIES = ("numpy", "scipy", "pandas", "statsmodels", "scikit-posthocs")
_SEVERITIES: tuple[Severity, ...] = ("serious", "warning", "note")


@dataclass(frozen=True)
class Settings:
    """What the user declares; nothing of it is guessed from the results.

    Attributes:
        metric: validation metric.
        direction: of the metric.
        target: absolute, for every workload; by workload name; or None for the median of `constant`.
        alpha: level of tests, in (0, 1).
        margin: of equivalence, above 0: .1 = 10 % of the error or loss.
        reference: the schedule that all others are compared with; None compares all pairs.
        bootstrap_seed: of every bootstrap.
        num_resamples: of every bootstrap.
    """

    metric: str
    direction: Direction
    target: float | Mapping[str, float] | None = None
    alpha: float = 0.05
    margin: float = 0.1
    reference: str | None = None
    bootstrap_seed: int = 0
    num_resamples: int = NUM_RESAMPLES


def analyse(frame: pd.DataFrame, *, settings: Settings) -> Analysis:
    """Analyse a tidy frame; the order of its rows does not matter.

    As soon as a task has several budgets there are several sections, see `Section.title`; none has two of one task.

    Args:
        frame: see `lrbench.results.schema`; rows of all roles together.
        settings: declared beforehand.

    Raises:
        ValueError: no run, a required column or the metric is missing, a target names no workload, or a run
            has two rows of one step.
    """
    check_needed(frame, metric=settings.metric)
    frame, mixed = separate_workloads(printable_names(frame))
    frame, unmeasured = leave_out_unmeasured(frame, metric=settings.metric)
    sources = sources_of(frame)
    tasks, parameters, configs = tasks_of(frame), parameters_of(frame), configs_of(frame)
    frame = slim(judged(frame, metric=settings.metric, direction=settings.direction), metric=settings.metric)
    _check_targets(settings.target, list(tasks))
    runs = [*runs_of(frame, parameters=parameters, metric=settings.metric)]
    _check_reference(settings.reference, runs)
    measured = [run for run in runs if len(run.curve.steps)]
    compared = {cell: choose_compared(group, direction=settings.direction) for cell, group in by_cell(measured).items()}
    endpoint, reason = decide_endpoint(list(compared.values()), metric=settings.metric)
    sections = []
    titled = _sections(tasks, runs)
    levels = share_alpha(settings.alpha, workloads_of_sections=[len(names) for _, names in titled])
    for title, names in titled:
        inside = frame[frame["workload"].isin(names)] if len(names) < len(tasks) else frame
        of_section = [run for run in runs if run.workload in names]
        sections.append(
            _section(title, inside, of_section, compared, tasks, sources, configs, endpoint, levels, settings)
        )
    return Analysis(
        question=Question(
            metric=settings.metric,
            endpoint=endpoint,
            endpoint_reason=reason,
            direction=settings.direction,
            rate=RATE,
            alpha=settings.alpha,
            margin=settings.margin,
            reference=settings.reference,
            bootstrap_seed=settings.bootstrap_seed,
            num_resamples=settings.num_resamples,
            versions=_versions(),
        ),
        schedulers=tuple(sorted({run.scheduler for run in runs})),
        sections=tuple(sections),
        findings=(*mixed, *unmeasured),
        sweep=_sweep(sections) if len(sections) > 1 else (),
    )


def _section(
    title: str,
    frame: pd.DataFrame,
    runs: Sequence[Run],
    compared: Mapping[tuple[str, str], Compared],
    tasks: Mapping[str, str],
    sources: Mapping[str, str],
    configs: pd.DataFrame,
    endpoint: str,
    levels: Levels,
    settings: Settings,
) -> Section:
    metric, direction, level = settings.metric, settings.direction, 1 - settings.alpha
    seed, num_resamples = settings.bootstrap_seed, settings.num_resamples
    fields = _fields(runs, compared, tasks, settings)
    schedulers = sorted({run.scheduler for run in runs})
    finals = {
        (field.facts.name, s): endpoint_values(field.runs(s), endpoint=endpoint, metric=metric, direction=direction)
        for field in fields
        for s in field.compared
    }
    cells = {field.facts.name: cells_of(field, endpoint=endpoint, metric=metric, level=level) for field in fields}
    all_cells = [cell for group in cells.values() for cell in group]
    curves = {
        field.facts.name: rate_curves_of(field, seed=seed, num_resamples=num_resamples, level=level) for field in fields
    }
    single = {run.run_id: value for field in fields for run, value in _endpoints(field, endpoint, metric)}
    states, planned = states_of(runs, fields, direction=direction)
    findings = [
        *audit(frame, metric=metric, direction=direction, planned=planned),
        *(finding for field in fields for finding in origin_findings(field.facts.name, field.compared, configs)),
    ]
    best, over_workloads = contenders_of(
        fields,
        sources,
        endpoint=endpoint,
        metric=metric,
        direction=direction,
        levels=levels,
        margin=settings.margin,
        reference=settings.reference,
    )
    return Section(
        title=title,
        schedulers=tuple(schedulers),
        sentences=tuple(sentences_of(fields, schedulers)),
        workloads=tuple(field.facts for field in fields),
        states=tuple(states),
        findings=tuple(sorted(findings, key=_severity)),
        cells=tuple(all_cells),
        front=tuple(
            point
            for field in fields
            for point in front_of(
                field, cells[field.facts.name], endpoints=single, seed=seed, num_resamples=num_resamples, level=level
            )
        ),
        overall_front=tuple(
            overall_front(
                fields, finals, schedulers=schedulers, direction=direction, seed=seed, num_resamples=num_resamples
            )
        ),
        rate_curves=tuple(curve for group in curves.values() for curve in group),
        shared_rates=tuple(shared for field in fields for shared in shared_rates_of(curves[field.facts.name], field)),
        learning_curves=tuple(curve for field in fields for curve in learning_curves_of(field)),
        ecdf=ecdfs_of(fields, schedulers=schedulers, level=level),
        profiles=profiles_of(fields, schedulers=schedulers),
        pairs=tuple(
            pairs_of(
                fields,
                finals,
                direction=direction,
                alpha=settings.alpha,
            )
        ),
        across=across_of(
            fields,
            finals,
            schedulers=schedulers,
            direction=direction,
            alpha=settings.alpha,
            seed=seed,
            num_resamples=num_resamples,
        ),
        contenders=tuple(best),
        over_workloads=over_workloads,
        robustness=robustness_of(fields, all_cells, finals, schedulers=schedulers, direction=direction, level=level),
        costs=tuple(costs_of(fields)),
    )


def _fields(
    runs: Sequence[Run],
    compared: Mapping[tuple[str, str], Compared],
    tasks: Mapping[str, str],
    settings: Settings,
) -> list[Field]:
    """The workloads of a section that have a measured run."""
    fields = []
    for name in sorted({run.workload for run in runs}):
        here = {scheduler: c for (workload, scheduler), c in compared.items() if workload == name}
        if here:
            target = settings.target.get(name) if isinstance(settings.target, Mapping) else settings.target
            fields.append(make_field(name, here, task=tasks[name], direction=settings.direction, target=target))
    return fields


def _sections(tasks: Mapping[str, str], runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Titles and workload names of the sections, the shortest budgets first.

    Where all tasks were run at the same shares of different lengths, the shares make the sections: by steps, few
    workloads or none would meet in one.
    """
    budgets = {run.workload: run.total_steps for run in runs}
    lengths: dict[str, set[int]] = {}
    for name in sorted(budgets):
        lengths.setdefault(tasks[name], set()).add(budgets[name])
    distinct = sorted(set(budgets.values()))
    if len(distinct) > 1 and all(len(found) == 1 for found in lengths.values()):
        return [("each workload at its own budget", sorted(budgets))]
    percents = {name: round(100 * steps / max(lengths[tasks[name]])) for name, steps in budgets.items()}
    shares = {task: {percents[name] for name in budgets if tasks[name] == task} for task in lengths}
    shared = next(iter(shares.values()))
    has_own_lengths = len({max(found) for found in lengths.values()}) > 1
    if has_own_lengths and all(found == shared and len(found) == len(lengths[task]) for task, found in shares.items()):
        return [
            (
                f"{percent} % of the steps" if percent < 100 else "all of the steps",
                sorted(name for name in budgets if percents[name] == percent),
            )
            for percent in sorted(shared)
        ]
    return [(f"{steps} steps", sorted(name for name in budgets if budgets[name] == steps)) for steps in distinct]


def _endpoints(field: Field, endpoint: str, metric: str) -> list[tuple[Run, float]]:
    """Final value of every finished compared run, diverged = worst."""
    found = []
    for scheduler in field.compared:
        finished = [run for run in field.runs(scheduler) if run.is_finished]
        values = endpoint_values(finished, endpoint=endpoint, metric=metric, direction=field.direction)
        found += [(run, float(value)) for run, value in zip(finished, values, strict=True)]
    return found


def _sweep(sections: Sequence[Section]) -> tuple[SweepPoint, ...]:
    """Finals of all sections side by side, for the tasks that were run at several lengths."""
    facts = {workload.name: workload for section in sections for workload in section.workloads}
    points = [
        SweepPoint(
            task=facts[cell.workload].task,
            scheduler=cell.scheduler,
            total_steps=facts[cell.workload].total_steps,
            final=cell.final,
            time=cell.steps if isinstance(cell.steps, Unavailable) else cell.steps.median,
            rank=cell.rank,
            rate=cell.rate,
        )
        for section in sections
        for cell in section.cells
    ]
    lengths: dict[str, set[int]] = {}
    for point in points:
        lengths.setdefault(point.task, set()).add(point.total_steps)
    swept = [point for point in points if len(lengths[point.task]) > 1]
    return tuple(sorted(swept, key=lambda p: (p.task, p.scheduler, p.total_steps)))


def _check_targets(target: float | Mapping[str, float] | None, workloads: Sequence[str]) -> None:
    unknown = sorted(set(target) - set(workloads)) if isinstance(target, Mapping) else []
    if unknown:
        raise ValueError(f"target names the workloads {unknown}; the runs have {sorted(workloads)}")


def _check_reference(reference: str | None, runs: Sequence[Run]) -> None:
    known = sorted({run.scheduler for run in runs})
    if reference is not None and reference not in known:
        raise ValueError(f"reference={reference} is none of the schedules; they are {', '.join(known)}")


def _severity(finding: Finding) -> int:
    return _SEVERITIES.index(finding.severity)


def _versions() -> tuple[tuple[str, str], ...]:
    found = [("lrbench", lrbench.__version__), ("Python", platform.python_version())]
    for library in _LIBRARIES:
        try:
            found.append((library, version(library)))
        except PackageNotFoundError:
            found.append((library, "not installed"))
    return tuple(found)
