"""Which code made a result; needs no torch."""

import hashlib
import json
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import lrbench
from lrbench.runs.own_sources import own_targets, source_digests

# The code that shapes a curve; what reports, tracks or launches does not.
_SHAPING_PACKAGES = ("spec.py", "schedules", "models", "data", "optimizers", "training", "trials.py")


def code_facts(values: Mapping[str, Any]) -> dict[str, Any]:
    """Name the source of all that shapes a curve, as JSON: lrbench's by a digest, the user's own by one a file."""
    return _facts(own_targets(values))


def code_digest(values: Mapping[str, Any]) -> str:
    """Digest the source of all that shapes a curve, so that results of other code are not taken for ours.

    Args:
        values: plain config of the run; the user's own parts that it names are read as they are now.

    Returns:
        16 hex digits.
    """
    return _digest(_facts(own_targets(values)))


def imported_code_digest(values: Mapping[str, Any]) -> str:
    """The `code_digest` at the first call: a process goes on with what it imported, whatever its files become."""
    return _digest_at_first(own_targets(values))


@cache
def _digest_at_first(targets: tuple[str, ...]) -> str:
    return _digest(_facts(targets))


def _facts(targets: tuple[str, ...]) -> dict[str, Any]:
    own = {file: digest[:16] for file, digest in source_digests(targets).items()}
    return {"code": _package_digest(), **({"sources": own} if own else {})}


def _digest(facts: Mapping[str, Any]) -> str:
    if "sources" not in facts:
        return str(facts["code"])
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


@cache
def _package_digest() -> str:
    package = Path(lrbench.__file__).parent
    digest = hashlib.sha256()
    for package_name in _SHAPING_PACKAGES:
        path = package / package_name
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
