"""The eleven parts of the report, in the order in which it is read."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from lrbench.analysis.audit.findings import Finding, plural
from lrbench.analysis.model import Analysis, Question, Section
from lrbench.analysis.statistics.terms import Unavailable
from lrbench.analysis.verdict.claims import Claim
from lrbench.analysis.verdict.reversals import reversal_sentence
from lrbench.analysis.verdict.verdict import SectionVerdict, Verdict
from lrbench.reporting import tables, tables_robustness
from lrbench.reporting.figure_curves import curve_pictures
from lrbench.reporting.figure_front import front_pictures
from lrbench.reporting.figure_heatmaps import heatmap_pictures
from lrbench.reporting.figure_pairs import pair_pictures
from lrbench.reporting.figure_profiles import profile_pictures
from lrbench.reporting.figure_rates import rate_pictures
from lrbench.reporting.figure_robustness import rank_picture, sweep_pictures
from lrbench.reporting.figure_seeds import seed_pictures
from lrbench.reporting.items import Claims, Facts, Findings, Group, Item, Lines, Part, Words
from lrbench.reporting.methods import METHODS
from lrbench.reporting.not_drawn import sentences_on, without_search, without_seeds, without_speed, without_tests
from lrbench.reporting.pictures import Picture
from lrbench.reporting.styles import Styles
from lrbench.reporting.words import better_is

# What casts doubt on the numbers is in part 1, sentence by sentence, and in the verdict line.
_ABOUT = {
    "final": "final value",
    "speed": "speed",
    "both": "both",
    "across": "over workloads",
    "budget": "budgets",
}
_FEW_BUDGETS, _FEW_CLAIMS = 4, 8


def parts_of(analysis: Analysis, verdict: Verdict, styles: Styles, *, main: int) -> list[Part]:
    """Assemble the eleven parts.

    Args:
        analysis: the whole.
        verdict: on the same analysis, with one section for each of its sections.
        styles: of all its schedules.
        main: number of the section that is shown first. Of the others nothing is drawn, which would make a page
            of many megabytes: their rankings are on the page, and all their numbers in metrics.csv.
    """
    question = analysis.question
    parts = [
        Part("Question, protocol, states", "Can I trust this? What was fixed beforehand, and how all runs ended."),
        Part("Verdict", "Who, by how much, how sure."),
        Part("Speed against final value", "No weighted score: the front of what cannot be improved in both."),
        Part("Schedule by workload", "Every cell of the comparison."),
        Part("Rate against final value", "A comparison at one shared rate measures the rate; here is every rate."),
        Part("Learning curves", "The validation metric, and below it the learning rate on the same steps."),
        Part("Targets reached, performance profile", "Speed without imputing the runs that never got there."),
        Part("Pairs", "Who beats whom, and who cannot be told apart."),
        Part("Seeds", "Every run as a point."),
        Part("Robustness", "What the ranking depends on."),
        Part("Methods and costs", "Formulas, versions, seeds of the bootstrap, and what it cost."),
    ]
    trust, verdicts, robust, methods = parts[0], parts[1], parts[9], parts[10]
    trust.groups.append(Group("", [Facts(_question_facts(analysis)), *_findings(analysis.findings)]))
    several = len(analysis.sections) > 1
    for index, section in enumerate(analysis.sections):
        folded = index != main and len(analysis.sections) > _FEW_BUDGETS
        suffix = f"-budget{index + 1}" if several else ""
        own = {name: styles[name] for name in section.schedulers}
        order = order_of(section)
        frame = Group("", [])
        if several:
            frame = Group(f"Budget: {section.title}", [], _about(section), index, folds=True, folded=folded)

        def add(part: Part, items: Iterable[Item], frame: Group = frame) -> None:
            part.groups.append(replace(frame, items=list(items)))

        add(trust, _trust(section, own))
        add(verdicts, [*_said(verdict.sections[index]), *_rankings(section, own, analysis)])
        if index == main:
            _draw(section, own, question, order, suffix, add, parts)
        add(methods, [tables.costs_table(section.costs, own)])
    for part in parts:
        _say_once(part)
    if verdict.budgets:
        over = Group("Over budgets", [_claims(verdict.budgets)], plural(len(verdict.budgets), "sentence"))
        over.folds = over.folded = len(verdict.budgets) > _FEW_CLAIMS
        # Of several budgets it is the summary, of one a remark.
        verdicts.groups.insert(0 if several else len(verdicts.groups), over)
    if analysis.sweep:
        sweep = sweep_pictures(analysis, styles, question, stem="10-sweep")
        robust.groups.append(Group("Budget sweep", [*sweep, tables_robustness.sweep_table(analysis, styles)]))
    methods.groups.insert(0, Group("", [Facts(METHODS), Facts(_computation_facts(analysis))]))
    return parts


def _draw(
    section: Section,
    own: Styles,
    question: Question,
    order: Sequence[str],
    suffix: str,
    add: Callable[[Part, Iterable[Item]], None],
    parts: Sequence[Part],
) -> None:
    """Fill the parts that have pictures, from speed against final value to robustness."""
    front, heat, rates, curves, profiles, pairs, seeds, robust = parts[2:10]
    add(front, [*front_pictures(section, own, question, stem=f"03-front{suffix}"),
                *_absent(without_speed(section), section)])  # fmt: skip
    add(heat, heatmap_pictures(section, own, question, order, stem=f"04-heatmap{suffix}"))
    add(rates, [*rate_pictures(section, own, question, stem=f"05-rates{suffix}"), *_reversed(section),
                *_absent(without_search(section), section), *_rate_tables(section, own)])  # fmt: skip
    found = curve_pictures(section, own, question, stem=f"06-curves{suffix}")
    add(curves, _or_words(found, f"no run has an evaluation of {question.metric}"))
    add(profiles, [*profile_pictures(section, own, stem=f"07-targets{suffix}"), *_profile_words(section)])
    found = pair_pictures(section, own, order, stem=f"08-pairs{suffix}")
    add(pairs, [*_pair_words(section), *found, *_absent(without_tests(section), section),
                *_maybe(tables.pairs_table(section, own, order, question))])  # fmt: skip
    found = seed_pictures(section, own, question, order, stem=f"09-seeds{suffix}")
    add(seeds, [*found, *_absent(without_seeds(section), section),
                *_maybe(tables_robustness.spread_table(section, own))])  # fmt: skip
    add(robust, _robustness(section, own, order, stem=f"10-ranks{suffix}"))


def _said(section: SectionVerdict) -> list[Item]:
    items: list[Item] = [_claims(section.claims)]
    advice = [("recommendation", recommendation.sentence) for recommendation in section.recommendations]
    return [*items, Claims(advice)] if advice else items


def _claims(claims: Sequence[Claim]) -> Claims:
    """The claims over all workloads first, then workload by workload."""
    ordered = sorted(claims, key=lambda claim: claim.kind != "across")
    return Claims([(_ABOUT[claim.kind], claim.sentence) for claim in ordered if claim.kind in _ABOUT])


def budgets_of(analysis: Analysis) -> str:
    """Name the budgets, or how many there are."""
    titles = [section.title for section in analysis.sections]
    return "; ".join(titles) if len(titles) <= _FEW_BUDGETS else f"{len(titles)}, from {titles[0]} to {titles[-1]}"


def order_of(section: Section) -> list[str]:
    """Order the schedules of a section: best first by mean rank, those without a rank last, ties by name."""
    places: dict[str, float] = {}
    if isinstance(section.across, Unavailable):
        found: dict[str, list[float]] = {}
        for cell in section.cells:
            if not isinstance(cell.rank, Unavailable):
                found.setdefault(cell.scheduler, []).append(cell.rank)
        places = {scheduler: sum(ranks) / len(ranks) for scheduler, ranks in found.items()}
    else:
        places = {row.scheduler: row.mean_rank for row in section.across.overall}
    return sorted(section.schedulers, key=lambda name: (places.get(name, float("inf")), name))


def _say_once(part: Part) -> None:
    """Where a part has nothing but the same words at every budget, keep them once."""
    said = [group.items for group in part.groups if group.budget is not None]
    if len(said) > 1 and all(items == said[0] and all(isinstance(i, Words) for i in items) for items in said):
        part.groups = [*(group for group in part.groups if group.budget is None), Group("", said[0])]


def _about(section: Section) -> str:
    runs = sum(facts.num_compared + facts.num_tuning for facts in section.workloads)
    counts = [(len(section.workloads), "workload"), (len(section.schedulers), "schedule"), (runs, "run")]
    return ", ".join(plural(count, noun) for count, noun in counts)


def _question_facts(analysis: Analysis) -> list[tuple[str, str]]:
    question = analysis.question
    endpoint = question.endpoint + (f" ({question.endpoint_reason})" if question.endpoint_reason else "")
    return [
        ("primary endpoint", f"final {endpoint}, {better_is(question.direction)}"),
        ("metric of curves and targets", question.metric),
        ("searched in every study", question.rate),
        ("schedules", str(len(analysis.schedulers))),
        ("budgets", budgets_of(analysis)),
        ("level of all tests", f"alpha = {question.alpha:g}"),
    ]


def _computation_facts(analysis: Analysis) -> list[tuple[str, str]]:
    question = analysis.question
    return [
        ("bootstrap", f"B = {question.num_resamples:,}, generator seed {question.bootstrap_seed}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in question.versions)),
    ]


def _trust(section: Section, styles: Styles) -> list[Item]:
    items: list[Item] = [tables.workloads_table(section), tables.states_table(section, styles)]
    if section.sentences:
        items.append(Lines(section.sentences))
    return [*items, *_findings(section.findings)]


def _findings(findings: Sequence[Finding]) -> list[Item]:
    return [Findings(findings)] if findings else []


def _rankings(section: Section, styles: Styles, analysis: Analysis) -> list[Item]:
    items: list[Item] = _maybe(tables.overall_table(section, styles, analysis.question))
    if isinstance(section.across, Unavailable):
        items.append(Words(f"Across workloads: {section.across.reason}."))
    return [*items, *(tables.ranking_table(section, w.name, styles, analysis.question) for w in section.workloads)]


def _rate_tables(section: Section, styles: Styles) -> list[Item]:
    items: list[Item] = _maybe(tables_robustness.sensitivity_table(section, styles))
    if section.shared_rates:
        items.append(tables_robustness.shared_rates_table(section))
    return items


def _reversed(section: Section) -> list[Item]:
    sentence = reversal_sentence(section)
    return [Words(sentence)] if sentence else []


def _profile_words(section: Section) -> list[Item]:
    names = (("Target ECDF", section.ecdf), ("Performance profile", section.profiles))
    return [Words(f"{name}: {found.reason}.") for name, found in names if isinstance(found, Unavailable)]


def _pair_words(section: Section) -> list[Item]:
    if len(section.schedulers) < 2:
        return [Words("There is only one schedule, so there is no pair to compare.")]
    if isinstance(section.across, Unavailable):
        return [Words(f"No critical-difference diagram and no test across workloads: {section.across.reason}.")]
    across = section.across
    items: list[Item] = []
    if isinstance(across.critical_difference, Unavailable):
        items.append(Words(f"No critical-difference diagram: {across.critical_difference.reason}."))
    if isinstance(across.tests, Unavailable):
        items.append(Words(f"No signed-rank tests: {across.tests.reason}."))
    if isinstance(across.friedman, Unavailable):
        items.append(Words(f"No Friedman test: {across.friedman.reason}."))
    else:
        items.append(Facts(tables_robustness.friedman_facts(across.friedman)))
    return items


def _robustness(section: Section, styles: Styles, order: Sequence[str], *, stem: str) -> list[Item]:
    items: list[Item] = []
    if not isinstance(section.across, Unavailable):
        items += _maybe(rank_picture(section.across, styles, order, name=stem))
    flips = [
        f"By {'final value' if flip.by == 'final' else 'speed'}: {flip.ahead} is ahead of {flip.behind} only as long "
        f"as {flip.without} takes part."
        for flip in section.robustness.flips
    ]
    items.append(Lines(flips) if flips else Words("No two schedules swap places when a third one is left out.", "note"))
    items.append(tables_robustness.endpoints_table(section, styles))
    items += _maybe(tables_robustness.scores_table(section, styles))
    for facts in section.workloads:
        items += _maybe(tables_robustness.ladder_table(section, facts.name, styles))
    spread = tables_robustness.spread_facts(section)
    return [*items, Facts(spread)] if spread else items


def _absent(absent: dict[str, str], section: Section) -> list[Item]:
    return [Words(sentence) for sentence in sentences_on(absent, section)]


def _maybe(item: Item | None) -> list[Item]:
    return [] if item is None else [item]


def _or_words(pictures: Sequence[Picture], reason: str) -> list[Item]:
    return list(pictures) if pictures else [Words(f"Not available: {reason}.")]
