"""Names that tell plans apart."""

from collections.abc import Sequence

from lrbench.config import Plan
from lrbench.config.plan import flat_values


def labels_of(plans: Sequence[Plan]) -> list[str]:
    """Name each plan by its schedule, and by the values in which it differs from others of the same schedule."""
    names = [plan.contestant for plan in plans]
    flat = [{k: v for k, v in flat_values(plan.values).items() if k != "hydra"} for plan in plans]
    labels = []
    for name, values in zip(names, flat, strict=True):
        rivals = [other for other_name, other in zip(names, flat, strict=True) if other_name == name]
        differing = [k for k in values if any(rival.get(k) != values[k] for rival in rivals)]
        labels.append(" ".join([name, *(f"{key}={values[key]}" for key in differing)]))
    return [label if labels.count(label) == 1 else f"{label} #{i}" for i, label in enumerate(labels, start=1)]
