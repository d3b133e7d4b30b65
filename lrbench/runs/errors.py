"""One clear message for every error that a user can cause: the config path, the rule, the value, what exists."""

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)
from yaml import MarkedYAMLError, YAMLError

from lrbench.addresses import masked
from lrbench.typos import did_you_mean

# What a wrong config, file, server or disk raises; anything else is a bug of ours and keeps its traceback.
USER_ERRORS = (HydraException, OmegaConfBaseException, YAMLError, ValueError, OSError)


def explain(error: BaseException) -> str:
    """Word an error of `USER_ERRORS` in one message, fit for a terminal."""
    return shown(_words(error))


def shown(text: str) -> str:
    """A text as a terminal may show it: without passwords, and without what would move its cursor or colour it."""
    return masked("".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text))


def _words(error: BaseException) -> str:
    if isinstance(error, MissingConfigException) and error.options is not None and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        hint = did_you_mean(name.removesuffix(".yaml"), error.options)
        return f"{group}={name}: no such option{hint} There are: {', '.join(error.options)}"
    cause = error.__cause__
    if isinstance(error, ConfigCompositionException) and cause is not None:
        if isinstance(cause, ConfigAttributeError | ConfigKeyError):
            return _unknown_key(cause)
        if isinstance(cause, OmegaConfBaseException) and cause.full_key:
            return f"{cause.full_key}: {cause.msg or str(cause).splitlines()[0]}"
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} has no default; write {error.full_key}=VALUE"
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        hint = "; YAML is indented with spaces" if "\\t" in str(error.problem) else ""
        return f"{mark.name}, line {mark.line + 1}: {error.problem}{hint}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    return str(error).strip()


def _unknown_key(error: ConfigAttributeError | ConfigKeyError) -> str:
    path = error.full_key or str(error.key)
    group, _, key = path.rpartition(".")
    parent = error.parent_node
    existing = [str(k) for k in parent] if isinstance(parent, DictConfig) else []
    where = f" in {group}" if group else ""
    near = list(existing)
    if not group and isinstance(parent, DictConfig):
        # `lr=0.1`, `epochs=5`: the name of a value without its group.
        nodes = {name: parent._get_node(name) for name in existing if name not in ("hydra", "study")}
        near += [f"{name}.{k!s}" for name, node in nodes.items() if isinstance(node, DictConfig) for k in node]
    return f"{path}: no key {key!r}{where}{did_you_mean(key, near)} There are: {', '.join(sorted(existing))}"
