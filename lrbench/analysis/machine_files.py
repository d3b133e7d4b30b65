"""The outputs for machines and for a pull request: ranking.csv, metrics.csv, verdict.json and report.md."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from lrbench.analysis.markdown import markdown
from lrbench.analysis.model import Analysis, Cell, Section, TimeSummary, to_plain
from lrbench.analysis.short_names import with_short_names
from lrbench.analysis.statistics.aggregates import Estimate
from lrbench.analysis.statistics.cells import MeanOfSeeds
from lrbench.analysis.statistics.ranks import RankInterval
from lrbench.analysis.statistics.survival import RestrictedMean
from lrbench.analysis.statistics.terms import Interval, Share, Unavailable
from lrbench.analysis.verdict.verdict import Verdict, verdict

Row = dict[str, object]
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_machine_files(analysis: Analysis, said: Verdict, directory: Path) -> list[Path]:
    """Write the four files into a directory, made if it is not there; an empty cell is what cannot be computed.

    Returns:
        Their paths.
    """
    directory.mkdir(parents=True, exist_ok=True)
    ranking, metrics = directory / "ranking.csv", directory / "metrics.csv"
    no_formulas(ranking_table(analysis)).to_csv(ranking, index=False)
    no_formulas(metrics_table(analysis)).to_csv(metrics, index=False)
    document = directory / "verdict.json"
    document.write_text(
        json.dumps(verdict_document(analysis, said), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    )
    page = directory / "report.md"
    shown = with_short_names(analysis)
    page.write_text(markdown(shown, verdict(shown)), encoding="utf-8")
    return [ranking, metrics, document, page]


def no_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Put a `'` before texts that a spreadsheet would compute: a name of somebody else's may be `=cmd|...`."""
    return table.map(lambda cell: f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell)


def ranking_table(analysis: Analysis) -> pd.DataFrame:
    """One row per (budget, workload, schedule), best first, then one per schedule over all common workloads."""
    rows = [row for section in analysis.sections for row in (*_ranked(section), *_overall(section))]
    return pd.DataFrame(rows)


