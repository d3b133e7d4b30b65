"""`python -m lrbench`."""

import os
import sys


def _forget_working_directory() -> None:
    """`python -m` looks there first, where a `numpy.py` may lie beside somebody's data."""
    try:
        here = os.getcwd()
    except FileNotFoundError:  # it was deleted, as `main` says
        return
    if sys.path[0] == here and not __file__.startswith(os.path.join(here, "")):
        del sys.path[0]


if __name__ == "__main__":
    _forget_working_directory()

from lrbench.cli import main  # noqa: E402  # from the right path

if __name__ == "__main__":
    sys.exit(main())
