"""What was measured of learners, remembered between processes."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock

from lrbench.config import Plan
from lrbench.config.plan import shaping_values
from lrbench.runs.learner_choice import Choice

# What a choice depends on besides the code: machine, libraries, threads. Not the seed, and not the rates.
_FACTS = ("torch", "cpu_capability", "device_name", "threads")


class ChoiceMemory:
    """The choice for one kind of work.

    Args:
        folder: of the cache.
        plans: that would be stacked.
        facts: of the environment.
    """

    def __init__(self, folder: Path, plans: Sequence[Plan], facts: Mapping[str, str]) -> None:
        self._file = folder / "learners.json"
        shaping = shaping_values(plans[0].values)
        work = {group: shaping[group] for group in ("model", "dataset", "training")}
        work["optimizer"] = {k: v for k, v in shaping["optimizer"].items() if not isinstance(v, float)}
        # Neighbouring numbers of trials are as fast as each other.
        known = [work, len(plans).bit_length(), [facts.get(name) for name in _FACTS]]
        self._key = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:32]

    def recall(self) -> Choice | None:
        """The choice made earlier, if there was one."""
        document = self._read().get(self._key)
        if document is None:
            return None
        return Choice("fused" if document["learner"] == "fused" else "sequential", document["reason"])

    def keep(self, choice: Choice) -> None:
        """Remember a choice; several processes may do so at once."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._file.with_suffix(".lock")):
            document = {**self._read(), self._key: asdict(choice)}
            temporary = self._file.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_text(json.dumps(document, indent=1) + "\n")
            temporary.replace(self._file)

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            document = json.loads(self._file.read_text())
        except (FileNotFoundError, ValueError):  # a damaged cache is measured anew
            return {}
        return document if isinstance(document, dict) else {}
