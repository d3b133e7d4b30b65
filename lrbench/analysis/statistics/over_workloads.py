"""Which schedules may be the best over workloads: of these, and of workloads like these (docs/metrics.md, row 18).

*On these workloads* is about the mean of exactly these: seeds are the replicates. *On workloads like these* is about
others of their kind: data sources are the replicates, and workloads of one source count together as one. The second is
claimed only of pairs for which the first is, so that both share one alpha: a false claim needs either a false first
one, or a true first and a false second, and every pair has only one level for the two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lrbench.analysis.statistics.contenders import (
    Contenders,
    Seeds,
    check_levels,
    log_costs,
    read_off,
)
from lrbench.analysis.statistics.simultaneous import (
    Noise,
    half_widths,
    noise_of,
    quantile,
    shared_noise_of,
    through_reference,
    typical_level,
)
from lrbench.analysis.statistics.terms import MIN_SEEDS, FloatArray, Unavailable

SHARE_ACROSS = 0.2  # of alpha: over workloads there are more replicates, so that the claims need less of it
MOST_FLIPS = 16  # sources whose 2^n signs are enumerated


@dataclass(frozen=True)
class Levels:
    """The parts of alpha, so that all claims of one report are one family.

    Attributes:
        workload: of each workload.
        across: of the claims over the workloads of each section.
    """

    workload: float
    across: float


@dataclass(frozen=True)
class SignFlips:
    """Sign-flip test of one pair over sources, two-sided and exact; a description beside the claim."""

    first: str
    second: str
    p_value: float


@dataclass(frozen=True)
class OverWorkloads:
    """Both statements.

    Attributes:
        these: on these workloads.
        alike: on workloads like these; a pair is claimed only where `these` claims it.
        flips: of all pairs, over sources; empty where there are fewer than three.
    """

    these: Contenders | Unavailable
    alike: Contenders | Unavailable
    flips: tuple[SignFlips, ...]


def share_alpha(alpha: float, *, workloads_of_sections: Sequence[int]) -> Levels:
    """Divide alpha over everything that one report claims.

    Args:
        alpha: of the report.
        workloads_of_sections: how many workloads each section shows.
    """
    total, several = sum(workloads_of_sections), sum(n > 1 for n in workloads_of_sections)
    if total < 1:
        raise ValueError("a report needs a workload")
    if not several:
        return Levels(alpha / total, 0.0)
    return Levels((1 - SHARE_ACROSS) * alpha / total, SHARE_ACROSS * alpha / several)


def contenders_over_workloads(
    workloads: Mapping[str, Mapping[str, Seeds]],
    sources: Mapping[str, str],
    *,
    alpha: float = 0.05,
    margin: float = 0.1,
    reference: str | None = None,
) -> OverWorkloads | Unavailable:
    """Find the schedules that may be the best over workloads, each of which counts the same.

    Args:
        workloads: by name, the runs of every schedule.
        sources: the data source of each workload.
        alpha: probability that any claim of both statements is false.
        margin: of equivalence.
        reference: the schedule that all others are compared with; None compares all pairs.

    Raises:
        ValueError: as `contenders`.
    """
    check_levels(alpha, margin)
    names = sorted({name for runs in workloads.values() for name in runs})
    if len(workloads) < 2 or len(names) < 2:
        return Unavailable(f"needs two workloads and two schedules, got {len(workloads)} and {len(names)}")
    for workload, runs in workloads.items():
        for name in runs:
            log_costs(name, runs[name])
        short = [n for n in names if n not in runs or len(runs[n].seeds) < MIN_SEEDS]
        if short:
            return Unavailable(f"{workload} lacks {MIN_SEEDS} seeds of {', '.join(short)}; nothing is imputed")
    if reference is not None and reference not in names:
        return Unavailable(f"the reference {reference} is on none of the workloads")
    means = np.stack([[np.log(runs[n].costs).mean() for n in names] for runs in workloads.values()])
    noises = [_noise([runs[n] for n in names]) for runs in workloads.values()]
    selection = np.array([np.mean([runs[n].selection for n in names]) for runs in workloads.values()])
    added = float(selection.sum()) / len(means) ** 2
    these = _on_these(names, means, noises, added, alpha=alpha, margin=margin, reference=reference)
    origin = [sources[workload] for workload in workloads]
    by_source = np.stack([means[[o == s for o in origin]].mean(axis=0) for s in sorted(set(origin))])
    if len(by_source) < MIN_SEEDS:
        reason = f"workloads like these: needs {MIN_SEEDS} data sources, got {len(by_source)}"
        return OverWorkloads(these, Unavailable(reason), ())
    alike = _on_alike(names, by_source, these, alpha=alpha, margin=margin, reference=reference)
    return OverWorkloads(these, alike, _flips(names, by_source))


def sign_flip_p(differences: npt.ArrayLike) -> float:
    """Exact two-sided p of a mean difference when every sign is as likely as its opposite (Fisher 1935).

    Args:
        differences: (num_sources,), at most MOST_FLIPS.
    """
    d = np.asarray(differences, dtype=np.float64)
    if not 1 <= d.size <= MOST_FLIPS:
        raise ValueError(f"signs are enumerated for 1 to {MOST_FLIPS} differences, got {d.size}")
    signs = 1 - 2 * ((np.arange(2**d.size)[:, None] >> np.arange(d.size)) & 1)
    sums = abs(signs @ d)
    return float((sums >= abs(d.sum()) * (1 - 1e-12)).mean())


def errors_over_workloads(noises: Sequence[Noise]) -> tuple[FloatArray, FloatArray]:
    """Standard errors of mean differences over fixed workloads, and Satterthwaite's degrees of freedom.

    Returns:
        (..., k, k) each, for the leading dimensions of the noises.
    """
    shares = [noise.variances / noise.num_seeds for noise in noises]
    share = np.sum(shares, axis=0)
    weight = np.sum([s**2 / noise.degrees for s, noise in zip(shares, noises, strict=True)], axis=0)
    total = share[..., :, None] + share[..., None, :]
    with np.errstate(invalid="ignore"):
        degrees = total**2 / (weight[..., :, None] + weight[..., None, :])
    return np.sqrt(total) / len(noises), np.where(total > 0, degrees, 1.0)


def _noise(runs: Sequence[Seeds]) -> Noise:
    if len({tuple(sorted(r.seeds)) for r in runs}) > 1:
        return noise_of([np.log(r.costs) for r in runs])
    return shared_noise_of(np.stack([np.log(r.costs)[np.argsort(r.seeds)] for r in runs], axis=1))


def _on_these(
    names: list[str],
    means: FloatArray,
    noises: list[Noise],
    selection: float,
    *,
    alpha: float,
    margin: float,
    reference: str | None,
) -> Contenders | Unavailable:
    error, degrees = errors_over_workloads(noises)
    level = typical_level(alpha, len(names), has_reference=reference is not None)
    half = quantile(level, degrees) * np.sqrt(error**2 + 2 * selection)
    if reference is not None:
        half = through_reference(half, names.index(reference))
    num_seeds = [int(sum(noise.num_seeds[i] for noise in noises)) for i in range(len(names))]
    if not (half[~np.eye(len(names), dtype=bool)] > 0).all():
        return Unavailable("two schedules do not vary over seeds on any workload")
    method = f"simultaneous t over {len(names)} schedules and {len(means)} workloads, Satterthwaite"
    middle = means.mean(axis=0)
    return read_off(names, middle, half, num_seeds, (), alpha=alpha, margin=margin, method=method, reference=reference)


def _on_alike(
    names: list[str],
    by_source: FloatArray,
    these: Contenders | Unavailable,
    *,
    alpha: float,
    margin: float,
    reference: str | None,
) -> Contenders | Unavailable:
    if isinstance(these, Unavailable):
        return these
    means = by_source.mean(axis=0)
    index = None if reference is None else names.index(reference)
    half = half_widths(shared_noise_of(by_source), alpha=alpha, reference=index)
    bound = float(np.log1p(margin))
    for pair in these.pairs:
        i, j = names.index(pair.first), names.index(pair.second)
        gap = abs(means[i] - means[j])
        # What is not claimed of these workloads is not claimed of others: the interval reaches as far as it must.
        if pair.state != ("worse" if means[i] > means[j] else "better"):
            half[i, j] = half[j, i] = max(half[i, j], gap)
        if pair.state != "equivalent":
            half[i, j] = half[j, i] = half[i, j] if half[i, j] < gap else max(half[i, j], bound + gap)
    method = f"simultaneous t over {len(names)} schedules and {len(by_source)} data sources"
    num = [len(by_source)] * len(names)
    return read_off(names, means, half, num, (), alpha=alpha, margin=margin, method=method, reference=reference)


def _flips(names: list[str], by_source: FloatArray) -> tuple[SignFlips, ...]:
    if len(by_source) > MOST_FLIPS:
        return ()
    return tuple(
        SignFlips(names[i], names[j], sign_flip_p(by_source[:, i] - by_source[:, j]))
        for i in range(len(names))
        for j in range(i + 1, len(names))
    )
