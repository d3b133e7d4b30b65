"""Plans from override words, for the commands that do not train: `scheduler=cosine,linear` gives two."""

from itertools import chain

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from lrbench.config import CONFIG_DIR, Plan, make_plan, register_schema
from lrbench.config.trust import guarded
from lrbench.runs.words import settled


def compose_plans(arguments: list[str]) -> list[Plan]:
    """Compose one plan for every combination of the choices in `arguments`, in the order of the command line.

    Args:
        arguments: Hydra overrides; `a=x,y`, `a=range(3)` and `a=glob(*)` are choices.

    Raises:
        What Hydra raises for wrong words, and `make_plan` for wrong values.
    """
    arguments = settled(arguments)
    register_schema()
    with guarded(arguments), initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        overrides = OverridesParser.create(config_loader=loader).parse_overrides(arguments)
        jobs = chain.from_iterable(BasicSweeper.split_arguments(overrides, max_batch_size=None))
        return [make_plan(compose("config", overrides=list(job))) for job in jobs]


def split_options(arguments: list[str], *names: str) -> tuple[dict[str, str], list[str]]:
    """Separate a command's own `name=value` words from config overrides.

    Returns:
        The options that were given, and the remaining words.
    """
    options, rest = {}, []
    for word in arguments:
        key, equals, value = word.partition("=")
        if equals and key in names:
            options[key] = value
        else:
            rest.append(word)
    return options, rest
