"""lrbench in Python: what `import lrbench` offers. Names and values are those of the command line, in Python's types.

    run = lrbench.run(scheduler="cosine", model="mlp", dataset="digits", budget={"epochs": 5}, seed=0)
    study = lrbench.sweep(scheduler=["constant", "cosine"], search={"num_trials": 4}, seed=[0, 1])
    lrbench.report(study).verdict

Nothing here prints or exits. Messages go to the logger "lrbench"; progress to `on_progress`, or to a bar where a person
can see one. What a user can do wrong is a `ValueError` with the message of the command line.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lrbench.config.targets import bind, unknown
from lrbench.runs.compose import compose_plans
from lrbench.runs.destination import report_unsent
from lrbench.runs.hydra_app import run_app
from lrbench.runs.jobs import literal
from lrbench.runs.progress import OnProgress
from lrbench.runs.run import Run
from lrbench.runs.session import Session
from lrbench.runs.words import component, override_words
from lrbench.studies.study import Study

if TYPE_CHECKING:
    import pandas as pd
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from lrbench.config import Plan
    from lrbench.lint import Finding

__all__ = ["check", "export", "preview", "run", "scheduler", "sweep"]


def run(*, on_progress: OnProgress | None = None, **config: object) -> Run:
    """Train one run, or take it from its record where it was trained before; what `lrbench ...` does.

    Args:
        on_progress: called with (steps done, steps in all, what there is to say).
        config: by the names of the command line; see `lrbench.runs.words`.

    Raises:
        ValueError: a name or a value is wrong, or it asks for several runs; nothing was trained.
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM; the same call goes on.
    """
    plan = _one_plan(config, "lrbench.run trains one run; lrbench.sweep trains several")
    with _session(on_progress) as session:
        result = session.train(plan)
    if result.error is not None:
        raise result.error
    return Run.of(result)


def sweep(
    *, search: Mapping[str, object] | None = None, on_progress: OnProgress | None = None, **config: object
) -> Study:
    """Train every combination of the choices, or tune every schedule fairly; what `lrbench -m ...` does.

    Args:
        search: settings of conf/hydra/sweeper/optuna.yaml, such as {"num_trials": 16, "final_seeds": 5}; {} for its
            defaults. None trains the grid, unless the experiment searches.
        on_progress: see `run`; about all runs together.
        config: see `run`; lists are choices.

    Raises:
        ValueError: see `run`. What goes wrong in one run stops no other; it is in `Study.failed`.
        KeyboardInterrupt: see `run`.
    """
    words = ["-m", *override_words(config)]
    if search is not None:
        words += ["hydra/sweeper=optuna", *(f"hydra.sweeper.{name}={literal(value)}" for name, value in search.items())]
    with _session(on_progress) as session:
        run_app(words, session)
    return Study.of(session)


def scheduler(
    name: str,
    optimizer: "Optimizer",
    *,
    total_steps: int,
    warmup: str | Mapping[str, object] = "none",
    **parameters: object,
) -> "LRScheduler":
    """Make a torch scheduler for a loop of your own; call its `step()` after every `optimizer.step()`.

    Args:
        name: of a schedule, see `conf/scheduler`.
        optimizer: its `lr` is the rate that the schedule scales, in every parameter group.
        total_steps: optimizer steps of the whole training, warmup included.
        warmup: name of a file of `conf/warmup`, or a mapping with its name and parameters.
        parameters: of the schedule, such as decay_fraction=0.2.

    Returns:
        A torch `LRScheduler`; after `total_steps` it stays at its last rate.

    Raises:
        ValueError: no such schedule or parameter, a value outside its domain, or a schedule that depends on the
            validation loss together with a warmup.
    """
    from lrbench.schedules.torch_scheduler import torch_scheduler  # torch
    from lrbench.spec import bind_warmup

    node = component("scheduler", name, parameters)
    given = ("optimizer", "step", "total_steps", "num_evaluations")
    raise NotImplementedError
