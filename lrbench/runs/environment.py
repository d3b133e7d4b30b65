"""What a result depends on besides its config: code version, libraries, machine, threads."""

import os
import platform
from functools import cache
from importlib.metadata import version

import torch

import lrbench
from lrbench.runs.code import git_commit

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
        **_versions(),
    }
    commit = git_commit()
    return facts | ({"commit": commit} if commit else {})


@cache  # reads files
def _versions() -> dict[str, str]:
    return {name: version(name) for name in _LIBRARIES}


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
