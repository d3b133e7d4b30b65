"""What the processes do that the tests of storage and claims start, and how they are killed at a chosen moment."""

import contextlib
import itertools
import math
import multiprocessing
import os
import signal
import time
from unittest import mock

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from sqlalchemy.engine.base import RootTransaction

from lrbench.search.claims import Claims
from lrbench.search.space import Dimension
from lrbench.search.storage import add_trials, create_or_load_study, finish_trial, new_trial, open_storage
from lrbench.search.suggest import Suggestion, suggest, visible_history

DOCUMENT = {"space": {"optimizer.lr": {"low": 0.1, "high": 1.0}}, "seed": 0}
SUGGESTION = Suggestion(
    {"optimizer.lr": 0.5, "x": 0.25}, dict.fromkeys(("optimizer.lr", "x"), FloatDistribution(0, 1)), {}
)
SPACE = (
    Dimension("optimizer.lr", FloatDistribution(1e-4, 1.0, log=True), {}),
    Dimension("scheduler.gamma", FloatDistribution(0.1, 0.9), {}),
    Dimension("scheduler.milestones", CategoricalDistribution(["[0.5, 0.75]", "[0.8]"]), {}),
    Dimension("scheduler.num_cycles", IntDistribution(1, 4), {"scheduler.milestones": ("[0.8]",)}),
)
# A server that has imported what takes long (some of it only when used) forks the processes: each starts at once.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["lrbench.search.storage", "lrbench.search.claims", "optuna.storages._rdb.models", "alembic.command", "hypothesis"]
)


def add_trial(study, suggestion, user_attrs):
    return add_trials(study, [new_trial(suggestion, user_attrs)])[0]


def start(target, *arguments):
    process = PROCESSES.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def end(process, timeout=60):
    """Wait for a process and give its exit code, -9 for one that was killed."""
    process.join(timeout)
    assert process.exitcode is not None, "the process hangs"
    return process.exitcode


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def open_and_die(url, moment):
    """Create the database, but die when the named function is called."""
    with mock.patch(moment, die):
        open_storage(url)


def one_trial(url, barrier):
    """Meet the others, then create the database and the study and do one trial of it."""
    barrier.wait()
    study = create_or_load_study(open_storage(url), "study", ["minimize"], DOCUMENT)
    trial = add_trial(study, SUGGESTION, {"process": os.getpid()})
    finish_trial(study, trial, [float(trial.number)], TrialState.COMPLETE, {}, {})


def add_and_die(url, moment):
    study = create_or_load_study(open_storage(url), "study", ["minimize"], DOCUMENT)
    with mock.patch(moment, die):
        add_trial(study, SUGGESTION, {"slot": "0"})


def finish_and_die(url, moment):
    study = create_or_load_study(open_storage(url), "study", ["minimize"], DOCUMENT)
    with mock.patch(moment, die):
        finish_trial(study, study.trials[0], [1.0], TrialState.COMPLETE, {"state": "ok"}, {1: 2.0, 2: 1.0})


def claim_and_die(url, method):
    """Claim a slot and finish it, but die when the one or the other is about to be committed."""
    claims = Claims(url, "study", "dies")
    if method == "finish":
        claims.claim(["trial-0"])
    with mock.patch("sqlalchemy.engine.base.RootTransaction.commit", die):
        claims.claim(["trial-0"])
        claims.finish("trial-0")


def work(url, name, slots, report, waits):
    """Claim and finish slots until none remains.

    Args:
        report: connection to which ("claimed" or "finished", slot) is sent.
        waits: after each claim, wait for a word of the test.
    """
    with Claims(url, "study", name, interval=0.1, patience=1.0) as claims:
        while claims.remaining(slots):
            slot = claims.claim(slots)
            if slot is None:
                time.sleep(0.05)
                continue
            report.send(("claimed", slot))
            if waits:
                report.recv()
            if claims.finish(slot):
                report.send(("finished", slot))


def loss(params):
    return (math.log10(params["optimizer.lr"]) + 2) ** 2


def sweep(url, deadly_commit):
    """Do a study of 14 trials in batches of two, taking up what an earlier process left; die while writing.

    Args:
        deadly_commit: which commit of adding and finishing trials, from 0, the process dies before; None = live.
    """
    commits, commit = itertools.count(), RootTransaction.commit

    def commit_or_die(transaction):
        if next(commits) == deadly_commit:
            die()
        commit(transaction)

    writing = mock.patch.object(RootTransaction, "commit", commit_or_die)
    study = create_or_load_study(open_storage(url), "study", ["minimize"], DOCUMENT)
    asked = {"sampler": "tpe", "seed": 0, "num_trials": 14, "directions": ["minimize"]}
    for first in range(0, 14, 2):
        for number in range(first, first + 2):
            if number >= len(study.trials):
                history = visible_history(study.trials, number=number, batch_size=2)
                suggestion = suggest(SPACE, number=number, history=history, **asked)
                with writing:
                    add_trial(study, suggestion, {"seed": 0})
        for trial in study.trials[first:]:
            if trial.state == TrialState.RUNNING:
                value = loss(trial.params)
                with writing:
                    finish_trial(study, trial, [value], TrialState.COMPLETE, {"state": "ok"}, {1: value})


def start_work(url, name, slots, *, waits=False):
    """Start a process that works; gives it and our end of its connection."""
    ours, theirs = PROCESSES.Pipe()
    process = start(work, url, name, slots, theirs, waits)
    theirs.close()
    return process, ours


def reports_of(connection):
    """Everything a process has said and not been heard yet; call it when the process has ended."""
    said = []
    with contextlib.suppress(EOFError, OSError):  # of a message cut short by a kill
        while connection.poll():
            said.append(connection.recv())
    return said
