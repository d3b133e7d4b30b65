"""False claims with the ladder's own refinement: `python scripts/simulate_ladder.py [--studies 2000] [--seed 0]`.

Equal schedules, each tuned by the ladder that sweeps use (lrbench.search.ladder) on three tuning seeds, then compared
on fresh seeds. The loss grows one seed deviation a rung to both sides; as a `cliff`, three above the best rate and half
a one below; or it `diverges` .8 rungs above. Prints, and writes results/simulations/ladder.csv: studies with any claim
by the best cell and by the choice of sweeps, with the variance of the choice, and the mean loss of both above the best
rate.
"""

import argparse
import math
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial
from scipy import stats

from lrbench.analysis.statistics.rate_choice import tuned_rate
from lrbench.analysis.statistics.simultaneous import half_widths, shared_noise_of
from lrbench.analysis.statistics.terms import FloatArray
from lrbench.search.ladder import FACTOR, ladder_point
from lrbench.search.space import RATE, Dimension

TABLE = Path(__file__).parent.parent / "results" / "simulations" / "ladder.csv"
ALPHA, NUM_TUNING_SEEDS = 0.05, 3
SIZES = ((3, 5), (3, 10), (6, 5), (6, 10), (10, 5), (10, 10))  # schedules and fresh seeds
SPACE = (Dimension(RATE, FloatDistribution(FACTOR**-4, FACTOR**4, log=True), {}, 1.0),)
SHAPES: dict[str, Callable[[float], float]] = {
    "even": abs,
    "cliff": lambda d: 3 * d if d > 0 else -d / 2,
    "diverges": lambda d: 12.0 if d > 0.8 else abs(d),
}


def main() -> None:
    """Simulate every combination."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(arguments.seed)
    rows = []
    for shape, num_trials, best in product(SHAPES, (8, 16), (0.0, 0.4)):
        for row in simulate(SHAPES[shape], num_trials, best, arguments.studies, rng):
            rows.append({"loss": shape, "trials": num_trials, "best rung": best, **row})
            print(rows[-1], flush=True)
            pd.DataFrame(rows).to_csv(TABLE, index=False)


def simulate(
    shape: Callable[[float], float], num_trials: int, best: float, studies: int, rng: np.random.Generator
) -> Iterator[dict[str, float]]:
    """Rows of the table; the smaller numbers of schedules are the first of the same ladders."""
    loss = np.vectorize(lambda rung: float(shape(rung - best)))
    cells, chosen, variance = np.empty((3, studies, max(k for k, _ in SIZES)))
    for place in np.ndindex(cells.shape):
        rates, costs = tune(loss, num_trials, rng)
        choice = tuned_rate(rates, np.exp(costs))
        cells[place] = _rung(rates[costs.mean(axis=0).argmin()])
        chosen[place], variance[place] = _rung(choice.rate), choice.variance
    by_cell, by_choice = loss(cells), loss(chosen)
    for k, n in SIZES:
        fresh = rng.standard_normal((studies, n, k))
        false = _claims(fresh + by_choice[:, None, :k], variance[:, :k].mean(axis=1))
        yield {
            "schedules": k, "fresh seeds": n, "studies": studies,
            "best cell": round(_claims(fresh + by_cell[:, None, :k], 0.0).mean(), 4),
            "choice": round(false.mean(), 4),
            "upper of choice": round(stats.binomtest(int(false.sum()), studies).proportion_ci(0.95, "wilson").high, 4),
            "loss of best cell": round(by_cell.mean(), 3), "loss of choice": round(by_choice.mean(), 3),
        }  # fmt: skip


def tune(
    loss: Callable[[FloatArray], FloatArray], num_trials: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Rates of one ladder, (num_trials,), ascending, and their costs, (num_tuning_seeds, num_trials)."""
    trials, costs = [], []
    for number in range(num_trials):
        point = ladder_point(SPACE, seed=0, number=number, minimize=True, history=trials)
        costs.append(loss(np.array(_rung(point[RATE]))) + rng.standard_normal(NUM_TUNING_SEEDS))
        trials.append(
            create_trial(params=point, distributions={RATE: SPACE[0].distribution}, value=float(costs[-1].mean()))
        )
    rates = np.array([trial.params[RATE] for trial in trials])
    order = np.argsort(rates)
    return rates[order], np.stack(costs, axis=1)[:, order]


def _rung(rate: float) -> float:
    return math.log(rate) / math.log(FACTOR)


def _claims(costs: FloatArray, selection: FloatArray | float) -> FloatArray:
    means = costs.mean(axis=1)
    half = half_widths(shared_noise_of(costs), alpha=ALPHA, selection=selection)
    return (means[:, :, None] - means[:, None, :] > half).any((1, 2))


if __name__ == "__main__":
    main()
