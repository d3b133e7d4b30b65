"""The data of a plan, read once for all plans of a process that share them, and digested by what was read."""

import hashlib
import json
from dataclasses import replace
from functools import lru_cache

from lrbench.config import Plan
from lrbench.data import Dataset, Split, Splits
from lrbench.dry_run import check_data


def load_data(plan: Plan) -> Splits:
    """Read the data of a plan, unless this process has just read them for another one.

    Raises:
        ValueError: they are missing or damaged, or not what the dataset says of itself.
    """
    return _load(Parts(plan, "dataset"))


def content_digest(splits: Splits) -> str:
    """sha256 (hex) of the examples of all splits in order, and of the digest that the dataset gives itself.

    Of a streamed split only the number of examples counts.
    """
    digest = hashlib.sha256(splits.digest.encode())
    for split in (splits.train, splits.validation, splits.test):
        digest.update(f"{type(split).__name__} {len(split)}\n".encode())
        for tensor in (split.inputs, split.targets) if isinstance(split, Split) else ():
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().contiguous().numpy().data)
    return digest.hexdigest()


class Parts:
    """Some parts of a plan as the key of a cache: equal config values, equal parts.

    Args:
        plan: that has them.
        groups: of the config. Of an optimizer the floats do not count: they neither fit nor do not fit the data.
    """

    def __init__(self, plan: Plan, *groups: str) -> None:
        self.plan = plan
        values = {group: plan.values[group] for group in groups}
        if "optimizer" in values:
            values["optimizer"] = {k: v for k, v in values["optimizer"].items() if not isinstance(v, float)}
        self._values = json.dumps(values, sort_keys=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Parts) and self._values == other._values

    def __hash__(self) -> int:
        return hash(self._values)


@lru_cache(maxsize=2)  # jobs of a sweep come sorted by dataset; more would only keep memory
def _load(parts: Parts) -> Splits:
    dataset = parts.plan.dataset
    splits = dataset.load()
    check_data(
        splits,
        task=parts.plan.task,
        input_shape=dataset.input_shape,
        num_outputs=dataset.num_outputs,
        num_train=dataset.num_train,
    )
    # lrbench's own datasets digest their source and their splits; what others digest, if anything, is not known.
    return splits if _is_ours(dataset) else replace(splits, digest=content_digest(splits))


def _is_ours(dataset: Dataset) -> bool:
    return type(dataset).__module__.startswith("lrbench.data.")
