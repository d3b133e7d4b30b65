"""Run a function under Hydra, with Hydra's flags and our exit codes and error messages."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import DictConfig

from lrbench.config import CONFIG_DIR, register_schema
from lrbench.config.trust import guarded


def run_app(arguments: list[str], task: Callable[[DictConfig], object]) -> None:
    """Compose the config from `arguments` and call `task` with it, once, or once a job with `-m`.

    Raises:
        What Hydra, OmegaConf or the task raise, unwrapped.
    """
    register_schema()
    _replace_basic_sweeper()
    app = hydra.main(config_path=str(CONFIG_DIR), config_name="config", version_base="1.3")(task)
    with guarded(arguments), _hydra_raises(), _argv(arguments):
        app()


def _replace_basic_sweeper() -> None:
    """Let `hydra/sweeper=basic`, the default, be ours, in this process only.

    A default of our own in conf/config.yaml would win over the sweeper that an experiment asks for, and a file
    conf/hydra/sweeper/basic.yaml would be checked against the schema of Hydra's.
    """
    Plugins.instance()  # finds Hydra's own, which must not come after
    node = {"_target_": "hydra_plugins.lrbench.GridSweeper", "params": None}
    ConfigStore.instance().store(group="hydra/sweeper", name="basic", node=node, provider="lrbench")


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
