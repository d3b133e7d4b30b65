"""The Hydra edge: from the command line and `conf/` to the objects of the core, checked on the way."""

from lrbench.config.plan import Plan, make_plan
from lrbench.config.schema import CONFIG_DIR, register_schema

__all__ = ["CONFIG_DIR", "Plan", "make_plan", "register_schema"]
