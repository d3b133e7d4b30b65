"""What a result depends on besides its config: code version, libraries, machine, threads."""

import hashlib
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

import lrbench

_LIBRARIES = (
    "torch",
    "torchvision",
    "numpy",
    "scikit-learn",
    "hydra-core",
    "optuna",
    "mlflow",
    "pandas",
    "scipy",
)


def environment(device: torch.device) -> dict[str, str]:
    """Describe code, libraries and machine as short strings.

    `commit` is the git commit of the lrbench checkout, with `-dirty` when files differ from it; absent when the
    package is not in a checkout.
    """
    facts = {
        "lrbench": lrbench.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cpu_count": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        **{name: version(name) for name in _LIBRARIES},
    }
    commit = _git_commit()
    return facts | ({"commit": commit} if commit else {})


def resolve_device(name: str) -> torch.device:
    """Turn `device` of the config into a device that exists.

    Raises:
        ValueError: unknown or absent device; says what there is.
    """
    present = ["cpu"]
    if torch.cuda.is_available():
        present += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        present.append("mps")
    if name == "auto":
        return torch.device("cuda" if "cuda" in present else present[-1])
    if name not in present:
        raise ValueError(f"device must be auto or one of this machine's {', '.join(present)}, got {name!r}")
    return torch.device(name)


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
def _git_commit() -> str | None:
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
