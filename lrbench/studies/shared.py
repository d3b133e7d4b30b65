"""A sweep that several processes work on: each claims what nobody else has, and waits for the rest.

A process that dies loses its claims after a while. Its trials are taken over as they are, and a trial that takes its
process with it again and again fails.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from lrbench.runs.signals import StopRequest
from lrbench.search.claims import Claims
from lrbench.search.space import RATE
from lrbench.studies.contestants import Contestant, Settings, finals_of
from lrbench.studies.trials import Interrupted, Train, train_trials

MOST_RETRIES = 2  # of a trial whose process died
_SECONDS_BETWEEN_LOOKS = 0.5


def share(contestants: Sequence[Contestant], settings: Settings, train: Train, url: str) -> None:
    """Tune and measure together with the other processes; returns when nothing is left to train.

    Args:
        contestants: their studies open.
        settings: of the sweep.
        train: trains jobs.
        url: of the studies' database.

    Raises:
        Interrupted: a signal came.
    """
    trials = {
        f"{c.name} trial {n}": (c, n)
        for n in range(settings.search.num_trials)
        for c in contestants
        if c.tuned is not None
    }
    patience = settings.stale_seconds
    owner = f"{socket.gethostname()} {os.getpid()}"
    with (
        StopRequest() as stop,
        Claims(url, "lrbench", owner, interval=patience / 5, patience=patience) as claims,
    ):
        for slots in claimed(claims, list(trials), stop, lambda remaining: _ready(remaining, trials)):
            asked = []
            for slot in slots:
                contestant, number = trials[slot]
                assert contestant.tuned is not None
                trial = contestant.tuned.take(number)
                if not claims.holds(slot):
                    continue  # we stood still for too long, and another process works on it
                if claims.attempts(slot) > MOST_RETRIES:
                    note = {"error": f"its process died {claims.attempts(slot)} times"}
                    contestant.tuned.finish(trial, values=None, end="failed", curve={}, notes=note)
                elif not trial.state.is_finished():
                    asked.append((contestant, trial))
            if asked:
                train_trials(asked, settings, train)
        num_finals = settings.final_seeds
        assert num_finals != "settle", "the settings refuse it"
        finals = {
            f"{c.name} final {job.values['seed']} of {job.values['study']['trial']}{_rate_of(c)}": job
            for c, job in finals_of(contestants, num_finals)
        }
        for slots in claimed(claims, list(finals), stop, lambda remaining: remaining):
            train([finals[slot] for slot in slots])


def claimed(
    claims: Claims, slots: Sequence[str], stop: StopRequest, ready: Callable[[list[str]], list[str]]
) -> Iterator[list[str]]:
    """Yield slots that are now ours, as many as there are cores at a time, and mark them done on the way back.

    Args:
        claims: of this process.
        slots: all there are.
        stop: asked while we wait for others.
        ready: which of the remaining slots may begin.

    Raises:
        Interrupted: a signal came while we waited for others.
    """
    while remaining := claims.remaining(slots):
        mine: list[str] = []
        while len(mine) < (os.cpu_count() or 1) and (slot := claims.claim(ready(remaining))) is not None:
            mine.append(slot)
        if mine:
            yield mine
            for slot in mine:
                claims.finish(slot)
        elif stop():
            raise Interrupted
        else:
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def _ready(remaining: list[str], trials: Mapping[str, tuple[Contestant, int]]) -> list[str]:
    """The slots of each study's first unfinished batch: points of the next one follow from its results."""
    starts = {slot: contestant.source.batch_start(number) for slot, (contestant, number) in trials.items()}
    first: dict[str, int] = {}
    for slot in remaining:
        name = trials[slot][0].name
        first[name] = min(first.get(name, starts[slot]), starts[slot])
    return [slot for slot in remaining if starts[slot] == first[trials[slot][0].name]]


def _rate_of(contestant: Contestant) -> str:
    """What tells a chosen point from that of its trial: more trials may choose another rate."""
    choice = contestant.source.choice
    assert choice is not None
    rate = choice.point.get(RATE)
    return "" if rate == choice.trial.params.get(RATE) else f" at {rate}"
