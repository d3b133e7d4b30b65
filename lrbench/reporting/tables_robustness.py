"""Tables of the parts on rates, seeds and robustness."""

from lrbench.analysis.audit.findings import plural
from lrbench.analysis.model import Analysis, Section
from lrbench.analysis.statistics.across import Friedman
from lrbench.analysis.statistics.terms import Unavailable
from lrbench.reporting.not_drawn import without_seeds
from lrbench.reporting.styles import Styles
from lrbench.reporting.tables import Row, Table
from lrbench.reporting.words import between, mean_of, number, or_reason, p_value


def endpoints_table(section: Section, styles: Styles) -> Table:
    """Compare the ranks by three readings of the end of a run."""
    rows = [
        Row((styles[e.scheduler],), [e.scheduler, or_reason(e.last), or_reason(e.last3), or_reason(e.best)])
        for e in section.robustness.endpoints
    ]
    heads = ["schedule", "last", "mean of the last 3", "best (optimistic)"]
    return Table(
        "Mean rank by last, last-3 and best evaluation",
        heads,
        rows,
        f"n = {plural(len(section.workloads), 'workload')}.",
    )


def ladder_table(section: Section, workload: str, styles: Styles) -> Table | None:
    """List the median steps to each rung of the target ladder; None where there is no ladder."""
    here = [row for row in section.robustness.ladder if row.workload == workload]
    if not here:
        return None
    rungs = sorted({(row.fraction, row.target) for row in here})
    found = {(row.scheduler, row.fraction): row for row in here}
    rows = []
    for scheduler in section.schedulers:
        if not any((scheduler, fraction) in found for fraction, _ in rungs):
            continue
        cells = [scheduler]
        for fraction, _ in rungs:
            row = found.get((scheduler, fraction))
            if row is None:
                cells.append("")
                continue
            reached = "" if isinstance(row.share, Unavailable) else f" ({row.share.count} of {row.share.total})"
            cells.append(("never" if row.median is None else number(row.median)) + reached)
        rows.append(Row((styles[scheduler],), cells))
    heads = ["schedule", *(f"{fraction:g} of the way: {number(target)}" for fraction, target in rungs)]
    return Table(f"Target ladder on {workload}: median steps (runs that reached it)", heads, rows)


def scores_table(section: Section, styles: Styles) -> Table | None:
    """List the performance-profile scores at every tau_max, exact and as AlgoPerf computes them."""
    if isinstance(section.profiles, Unavailable) or not section.profiles:
        return None
    taus = [score.tau_max for score in section.profiles[0].scores]
    ordered = sorted(section.profiles, key=lambda p: (-max((s.exact for s in p.scores), default=0.0), p.scheduler))
    rows = [
        Row(
            (styles[profile.scheduler],),
            [profile.scheduler, *(f"{s.exact:.4f} (AlgoPerf {s.algoperf:.4f})" for s in profile.scores)],
        )
        for profile in ordered
    ]
    heads = ["schedule", *(f"tau_max = {tau:g}" for tau in taus)]
    return Table(
        "Performance-profile score",
        heads,
        rows,
        f"n = {plural(section.profiles[0].num_workloads, 'workload')}; 0 to 1.",
    )


def sensitivity_table(section: Section, styles: Styles) -> Table | None:
    """List how much the choice of the rate matters; None when nothing was searched."""
    rows = []
    for curve in section.rate_curves:
        sensitivity, basin = curve.sensitivity, curve.basin
        width = basin.reason if isinstance(basin, Unavailable) else (
            f"{'>= ' if basin.open_low or basin.open_high else ''}{basin.width:.2f} "
            f"({number(basin.low)} to {number(basin.high)})"
            + (", extend the grid" if basin.optimum_at_edge else "")
        )  # fmt: skip
        value = sensitivity.reason if isinstance(sensitivity, Unavailable) else (
            f"{number(sensitivity.value)} {between(sensitivity.interval)} (n = {len(sensitivity.rates)} rates, "
            f"{number(sensitivity.rates[0])} to {number(sensitivity.rates[-1])})"
        )  # fmt: skip
        chosen = "none" if curve.chosen is None else number(curve.chosen)
        edge = f", the {curve.at_edge} tried" if curve.at_edge else ""
        rows.append(Row((styles[curve.scheduler],), [curve.scheduler, curve.workload, chosen + edge, value, width]))
    heads = ["schedule", "workload", "chosen rate", "rate sensitivity", "basin width (decades)"]
    return Table("How much the rate matters", heads, rows) if rows else None


def spread_table(section: Section, styles: Styles) -> Table | None:
    """List the spread over seeds of every cell on workloads with several; None where there is none."""
    rows = []
    single = without_seeds(section)
    for cell in [cell for cell in section.cells if cell.workload not in single]:
        spread = cell.spread
        rows.append(
            Row(
                (styles[cell.scheduler],),
                [cell.scheduler, cell.workload]
                + (
                    [spread.reason, "–"]
                    if isinstance(spread, Unavailable)
                    else [
                        f"{number(spread.sd)} (over {spread.num_ok} of {spread.num_seeds})",
                        or_reason(spread.worst_seed, absent="diverged"),
                    ]
                ),
            )
        )
    heads = ["schedule", "workload", "standard deviation", "worst seed"]
    return Table("Spread over seeds", heads, rows) if rows else None


def sweep_table(analysis: Analysis, styles: Styles) -> Table:
    """List finals by planned length."""
    rows = [
        Row(
            (styles[p.scheduler],),
            [
                p.scheduler, p.task, f"{p.total_steps:,}", mean_of(p.final), or_reason(p.rank),
                "unknown" if p.rate is None else number(p.rate),
            ],
        )
        for p in analysis.sweep
    ]  # fmt: skip
    return Table("Budget sweep", ["schedule", "task", "budget (steps)", "final", "rank", "base rate"], rows)


def shared_rates_table(section: Section) -> Table:
    """Rank the schedules at every rate that all of them ran, to compare with the ranking at tuned rates."""
    rows = []
    for shared in section.shared_rates:
        ranking = ", ".join(
            f"{name} {'diverged' if value is None else number(value)}" for name, value in shared.ranking
        )
        rows.append(Row((), [shared.workload, number(shared.rate), ranking]))
    return Table("Ranking at shared rates, best first", ["workload", "base rate", "schedules"], rows)


def friedman_facts(test: Friedman) -> list[tuple[str, str]]:
    """Write Friedman's test in its two forms."""
    f = "infinite (all workloads agree)" if test.f_demsar is None else f"F = {number(test.f_demsar)}"
    p_f = "" if test.p_value_f is None else f", p = {p_value(test.p_value_f)}"
    n = plural(test.num_workloads, "workload")
    return [
        ("Friedman, tie-corrected", f"chi2 = {number(test.chi2)}, p = {p_value(test.p_value)} (n = {n})"),
        ("Friedman, Demsar's form", f"chi2 = {number(test.chi2_demsar)}, p = {p_value(test.p_value_demsar)}"),
        ("Iman and Davenport", f"{f}{p_f}"),
    ]


def spread_facts(section: Section) -> list[tuple[str, str]]:
    """Write the tests of equal spread over seeds, with the warning that they see little."""
    found = []
    for row in section.robustness.spread:
        test = row.test
        words = test.reason if isinstance(test, Unavailable) else (
            f"Brown-Forsythe {number(test.statistic)}, p = {p_value(test.p_value)}; low power, a large p says nothing"
        )  # fmt: skip
        found.append((f"equal spread on {row.workload}", words))
    return found
