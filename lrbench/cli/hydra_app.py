"""Run a function under Hydra, with Hydra's flags and our exit codes and error messages."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import hydra
from omegaconf import DictConfig

from lrbench.config import CONFIG_DIR, register_schema


def run_app(arguments: list[str], task: Callable[[DictConfig], object]) -> None:
    """Compose the config from `arguments` and call `task` with it, once, or once a job with `-m`.

    Raises:
        What Hydra, OmegaConf or the task raise, unwrapped.
    """
    register_schema()
    app = hydra.main(config_path=str(CONFIG_DIR), config_name="config", version_base="1.3")(task)
    with _hydra_raises(), _argv(arguments):
        app()


@contextmanager
def _hydra_raises() -> Iterator[None]:
    """Keep Hydra from printing errors and exiting by itself; its only switch for that is this variable."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before


@contextmanager
def _argv(arguments: list[str]) -> Iterator[None]:
    """Hydra reads the command line from sys.argv only."""
    before = sys.argv
    sys.argv = [before[0], *arguments]
    try:
        yield
    finally:
        sys.argv = before
