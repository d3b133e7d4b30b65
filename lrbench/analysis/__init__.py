"""Statistics of learning curves: which schedule is faster, which ends better, and how sure that is.

Every metric is a pure function on arrays or on the tidy frame of `lrbench.results.schema`, defined in docs/metrics.md.
The words for what cannot be computed are in `terms`. Reading order: `terms`, `curves`, `cells`, then any
other module.
"""
