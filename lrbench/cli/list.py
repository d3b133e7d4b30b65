"""Usage: lrbench list schedulers|models|datasets|workloads [--json]

One line each: the name that `scheduler=`, `model=`, `dataset=` or `workload=` takes, and what it is for.

  --json   the same as one JSON list on standard output, for scripts
"""

import json
import re
import shutil
import sys
import textwrap

from omegaconf import OmegaConf

from lrbench.config import CONFIG_DIR
from lrbench.typos import did_you_mean

_KINDS = ("schedulers", "models", "datasets", "workloads")
_NOT_SAID = re.compile(r"# (@package|python -m)")


def main(arguments: list[str]) -> int:
    """Print the entries of one group and return 0."""
    kinds = [word for word in arguments if word != "--json"]
    if len(kinds) != 1 or kinds[0] not in _KINDS:
        meant = did_you_mean(kinds[0], _KINDS) if kinds else ""
        raise ValueError(f"lrbench list takes one of {', '.join(_KINDS)}, got {' '.join(kinds) or 'nothing'}{meant}")
    found = purposes(kinds[0].removesuffix("s"))
    if "--json" in arguments:
        print(json.dumps([{"name": name, "purpose": purpose} for name, purpose in found.items()]))
        return 0
    column = max(map(len, found)) + 2
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for name, purpose in found.items():
        room = max(width - column, 20) if width else len(purpose) + 20
        print(name.ljust(column) + textwrap.shorten(purpose, room, placeholder=" ..."))
    return 0


def purposes(group: str) -> dict[str, str]:
    """What every entry of a config group is for, by name, those of the user's own last.

    A workload is a choice of other entries, and says in its first comment what they are.
    """
    folder = CONFIG_DIR / group
    names = [str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml")]
    return {name: _purpose((folder / f"{name}.yaml").read_text()) for name in sorted(names, key=lambda n: ("/" in n, n))}


def _purpose(text: str) -> str:
    written = OmegaConf.create(text)
    if "purpose" in written:
        return str(written["purpose"])
    return next(line[2:] for line in text.splitlines() if line.startswith("# ") and not _NOT_SAID.match(line))
