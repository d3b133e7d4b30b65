"""Predicted against measured ranks on published trainings: `python scripts/predict_published.py`.

Reads the 235 trainings of Schaipp et al. 2025 in $LRBENCH_DATA/curves/lr_scheduling_icml2025. For every peak rate, the
law is fitted to at most four probes of 15,000 steps (those that exist), and ranks the schedules of the 124M model at
25,000, 35,000 and 50,000 steps. Measured is the authors' `final_val_loss`. Their curves have one seed, so there are no
intervals of rank. Writes results/predict/published.csv, a line a schedule, and prints a line a cell.
"""

import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from lrbench.analysis.predict import endless, missed_end, rises, too_little
from lrbench.analysis.statistics.power_law_fit import Probe, fit_law
from lrbench.results.formats import read_format
from lrbench.schedules import cosine, cosine_to_min, wsd

WARMUP = 300
SHORT, LONGER = 15_000, (25_000, 35_000, 50_000)
PEAKS = (5e-4, 1e-3, 2e-3)
PROBES = ("wsd-0.2-linear", "wsd-0.6-linear", "cos-10pct")
OUT = Path(__file__).parents[1] / "results" / "predict" / "published.csv"


def main() -> int:
    """Write the table; 0 if every cell has Spearman >= .85 and a regret of at most .002."""
    runs = _runs(Path(os.environ["LRBENCH_DATA"]) / "curves" / "lr_scheduling_icml2025")
    lines = pd.concat([_cells(runs[runs["optimizer.lr"] == peak], peak) for peak in PEAKS])
    OUT.parent.mkdir(parents=True, exist_ok=True)
    lines.to_csv(OUT, index=False, float_format="%.6g", lineterminator="\n")
    reached = True
    for (peak, total), cell in lines.groupby(["peak_lr", "total_steps"]):
        measured, predicted = cell["measured_loss"].to_numpy(), cell["predicted_loss"].to_numpy()
        rho = float(spearmanr(measured, predicted).statistic)
        regret = float(measured[predicted.argmin()] - measured.min())
        tried = cell[cell["short_loss"].notna()]
        short = float(spearmanr(tried["short_loss"], tried["measured_loss"]).statistic)
        reached &= rho >= 0.85 and regret <= 0.002
        print(
            f"{peak:g} at {total}: {len(cell)} schedules, Spearman {rho:.3f}, regret {regret:.4f} of "
            f"{np.ptp(measured):.3f}, level off by {np.mean(predicted - measured):+.3f}; ranking all {len(tried)} that "
            f"were trained short: {short:.3f} (the law there "
            f"{float(spearmanr(tried['predicted_loss'], tried['measured_loss']).statistic):.3f}); "
            f"{cell['refused'].iloc[0] or 'not refused'}"
        )
    return 0 if reached else 1


def _runs(folder: Path) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that resumed runs repeat steps
        frame = read_format("lr_scheduling_icml2025", [str(folder)], columns={}, constants={})
    kept = (frame["model"] == "llama-124M") & (frame["dataset"] == "slimpajama") & (frame["experiment"] == "main")
    # What shape `wsd-0.2-default` cools down by is not said.
    return frame[kept & ~frame["scheduler"].str.endswith("default")]


def _cells(runs: pd.DataFrame, peak: float) -> pd.DataFrame:
    """All lengths of one peak rate."""
    probes = [_probe(run, SHORT) for name in PROBES for run in _of(runs, name, SHORT)]
    probes += [_probe(run, SHORT) for run in _of(runs, "constant", max(LONGER))]
    seeds = {probe.name: [probe] for probe in probes}
    law = fit_law(probes)
    refusal = too_little(seeds) or rises(probes, seeds) or missed_end(probes, seeds) or endless(law, probes)
    lines = []
    for total in LONGER:
        here = runs[runs["budget"] == total]
        for name in here["scheduler"].unique():
            final = here.loc[here["scheduler"] == name, "final_val_loss"].iloc[0]
            if name == "constant" or pd.isna(final):  # its beginning is a probe; the authors give no last loss
                continue
            short = [run["final_val_loss"].iloc[0] for run in _of(runs, name, SHORT)]
            lines.append(
                {
                    "peak_lr": peak,
                    "total_steps": total,
                    "scheduler": name,
                    "measured_loss": float(final),
                    "predicted_loss": law.loss(_rates(name, total), warmup=WARMUP / 2),
                    "short_loss": float(short[0]) if short and pd.notna(short[0]) else np.nan,
                    "is_probe": name in seeds,
                    "num_probes": len(probes),
                    "refused": "" if refusal is None else refusal.reason,
                }
            )
    table = pd.DataFrame(lines)
    for column in ("measured", "predicted"):
        table[f"{column}_rank"] = table.groupby("total_steps")[f"{column}_loss"].rank(method="min").astype(int)
    return table


def _of(runs: pd.DataFrame, name: str, total: int) -> list[pd.DataFrame]:
    here = runs[(runs["scheduler"] == name) & (runs["budget"] == total)]
    return [run for _, run in here.groupby("run_id", sort=False)]


def _probe(run: pd.DataFrame, total: int) -> Probe:
    """A run up to `total` steps."""
    known = run[(run["step"] > WARMUP) & (run["step"] <= total) & run["val/loss"].notna()]
    name = str(run["scheduler"].iloc[0])
    return Probe(
        name,
        _rates(name, total),
        WARMUP / 2,
        known["step"].to_numpy(dtype=np.float64) - WARMUP,
        known["val/loss"].to_numpy(dtype=np.float64),
    )


def _rates(name: str, total: int) -> np.ndarray:
    """Rates after the warmup, relative to the peak, as epfml/schedules-and-scaling makes them."""
    step = np.arange(total - WARMUP)
    family, *parameters = name.split("-")
    if name == "constant":
        return np.ones(step.size)
    if name == "cos-zero":
        return np.asarray(cosine(step, step.size))
    if family == "cos":
        return np.asarray(cosine_to_min(step, step.size, min_ratio=0.1))
    fraction, shape = float(parameters[0]), {"linear": "linear", "sqrt": "1-sqrt"}[parameters[1]]
    return np.asarray(wsd(step + WARMUP, total, decay_fraction=fraction, shape=shape))


if __name__ == "__main__":
    sys.exit(main())
