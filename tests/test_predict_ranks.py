"""Ranks predicted from probes that follow the law exactly, and the refusals of those that do not."""

import numpy as np
import pytest

from lrbench.analysis.predict import fit_probes, predict_ranks
from lrbench.analysis.statistics.power_law import multi_power_law
from lrbench.analysis.statistics.power_law_fit import Probe, fit_law
from lrbench.analysis.statistics.terms import Unavailable
from lrbench.schedules import cosine, wsd

TRUE = {"L0": 1.4, "A": 6.0, "alpha": 0.5, "B": 0.25, "C": 0.3, "beta": 0.5, "gamma": 0.64}
SHORT, LONG = 400, 1600
SHAPES = {
    "wsd .2": lambda total: wsd(np.arange(total), total, decay_fraction=0.2),
    "wsd .6": lambda total: wsd(np.arange(total), total, decay_fraction=0.6),
    "cosine": lambda total: cosine(np.arange(total), total),
    "step": lambda total: np.repeat([1.0, 0.1], [total * 3 // 5, total - total * 3 // 5]),
}
UNTRIED = {f"wsd {f:g}": wsd(np.arange(LONG), LONG, decay_fraction=f, shape="linear") for f in (0.05, 0.1, 0.4, 0.8, 1)}


def probes(*, seeds=(0, 1), change=lambda steps, losses: losses, law=TRUE):
    found = []
    for name, shape in SHAPES.items():
        rates = shape(SHORT)
        steps = np.arange(20, SHORT + 1, 20)
        for seed in seeds:
            noise = np.random.default_rng([seed, len(name), ord(name[-1])]).normal(0, 1e-3)
            losses = multi_power_law(rates, steps, **law) + noise
            found.append(Probe(name, rates, 0.0, steps.astype(float), change(steps, losses)))
    return found


def test_the_fit_finds_the_law_that_made_the_curves():
    fitted = fit_law(probes(seeds=[0]))
    for name, rates in UNTRIED.items():
        expected = float(multi_power_law(rates, LONG, **TRUE))
        assert fitted.loss(rates, warmup=0.0) == pytest.approx(expected, rel=0.01), name


@pytest.mark.slow
def test_untried_schedules_at_four_times_the_length_are_ranked_as_the_law_has_them():
    found = predict_ranks(fit_probes(probes()), probes(), UNTRIED)
    by_law = sorted(UNTRIED, key=lambda name: float(multi_power_law(UNTRIED[name], LONG, **TRUE)))
    assert [item.name for item in found] == by_law
    assert [item.rank for item in found] == [1, 2, 3, 4, 5]
    assert all(item.interval.low <= item.rank <= item.interval.high for item in found)


@pytest.mark.slow
def test_one_seed_gives_ranks_without_intervals_and_probes_show_their_short_rank_beside():
    short = probes(seeds=[0])
    found = predict_ranks(fit_probes(short), short, {name: shape(LONG) for name, shape in SHAPES.items()})
    assert {item.interval for item in found} == {None}
    last = {probe.name: probe.losses[-1] for probe in probes(seeds=[0])}
    assert {item.name: item.short_rank for item in found} == {
        name: rank for rank, name in enumerate(sorted(last, key=last.get), start=1)
    }


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (probes(change=lambda steps, losses: losses + np.maximum(steps - 200, 0) * 2e-3), "rises"),
        (probes(change=lambda steps, losses: losses - 0.3 * (steps > 340)), "misses the end"),
        (probes(seeds=[0], law=TRUE | {"B": 2500.0, "C": 1e-6}), "in proportion to the training after it"),
        (probes()[:2], "two schedules whose rate falls"),
        ([Probe(p.name, p.rates, 0.0, p.steps[-3:], p.losses[-3:]) for p in probes()], "20 evaluations"),
    ],
    ids=["overfits", "breaks the law", "a fall has hardly begun to take effect", "one shape", "few evaluations"],
)
def test_it_refuses_where_the_law_does_not_hold_or_cannot_be_told(given, reason):
    found = fit_probes(given)
    assert isinstance(found, Unavailable)
    assert reason in found.reason
