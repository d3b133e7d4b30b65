"""Completion in the shell: Hydra's, which knows overrides, and our commands, which it does not.

`eval "$(lrbench -sc install=bash)"` installs it; from then on the shell calls `lrbench -sc query=bash` with the line so
far in the variable COMP_LINE.
"""

import os
from collections.abc import Collection

from lrbench.runs.hydra_app import run_app
from lrbench.runs.session import Session

# Commands whose words are overrides of the config, as those of a run are.
TAKE_OVERRIDES = ("run", "preview", "check", "range-test", "export")


def complete(arguments: list[str], *, commands: Collection[str]) -> None:
    """Print what may come next: commands at the first word, and what Hydra knows.

    Args:
        arguments: `-sc query=SHELL`.
        commands: their names.
    """
    program, _, rest = os.environ["COMP_LINE"].lstrip().partition(" ")
    first, space, after = rest.lstrip().partition(" ")
    if space and first in commands:
        if first not in TAKE_OVERRIDES:
            return
        os.environ["COMP_LINE"] = f"{program} {after}"
    elif not space:
        print("\n".join(name for name in commands if name.startswith(first)))
    run_app(arguments, Session())
