"""One file of `conf/` and changes to it, without Hydra: for Python callers who need a single part of a config."""

from collections.abc import Mapping
from typing import Any

import yaml

from lrbench.config.schema import CONFIG_DIR
from lrbench.config.targets import unknown


def group_files(group: str) -> list[str]:
    """Names of the files of a config group, such as `cosine`; none where there is no such group."""
    folder = CONFIG_DIR / group
    if "." in group or not folder.is_dir():
        return []
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))


def read_component(group: str, name: str, parameters: Mapping[str, object]) -> dict[str, Any]:
    """Read a file of a group and put values of the caller in the place of its own.

    Raises:
        ValueError: no such file; says which there are.
    """
    files = group_files(group)
    if name not in files:
        raise ValueError(unknown(group, name, files, group))
    node: dict[str, Any] = yaml.safe_load((CONFIG_DIR / group / f"{name}.yaml").read_text(encoding="utf-8"))
    return {**node, **parameters}
