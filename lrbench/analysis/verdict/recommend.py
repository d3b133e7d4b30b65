"""What to use: the choice that the evidence supports, what it gains, what it risks, what would settle the rest."""

import math
from dataclasses import dataclass

from lrbench.analysis.audit.findings import listed, plural
from lrbench.analysis.field import CONSTANT
from lrbench.analysis.model import Cell, Question, Section
from lrbench.analysis.statistics.cells import MeanOfSeeds
from lrbench.analysis.statistics.contenders import Contenders, NextLook
from lrbench.analysis.statistics.looks import LOOKS
from lrbench.analysis.statistics.robustness import Basin
from lrbench.analysis.statistics.terms import MIN_SEEDS, Interval, Unavailable, sign
from lrbench.analysis.verdict.claims import cells_on, family_on
from lrbench.analysis.verdict.wording import advantage, names, noun_of, relative, summary


@dataclass(frozen=True)
class Gain:
    """Against another schedule: by how much the final value is better, and the ratio of the errors or losses.

    Attributes:
        over: the other schedule.
        value: difference of the mean final values, positive = better.
        ratio: error or loss over that of the other, below 1 = better; None if not compared.
        interval: of `ratio`, simultaneous over all pairs of the workload.
        is_shown: the interval lies below 1.
    """

    over: str
    value: float
    ratio: float | None
    interval: Interval | None
    is_shown: bool


@dataclass(frozen=True)
class Undecided:
    """A schedule that cannot be told apart from the recommended one, and what `lrbench settle` would do about it."""

    scheduler: str
    look: NextLook | Unavailable


@dataclass(frozen=True)
class Recommendation:
    """Advice for one workload at its budget.

    Attributes:
        workload: of the evidence.
        total_steps: its budget.
        scheduler: the choice; Unavailable where nothing can be recommended.
        rate: base rate to use, None if not recorded.
        expected: final value of the choice.
        gain: over `constant`, or over the next best if there is no constant; Unavailable without another schedule.
        diverged: (number diverged, number tried) over all rates of the search.
        sensitivity_decades: width of the range of rates that lose little, in decades; Unavailable if not searched.
        undecided: by final value, best first.
        sentence: all of it in words.
    """

    workload: str
    total_steps: int
    scheduler: str | Unavailable
    rate: float | None
    expected: MeanOfSeeds
    gain: Gain | Unavailable
    diverged: tuple[int, int]
    sensitivity_decades: float | Unavailable
    undecided: tuple[Undecided, ...]
    sentence: str


def recommend(question: Question, section: Section, workload: str) -> Recommendation:
    """Recommend a schedule for a workload.

    Among the schedules that may be the best, the one with the smallest share of diverged runs; of equals the fastest
    to the target, then the one that took the fewest steps, then `constant`, which is the simplest, then the best mean.
    """
    cells = cells_on(section, workload)
    ok = [cell for cell in cells if cell.num_ok]
    total = next(facts.total_steps for facts in section.workloads if facts.name == workload)
    if not ok:
        nothing = Unavailable("no schedule has a run that finished without diverging")
        sentence = f"{workload}: no recommendation, since {nothing.reason}."
        none = MeanOfSeeds(nothing, None, None, 0, 0)
        return Recommendation(workload, total, nothing, None, none, nothing, (0, 0), nothing, (), sentence)
    family = family_on(section, workload)
    worse = [] if isinstance(family, Unavailable) else [c.schedule for c in family.ranked if not c.is_contender]
    candidates = [cell for cell in ok if cell.scheduler not in worse]
    if isinstance(family, Unavailable):
        choice = min(candidates, key=lambda cell: (cell.num_diverged / cell.num_runs, ok.index(cell)))
    else:
        choice = min(candidates, key=lambda cell: (*_order(section, cell), ok.index(cell)))
    alike = set() if isinstance(family, Unavailable) else _equivalent(family, choice.scheduler)
    rivals = [cell for cell in candidates if cell is not choice and cell.scheduler not in alike]
    undecided = tuple(Undecided(cell.scheduler, _look(family, choice, cell)) for cell in rivals)
    gain, risk, decades = (
        _gain(question, section, workload, choice, ok),
        _risk(section, choice),
        _decades(section, choice),
    )
    parts = [
        _choice(question, workload, total, choice, len(cells)),
        _why(candidates, choice, is_compared=not isinstance(family, Unavailable)),
        _gain_words(question, gain),
        _risk_words(risk, decades, choice),
        _undecided_words(undecided),
        "The audit has serious findings about this comparison." if _is_doubtful(section, workload) else "",
    ]
    return Recommendation(
        workload=workload,
        total_steps=total,
        scheduler=choice.scheduler,
        rate=choice.rate,
        expected=choice.final,
        gain=gain,
        diverged=risk,
        sensitivity_decades=decades,
        undecided=undecided,
        sentence=" ".join(part for part in parts if part),
    )


def _is_doubtful(section: Section, workload: str) -> bool:
    """Whether a serious finding concerns this workload."""
    return any(
        finding.severity == "serious" and workload in {name for name, _ in finding.cells}
        for finding in section.findings
    )


def _look(family: Contenders | Unavailable, first: Cell, second: Cell) -> NextLook | Unavailable:
    if isinstance(family, Unavailable):
        return family
    pair = {first.scheduler, second.scheduler}
    found = [look for look in family.next_looks if {look.first, look.second} == pair]
    return found[0] if found else Unavailable(f"they share fewer than {MIN_SEEDS} seeds, or are not compared")


def _equivalent(family: Contenders, scheduler: str) -> set[str]:
    """Who is shown to be as good as a schedule."""
    pairs = [{p.first, p.second} for p in family.pairs if p.state == "equivalent" and scheduler in (p.first, p.second)]
    return set().union(*pairs) - {scheduler}


