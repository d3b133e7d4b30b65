"""What was measured of learners, remembered between processes."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock

from lrbench.config import Plan
from lrbench.config.plan import shaping_values
from lrbench.runs.learner_choice import Choice

# What a choice depends on besides the code: machine, libraries, threads. Not the seed, and not the rates.
_FACTS = ("torch", "cpu_capability", "device_name", "threads")


def remembered_choice(
    folder: Path, plans: Sequence[Plan], facts: Mapping[str, str], measure: Callable[[], Choice]
) -> Choice:
    """The choice for one kind of work, measured once.

    Others wait while it is measured: two workers that measured the same could choose otherwise, and a sweep would end
    as no other.

    Args:
        folder: of the cache.
        plans: that would be stacked.
        facts: of the environment.
        measure: asked if nobody was before.
    """
    file = folder / "learners" / f"{_key(plans, facts)}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):
        try:
            document = json.loads(file.read_text())
            return Choice("fused" if document["learner"] == "fused" else "sequential", document["reason"])
        except (FileNotFoundError, ValueError, LookupError, TypeError):  # a damaged file is measured anew
            choice = measure()
        temporary = file.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(choice), indent=1) + "\n")
        temporary.replace(file)
        return choice


def _key(plans: Sequence[Plan], facts: Mapping[str, str]) -> str:
    shaping = shaping_values(plans[0].values)
    work = {group: shaping[group] for group in ("model", "dataset", "training")}
    work["optimizer"] = {k: v for k, v in shaping["optimizer"].items() if not isinstance(v, float)}
    # Neighbouring numbers of trials are as fast as each other.
    known = [work, len(plans).bit_length(), [facts.get(name) for name in _FACTS]]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:32]
