"""`lrbench --help`: one page a person can read, made from the commands, conf/ and conf/config.yaml as they are."""

import re
import shutil
import textwrap
from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from lrbench.config import CONFIG_DIR

_INTRODUCTION = """\
lrbench trains models under learning-rate schedules and says which schedule to use.

Usage
  lrbench [GROUP=NAME | dotted.key=VALUE ...]    train one run; `python -m lrbench` is the same
  lrbench -m scheduler=cosine,step seed=0,1,2    train a grid: every combination, one process a core
  lrbench -m hydra/sweeper=optuna scheduler=...  tune each schedule with as many trials, then train on fresh seeds
  lrbench COMMAND ...                            `lrbench COMMAND --help` says what it takes

Examples
  lrbench scheduler=one_cycle optimizer.lr=0.1 budget.epochs=10
  lrbench scheduler=wsd warmup=linear model=lenet dataset=mnist seed=1
  lrbench experiment=quick                       a small study in minutes, from tuning to the report
  lrbench --cfg job scheduler=cosine             show the whole config, train nothing
"""
_END = """\
Hydra's own flags: --hydra-help. Completion of all these words: eval "$(lrbench -sc install=bash)".
HYDRA_FULL_ERROR=1 shows the traceback of an error.
"""
_WIDEST = 120


def page(commands: Mapping[str, str], *, width: int | None = None) -> str:
    """Write the page.

    Args:
        commands: name to one line of what it does.
        width: columns of text; None for those of the terminal.
    """
    if width is None:
        width = min(_WIDEST, shutil.get_terminal_size(fallback=(_WIDEST, 0)).columns)
    config = (CONFIG_DIR / "config.yaml").read_text(encoding="utf-8")
    return "\n".join(
        [
            _INTRODUCTION,
            _listed("Commands", commands, width),
            _listed("Groups: GROUP=NAME takes conf/GROUP/NAME.yaml; the default stands first", _groups(config), width),
            "Values: anything in those files by its dotted name, scheduler.gamma=0.5, and of every run",
            _values(config),
            _END,
        ]
    )


def _listed(title: str, entries: Mapping[str, str], width: int) -> str:
    """A title and one entry a paragraph, its text indented to one column."""
    column = max(map(len, entries)) + 4
    lines = [title]
    for name, text in entries.items():
        lines += textwrap.wrap(
            text,
            width,
            initial_indent=f"  {name}".ljust(column),
            subsequent_indent=" " * column,
            break_on_hyphens=False,
        )
    return "\n".join(lines) + "\n"


def _groups(config: str) -> dict[str, str]:
    """The names of every group."""
    entries = [entry for entry in OmegaConf.create(config).defaults if isinstance(entry, DictConfig)]
    defaults = {str(group).removeprefix("override "): name for entry in entries for group, name in entry.items()}
    found: dict[str, list[str]] = {}
    for path in sorted(CONFIG_DIR.rglob("*/*.yaml")):
        group, name = _group_of(path)
        found.setdefault(group, []).append(name)
    # The order of the defaults is that of importance.
    order = [*(group for group in defaults if group in found), *sorted(set(found) - set(defaults))]
    return {g: ", ".join(sorted(found[g], key=lambda n: (n != defaults.get(g), "/" in n, n))) for g in order}


def _group_of(path: Path) -> tuple[str, str]:
    """Group and name as on the command line: the folder `own` belongs to the name, `hydra/launcher` is a group."""
    parts = path.relative_to(CONFIG_DIR).with_suffix("").parts
    at = 2 if parts[0] == "hydra" else 1
    return "/".join(parts[:at]), "/".join(parts[at:])


def _values(config: str) -> str:
    """The part of conf/config.yaml that is neither the choice of files nor about Hydra, as it is written there."""
    kept = re.search(r"^defaults:\n(?:[ #][^\n]*\n)*\n(.*?)^hydra:", config, re.MULTILINE | re.DOTALL)
    assert kept is not None
    return textwrap.indent(kept[1].rstrip() + "\n", "  ")
