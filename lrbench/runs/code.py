"""Which code made a result; needs no torch."""

import hashlib
import subprocess
from functools import cache
from pathlib import Path

import lrbench

# The code that shapes a curve; what reports, tracks or launches does not.
_SHAPING_ROOMS = ("spec.py", "schedules", "models", "data", "optimizers", "training", "trials.py")


@cache
def code_digest() -> str:
    """Digest the source of all that shapes a curve, so that results of other code are not taken for ours.

    Returns:
        16 hex digits.
    """
    package = Path(lrbench.__file__).parent
    digest = hashlib.sha256()
    for room in _SHAPING_ROOMS:
        path = package / room
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


@cache
def git_commit() -> str | None:
    """Return the commit of the checkout, with `-dirty` when files differ from it; None outside of a checkout."""
    checkout = Path(lrbench.__file__).resolve().parent.parent
    if not (checkout / ".git").exists():
        return None
    try:
        commit = _git(checkout, "rev-parse", "HEAD")
        return f"{commit}-dirty" if _git(checkout, "status", "--porcelain") else commit
    except (OSError, subprocess.SubprocessError):
        return None  # no git, or a checkout without a commit


def _git(checkout: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(checkout), *words], capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()
