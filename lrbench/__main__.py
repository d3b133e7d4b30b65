"""`python -m lrbench`."""

import os
import sys

# `python -m` looks into the working directory first, where a `numpy.py` may lie beside somebody's data.
if __name__ == "__main__" and sys.path[0] == os.getcwd() and not __file__.startswith(os.path.join(sys.path[0], "")):
    del sys.path[0]

from lrbench.cli import main

if __name__ == "__main__":
    sys.exit(main())
