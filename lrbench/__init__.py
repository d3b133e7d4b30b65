"""Benchmark learning-rate schedules fairly: train, tune, repeat over seeds, and say how sure."""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrbench.api import (
        check,
        compare,
        export,
        import_results,
        predict,
        preview,
        probes,
        range_test,
        read,
        recommend,
        record_results,
        report,
        run,
        scheduler,
        settle,
        sweep,
        sync,
    )

__version__ = "0.1.0"
__all__ = [
    "check",
    "compare",
    "export",
    "import_results",
    "predict",
    "preview",
    "probes",
    "range_test",
    "read",
    "recommend",
    "record_results",
    "report",
    "run",
    "scheduler",
    "schedules",
    "settle",
    "sweep",
    "sync",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())  # who imports us decides what is shown


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import lrbench` itself takes no time."""
    if name == "schedules":
        return import_module("lrbench.schedules")
    if name not in __all__:
        raise AttributeError(f"module 'lrbench' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module("lrbench.api"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
