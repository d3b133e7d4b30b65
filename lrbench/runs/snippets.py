"""The schedule of a plan as code without lrbench."""

from lrbench.codegen import optax_snippet, torch_snippet, transformers_snippet
from lrbench.config import Plan
from lrbench.spec import evaluation_steps

_WRITERS = {"torch": torch_snippet, "optax": optax_snippet, "transformers": transformers_snippet}


def snippet_of(plan: Plan, *, to: str) -> str:
    """Write the schedule of a plan for a library.

    Args:
        plan: whose schedule, warmup, optimizer and budget.
        to: torch, optax or transformers.

    Raises:
        ValueError: the library has no equal of it.
    """
    return _WRITERS[to](
        plan.schedule,
        plan.make_optimizer,
        total_steps=plan.budget.total_steps,
        num_evaluations=len(evaluation_steps(plan.budget.total_steps, plan.values["budget"]["eval_every"])) - 1,
        warmup=plan.warmup,
        name=plan.values["scheduler"]["name"],
    )
