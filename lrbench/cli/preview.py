"""`lrbench preview scheduler=a,b [more overrides] [out=lr.csv] [out=lr.png]`: see the rates before training.

A chart in the terminal; `out=`, once or more, writes files:

* `.png`, `.svg`: rate against step, momentum below when a schedule moves it;
* `.csv`: for one schedule the columns step, lr, momentum, momentum being empty where the schedule leaves it alone; for
  several one table with the columns step, lr[LABEL], momentum[LABEL] of each, cells beyond a shorter budget empty.

Steps are zero-based, the rate of step t is the one that update t uses. Nothing is trained and no data is loaded.
"""

import csv
import shutil
import sys
from collections.abc import Mapping
from itertools import pairwise, zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lrbench.runs.compose import compose_plans
from lrbench.runs.labels import labels_of
from lrbench.schedules.rates import Rates

_FORMATS = (".csv", ".png", ".svg")
_BLOCKS = " ▁▂▃▄▅▆▇█"
_WIDTH_OF_A_FILE = 80
_NEVER_IMPROVES = "drawn for a validation loss that never improves; in training its rates depend on the loss"


def main(arguments: list[str]) -> int:
    """Draw the rates of one or several schedules.

    Raises:
        ValueError: a file of an unknown kind, or a schedule that cannot be drawn; see `make_rates`.
    """
    targets = [Path(word.removeprefix("out=")) for word in arguments if word.startswith("out=")]
    for target in targets:
        if target.suffix not in _FORMATS:
            raise ValueError(f"out must end in {', '.join(_FORMATS)}, got {str(target)!r}")
        if not target.absolute().parent.is_dir():
            raise ValueError(f"out={target}: there is no directory {target.absolute().parent}")
    plans = compose_plans([word for word in arguments if not word.startswith("out=")])
    # torch comes after everything that can be refused without it.
    from lrbench.runs.rates import table_of

    tables = {label: table_of(plan) for label, plan in zip(labels_of(plans), plans, strict=True)}
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else _WIDTH_OF_A_FILE
    for label, rates in tables.items():
        lines = chart(label, rates, width=width, height=8 if len(tables) == 1 else 3, blocks=_blocks())
        print("\n".join(lines), end="\n\n")
    for target in targets:
        if target.suffix == ".csv":
            write_csv(target, tables)
        else:
            from lrbench.reporting.rate_pictures import draw_rates, save_figure  # matplotlib is slow to import

            closed = [label for label, rates in tables.items() if rates.closed_loop]
            save_figure(draw_rates(tables, note=f"{', '.join(closed)}: {_NEVER_IMPROVES}" if closed else ""), target)
        print(f"wrote {target}")
    return 0


def chart(label: str, rates: Rates, *, width: int, height: int, blocks: str = _BLOCKS) -> list[str]:
    """Draw one table as text: a title, `height` rows of blocks with the top and bottom rate, the facts.

    Args:
        label: title.
        rates: the table.
        width: columns of text, at least 20.
        height: rows of the picture, >= 1.
        blocks: fillings of a cell from empty to full.
    """
    lines = [label, *_curve(rates.lr, width=width, height=height, blocks=blocks), _facts("lr", rates.lr)]
    if rates.momentum is not None:
        floor = float(rates.momentum.min())
        lines += _curve(rates.momentum, width=width, height=max(2, height // 3), blocks=blocks, bottom=floor)
        lines.append(_facts("momentum", rates.momentum))
    if rates.warmup_steps:
        lines.append(f"warmup: the first {rates.warmup_steps} steps")
    if rates.closed_loop:
        lines.append(f"closed loop: {_NEVER_IMPROVES}")
    return lines


def write_csv(path: Path, tables: Mapping[str, Rates]) -> None:
    """Write tables, see the module's docstring; numbers are written so that they read back exactly."""
    single = len(tables) == 1
    header, columns = ["step"], []
    for label, rates in tables.items():
        header += ["lr", "momentum"] if single else [f"lr[{label}]", f"momentum[{label}]"]
        columns += [rates.lr.tolist(), [] if rates.momentum is None else rates.momentum.tolist()]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([step, *row] for step, row in enumerate(zip_longest(*columns, fillvalue="")))


def _blocks() -> str:
    """Blocks, or plain ASCII where the output cannot show them."""
    try:
        _BLOCKS.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return " .:#"
    return _BLOCKS


def _curve(values: NDArray[np.float64], *, width: int, height: int, blocks: str, bottom: float = 0.0) -> list[str]:
    """Rows of blocks between `bottom` and the largest value; each column shows the largest value of its steps."""
    top = float(values.max())
    labels = {height - 1: f"{top:.3g}", 0: f"{bottom:.3g}"}
    margin = max(map(len, labels.values()))
    num_columns = min(width - margin - 2, len(values))
    edges = [i * len(values) // num_columns for i in range(num_columns + 1)]
    peaks = np.array([values[begin:end].max() for begin, end in pairwise(edges)])
    full = len(blocks) - 1
    # Anything above the bottom shows, so that a small rate is not mistaken for none.
    filled = np.ceil((peaks - bottom) / (top - bottom or 1.0) * height * full - 1e-9).astype(int)
    axis = "┤" if blocks == _BLOCKS else "|"
    rows = []
    for row in reversed(range(height)):
        cells = "".join(blocks[min(max(level - row * full, 0), full)] for level in filled)
        rows.append(f"{labels.get(row, ''):>{margin}} {axis}{cells}".rstrip())
    return rows


def _facts(what: str, values: NDArray[np.float64]) -> str:
    highest, lowest = int(values.argmax()), int(values.argmin())
    return (
        f"{what}: first {values[0]:.4g}, last {values[-1]:.4g} (step {len(values) - 1}), "
        f"max {values[highest]:.4g} (step {highest}), min {values[lowest]:.4g} (step {lowest})"
    )
