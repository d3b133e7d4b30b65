"""Fair hyperparameter search: what is searched, which point comes next, and where trials are kept.

The lower half is pure or deals with one database: `space` (what is searched), `suggest` (the next point), `storage`
(studies and their trials), `claims` (several processes on one study). None of it knows Hydra, MLflow or torch.
"""
