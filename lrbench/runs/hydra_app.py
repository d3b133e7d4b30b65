"""Train under Hydra, with Hydra's flags and our error messages, inside another Hydra application too."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins

from lrbench.config import CONFIG_DIR, register_schema
from lrbench.config.trust import guarded
from lrbench.runs.session import Session, current_session, job
from lrbench.runs.words import settled


def run_app(arguments: Sequence[str], session: Session) -> None:
    """Compose the config from `arguments` and train it, once, or once a job with `-m`; the session has the results.

    Raises:
        What Hydra, OmegaConf or the training raise, unwrapped.
    """
    arguments = settled(arguments)
    register_schema()
    _replace_basic_sweeper()
    app = hydra.main(config_path=str(CONFIG_DIR), config_name="config", version_base="1.3")(job)
    with guarded(arguments), current_session(session), _hydra_raises(), _argv(arguments), _own_singletons():
        app()
    if session.failure is not None:
        raise session.failure


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
def _argv(arguments: Sequence[str]) -> Iterator[None]:
    """Hydra reads the command line from sys.argv only."""
    before = sys.argv
    sys.argv = [before[0], *arguments]
    try:
        yield
    finally:
        sys.argv = before


@contextmanager
def _own_singletons() -> Iterator[None]:
    """Leave the configuration of a Hydra application that calls us as it is; Hydra keeps one a process."""
    hydra_before, config_before = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = hydra_before
        HydraConfig.instance().cfg = config_before
