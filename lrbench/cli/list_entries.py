"""`lrbench list schedulers|models|datasets|workloads [--json]`: what there is to choose from, a line each.

The name is what `scheduler=`, `model=`, `dataset=` or `workload=` takes, and behind it stands what it is for.
`--json` prints the same as one object, purposes by name.
"""

import re

from omegaconf import DictConfig, OmegaConf

from lrbench.cli.outputs import print_json, split_json
from lrbench.config import CONFIG_DIR
from lrbench.typos import did_you_mean

_KINDS = ("schedulers", "models", "datasets", "workloads")
_NOT_SAID = re.compile(r"# (@package|python -m)")


def main(arguments: list[str]) -> int:
    """Print the entries of one group and return 0."""
    as_json, kinds = split_json(arguments)
    if len(kinds) != 1 or kinds[0] not in _KINDS:
        meant = did_you_mean(kinds[0], _KINDS) if kinds else ""
        raise ValueError(f"lrbench list takes one of {', '.join(_KINDS)}, got {' '.join(kinds) or 'nothing'}{meant}")
    found = purposes(kinds[0].removesuffix("s"))
    if as_json:
        print_json(found)
        return 0
    column = max(map(len, found)) + 2
    for name, purpose in found.items():
        print(name.ljust(column) + purpose)
    return 0


def purposes(group: str) -> dict[str, str]:
    """What every entry of a config group is for, by name, those of the user's own last.

    A workload is a choice of other entries, and says in its first comment what they are.
    """
    folder = CONFIG_DIR / group
    names = [path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")]
    return {
        name: _purpose((folder / f"{name}.yaml").read_text(encoding="utf-8"))
        for name in sorted(names, key=lambda n: ("/" in n, n))
    }


def _purpose(text: str) -> str:
    written = OmegaConf.create(text)
    if isinstance(written, DictConfig) and "purpose" in written:
        return str(written["purpose"])
    return next(line[2:] for line in text.splitlines() if line.startswith("# ") and not _NOT_SAID.match(line))
