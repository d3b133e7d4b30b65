"""`lrbench settle scheduler=A,B,... [overrides] [--json]`: take the next planned look at tuned schedules.

    lrbench settle scheduler=constant,linear,cosine dataset=digits
    until lrbench settle scheduler=constant,cosine dataset=digits; do [ $? -eq 4 ] || break; done

The words are those of a sweep (`lrbench -m hydra/sweeper=optuna`). The first call tunes every schedule and trains it on
the seeds of the first look; every further call adds seeds to the pairs that are still open, and to no others, and says
what the next look would cost. Fixed before the first look: hydra.sweeper.looks=[5,10,20], hydra.sweeper.alpha=0.05,
hydra.sweeper.margin=0.1, hydra.sweeper.reference=null, who takes part and at which point; a change is refused, and the
attempt recorded. `lrbench -m ... hydra.sweeper.final_seeds=settle` takes all looks in one go.
"""

import math
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lrbench.analysis.audit.findings import plural
from lrbench.analysis.verdict.wording import names, relative
from lrbench.cli.outputs import print_json, split_json
from lrbench.runs.destination import report_unsent
from lrbench.runs.session import Session

if TYPE_CHECKING:
    from lrbench.studies.settle import Settled, WorkloadSettling

EXIT_CODES = {"settled": 0, "continue": 4, "exhausted": 5}


def main(arguments: list[str]) -> int:
    """Take a look.

    Returns:
        0 nothing is open, 4 the next look may decide something, 5 no planned look is left; see the package for others.
    """
    from lrbench.api import next_look

    as_json, words = split_json(arguments)
    session = Session()
    try:
        settled = next_look(words, session)
    finally:
        unsent = session.close()
        report_unsent(unsent)
    if settled is None:
        return session.stop_code or 1
    if as_json:
        print_json(settled.document)
    else:
        print_settled(settled)
    return 3 if unsent else EXIT_CODES[settled.state]


def print_settled(settled: "Settled") -> None:
    """Print every pair in tab-separated columns, then a sentence a workload."""
    for item in settled.workloads:
        for pair in item.said.pairs:
            ratio = relative(*map(math.exp, (pair.estimate, pair.interval.low, pair.interval.high)))
            said = {"better": "better than", "equivalent": "equivalent to"}.get(pair.state, pair.state)
            sys.stdout.write(f"{item.workload}\t{pair.first}\t{said}\t{pair.second}\t{ratio}\tn = {pair.num_seeds}\n")
    sys.stdout.writelines(f"{sentence}\n" for item in settled.workloads for sentence in sentences(item))


def sentences(item: "WorkloadSettling") -> Iterator[str]:
    """Where a workload stands, and what the next look buys and costs."""
    looks, said = item.design.looks, item.said
    now = f"{item.workload}, look {said.num_looks} of {len(looks)} ({looks[said.num_looks - 1]} seeds)"
    open_ = {name for pair in said.pairs if pair.state == "exhausted" for name in (pair.first, pair.second)}
    kept = f"may be the best: {names(said.best, most=20)}"
    if item.design.reference is not None:
        out = [name for name in item.design.schedules if name not in said.best]
        kept = f"shown worse than {item.design.reference}: {names(out, most=20) if out else 'none'}"
    if said.state == "settled":
        yield f"{now}: settled; {kept}."
    elif said.state == "exhausted":
        yield f"{now}: exhausted, no look is left for {names(sorted(open_), most=20)}; {kept}."
    else:
        more = ", ".join(f"{count} of {name}" for name, count in said.more_seeds.items())
        cost = f"{plural(item.num_runs, 'run')} more ({more}), about {item.seconds:.2g} s one after the other"
        yield f"{now}: continue; {kept}. The next look is at {looks[said.num_looks]} seeds: {cost}."
