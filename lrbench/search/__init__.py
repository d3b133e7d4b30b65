"""Fair hyperparameter search: what is searched, which point comes next, and where trials are kept.

The lower half is pure or deals with one database: `space` (what is searched), `suggest` (the next point), `storage`
(studies and their trials), `claims` (several processes on one study). None of it knows Hydra, MLflow or torch.
"""

import sys
import warnings

if "ipykernel" in sys.modules:  # imported by Optuna, tqdm warns in notebooks without widgets; no bar of its is shown
    with warnings.catch_warnings(action="ignore"):
        import tqdm.auto  # noqa: F401
