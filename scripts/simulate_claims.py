"""How often are the claims of a report false? `python scripts/simulate_claims.py PART [--studies 10000] [--seed 0]`.

Parts: `report` (every claim of a whole report: within workloads, over them, and all together), `reference` (the same
with a reference, beside paired t tests that nobody corrects), `margin` (equivalence),
`sizes` (unequal numbers of seeds), `power` (true claims found, against Holm over all unpaired pairs and workloads),
`looks` (adding seeds), `replay` (what looks save), `tuning` (the choice of the rate included), `cells` (intervals of
one accuracy).
Each prints its table and writes results/simulations/PART.csv: rates with the upper end of Wilson's 95 % interval.
"""

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special, stats

from lrbench.analysis.statistics.accuracy import accuracy_interval
from lrbench.analysis.statistics.looks import e_value, planned_looks
from lrbench.analysis.statistics.over_workloads import errors_over_workloads, share_alpha
from lrbench.analysis.statistics.rate_choice import parabola
from lrbench.analysis.statistics.settling import Design, Settling, seeds_at_looks, settle
from lrbench.analysis.statistics.simultaneous import (
    Noise,
    half_widths,
    noise_of,
    own_errors,
    own_level,
    quantile,
    shared_noise_of,
    through_reference,
    typical_deviation,
    typical_level,
)
from lrbench.analysis.statistics.terms import FloatArray

FOLDER = Path(__file__).parent.parent / "results" / "simulations"
ALPHA, MARGIN = 0.05, 0.1
AT_ONCE = 12_000  # workloads in memory
# Noise as (distribution, standard deviations of the schedules, correlation of seeds).
NOISES = [
    ("normal", "equal", 0.0),
    ("normal", "equal", 0.3),
    ("normal", "equal", 0.9),
    ("skewed", "equal", 0.0),
    ("t5", "equal", 0.0),
    ("normal", "1 to 4", 0.0),
    ("normal", "one noisy", 0.0),
    ("normal", "one quiet", 0.3),
]
CROSSED = [("skewed", "1 to 4", 0.0), ("skewed", "one noisy", 0.0)]  # beyond what is promised


