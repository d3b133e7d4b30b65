"""Whether the ranking of a workload turns round between two base rates (docs/metrics.md, fact 1)."""

from dataclasses import dataclass
from itertools import combinations

from lrbench.analysis.model import Section, SharedRate


@dataclass(frozen=True)
class Reversal:
    """At `low_rate` `first` ended ahead of `second`, at `high_rate` behind it; both by `size` at least."""

    workload: str
    first: str
    second: str
    low_rate: float
    high_rate: float
    size: float


def reversals_of(section: Section) -> list[Reversal]:
    """The clearest reversal of every workload that has one: the pair whose smaller lead is the largest."""
    found = []
    for facts in section.workloads:
        rates = sorted((r for r in section.shared_rates if r.workload == facts.name), key=lambda r: r.rate)
        here = [turn for low, high in combinations(rates, 2) for turn in _turns(low, high)]
        if here:
            found.append(max(here, key=lambda turn: (turn.size, turn.first, turn.second)))
    return found


def reversal_sentence(section: Section) -> str:
    """One sentence on the clearest of them, "" where the rankings of no workload turn round."""
    found = reversals_of(section)
    if not found:
        return ""
    turn = max(found, key=lambda turn: turn.size)
    elsewhere = f" ({len(found)} of {len(section.workloads)} workloads have such pairs)" if len(found) > 1 else ""
    return (
        f"The ranking reverses between rates: on {turn.workload} {turn.first} ends ahead of {turn.second} at rate "
        f"{turn.low_rate:.2g} and behind it at {turn.high_rate:.2g}{elsewhere}."
    )


def _turns(low: SharedRate, high: SharedRate) -> list[Reversal]:
    """Pairs in another order at the higher rate; who diverged at one of them, or is equal, does not count."""
    below, above = ({name: value for name, value in rate.ranking if value is not None} for rate in (low, high))
    places = {name: place for place, (name, _) in enumerate(low.ranking)}
    later = {name: place for place, (name, _) in enumerate(high.ranking)}
    both = sorted(below.keys() & above.keys(), key=lambda name: places[name])
    return [
        Reversal(low.workload, a, b, low.rate, high.rate, min(abs(below[a] - below[b]), abs(above[a] - above[b])))
        for a, b in combinations(both, 2)
        if later[a] > later[b] and below[a] != below[b] and above[a] != above[b]
    ]
