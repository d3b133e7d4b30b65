"""Findings about a schedule before it trains (`lint.schedule`) and about existing training code (`lint.code`).

Importing this package does not import torch; `lrbench.lint.schedule`, which looks at torch's schedulers, does.
"""

from lrbench.lint.findings import Finding, Severity

__all__ = ["Finding", "Severity"]