def metrics_table(analysis: Analysis) -> pd.DataFrame:
    """Every number of every cell, one a row, with its interval, n, and the reason where there is none.

    Columns: budget, workload, scheduler, metric, statistic, value, low, high, level, n, unavailable.
    """
    question = analysis.question
    rows = []
    for section in analysis.sections:
        for cell in section.cells:
            key: Row = {"budget": section.title, "workload": cell.workload, "scheduler": cell.scheduler}
            rows += [key | row for row in _cell_rows(cell, question.endpoint, question.metric)]
        for curve in section.rate_curves:
            key = {"budget": section.title, "workload": curve.workload, "scheduler": curve.scheduler}
            found = curve.sensitivity
            interval = None if isinstance(found, Unavailable) else found.interval
            value = found if isinstance(found, Unavailable) else found.value
            rows.append(key | _row(question.metric, "rate sensitivity", value, interval, None))
            width = curve.basin if isinstance(curve.basin, Unavailable) else curve.basin.width
            rows.append(key | _row(question.metric, "basin width in decades", width, None, None))
    columns = [
        "budget", "workload", "scheduler", "metric", "statistic", "value", "low", "high", "level", "n", "unavailable",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def verdict_document(analysis: Analysis, said: Verdict) -> dict[str, object]:
    """The verdict with what was fixed before it and what speaks against it, as JSON values."""
    return {
        "question": to_plain(analysis.question),
        "lines": list(said.lines),
        "verdict": to_plain(said),
        "sections": [
            {
                "title": section.title,
                "workloads": to_plain(section.workloads),
                "states": to_plain(section.states),
                "findings": to_plain(section.findings),
                "pairs": to_plain(section.pairs),
                "across": to_plain(section.across),
                "contenders": to_plain(section.contenders),
                "over_workloads": to_plain(section.over_workloads),
            }
            for section in analysis.sections
        ],
    }


def by_rank(section: Section) -> list[Cell]:
    """Order the cells of a section by workload, then from the best final value to the worst."""

    def place(cell: Cell) -> float:
        return float("inf") if isinstance(cell.rank, Unavailable) else cell.rank

    return sorted(section.cells, key=lambda cell: (cell.workload, place(cell), cell.scheduler))


def _ranked(section: Section) -> Iterator[Row]:
    words = {
        (item.workload, contender.schedule): contender
        for item in section.contenders
        if not isinstance(item.found, Unavailable)
        for contender in item.found.ranked
    }
    front = {(point.workload, point.scheduler): point for point in section.front}
    for cell in by_rank(section):
        point, word = front[cell.workload, cell.scheduler], words.get((cell.workload, cell.scheduler))
        steps = cell.steps if isinstance(cell.steps, TimeSummary) else None
        share = steps.share if steps is not None and isinstance(steps.share, Share) else None
        mean = (
            steps.restricted_mean if steps is not None and isinstance(steps.restricted_mean, RestrictedMean) else None
        )
        yield {
            "budget": section.title,
            "workload": cell.workload,
            "rank": _known(cell.rank),
            "scheduler": cell.scheduler,
            "state": None if word is None else word.state,
            "may_be_best": None if word is None else word.is_contender,
            "origin": cell.origin,
            "rate": cell.rate,
            "num_runs": cell.num_runs,
            "num_ok": cell.num_ok,
            "num_diverged": cell.num_diverged,
            "num_incomplete": cell.num_incomplete,
            "final": _known(cell.final.mean),
            "final_low": None if cell.final.interval is None else cell.final.interval.low,
            "final_high": None if cell.final.interval is None else cell.final.interval.high,
            "final_sd": cell.final.sd,
            "steps_to_target": None if steps is None else _known(steps.median),
            "restricted_mean_steps": None if mean is None else mean.value,
            "share_reached": None if share is None else share.value,
            "speed_ratio": _known(cell.speed_ratio),
            "on_front": point.on_front,
            "front_membership": _known(point.membership),
        }


def _overall(section: Section) -> Iterator[Row]:
    """Rows with the workload "all"; `rank` is the place, `mean_rank` the average that it comes from."""
    if isinstance(section.across, Unavailable) or len(section.across.workloads) < 2:
        return
    scores = {} if isinstance(section.profiles, Unavailable) else {p.scheduler: p.scores for p in section.profiles}
    for item in section.across.overall:
        has_interval = isinstance(item.ranks, RankInterval)
        score = next((s.exact for s in scores.get(item.scheduler, ()) if s.tau_max == 4), None)
        yield {
            "budget": section.title,
            "workload": "all",
            "rank": 1 + sum(other.mean_rank < item.mean_rank for other in section.across.overall),
            "scheduler": item.scheduler,
            "mean_rank": item.mean_rank,
            "rank_low": item.ranks.interval.low if isinstance(item.ranks, RankInterval) else None,
            "rank_high": item.ranks.interval.high if isinstance(item.ranks, RankInterval) else None,
            "share_first": item.ranks.share_first if has_interval and isinstance(item.ranks, RankInterval) else None,
            "iqm": item.iqm.value if isinstance(item.iqm, Estimate) else None,
            "speed_up": None if isinstance(item.speed_up, Unavailable) else item.speed_up.factor,
            "profile_score": score,
        }


def _cell_rows(cell: Cell, endpoint: str, metric: str) -> Iterator[Row]:
    readings: Mapping[str, tuple[str, MeanOfSeeds | Unavailable]] = {
        "final": (endpoint, cell.final),
        "mean of the last three": (metric, cell.last3),
        "best (optimistic)": (metric, cell.best),
        "anytime area (diagnostic)": (metric, cell.anytime),
    }
    for name, (of, found) in readings.items():
        if isinstance(found, Unavailable):
            yield _row(of, name, found, None, None)
            continue
        yield _row(of, name, found.mean, found.interval, found.num_ok)
    for point in cell.path:
        yield _row(
            metric, f"at {point.fraction:.0%} of the budget", point.value.mean, point.value.interval, point.value.num_ok
        )
    spread = cell.spread
    sd = spread if isinstance(spread, Unavailable) else spread.sd
    yield _row(endpoint, "standard deviation", sd, None, None if isinstance(spread, Unavailable) else spread.num_ok)
    if not isinstance(spread, Unavailable):
        worst = Unavailable("a run diverged") if spread.worst_seed is None else spread.worst_seed
        yield _row(endpoint, "worst run", worst, None, spread.num_seeds)
    yield _share_row(endpoint, "share diverged", cell.diverged)
    for name, times in (
        ("to target", cell.steps),
        ("to target, sustained", cell.sustained),
        ("to target in samples", cell.samples),
        ("to target in seconds", cell.seconds),
    ):
        if isinstance(times, Unavailable):
            yield _row(metric, f"median steps {name}", times, None, None)
            continue
        mean = times.restricted_mean
        yield _row(metric, f"median {times.unit} {name}", times.median, None, cell.num_runs)
        yield _row(
            metric,
            f"restricted mean {times.unit} {name}",
            mean if isinstance(mean, Unavailable) else mean.value,
            None if isinstance(mean, Unavailable) else mean.interval,
            cell.num_runs,
        )
        yield _share_row(metric, f"share reached, {times.unit} {name}", times.share)
    yield _row(metric, "speed ratio", cell.speed_ratio, None, cell.num_runs)


def _share_row(metric: str, statistic: str, share: Share | Unavailable) -> Row:
    if isinstance(share, Unavailable):
        return _row(metric, statistic, share, None, None)
    return _row(metric, statistic, share.value, share.interval, share.total)


def _row(metric: str, statistic: str, value: float | Unavailable, interval: Interval | None, n: int | None) -> Row:
    return {
        "metric": metric,
        "statistic": statistic,
        "value": _known(value),
        "low": None if interval is None else interval.low,
        "high": None if interval is None else interval.high,
        "level": None if interval is None else interval.level,
        "n": n,
        "unavailable": value.reason if isinstance(value, Unavailable) else None,
    }


def _known(value: float | Unavailable) -> float | None:
    return None if isinstance(value, Unavailable) else value