def _order(section: Section, cell: Cell) -> tuple[float, float, int, bool]:
    """Reliability, speed, cost and simplicity, smaller is better."""
    time = cell.steps if isinstance(cell.steps, Unavailable) else cell.steps.median
    consumed = sum(
        cost.tuning_steps + cost.compared_steps
        for cost in section.costs
        if (cost.workload, cost.scheduler) == (cell.workload, cell.scheduler)
    )
    return (
        cell.num_diverged / cell.num_runs,
        math.inf if isinstance(time, Unavailable) else time,
        consumed,
        cell.scheduler != CONSTANT,
    )


def _gain(question: Question, section: Section, workload: str, choice: Cell, ok: list[Cell]) -> Gain | Unavailable:
    others = [cell for cell in ok if cell is not choice]
    if not others:
        return Unavailable("there is no other schedule with a final value")
    other = next((cell for cell in others if cell.scheduler == CONSTANT), others[0])
    assert isinstance(choice.final.mean, float)
    assert isinstance(other.final.mean, float)
    value = -sign(question.direction) * (choice.final.mean - other.final.mean) + 0.0  # never -0
    family = family_on(section, workload)
    for pair in () if isinstance(family, Unavailable) else family.pairs:
        if {pair.first, pair.second} == {choice.scheduler, other.scheduler}:
            turned = 1 if pair.first == choice.scheduler else -1
            logs = pair.interval.scaled(turned)
            bounds = Interval(math.exp(logs.low), math.exp(logs.high), logs.level, logs.method)
            return Gain(other.scheduler, value, math.exp(turned * pair.estimate), bounds, bounds.high < 1)
    return Gain(other.scheduler, value, None, None, False)


def _risk(section: Section, choice: Cell) -> tuple[int, int]:
    """Diverged and finished runs over all rates tried; of the compared runs where no rates are recorded."""
    for curve in section.rate_curves:
        if (curve.workload, curve.scheduler) == (choice.workload, choice.scheduler):
            diverged = sum(point.num_diverged for point in curve.points)
            return diverged, diverged + sum(len(point.values) for point in curve.points)
    return choice.num_diverged, choice.num_ok + choice.num_diverged


def _decades(section: Section, choice: Cell) -> float | Unavailable:
    for curve in section.rate_curves:
        if (curve.workload, curve.scheduler) == (choice.workload, choice.scheduler):
            return curve.basin.width if isinstance(curve.basin, Basin) else curve.basin
    return Unavailable("the base rates are not recorded")


def _choice(question: Question, workload: str, total: int, choice: Cell, num_schedules: int) -> str:
    rate = f" at base rate {choice.rate:g}" if choice.rate is not None else ""
    of = f", of {num_schedules} schedules" if num_schedules > 1 else ", the only schedule there is"
    value = summary(choice.final, question.endpoint)
    return f"{workload}, {total:,} steps: use {choice.scheduler}{rate}{of}: expect {question.endpoint} {value}."


def _why(candidates: list[Cell], choice: Cell, *, is_compared: bool) -> str:
    """By what it was chosen, where several may be the best."""
    if len(candidates) < 2 or not is_compared:
        return ""
    rule = "chosen by reliability, then speed, then cost, then simplicity"
    others = names([cell.scheduler for cell in candidates if cell is not choice])
    return f"{others} may be as good; {rule}."


def _gain_words(question: Question, gain: Gain | Unavailable) -> str:
    if isinstance(gain, Unavailable):
        return ""
    amount = advantage(gain.value, question.endpoint, "maximize")
    if gain.ratio is None or gain.interval is None:
        return f"Observed gain over {gain.over}: {amount}, not tested."
    noun = noun_of(question.endpoint, question.direction)
    ratio = relative(gain.ratio, gain.interval.low, gain.interval.high)
    verdict = "" if gain.is_shown else ", not shown" if gain.interval.low <= 1 else ", worse"
    return f"Gain over {gain.over}: {amount}, {noun} {ratio}{verdict}."


def _risk_words(risk: tuple[int, int], decades: float | Unavailable, choice: Cell) -> str:
    text = f"Risk: {risk[0]} of {plural(risk[1], 'run')} diverged over all rates tried"
    if choice.origin == "final":
        text += f", {choice.num_diverged} of {choice.num_ok + choice.num_diverged} on fresh seeds at this one"
    if isinstance(decades, Unavailable):
        return f"{text}; how much the rate matters is unknown ({decades.reason})."
    return f"{text}; rates over {decades:.2g} decades lose at most 10 % of the improvement."


def _undecided_words(undecided: tuple[Undecided, ...]) -> str:
    """Say of the nearest few what `settle` would do; those of which the same is true, together."""
    by_reason: dict[str, list[str]] = {}
    for item in undecided:
        by_reason.setdefault(_look_words(item.look), []).append(item.scheduler)
    parts = [f"{names(schedulers, most=3)} ({reason})" for reason, schedulers in [*by_reason.items()][:3]]
    named = sum(map(len, [*by_reason.values()][:3]))
    if len(undecided) > named:
        parts.append(plural(len(undecided) - named, "other"))
    known = any(isinstance(item.look, NextLook) for item in undecided)
    condition = " That is at 80 % power, if the observed difference is true." if known else ""
    return f"Undecided against {listed(parts)}.{condition}" if parts else ""


def _look_words(look: NextLook | Unavailable) -> str:
    if isinstance(look, Unavailable):
        return look.reason
    if look.num_seeds is None or look.more_seeds is None:
        return f"`lrbench settle` would not show it by {LOOKS[-1]} seeds, its last look"
    more = plural(look.more_seeds, "more seed")
    return f"`lrbench settle` would show it at its look at {look.num_seeds} seeds, {more} each"
