"""The tables of the report as rows of words; the page escapes and lays them out."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lrbench.analysis.audit.findings import plural
from lrbench.analysis.model import Cell, Cost, Question, Section, StateRow
from lrbench.analysis.statistics.curves import COLLAPSE
from lrbench.analysis.statistics.terms import Unavailable
from lrbench.analysis.verdict.wording import noun_of, relative
from lrbench.reporting.styles import Style, Styles
from lrbench.reporting.words import between, mean_of, number, or_reason, p_value, share_of, time_of

_MOST_PAIRS = 100  # rows of the table of pairs, beyond which only those with the best schedule are listed


@dataclass(frozen=True)
class Row:
    """One row; it belongs to the schedules of `styles`, and is hidden with any of them."""

    styles: tuple[Style, ...]
    cells: list[str]


@dataclass(frozen=True)
class Table:
    """A caption, the heads of the columns, and the rows; `note` explains what the heads cannot."""

    caption: str
    heads: list[str]
    rows: list[Row]
    note: str = ""
    kind: str = "table"


def workloads_table(section: Section) -> Table:
    """List what was fixed for every workload before anything was ranked."""
    rows = []
    for facts in section.workloads:
        target = (
            facts.target.reason
            if isinstance(facts.target, Unavailable)
            else f"{number(facts.target.value)} ({facts.target.source})"
        )
        rows.append(
            Row(
                (),
                [
                    facts.name,
                    f"{facts.total_steps:,}",
                    "unknown" if facts.batch_size is None else f"{facts.batch_size:,}",
                    "irregular" if facts.eval_interval is None else number(facts.eval_interval),
                    or_reason(facts.initial),
                    target,
                    _seeds(facts.seeds),
                    f"{facts.num_tuning:,}",
                    f"{facts.num_compared:,}",
                ],
            )
        )
    heads = [
        "workload", "budget (steps)", "batch size (examples)", "evaluated every (steps)", "value at step 0",
        "target, frozen before ranking", "seeds", "tuning runs", "compared runs",
    ]  # fmt: skip
    return Table("What was fixed before anything was ranked", heads, rows)


def states_table(section: Section, styles: Styles) -> Table:
    """Count how all runs ended, tuning included: a number alone means that all of them are ok."""
    workloads = [facts.name for facts in section.workloads]
    states = {(row.workload, row.scheduler): row for row in section.states}
    rows = [Row((styles[s],), [s, *(_state(states.get((w, s))) for w in workloads)]) for s in section.schedulers]
    totals = [_state(_sum(row for row in section.states if row.workload == w)) for w in workloads]
    rows.append(Row((), ["all schedules", *totals]))
    note = "A number alone: so many planned runs, all of them ok. Blank: none planned, none there."
    if any(row.collapsed for row in section.states):
        note += (
            " Collapsed: ok by the rule, for every loss was finite and the last below the first, but over "
            f"{COLLAPSE:.0%} of the improvement was lost again; such a run counts with the value it ended at."
        )
    return Table("How the runs ended, tuning included", ["schedule", *workloads], rows, note)


def ranking_table(section: Section, workload: str, styles: Styles, question: Question) -> Table:
    """Rank the schedules of one workload by the primary endpoint."""
    cells = sorted((c for c in section.cells if c.workload == workload), key=_by_rank)
    rows = [
        Row(
            (styles[cell.scheduler],),
            [
                cell.scheduler,
                cell.rank.reason if isinstance(cell.rank, Unavailable) else f"{cell.rank:g}",
                mean_of(cell.final),
                time_of(cell),
                "–" if isinstance(cell.speed_ratio, Unavailable) else f"{cell.speed_ratio:.2f} x",
                share_of(cell.diverged),
                "unknown" if cell.rate is None else number(cell.rate),
            ],
        )
        for cell in cells
    ]
    heads = [
        "schedule", "rank", f"final {question.endpoint} [{_level(question)}]", "median steps to target",
        "time / fastest", "diverged, of finished runs", "base rate",
    ]  # fmt: skip
    incomplete = sum(cell.num_incomplete for cell in cells)
    note = f"{incomplete} incomplete runs are in no mean." if incomplete else ""
    return Table(f"Ranking on {workload}", heads, rows, note)


def overall_table(section: Section, styles: Styles, question: Question) -> Table | None:
    """Rank the schedules over the common workloads; None when there is nothing across workloads."""
    if isinstance(section.across, Unavailable):
        return None
    across = section.across
    rows = []
    for row in across.overall:
        iqm, speed = row.iqm, row.speed_up
        rows.append(
            Row(
                (styles[row.scheduler],),
                [
                    row.scheduler,
                    f"{row.mean_rank:.2f}",
                    "–" if isinstance(row.ranks, Unavailable)
                    else f"{between(row.ranks.interval)}, first in {100 * row.ranks.share_first:.0f} %",
                    "–" if isinstance(iqm, Unavailable) else f"{number(iqm.value)} {between(iqm.interval)}",
                    "–" if isinstance(speed, Unavailable)
                    else f"{speed.factor:.2f} x ({speed.misses} misses, constant {speed.reference_misses}; "
                    f"n = {speed.num_workloads})",
                ],
            )
        )  # fmt: skip
    heads = [
        "schedule", "mean rank", "rank interval over seeds", f"IQM, 0 = constant, 1 = best [{_level(question)}]",
        "speed against constant",
    ]  # fmt: skip
    # Once a reason under the table, instead of once a row in it.
    absent = dict.fromkeys(
        f"{name}: {found.reason}."
        for row in across.overall
        for name, found in (("Rank interval", row.ranks), ("IQM", row.iqm), ("Speed", row.speed_up))
        if isinstance(found, Unavailable)
    )
    left_out = [f"Left out: {name} ({why})." for name, why in across.left_out]
    flat = (
        [f"No headroom over constant, not in the IQM: {', '.join(across.no_headroom)}."] if across.no_headroom else []
    )
    return Table(
        f"Over {plural(len(across.workloads), 'workload')}", heads, rows, " ".join([*left_out, *flat, *absent])
    )


def pairs_table(section: Section, styles: Styles, best: Sequence[str], question: Question) -> Table | None:
    """List the pairs within workloads with their simultaneous intervals; None where no pair was compared."""
    improvements = {(pair.workload, frozenset((pair.first, pair.second))): pair for pair in section.pairs}
    claims = [
        (item.workload, claim)
        for item in section.contenders
        if not isinstance(item.found, Unavailable)
        for claim in item.found.pairs
    ]
    note = "Intervals of a workload hold together, so that the words of all of its pairs are one family."
    if len(claims) > _MOST_PAIRS:
        shown = [(workload, claim) for workload, claim in claims if best[0] in (claim.first, claim.second)]
        note += f" Listed are the {len(shown)} pairs with {best[0]}; all {len(claims)} are in verdict.json."
        claims = shown
    if not claims:
        return None
    noun = noun_of(question.endpoint, question.direction)
    rows = []
    for workload, claim in claims:
        pair = improvements[workload, frozenset((claim.first, claim.second))]
        ratio = relative(*(math.exp(v) for v in (claim.estimate, claim.interval.low, claim.interval.high)))
        improved = pair.improvement
        if not isinstance(improved, Unavailable):
            value = improved.value if pair.first == claim.first else 1 - improved.value
        rows.append(
            Row(
                (styles[claim.first], styles[claim.second]),
                [
                    workload,
                    f"{claim.first} – {claim.second}",
                    ratio,
                    claim.state,
                    "–" if isinstance(improved, Unavailable) else number(value),
                    "–" if isinstance(pair.time_p_holm, Unavailable) else p_value(pair.time_p_holm),
                ],
            )
        )
    heads = [
        "workload", "first – second", f"{noun} of the first against the second", "the first is",
        "probability that first beats second", "p speed (Holm)",
    ]  # fmt: skip
    return Table("Pairs within a workload", heads, rows, note)


def costs_table(costs: Iterable[Cost], styles: Styles) -> Table:
    """List what tuning and the compared runs consumed, by schedule and workload."""
    rows = [
        Row(
            (styles[c.scheduler],),
            [
                c.scheduler, c.workload, f"{c.tuning_runs:,}", f"{c.tuning_steps:,}", _seconds(c.tuning_seconds),
                f"{c.compared_runs:,}", f"{c.compared_steps:,}", _seconds(c.compared_seconds),
            ],
        )
        for c in costs
    ]  # fmt: skip
    heads = [
        "schedule", "workload", "tuning runs", "tuning steps", "tuning time (s)", "compared runs", "compared steps",
        "compared time (s)",
    ]  # fmt: skip
    return Table("Cost ledger", heads, rows)


def _by_rank(cell: Cell) -> tuple[bool, float, str]:
    unranked = isinstance(cell.rank, Unavailable)
    return unranked, 0.0 if isinstance(cell.rank, Unavailable) else cell.rank, cell.scheduler


def _state(row: StateRow | None) -> str:
    if row is None or row.planned == 0:
        return ""
    others = [
        (row.collapsed, "of them collapsed"),
        (row.diverged, "diverged"),
        (row.incomplete, "incomplete"),
        (row.missing, "missing"),
    ]
    bad = [f"{count} {word}" for count, word in others if count]
    return ", ".join([f"{row.ok} of {row.planned} ok", *bad]) if bad else f"{row.ok}"


def _sum(rows: Iterable[StateRow]) -> StateRow:
    columns = [(r.ok, r.diverged, r.incomplete, r.missing, r.planned, r.collapsed) for r in rows]
    return StateRow("", "", *(sum(column) for column in zip(*columns, strict=True))) if columns else StateRow(
        "", "", 0, 0, 0, 0, 0, 0
    )  # fmt: skip


def _seeds(seeds: Sequence[int]) -> str:
    if not seeds:
        return "not recorded"
    listed = ", ".join(map(str, seeds)) if len(seeds) <= 10 else f"{seeds[0]} … {seeds[-1]}"
    return f"{listed} (n = {len(seeds)})"


def _seconds(seconds: float | None) -> str:
    return "not recorded" if seconds is None else f"{seconds:,.0f}"


def _level(question: Question) -> str:
    return f"{100 * (1 - question.alpha):g} % interval"
