"""Predicted against measured ranks on small workloads: `scripts/predict_measured.py FOLDER [WORKLOAD=RATE ...]`.

For every workload and peak rate: the four probes of `lrbench.probes`, a quarter of its length, seeds 0 and 1;
then, at the whole length, their schedules and sixteen drawn at random from all others of the gallery that the law can
speak of, on seeds 100 and 101; at last the pick, the measured best and the optimised shape on ten fresh paired seeds.
Runs are kept in FOLDER; the same command goes on. Writes results/predict/measured.csv (a line a schedule) and
cells.csv (a line a cell), and prints the latter.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr, ttest_1samp

import lrbench
from lrbench.analysis.prediction import OPTIMISED
from lrbench.analysis.statistics.terms import Unavailable
from lrbench.runs.relative_rates import gallery, probes_of
from lrbench.studies.prediction import PROBE_SHARE

Scheduler = str | Mapping[str, Any]
Config = dict[str, Any]

CELLS = {
    "digits_mlp": (0.1,),
    "mnist1d_mlp": (0.1,),
    "surnames_mlp": (0.1, 0.3),
    "shakespeare_gpt": (0.003, 0.001),
    "shakespeare_gru": (0.003, 0.001),
}
PROBES: dict[str, Scheduler] = {
    "wsd": "wsd",
    "wsd decay_fraction=0.6": {"name": "wsd", "decay_fraction": 0.6},
    "step": "step",
    "cosine": "cosine",
}
NUM_UNTRIED = 16
SEEDS, FRESH = [100, 101], list(range(200, 210))
OUT = Path(__file__).parents[1] / "results" / "predict"


def main(folder: str, *chosen: str) -> int:
    """Measure the cells, all of them or those chosen."""
    cells = [(name, lr) for name, rates in CELLS.items() for lr in rates]
    if chosen:
        cells = [(name, float(lr)) for name, lr in (cell.split("=") for cell in chosen)]
    for name, lr in cells:
        cell, lines = _cell({"workload": name, "optimizer": {"lr": lr}, "results_dir": folder, "tracking": "none"})
        _write("cells.csv", pd.DataFrame([{"workload": name, "peak_lr": lr} | cell]))
        if lines is not None:
            _write(
                "measured.csv", pd.concat([pd.DataFrame({"workload": name, "peak_lr": lr}, lines.index), lines], axis=1)
            )
        print(name, lr, cell, flush=True)
    return 0


def _cell(config: Config) -> tuple[dict[str, object], pd.DataFrame | None]:
    """One line of facts, and one a schedule; of a refused cell the reason alone."""
    probes = lrbench.probes(**config)
    frame = lrbench.read(probes, parameters="all")
    total_steps = int(frame["budget"].max()) * PROBE_SHARE
    untried = _untried(frame, total_steps)
    found = lrbench.predict(probes, total_steps=total_steps, schedules=untried)
    facts: dict[str, object] = {"total_steps": total_steps, "refused": ""}
    if found.refused is not None:
        return facts | {"refused": found.refused.reason}, None
    assert found.pick is not None
    assert found.decay_fraction is not None
    schedulers: dict[str, Scheduler] = {name: name for name in [*untried, *PROBES]} | PROBES
    mean = _last_losses(schedulers, SEEDS, config).mean()
    lines = found.table.assign(measured=lambda table: table["schedule"].map(mean))
    lines["measured_rank"] = lines["measured"].rank(method="min").astype(int)
    best = str(mean.idxmin())
    best_short = min(found.short_ranks, key=lambda name: found.short_ranks[name])
    new = lines[lines["short_rank"].isna()]
    facts |= {
        "spearman_untried": spearmanr(new["rank"], new["measured"]).statistic,
        "spearman_all": spearmanr(lines["rank"], lines["measured"]).statistic,
        "covered": lines["measured_rank"].between(lines["rank_low"], lines["rank_high"]).mean(),
        "pick": found.pick,
        "best": best,
        "spread": np.ptp(mean),
        "regret": mean[found.pick] - mean[best],
        "best_short": best_short,
        "regret_best_short": mean[best_short] - mean[best],
        "decay_fraction": found.decay_fraction[0],
    }
    shape = lrbench.predict(probes, total_steps=total_steps, schedules=untried, optimise=True).optimised
    assert shape is not None
    fresh = _last_losses({name: schedulers[name] for name in (found.pick, best)} | {OPTIMISED: shape}, FRESH, config)
    return facts | _paired("pick", fresh[found.pick] - fresh[best]) | _paired(
        "shape", fresh[OPTIMISED] - fresh[best]
    ), lines


def _untried(frame: pd.DataFrame, total_steps: int) -> list[str]:
    """Drawn from the gallery, schedules of equal rates counted once."""
    probes = probes_of(frame)
    if isinstance(probes, Unavailable):
        return []
    rates, _ = probes.candidates(gallery(), total_steps)
    tables = {tuple(np.round(rates[name], 2)): name for name in sorted(set(rates) - set(PROBES), reverse=True)}
    return sorted(np.random.default_rng(0).choice(sorted(tables.values()), NUM_UNTRIED, replace=False).tolist())


def _last_losses(schedulers: dict[str, Scheduler], seeds: list[int], config: Config) -> pd.DataFrame:
    """Last validation losses, (num_seeds, num_schedules), infinite where a run diverged; trained one by one, here."""
    runs = {
        name: [lrbench.run(**config, scheduler=scheduler, seed=seed) for seed in seeds]
        for name, scheduler in schedulers.items()
    }
    return pd.DataFrame(
        {name: [run.metrics["val/loss"] if run.state == "ok" else np.inf for run in row] for name, row in runs.items()},
        index=seeds,
    )


def _paired(name: str, differences: pd.Series) -> dict[str, object]:
    """Mean and two-sided 95 % interval of paired differences to the measured best."""
    if (differences == 0).all():
        return {f"{name}_worse_by": 0.0, f"{name}_low": 0.0, f"{name}_high": 0.0}
    interval = ttest_1samp(differences, 0.0).confidence_interval(0.95)
    return {f"{name}_worse_by": differences.mean(), f"{name}_low": interval.low, f"{name}_high": interval.high}


def _write(file: str, new: pd.DataFrame) -> None:
    """Put lines of a cell in the place of those that were there."""
    path = OUT / file
    if path.exists():
        old = pd.read_csv(path)
        same = (old["workload"] == new["workload"].iloc[0]) & (old["peak_lr"] == new["peak_lr"].iloc[0])
        new = pd.concat([old[~same], new], ignore_index=True)
    new.to_csv(path, index=False, float_format="%.5g", lineterminator="\n")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
