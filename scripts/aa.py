"""A against A on real trainings: `python scripts/aa.py [--studies 100] [--first 0] [--seeds other|same]`.

Each study compares the cosine with itself through the whole pipeline, sweep, fresh seeds and report, on digits. The
second one searches a dummy parameter besides (a lowest rate of almost nothing), so fewer of its trials refine the rate.
A claim of a difference is false; of 100 studies at most 8 may make one. With `--seeds same` the two are paired, as the
protocol has it, and at equal rates exactly equal; with `other` only chance is left between them. Writes
results/aa/table.csv, a row a study, and goes on where it was stopped.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

import lrbench
from lrbench.analysis.statistics.terms import Unavailable

TABLE = Path(__file__).parent.parent / "results" / "aa" / "table.csv"
SEEDS_OF_A_STUDY, SEEDS_OF_THE_SECOND = 10_000, 5_000  # so that no two ever share a seed unless they shall
NO_LOWEST_RATE = [1e-12, 2e-12, 3e-12, 4e-12]
SEARCH = {"num_trials": 8, "final_seeds": 5, "report": False}


def main() -> None:
    """Run studies and print how many claim a difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", choices=["other", "same"], default="other")
    arguments = parser.parse_args()
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    rows = pd.read_csv(TABLE).to_dict("records") if TABLE.is_file() else []
    done = {(row["study"], row["seeds"]) for row in rows}
    for number in range(arguments.first, arguments.first + arguments.studies):
        if (number, arguments.seeds) not in done:
            rows.append({"study": number, "seeds": arguments.seeds, **study(number, arguments.seeds)})
            pd.DataFrame(rows).to_csv(TABLE, index=False)
            print(rows[-1], flush=True)
    for kind, group in pd.DataFrame(rows).groupby("seeds"):
        print(f"{kind} seeds: {group['claims a difference'].sum()} of {len(group)} studies claim a difference")


def study(number: int, seeds: str) -> dict[str, object]:
    """Tune, measure and compare the two cosines of one study."""
    first = SEEDS_OF_A_STUDY * (number + 1)
    second = first + (SEEDS_OF_THE_SECOND if seeds == "other" else 0)
    with tempfile.TemporaryDirectory() as folder:
        plain = _tuned(Path(folder) / "plain", first, {"scheduler.min_ratio": 0.0})
        dummy = _tuned(Path(folder) / "dummy", second, {"scheduler.min_ratio": NO_LOWEST_RATE})
        frames = [plain.frame, dummy.frame.assign(scheduler="cosine_dummy")]
        (section,) = lrbench.report(pd.concat(frames, ignore_index=True)).analysis.sections
    found = section.contenders[0].found
    if isinstance(found, Unavailable):
        raise ValueError(f"study {number} has no verdict: {found.reason}")
    rates = [point["optimizer.lr"] for study in (plain, dummy) for point in study.best.values()]
    (pair,) = found.pairs
    return {"rate": rates[0], "rate of the dummy": rates[1], "claims a difference": pair.state in ("better", "worse")}


def _tuned(folder: Path, seed: int, words: dict[str, Any]) -> Any:
    return lrbench.sweep(
        scheduler="cosine", dataset="digits", model="mlp", budget={"epochs": 5}, seed=list(range(seed, seed + 3)),
        tracking="none", results_dir=str(folder), search=SEARCH, **words,
    )  # fmt: skip


if __name__ == "__main__":
    main()
