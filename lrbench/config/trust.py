"""What a composed configuration may have Hydra do: import, call, log, set; checked before Hydra does any of it.

A configuration file may come from somebody else, the command line is the user's own. So what runs code or sends
credentials away is allowed by name, or counts from the command line only. The targets of our own groups are the
business of `lrbench.config.targets`.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from lrbench.config.targets import is_within

# What Hydra itself calls or resolves; anything else needs `trusted_modules`.
_NAMES = (
    "hydra_plugins.lrbench.LocalLauncher",
    "hydra_plugins.lrbench.GridSweeper",
    "hydra_plugins.lrbench.OptunaSweeper",
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher",
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher",
    "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher",
    "logging.StreamHandler",
    "logging.NullHandler",
    "logging.Formatter",
    "ext://sys.stdout",
    "ext://sys.stderr",
)
_CALLED = ("callbacks", "job_logging", "hydra_logging", "launcher", "sweeper")
_LOGGING = ("hydra.job_logging", "hydra.hydra_logging")
_CALLED_BY_LOGGING = ("()", "class", "queue", "listener")
# Values that name code, commands or variables of new processes, or overwrite files.
COMMAND_LINE_ONLY = (
    "trusted_modules",
    "hydra.job.env_set",
    "hydra.job.env_copy",
    "hydra.output_subdir",
    "hydra.launcher.setup",
    "hydra.launcher.python",
    "hydra.launcher.srun_args",
    "hydra.launcher.additional_parameters",
    "hydra.launcher.ray.init.runtime_env",
    "hydra.launcher.ray.remote.runtime_env",
)
# Servers, to which the user's credentials go.
_ADDRESSES = ("tracking.uri", "hydra.sweeper.storage")
_FROM_ENVIRONMENT = "${oc.env:MLFLOW_TRACKING_URI}"
_CREDENTIALS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PGPASSWORD")


@contextmanager
def guarded(words: Sequence[str]) -> Iterator[None]:
    """Check every configuration that Hydra composes in this context, before anything of it is used.

    Hydra calls what `hydra.callbacks` and the logging name before our task, so the check is put into its loader,
    through which all of them come.

    Args:
        words: of the command line.
    """
    original = ConfigLoaderImpl.load_configuration

    def load(self: ConfigLoaderImpl, *args: Any, **kwargs: Any) -> DictConfig:
        config = original(self, *args, **kwargs)
        check_composed(config, words)
        return config

    ConfigLoaderImpl.load_configuration = load  # type: ignore[method-assign]
    try:
        yield
    finally:
        ConfigLoaderImpl.load_configuration = original  # type: ignore[method-assign]


def check_composed(config: DictConfig, words: Sequence[str]) -> None:
    """Refuse what only the user may ask for and did not.

    Args:
        config: composed, with its node `hydra`.
        words: of the command line.

    Raises:
        ValueError: naming the config path, the value, and how to allow it.
    """
    given = [key_of(word) for word in words]
    trusted = _trusted_modules(words)
    # Unresolved: an interpolation may mean something else later, when Hydra has numbered the job.
    raw = OmegaConf.to_container(config, resolve=False)
    for path in COMMAND_LINE_ONLY:
        for leaf, value in _leaves(_lookup(raw, path), path):
            is_known = path == "trusted_modules" and value in trusted
            if value is not None and not is_known and not is_within(leaf, given):
                raise ValueError(_refusal(path, value))
    if _has_credentials():
        for path in _ADDRESSES:
            uri = _lookup(raw, path)
            if uri and path not in given and not uri.startswith("sqlite") and uri != _FROM_ENVIRONMENT:
                raise ValueError(
                    f"{_refusal(path, urlsplit(uri).hostname or uri)}, and your credentials would go there"
                )
    for part in _CALLED:
        for path, name in _named(config.hydra, "hydra", only=part):
            if name not in _NAMES and not is_within(name.removeprefix("ext://"), trusted):
                raise ValueError(
                    f"{path} must lie in a trusted module, got {name!r}; if that shall run, allow it on the command "
                    f"line: trusted_modules=[{name.removeprefix('ext://').rpartition('.')[0] or name}]"
                )


def check_job_keys(keys: Collection[str], config: DictConfig) -> None:
    """Refuse that the choices of a sweep, which a file can hold too, decide what counts from the command line only.

    Args:
        keys: of a job's overrides.
        config: composed, of the sweep.

    Raises:
        ValueError: see `check_composed`.
    """
    given = [key_of(word) for part in ("task", "hydra") for word in config.hydra.overrides[part]]
    for key in keys:
        if is_within(key, (*COMMAND_LINE_ONLY, *_ADDRESSES)) and key not in given:
            raise ValueError(_refusal(key, "a choice of a sweep"))


def key_of(word: str) -> str:
    """The dotted name that an override is about."""
    return word.partition("=")[0].lstrip("+~").partition("@")[0]


def _trusted_modules(words: Sequence[str]) -> list[str]:
    """What the command line trusts."""
    chosen = [word for word in words if key_of(word) == "trusted_modules"]
    try:
        values = [override.value() for override in OverridesParser.create().parse_overrides(chosen)]
    except OverrideParseException:
        return []  # Hydra says what is wrong
    return [str(module) for value in values if isinstance(value, list) for module in value]


def _lookup(raw: Any, path: str) -> Any:
    """A value by its path; the text of an interpolation that stands for a node on the way; None where nothing is."""
    for part in path.split("."):
        if not isinstance(raw, Mapping):
            return raw
        raw = raw.get(part)
    return raw


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _leaves(below, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield path, item
    else:
        yield path, value


def _named(node: Any, path: str, only: str | None = None) -> Iterator[tuple[str, str]]:
    """The names by which Hydra finds code below a node, or below one key of it."""
    keys = list(node) if OmegaConf.is_dict(node) else range(len(node))
    for key in keys if only is None else [only]:
        below = f"{path}.{key}"
        in_logging = is_within(below, _LOGGING)
        is_name = key == "_target_" or (in_logging and key in _CALLED_BY_LOGGING)
        if OmegaConf.is_missing(node, key):
            continue
        if OmegaConf.is_interpolation(node, key) and (is_name or (in_logging and key != "filename")):
            yield below, "an interpolation"  # the log of a job is set up later, when it may mean something else
            continue
        try:
            value = node[key]
        except InterpolationResolutionError:  # of a number or a folder that only the job has
            continue
        if OmegaConf.is_config(value):
            yield from _named(value, below)
        elif isinstance(value, str) and (is_name or (in_logging and value.startswith("ext://"))):
            yield below, value


def _has_credentials() -> bool:
    return any(name in os.environ for name in _CREDENTIALS) or os.path.exists(
        os.path.expanduser("~/.mlflow/credentials")  # not Path.home(), which fails for a user who has none
    )


def _refusal(path: str, value: object) -> str:
    return f"{path} may be set on the command line only, not by a configuration file; it is {value!r} there"