def main() -> None:
    """Run one part."""
    parts = {
        "report": report,
        "reference": reference,
        "margin": margin,
        "sizes": sizes,
        "power": power,
        "looks": looks,
        "replay": replay,
        "tuning": tuning,
        "cells": cells,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=parts)
    parser.add_argument("--studies", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = []
    for row in parts[arguments.part](arguments.studies, np.random.default_rng(arguments.seed)):
        rows.append(row)
        print(" ".join(f"{key}={value}" for key, value in row.items()), flush=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(FOLDER / f"{arguments.part}.csv", index=False)


def wilson(count: float, total: int) -> float:
    """Upper end of Wilson's 95 % interval."""
    return round(float(stats.binomtest(int(count), total).proportion_ci(0.95, "wilson").high), 4)


def draw(rng: np.random.Generator, shape: tuple[int, ...], noise: tuple[str, str, float]) -> FloatArray:
    """Log costs (..., num_seeds, k) of equal schedules; the typical seed has standard deviation 1."""
    distribution, deviations, correlation = noise
    k = shape[-1]
    own = {
        "normal": lambda: rng.standard_normal(shape),
        "skewed": lambda: rng.standard_exponential(shape) - 1,
        "t5": lambda: rng.standard_t(5, shape) / np.sqrt(5 / 3),
    }[distribution]()
    scale = np.ones(k)
    if deviations == "1 to 4":
        scale = np.geomspace(1, 4, k)
    elif deviations != "equal":
        scale[0] = {"one noisy": 4.0, "one quiet": 0.25}[deviations]
    common = rng.standard_normal((*shape[:-1], 1))
    return np.sqrt(1 - correlation) * scale * own + np.sqrt(correlation) * common


def gaps(means: FloatArray) -> FloatArray:
    """(..., k, k) of (..., k)."""
    return means[..., :, None] - means[..., None, :]


def shown(distance: FloatArray, noise: Noise, alpha: float) -> FloatArray:
    """Which row is shown worse than which column, (..., k, k).

    What `distance > half_widths(noise, alpha)` says, without the own scale where the typical one decides.
    """
    k = distance.shape[-1]
    if k == 2:
        error, degrees = own_errors(noise)
        return distance > quantile(own_level(alpha, k), degrees) * error
    deviation, total = typical_deviation(noise)
    inverse = 1 / noise.num_seeds
    scale = np.sqrt(inverse[:, None] + inverse[None, :])
    found = distance > (quantile(typical_level(alpha, k), total) * deviation)[..., None, None] * scale
    some = found.any((-2, -1))
    part = Noise(noise.variances[some], noise.degrees[some], noise.num_seeds, noise.paired[some])
    error, degrees = own_errors(part)
    found[some] &= distance[some] > quantile(own_level(alpha, k), degrees) * error
    return found


def _batches(studies: int, num_workloads: int) -> Iterator[int]:
    """Numbers of studies that are drawn at once, within the memory for AT_ONCE workloads."""
    size = max(1, AT_ONCE // num_workloads)
    yield from (min(size, studies - done) for done in range(0, studies, size))


def report(studies: int, rng: np.random.Generator) -> Iterator[dict[str, object]]:
    """Rates of false claims in a whole report.

    Truths: all schedules are `equal`; `one bad` is 8 seed deviations worse and the others equal; `mixed`: differences
    on each source have mean 0 over sources, so that only claims about workloads like these are false.
    """
    for num_workloads, k, n in product((1, 6, 24), (3, 6, 12), (3, 5, 10)):
        if num_workloads == 24 and k == 6:
            continue
        for noise, truth in [*product(NOISES + CROSSED, ("equal",)), (NOISES[0], "one bad"), (NOISES[0], "mixed")]:
            if truth == "mixed" and num_workloads == 1:
                continue
            false = {"within": 0, "on these": 0, "like these": 0, "any": 0}
            for m in _batches(studies, num_workloads):
                for name, count in _false_claims(rng, (m, num_workloads, n, k), noise, truth).items():
                    false[name] += count
            yield {
                "workloads": num_workloads, "schedules": k, "seeds": n, "noise": noise[0], "deviations": noise[1],
                "correlation": noise[2], "truth": truth,
                **{name: round(count / studies, 4) for name, count in false.items()},
                "upper": wilson(false["any"], studies),
            }  # fmt: skip


def _false_claims(
    rng: np.random.Generator, shape: tuple[int, int, int, int], noise: tuple[str, str, float], truth: str
) -> dict[str, int]:
    m, num_workloads, _, k = shape
    costs = draw(rng, shape, noise)
    source = np.arange(num_workloads) // 2
    if truth == "one bad":
        costs[..., -1] += 8
    if truth == "mixed":
        costs += rng.standard_normal((m, source.max() + 1, 1, k))[:, source]
    among = slice(0, k - 1) if truth == "one bad" else slice(0, k)
    levels = share_alpha(ALPHA, workloads_of_sections=[num_workloads])
    means, estimated = costs.mean(axis=2), shared_noise_of(costs)
    within = shown(gaps(means), estimated, levels.workload)[..., among, among].any((1, 2, 3))
    these = alike = np.zeros(m, bool)
    if num_workloads > 1:
        noises = [
            Noise(estimated.variances[:, w], estimated.degrees[:, w], estimated.num_seeds, estimated.paired[:, w])
            for w in range(num_workloads)
        ]
        error, degrees = errors_over_workloads(noises)
        level, on_average = typical_level(levels.across, k), gaps(means.mean(axis=1))
        on_these = on_average > -special.ndtri(level) * error
        on_these[on_these] = on_average[on_these] > quantile(level, degrees[on_these]) * error[on_these]
        these = on_these[:, among, among].any((1, 2))
        if source.max() + 1 >= 3:
            by_source = np.stack([means[:, source == s].mean(axis=1) for s in range(source.max() + 1)], axis=1)
            found = shown(gaps(by_source.mean(axis=1)), shared_noise_of(by_source), levels.across)
            alike = (found & on_these)[:, among, among].any((1, 2))
    if truth == "mixed":
        within, these = np.zeros(m, bool), np.zeros(m, bool)
    return {
        "within": int(within.sum()), "on these": int(these.sum()), "like these": int(alike.sum()),
        "any": int((within | these | alike).sum()),
    }  # fmt: skip


def reference(studies: int, rng: np.random.Generator) -> Iterator[dict[str, object]]:
    """Rates of false claims of any kind where all schedules are equal and compared with the first or the last of them.

    Power beside it: the share of schedules one to four deviations away from the reference that are shown to differ.
    """
    for num_workloads, k, n, noise in product((1, 6), (3, 6, 12), (3, 5, 10), NOISES):
        for index in (0, k - 1)[: 1 if noise[1] == "equal" else 2]:
            found = dict.fromkeys(("within", "on these", "like these", "any", "uncorrected", "power", "all pairs"), 0.0)
            for m in _batches(studies, num_workloads):
                costs = draw(rng, (m, num_workloads, n, k), noise)
                for name, count in _against_reference(costs, index).items():
                    found[name] += count
            yield {
                "workloads": num_workloads, "schedules": k, "seeds": n, "noise": noise[0], "deviations": noise[1],
                "correlation": noise[2], "reference": index,
                **{name: round(count / studies, 4) for name, count in found.items()},
                "upper": wilson(found["any"], studies),
            }  # fmt: skip


def _against_reference(costs: FloatArray, index: int) -> dict[str, float]:
    """Counts of studies (m, num_workloads, n, k) with a claim."""
    m, num_workloads, n, k = costs.shape
    levels = share_alpha(ALPHA, workloads_of_sections=[num_workloads])
    means, estimated = costs.mean(axis=2), shared_noise_of(costs)
    half = half_widths(estimated, alpha=levels.workload, reference=index)
    within = (gaps(means) > half).any((1, 2, 3))
    these = alike = np.zeros(m, bool)
    if num_workloads > 1:
        noises = [
            Noise(estimated.variances[:, w], estimated.degrees[:, w], estimated.num_seeds, estimated.paired[:, w])
            for w in range(num_workloads)
        ]
        error, degrees = errors_over_workloads(noises)
        level = typical_level(levels.across, k, has_reference=True)
        on_these = gaps(means.mean(axis=1)) > through_reference(quantile(level, degrees) * error, index)
        these = on_these.any((1, 2))
        by_source = means.reshape(m, -1, 2, k).mean(axis=2)
        half_alike = half_widths(shared_noise_of(by_source), alpha=levels.across, reference=index)
        alike = ((gaps(by_source.mean(axis=1)) > half_alike) & on_these).any((1, 2))
    against = costs - costs[..., [index]]
    error = against.std(axis=2, ddof=1) / np.sqrt(n)
    t = abs(np.delete(against.mean(axis=2) / np.where(error > 0, error, 1), index, axis=-1))
    away = np.where(np.arange(k) == index, 0, 1 + np.arange(k) % 4)
    distance, others = abs(means + away - means[..., [index]]), np.arange(k) != index
    every_pair = half_widths(estimated, alpha=levels.workload)
    return {
        "within": within.sum(), "on these": these.sum(), "like these": alike.sum(),
        "any": (within | these | alike).sum(), "uncorrected": (t > quantile(ALPHA / 2, n - 1)).any((1, 2)).sum(),
        "power": (distance > half[..., index])[..., others].mean() * m,
        "all pairs": (distance > every_pair[..., index])[..., others].mean() * m,
    }  # fmt: skip


def margin(studies: int, rng: np.random.Generator) -> Iterator[dict[str, object]]:
    """Rates of false equivalence (or of a false difference) where half of the schedules lie just the margin behind."""
    for k, n, scale in product((2, 3, 12), (3, 5, 10), (0.01, 0.05)):
        for noise in NOISES:
            costs = scale * draw(rng, (studies, n, k), noise)
            offset = np.where(np.arange(k) % 2, np.log1p(MARGIN), 0.0)
            distance, half = gaps((costs + offset).mean(axis=1)), half_widths(shared_noise_of(costs), alpha=ALPHA)
            truth = np.broadcast_to(gaps(offset), distance.shape)
            equivalent = abs(distance) + half < np.log1p(MARGIN)
            false = (equivalent & (truth != 0)) | ((distance > half) & (truth <= 0))
            yield {
                "schedules": k, "seeds": n, "seed deviation": scale, "noise": noise[0], "deviations": noise[1],
                "correlation": noise[2], "false": round(false.any((1, 2)).mean(), 4),
                "upper": wilson(false.any((1, 2)).sum(), studies),
                "found equivalent": round(equivalent[:, truth[0] == 0].mean(), 3),
            }  # fmt: skip


def sizes(studies: int, rng: np.random.Generator) -> Iterator[dict[str, object]]:
    """Schedules with different numbers of seeds; in the worst case the fewest are the noisiest."""
    for numbers, noise, w in product(((3, 5), (3, 5, 10), (3, 3, 5, 5, 10, 10), (4, *[5] * 9)), NOISES, (1, 6, 24)):
        k, most = len(numbers), max(numbers)
        costs = draw(rng, (studies, most, k), noise)
        parts = [costs[:, :n, i] for i, n in enumerate(numbers)]
        alpha = share_alpha(ALPHA, workloads_of_sections=[w]).workload
        found = shown(gaps(np.stack([p.mean(axis=1) for p in parts], 1)), noise_of(parts), alpha).any((1, 2)).sum()
        yield {
            "seeds": "/".join(map(str, numbers)), "noise": noise[0], "deviations": noise[1], "correlation": noise[2],
            "workloads": w, "alpha of the workload": round(alpha, 5), "rate": round(found / studies, 4),
            "upper": wilson(found, studies), "upper of the report": round(min(1.0, w * wilson(found, studies)), 3),
        }  # fmt: skip


def power(studies: int, rng: np.random.Generator) -> Iterator[dict[str, object]]:
    """Share of the schedules behind the best that are shown worse than any other; they lie 0 to 4 deviations behind.

    `pairs` is the share of pairs. Today's procedure: Welch for all pairs, Holm over pairs and workloads.
    """
    studies = min(studies, 1000)
    for num_workloads, k, n, noise in product((1, 6, 24), (3, 6, 10), (3, 5, 10), (*NOISES[:3], NOISES[6])):
        behind = np.linspace(0, 4, k)
        new, old = np.zeros(2), np.zeros(2)
        for m in _batches(studies, num_workloads):
            costs = draw(rng, (m, num_workloads, n, k), noise) + behind
            distance = gaps(costs.mean(axis=2))
            alpha = share_alpha(ALPHA, workloads_of_sections=[num_workloads]).workload
            for found, sums in (
                (shown(distance, shared_noise_of(costs), alpha), new),
                (_holm(distance, costs), old),
            ):
                sums += [found.any(3)[..., 1:].mean() * m, found.sum((2, 3)).mean() / (k * (k - 1) / 2) * m]
        yield {
            "workloads": num_workloads, "schedules": k, "seeds": n, "noise": noise[0], "deviations": noise[1],
            "correlation": noise[2], "shown worse": round(new[0] / studies, 3), "by Holm": round(old[0] / studies, 3),
            "pairs": round(new[1] / studies, 3), "pairs by Holm": round(old[1] / studies, 3),
        }  # fmt: skip


def _holm(distance: FloatArray, costs: FloatArray) -> FloatArray:
    m, k = distance.shape[0], distance.shape[-1]
    error, degrees = own_errors(noise_of([costs[..., i] for i in range(k)]))
    upper = np.triu_indices(k, 1)
    t = (distance / np.where(error > 0, error, 1))[..., upper[0], upper[1]].reshape(m, -1)
    p = 2 * special.stdtr(degrees[..., upper[0], upper[1]].reshape(m, -1), -abs(t))
    order = np.argsort(p, axis=1)
    steps = np.take_along_axis(p, order, 1) * np.arange(p.shape[1], 0, -1)
    passed = np.logical_and.accumulate(steps <= ALPHA, axis=1)
    kept = np.zeros_like(passed)
    np.put_along_axis(kept, order, passed, 1)
    found = np.zeros(distance.shape, bool)
    found[..., upper[0], upper[1]] = (kept & (t > 0)).reshape(*distance.shape[:2], -1)
    found[..., upper[1], upper[0]] = (kept & (t < 0)).reshape(*distance.shape[:2], -1)
    return found


def looks(studies: int, rng: np.random.Generator) -> Iterator[dict[str, object]]:
    """Equal schedules, looked at by `settle` as it ships and by popular rules; shares that ever claim a difference."""
    ns = np.arange(3, 21)
    for distribution, deviations, correlation in product(
        ("normal", "t5", "skewed"), ("equal", "one noisy"), (0, 0.3, 0.9)
    ):
        costs = draw(rng, (studies, 20, 6), (distribution, deviations, correlation))
        d = costs[..., 0] - costs[..., 1]
        means = np.cumsum(d, 1) / np.arange(1, 21)
        deviation = np.stack([d[:, :n].std(axis=1, ddof=1) for n in ns], 1)
        t = abs(means[:, 2:]) * np.sqrt(ns) / deviation
        repeats = abs(costs[:, 0, 0] - costs[:, 1, 0])
        rules = {
            "settle, a look at every seed": _settled(costs[..., :2], tuple(range(3, 21)), None),
            "settle, looks at 5 10 20": _settled(costs[..., :2], (5, 10, 20), None),
            "settle six": _settled(costs, (5, 10, 20), None),
            "settle six against one": _settled(costs, (5, 10, 20), "0"),
            "e-process": (e_value(d)[:, 2:] >= 1 / ALPHA).any(1),
            "t at 5 % after every seed": (t > quantile(ALPHA / 2, ns - 1)).any(1),
            "z at 5 % after every run": (t > 1.96).any(1),
            "95 % at three seeds": t[:, 0] > 1.96,
            "better than twice one repeat's difference": abs(d[:, 2]) > 2 * repeats,
        }
        row: dict[str, object] = {"noise": distribution, "deviations": deviations, "correlation": correlation}
        row |= {name: round(found.mean(), 4) for name, found in rules.items()}
        row["upper of settle"] = max(wilson(found.sum(), studies) for name, found in rules.items() if "settle" in name)
        yield row


def _settled(log_costs: FloatArray, plan: tuple[int, ...], reference: str | None) -> npt.NDArray[np.bool_]:
    """Whether `settle` claims any difference in studies (m, num_seeds, k), looked at until nothing is open.

    Only those are given to it of which some t comes within a hundredth of a threshold; no other can have a claim.
    """
    names = tuple(map(str, range(log_costs.shape[-1])))
    design = Design(names, plan, ALPHA, MARGIN, reference)
    found = np.zeros(len(log_costs), bool)
    d = np.stack([log_costs[..., int(a)] - log_costs[..., int(b)] for a, b in design.pairs], axis=-1)
    for look in planned_looks(plan, level=design.level):
        part = d[:, : look.num_seeds]
        found |= (abs(part.mean(1)) > 0.99 * look.threshold * part.std(1, ddof=1) / np.sqrt(look.num_seeds)).any(1)
    for i in np.flatnonzero(found):
        said = settle(dict(zip(names, np.exp(log_costs[i]).T, strict=True)), design, num_looks=len(plan))
        found[i] = any(pair.state == "better" for pair in said.pairs)
    return found


def replay(studies: int, rng: np.random.Generator) -> Iterator[dict[str, object]]:
    """Studies like the published ones: `settle` against 20 seeds of everybody, judged once at the same level.

    A study has the mean log losses of a workload of results/study and normal noise of its deviations, seeds shared as
    they are there. Of the pairs that are decided at 20 seeds and not between two that are out, `kept` are those that
    `settle` decides alike: the worse one is out, or it is equivalent (within the margin at 20 seeds, too).
    """
    frame = pd.read_parquet(FOLDER.parent / "study" / "accuracy" / "evaluations.parquet")
    finals = frame[frame["role"] == "final"].sort_values("step").groupby("run_id").tail(1)
    for reference, chosen in product((None, "cosine"), (["constant", "cosine", "one_cycle"], None)):
        rows = []
        for workload, group in finals.groupby("workload"):
            logs = np.log(group.pivot(index="seed", columns="scheduler", values="test/loss").astype(float))
            table = logs if chosen is None else logs[chosen]
            counts = _replayed(table, reference, min(studies, 20), rng)
            rows.append({"workload": workload, "schedules": table.shape[1], "reference": reference or "", **counts})
        total = {
            name: sum(row[name] for row in rows) for name in ("pairs at 20 seeds", "kept", "opposite", "runs", "of")
        }
        rows.append({"workload": "all", "schedules": rows[0]["schedules"], "reference": reference or "", **total})
        for row in rows:
            shares = row["kept"] / max(1, row["pairs at 20 seeds"]), row["runs"] / row["of"]
            yield row | {"share kept": round(shares[0], 4), "share of runs": round(shares[1], 4)}


def _replayed(table: pd.DataFrame, reference: str | None, studies: int, rng: np.random.Generator) -> dict[str, int]:
    names, logs = tuple(table.columns), table.to_numpy()
    k = len(names)
    shared = logs.mean(axis=1, keepdims=True) - logs.mean()
    own = (logs - logs.mean(axis=0) - shared).std(axis=0, ddof=1) * np.sqrt(k / (k - 1))
    counts = {"pairs at 20 seeds": 0, "kept": 0, "opposite": 0, "runs": 0, "of": 20 * k * studies}
    for _ in range(studies):
        noise = own * rng.standard_normal((20, k)) + shared.std(ddof=1) * rng.standard_normal((20, 1))
        costs = dict(zip(names, np.exp(logs.mean(axis=0) + noise).T, strict=True))
        fixed = settle(costs, Design(names, (20,), ALPHA, MARGIN, reference), num_looks=1)
        design = Design(names, (5, 10, 20), ALPHA, MARGIN, reference)
        history: list[Settling] = []
        while not history or history[-1].state == "continue":
            seeds = seeds_at_looks(design, [look.more_seeds for look in history])
            part = {name: values[: seeds[name]] for name, values in costs.items()}
            history.append(settle(part, design, num_looks=len(history) + 1))
        said = {frozenset((pair.first, pair.second)): pair for pair in history[-1].pairs}
        for pair in fixed.pairs:
            if pair.state == "exhausted" or (reference is None and not {pair.first, pair.second} & {*fixed.best}):
                continue
            now = said[frozenset((pair.first, pair.second))]
            within = max(abs(pair.interval.low), abs(pair.interval.high)) < np.log1p(MARGIN)
            same = now.state == pair.state and (now.state == "equivalent" or now.first == pair.first)
            is_out = pair.state == "better" and reference is None and pair.second not in history[-1].best
            counts["pairs at 20 seeds"] += 1
            counts["kept"] += same or is_out or (now.state == "equivalent" and within)
            counts["opposite"] += now.state == pair.state == "better" and now.first != pair.first
        counts["runs"] += sum(seeds.values())
    return counts


def tuning(studies: int, rng: np.random.Generator) -> Iterator[dict[str, object]]:
    """Equal schedules, each tuned for itself on five rungs whose loss grows one seed deviation a rung, then compared.

    `best cell` takes the rung of the smallest mean, `parabola` the lowest point of the parabola through all rungs;
    `crossed` trains all fresh seeds on all rungs and chooses each one's rung by the others; `with choice` is the
    parabola with the variance of the choice in the standard error, averaged over schedules. The best rate may lie on
    a rung or between two.
    """
    rungs = np.arange(5.0)
    for k, n, num_tuning, best in product((2, 6, 10), (5, 10), (1, 3, 5, 10), (1.5, 2.0, 2.25, 2.5)):
        tuned = abs(rungs - best)[:, None] + rng.standard_normal((studies, k, 5, num_tuning))
        fresh = rng.standard_normal((studies, n, k))
        means = tuned.mean(axis=3)
        cell = fresh + abs(rungs[means.argmin(axis=2)] - best)[:, None]
        lowest, slopes = parabola(rungs, means)
        smooth = fresh + abs(lowest - best)[:, None]
        claims = {"row 15 alone": _row_15(cell), "best cell": _claims(cell), "parabola": _claims(smooth)}
        if num_tuning == 1:
            every = abs(rungs - best) + rng.standard_normal((studies, n, k, 5))
            picked = (every.sum(axis=1, keepdims=True) - every).argmin(axis=3)[..., None]
            claims["crossed"] = _claims(np.take_along_axis(every, picked, 3)[..., 0])
        else:
            without = [
                parabola(rungs, (tuned.sum(axis=3) - tuned[..., t]) / (num_tuning - 1))[0] for t in range(num_tuning)
            ]
            variance = slopes**2 * (num_tuning - 1) * np.var(without, axis=0)
            claims["with choice"] = _claims(smooth, variance.mean(axis=1))
        row: dict[str, object] = {"schedules": k, "fresh seeds": n, "tuning seeds": num_tuning, "best rung": best}
        for name, found in claims.items():
            row[name] = round(found.mean(), 4)
        if num_tuning > 1:
            row["upper with choice"] = wilson(claims["with choice"].sum(), studies)
        yield row


def _claims(costs: FloatArray, selection: FloatArray | float = 0.0) -> FloatArray:
    half = half_widths(shared_noise_of(costs), alpha=ALPHA, selection=selection)
    return (gaps(costs.mean(axis=1)) > half).any((1, 2))


def _row_15(costs: FloatArray) -> FloatArray:
    k, n = costs.shape[-1], costs.shape[1]
    deviations = np.stack([(costs - costs[..., [i]]).std(axis=1, ddof=1) for i in range(k)], 1)
    threshold = quantile(ALPHA / (k - 1), n - 1) * deviations / np.sqrt(n)
    return (gaps(costs.mean(axis=1)) > threshold).any((1, 2))


def cells(studies: int, rng: np.random.Generator) -> Iterator[dict[str, object]]:
    """Coverage of the expected accuracy on one test split of 360 images, by 95 % intervals of n seeds.

    `shared`: how much seeds agree on which images they miss; 0 makes every image equally hard, as in a binomial.
    `between`: standard deviation over seeds of the logit of the error.
    """
    studies = min(studies, 2000)
    for n, error, between, shared in product((3, 5, 10), (0.003, 0.01, 0.03, 0.1, 0.4), (0.0, 0.3), (0.0, 0.8)):
        logits = special.logit(error) + between * rng.standard_normal((studies, n, 1))
        hardness = 1.0 if shared == 0 else 3.0
        images = (hardness * special.ndtri((np.arange(360) + 0.5) / 360)) if shared else np.zeros(360)
        chances = special.expit(logits + images)
        truth = float(special.expit(special.logit(error) + images + between * rng.standard_normal((4000, 1))).mean())
        accuracies = 1 - (rng.random((studies, n, 360)) < chances).mean(axis=2)
        bounds = [accuracy_interval(row, num_examples=360) for row in accuracies]
        mean, half = accuracies.mean(axis=1), quantile(0.025, n - 1) * accuracies.std(axis=1, ddof=1) / np.sqrt(n)
        covered = [b.low <= 1 - truth <= b.high for b in bounds]
        yield {
            "seeds": n, "error": error, "between": between, "shared": shared,
            "Student t": round((abs(mean - 1 + truth) <= half).mean(), 3),
            "accuracy_interval": round(np.mean(covered), 3),
            "width": round(float(np.mean([b.high - b.low for b in bounds])), 4),
            "width of t": round(2 * half.mean(), 4),
        }  # fmt: skip


if __name__ == "__main__":
    main()
