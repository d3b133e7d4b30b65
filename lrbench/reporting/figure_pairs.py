"""Part 8: pairwise matrices, one a workload and one over all; the critical-difference diagram when allowed."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from lrbench.analysis.model import Across, Pair, Section
from lrbench.analysis.statistics.pareto import Relation
from lrbench.analysis.statistics.terms import Unavailable
from lrbench.reporting.layout import WIDTH, axes_at, new_figure
from lrbench.reporting.not_drawn import without_tests
from lrbench.reporting.pictures import FAINT, GRID, INK, Mark, Picture
from lrbench.reporting.styles import Styles, shortened
from lrbench.reporting.words import between, number, p_value

_CELL, _LEFT = 0.25, 2.0
_MOST_MATRICES = 3  # workloads; above, they share one matrix of counts
# Letters say it again for those who cannot tell the colours.
_RELATIONS: dict[Relation, tuple[str, str, str]] = {
    "dominates": ("D", "#0072b2", "#ffffff"),
    "faster only": ("F", "#56b4e9", "#101014"),
    "better only": ("B", "#009e73", "#ffffff"),
    "inconclusive": ("·", GRID, FAINT),
}
_SHARES, _COUNTS = colormaps["PuOr"], colormaps["Blues"]


@dataclass(frozen=True)
class _Entry:
    """One field of a matrix."""

    text: str
    fill: str
    ink: str
    words: str


def pair_pictures(section: Section, styles: Styles, order: Sequence[str], *, stem: str) -> list[Picture]:
    """Draw what can be claimed for the row over the column, best schedules first."""
    if len(order) < 2:
        return []
    pictures = []
    if not isinstance(section.across, Unavailable) and len(section.across.workloads) > 1:
        pictures.append(_improvement_matrix(section.across, styles, order, name=f"{stem}-overall"))
        if not isinstance(section.across.critical_difference, Unavailable):
            pictures.append(cd_diagram(section.across, styles, name=f"{stem}-critical-difference"))
    untested = without_tests(section)
    if len(section.workloads) > _MOST_MATRICES and len(untested) < len(section.workloads):
        return [*pictures, _count_matrix(section, styles, order, name=f"{stem}-claims")]
    for index, facts in enumerate(section.workloads):
        pairs = [pair for pair in section.pairs if pair.workload == facts.name]
        if pairs and facts.name not in untested:
            suffix = f"-{index + 1}" if len(section.workloads) > 1 else ""
            pictures.append(_relation_matrix(pairs, facts.name, styles, order, name=f"{stem}{suffix}"))
    return pictures


def _relation_matrix(
    pairs: Sequence[Pair], workload: str, styles: Styles, order: Sequence[str], *, name: str
) -> Picture:
    entries = {}
    for pair in pairs:
        words = _pair_words(pair)
        for row, column, relation in (
            (pair.first, pair.second, pair.relation),
            (pair.second, pair.first, pair.reverse),
        ):
            text, fill, ink = _RELATIONS[relation]
            entries[row, column] = _Entry(text, fill, ink, f"{row} against {column}: {relation}\n{words}")
    note = "Read: row against column. D dominates (faster and better), F faster only, B better only, · inconclusive."
    return _matrix(entries, f"Pairs on {workload}", note, styles, order, name)


def _count_matrix(section: Section, styles: Styles, order: Sequence[str], *, name: str) -> Picture:
    claims: dict[tuple[str, str], list[str]] = {}
    for pair in section.pairs:
        for row, column, relation in (
            (pair.first, pair.second, pair.relation),
            (pair.second, pair.first, pair.reverse),
        ):
            found = claims.setdefault((row, column), [])
            if relation != "inconclusive":
                found.append(f"{relation}: {pair.workload}")
    total = len(section.workloads)
    entries = {}
    for (row, column), found in claims.items():
        share = len(found) / total
        ink = "#fafafa" if share > 0.55 else "#101014"
        words = "\n".join([f"{row} against {column}: a claim on {len(found)} of {total} workloads", *found])
        entries[row, column] = _Entry(
            str(len(found)) if found else "", to_hex(_COUNTS(0.06 + 0.84 * share)), ink, words
        )
    note = (
        f"On how many of n = {total} workloads anything can be claimed for the row over the column (dominates, faster "
        "only or better only, after Holm). Empty: inconclusive on all of them."
    )
    return _matrix(entries, "Claims by pair, over all workloads", note, styles, order, name)


def _improvement_matrix(across: Across, styles: Styles, order: Sequence[str], *, name: str) -> Picture:
    tests = {} if isinstance(across.tests, Unavailable) else {(t.first, t.second): t for t in across.tests}
    entries = {}
    for pair in across.improvements:
        test = tests.get((pair.first, pair.second)) or tests.get((pair.second, pair.first))
        star = "*" if test is not None and test.better is not None else ""
        tested = "" if test is None else f"\nWilcoxon with Holm: p = {p_value(test.p_holm)}"
        value, interval = pair.improvement.value, pair.improvement.interval
        for row, column, share, bounds in (
            (pair.first, pair.second, value, "" if interval is None else f" {between(interval)}"),
            (pair.second, pair.first, 1 - value, ""),
        ):
            fill = to_hex(_SHARES(0.1 + 0.8 * share))
            ink = "#fafafa" if abs(share - 0.5) > 0.34 else "#101014"
            words = f"{row} beats {column}: probability {number(share)}{bounds}"
            words += f"\nover {pair.improvement.num_workloads} workloads{tested}"
            entries[row, column] = _Entry(f"{100 * share:.0f}{star}", fill, ink, words)
    note = (
        f"Percent of pairs of runs that the row wins against the column, n = {len(across.workloads)} workloads. "
        "50 = no difference; * = significant over workloads (Wilcoxon with Holm)."
    )
    return _matrix(entries, "Probability of improvement over the common workloads", note, styles, order, name)


def _matrix(
    entries: dict[tuple[str, str], _Entry], title: str, note: str, styles: Styles, order: Sequence[str], name: str
) -> Picture:
    size = _CELL * len(order)
    top = 0.25 + 0.055 * max(len(styles[name].label) for name in order)  # slanted names above the columns
    figure = new_figure(top + size + 0.1, width=max(WIDTH, _LEFT + size + 1.2))
    axes = axes_at(figure, left=_LEFT, top=top, width=size, height=size)
    axes.set(xlim=(0, len(order)), ylim=(len(order), 0))
    axes.set_axis_off()
    picture = Picture(name, title, figure, note)
    places = {scheduler: place for place, scheduler in enumerate(order)}
    for (row, column), entry in entries.items():
        y, x = places[row], places[column]
        gid = f"{styles[row].key}_{styles[column].key}"
        axes.add_artist(Rectangle((x + 0.03, y + 0.03), 0.94, 0.94, facecolor=entry.fill, linewidth=0, gid=gid))
        axes.text(x + 0.5, y + 0.52, entry.text, ha="center", va="center", fontsize=6.5, color=entry.ink, gid=gid)
        picture.marks.append(Mark(axes, x + 0.5, y + 0.5, entry.words, (styles[row].key, styles[column].key)))
    for scheduler, place in places.items():
        style = styles[scheduler]
        key = f"key_{style.key}"
        axes.text(-0.2, place + 0.5, style.label, ha="right", va="center", fontsize=7.5, gid=key)
        axes.text(
            place + 0.35, -0.2, style.label, rotation=50, ha="left", va="bottom", rotation_mode="anchor", fontsize=7.5,
            gid=key,
        )  # fmt: skip
    return picture


def cd_diagram(across: Across, styles: Styles, *, name: str) -> Picture:
    """Draw mean ranks with the critical difference (Demsar 2006, figure 1): a bar joins what it cannot tell apart.

    Raises:
        ValueError: the analysis has no critical difference; its reason belongs in the page instead.
    """
    if isinstance(across.critical_difference, Unavailable):
        raise ValueError(across.critical_difference.reason)
    ranks = {row.scheduler: row.mean_rank for row in across.overall}
    ordered = sorted(ranks, key=lambda s: (ranks[s], s))
    half = -(-len(ordered) // 2)
    figure = new_figure(1.0 + 0.14 * len(across.cliques) + 0.2 * half)
    picture = Picture(
        name,
        "Critical-difference diagram",
        figure,
        f"Mean rank of the final value, 1 = best, n = {len(across.workloads)} workloads. Bars join schedules whose "
        f"mean ranks lie within Nemenyi's critical difference of {number(across.critical_difference)}. Conclusions "
        "come from the signed-rank tests.",
    )
    axes = axes_at(figure, left=2.2, top=0.45, width=5.6, height=float(figure.get_figheight()) - 0.5)
    depth = float(figure.get_figheight()) - 0.5
    axes.set(xlim=(len(ordered), 1), ylim=(depth, 0))
    axes.set_axis_off()
    axes.plot([1, len(ordered)], [0, 0], color=FAINT, linewidth=1, clip_on=False)
    for rank in _whole_ticks(len(ordered)):
        axes.plot([rank, rank], [0, -0.06], color=FAINT, linewidth=1, clip_on=False)
        axes.text(rank, -0.09, str(rank), ha="center", va="bottom", fontsize=7.5)
    width = min(across.critical_difference, len(ordered) - 1)
    axes.plot([len(ordered), len(ordered) - width], [-0.36, -0.36], color=INK, linewidth=1.6, clip_on=False)
    axes.text(len(ordered) - width, -0.36, f"  CD = {number(across.critical_difference)}", va="center", fontsize=7.5)
    for level, clique in enumerate(across.cliques):
        ends = [ranks[s] for s in clique]
        y = 0.12 + 0.14 * level
        axes.plot([min(ends) - 0.04, max(ends) + 0.04], [y, y], color=INK, linewidth=3, solid_capstyle="butt")
    below = 0.2 + 0.14 * len(across.cliques)
    for place, scheduler in enumerate(ordered):
        style = styles[scheduler]
        best_half = place < half
        y = below + 0.2 * ((place if best_half else len(ordered) - 1 - place) + 0.5)
        edge = (1 - 0.02 * len(ordered)) if best_half else len(ordered) * 1.02
        x = ranks[scheduler]
        axes.plot([x, x, edge], [0, y, y], color=style.color, linewidth=0.9, gid=style.key, clip_on=False)
        axes.plot([x], [0], style.marker, color=style.color, markersize=4.5, gid=style.key, clip_on=False)
        label = f"  {style.label} {ranks[scheduler]:.2f}" if best_half else f"{ranks[scheduler]:.2f} {style.label}  "
        axes.text(
            edge, y, label, ha="left" if best_half else "right", va="center", fontsize=7.5, gid=f"key_{style.key}"
        )
        picture.marks.append(Mark(axes, x, 0, f"{scheduler}\nmean rank {number(x)}", (style.key,)))
    return picture


def _whole_ticks(last: int) -> list[int]:
    every = max(1, last // 10)
    return sorted({1, last, *range(every, last, every)} - ({last - 1} if every > 1 else set()))


def _pair_words(pair: Pair) -> str:
    lines = []
    if not isinstance(pair.final, Unavailable):
        lines.append(
            f"final {pair.first} - {pair.second}: {number(pair.final.value)} {between(pair.final.interval)}, "
            f"n = {pair.final.num_first} and {pair.final.num_second}"
        )
    if not isinstance(pair.final_p_holm, Unavailable):
        lines.append(f"After Holm: p = {p_value(pair.final_p_holm)}")
    if isinstance(pair.final, Unavailable):
        lines.append(shortened(pair.final.reason, 90))
    return "\n".join(lines)
