"""The table of rates of a plan, before anything trains."""

from collections.abc import Iterable

from lrbench.config import Plan
from lrbench.runs.assemble import trial_of
from lrbench.schedules.rates import Rates
from lrbench.spec import evaluation_steps


def table_of(plan: Plan) -> Rates:
    """The rates of a plan; a closed-loop schedule is shown a validation loss that never improves."""
    every = plan.values["budget"]["eval_every"]
    rates = trial_of(plan).rates(budget=plan.budget, eval_every=every)
    never_improve(rates, evaluation_steps(plan.budget.total_steps, every))
    return rates


def never_improve(rates: Rates, evaluate_at: Iterable[int]) -> None:
    """Let a closed-loop schedule see the same validation loss at every evaluation; nothing happens to the others."""
    for step in evaluate_at:
        rates.observe(step, 1.0)
