"""Runs that a command is about to train, held so that no other command trains them too."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lrbench.config import Plan
from lrbench.runs.destination import check_results_dir
from lrbench.tracking.find import RecordIndex
from lrbench.tracking.lock import try_lock
from lrbench.tracking.record import is_busy

_SECONDS_TO_END = 3.0  # workers of a command that was killed notice it at once, but not in the middle of a step


@contextmanager
def held(plans: Sequence[Plan]) -> Iterator[None]:
    """Hold runs while they are trained.

    Those of a study are not held: the study is, or several processes share it.

    Args:
        plans: of the runs that have not finished.

    Raises:
        ValueError: another command trains the same runs, or one of them; or results_dir cannot be written.
    """
    by_folder: dict[str, list[Plan]] = {}
    for plan in plans:
        if plan.values["study"]["name"] is None:
            by_folder.setdefault(plan.values["results_dir"], []).append(plan)
    with ExitStack() as locks:
        for folder, inside in by_folder.items():
            # Two equal commands meet here before either has a record.
            digest = hashlib.sha256("\n".join(sorted(plan.fingerprint for plan in inside)).encode()).hexdigest()
            check_results_dir(Path(folder))
            (Path(folder) / "grids").mkdir(exist_ok=True)
            lock = try_lock(Path(folder) / "grids" / f"{digest[:16]}.lock", patience=_SECONDS_TO_END)
            if lock is None:
                raise ValueError(_refusal(inside[0], folder))
            locks.enter_context(lock)
            _check_free(inside, Path(folder))
        yield


def _check_free(plans: Sequence[Plan], folder: Path) -> None:
    index = RecordIndex(folder / "runs")
    until = time.monotonic() + _SECONDS_TO_END
    for plan in plans:
        while any(map(is_busy, index.paths(plan.fingerprint))):
            if time.monotonic() > until:
                raise ValueError(_refusal(plan, str(folder)))
            time.sleep(0.05)


def _refusal(plan: Plan, folder: str) -> str:
    return f"another command is training {plan.run_name} in {folder}; wait for it, or give another results_dir"
