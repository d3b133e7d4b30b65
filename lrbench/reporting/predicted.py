"""The part about a prediction from short runs: ranks beside what was measured, and the shapes."""

from scipy.stats import rankdata

from lrbench.analysis.prediction import OPTIMISED, Prediction
from lrbench.reporting.items import Group, Item, Part, Words
from lrbench.reporting.layout import axes_at, new_figure
from lrbench.reporting.pictures import FAINT, INK, Picture
from lrbench.reporting.styles import PALETTE
from lrbench.reporting.tables import Row, Table
from lrbench.reporting.words import number

_DRAWN = 5  # schedules, the best first
_HEIGHT = 2.4


def predicted_part(prediction: Prediction) -> Part:
    """Say what four short runs predict, or why they do not."""
    part = Part(
        "Predicted from short runs", "An order, never losses; beside it the order of the short runs themselves."
    )
    items: list[Item] = [_ranks_table(prediction)]
    if prediction.refused is not None:
        items.insert(0, Words(f"No prediction: {prediction.refused.reason}."))
    else:
        items.append(_shapes_picture(prediction))
    part.groups.append(Group("", items))
    return part


def _ranks_table(prediction: Prediction) -> Table:
    rows = prediction.rows
    both = [row["schedule"] for row in rows if row["schedule"] in prediction.measured]
    places = rankdata([prediction.measured[name] for name in both], method="min")
    measured = dict(zip(both, places.astype(int).tolist(), strict=True))
    predicted = {name: place for place, name in enumerate(both, start=1)}
    cells = [
        [
            row["schedule"],
            str(row["rank"] or ""),
            "" if row["rank_low"] is None else f"{row['rank_low']:g} to {row['rank_high']:g}",
            str(row["short_rank"] or ""),
            f"{predicted[row['schedule']]}" if row["schedule"] in measured else "",
            f"{measured[row['schedule']]}" if row["schedule"] in measured else "",
            number(prediction.measured[row["schedule"]]) if row["schedule"] in measured else "",
        ]
        for row in rows
    ]
    return Table(
        f"{prediction.total_steps:,} steps at the peak rate {number(prediction.peak_lr)}"
        if prediction.peak_lr is not None
        else f"{prediction.total_steps:,} steps",
        ["schedule", "predicted rank", "80 % interval", "rank of the short runs", f"predicted, of {len(both)} measured",
         f"measured, of {len(both)}", "measured val/loss"],
        [Row((), row) for row in cells],
        "; ".join(f"{name} is not ranked: {reason}" for name, reason in prediction.left_out.items()),
    )  # fmt: skip


def _shapes_picture(prediction: Prediction) -> Picture:
    """Rates of the schedules that are predicted best; the optimised shape is the thick line."""
    figure = new_figure(_HEIGHT + 0.7)
    axes = axes_at(figure, left=0.72, top=0.15, width=6.5, height=_HEIGHT)
    best = [item.name for item in prediction.ranks if item.name != OPTIMISED][:_DRAWN]
    for name, (color, _) in zip(best, PALETTE, strict=False):
        rates = prediction.shapes[name]
        axes.plot([i / (len(rates) - 1) for i in range(len(rates))], rates, color=color, label=name)
    if OPTIMISED in prediction.shapes:
        rates = prediction.shapes[OPTIMISED]
        axes.plot([i / (len(rates) - 1) for i in range(len(rates))], rates, color=INK, linewidth=2.6, label=OPTIMISED)
    axes.set(xlim=(0, 1), ylim=(0, 1.05), xlabel="share of the training", ylabel="rate / peak rate")
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False, labelcolor=INK, edgecolor=FAINT)
    return Picture("12-predicted", f"Shapes of the {len(best)} that are predicted best", figure, "")
