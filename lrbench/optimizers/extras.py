"""Packages that come with the extra `schedulers`."""

import importlib
from types import ModuleType


def import_extra(package: str, *, optimizer: str) -> ModuleType:
    """Import a package that an optimizer needs.

    Args:
        package: name of the module.
        optimizer: name in the config, for the message.

    Raises:
        ValueError: the package is not installed; names the extra that brings it.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ValueError(
            f"optimizer={optimizer} needs the package {package!r}, which is not installed; "
            "it comes with the extra `schedulers`: pip install 'lr-schedule-bench[schedulers]'"
        ) from error
