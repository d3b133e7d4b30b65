"""Jobs of a sweep on the worker processes of this machine: composed, recognised, grouped, trained, counted."""

import copy
import json
import os
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, open_dict

from lrbench.config import Plan
from lrbench.config.plan import plain_values, plan_of
from lrbench.config.trust import check_job_keys
from lrbench.launch import Died, Done, Message, Pool
from lrbench.runs.destination import check_destination
from lrbench.runs.errors import USER_ERRORS
from lrbench.runs.finished import Recorded
from lrbench.runs.grid_lock import held
from lrbench.runs.groups import Group, cut, groups_left
from lrbench.runs.progress import sweep_bar
from lrbench.runs.result import Result
from lrbench.runs.signals import StopRequest

if TYPE_CHECKING:
    from lrbench.runs.session import Session

Values = dict[str, Any]
BeganIn = Callable[[int, str], bool]
TrainPlans = Callable[[Mapping[int, Plan], Collection[int], Mapping[str, str], BeganIn], dict[int, Result]]


def compose_values(loader: ConfigLoader, master: DictConfig, jobs: Sequence[Sequence[str]]) -> list[Values]:
    """Compose the plain values of many jobs.

    Composing the defaults list takes a tenth of a second, so it is done once for every choice of groups; the other
    overrides are applied as Hydra itself applies them.

    Args:
        loader: of the running application.
        master: the sweep's config.
        jobs: override words of each job.

    Raises:
        What Hydra raises for wrong words.
    """
    groups = set(loader.list_groups(""))
    parser = OverridesParser.create(config_loader=loader)
    composed: dict[tuple[str, ...], DictConfig] = {}
    values = []
    for words in jobs:
        overrides = parser.parse_overrides(list(words))
        check_job_keys([override.key_or_group for override in overrides], master)
        choices = tuple(
            o.input_line for o in overrides if o.input_line is not None and _is_choice(o.key_or_group, groups)
        )
        if choices not in composed:
            config = loader.load_sweep_config(master, list(choices))
            with open_dict(config):
                del config["hydra"]
            composed[choices] = config
        config = copy.deepcopy(composed[choices])
        ConfigLoaderImpl._apply_overrides_to_config(
            [o for o in overrides if not _is_choice(o.key_or_group, groups)], config
        )
        values.append(plain_values(config))
    return values


def _is_choice(key: str, groups: set[str]) -> bool:
    return key in groups or key.startswith("hydra")


def default_num_workers(plan: Plan, pool: Pool) -> int:
    """One process for every core that this process may use; one for a GPU.

    Args:
        plan: any of those to be trained.
        pool: says what device=auto is; without torch, this process cannot.
    """
    device = plan.values["device"]
    if device == "auto":
        pool.submit(None, "lrbench.runs.worker.device_type", device)
        for event in pool.events():
            if isinstance(event, Done):
                device = event.result
    if device != "cpu":
        return 1
    return max(1, num_cores() // int(plan.values["threads"]))


def num_cores() -> int:
    """Cores that this process may use; of all in the machine where the system does not say, as macOS."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_jobs(jobs: Sequence[Values], session: "Session", *, num_workers: int | None) -> list[Result]:
    """Train configs on this machine, and hand their results to the session as they come; see `train_missing`.

    Args:
        jobs: see `train_missing`.
        session: see `train_missing`; it also knows about stops.
        num_workers: processes, >= 1; None for one a core.
    """
    return train_missing(
        jobs,
        session,
        lambda plans, finished, destinations, began_in: _Training(plans, finished, destinations, began_in, session).run(
            num_workers
        ),
    )


def train_missing(jobs: Sequence[Values], session: "Session", train: TrainPlans) -> list[Result]:
    """Train configs, each once: neither those that an earlier command finished nor one of them twice.

    Args:
        jobs: plain values of their configs.
        session: collects results and follows records.
        train: trains those that are left and resumes those that were left unfinished; given the plans by index, which
            of them have finished, where records go by `_place`, and `began_in` of `groups_left`, it returns the results
            of the others by index.

    Returns:
        One result a job, in their order.

    Raises:
        ValueError: results_dir or the tracking store cannot be used.
    """
    results: dict[int, Result] = {}
    plans: dict[int, Plan] = {}
    for index, values in enumerate(jobs):
        try:
            plans[index] = plan_of(values)
        except USER_ERRORS as error:
            results[index] = Result(_name(values), error=error)
    destinations = _destinations(plans.values(), session)
    recorded = Recorded(partial(data_digest, session))
    first_of: dict[str, int] = {}
    for index, plan in plans.items():
        if first_of.setdefault(plan.fingerprint, index) == index and (known := recorded.find(plan)) is not None:
            results[index] = known
    for sentence in recorded.news():
        session.note(sentence)
    for result in results.values():
        session.collect(result)
    single = {index: plans[index] for index in first_of.values()}
    if left := [plan for index, plan in single.items() if index not in results]:
        with held(left):
            results |= train(
                single,
                results.keys() & single.keys(),
                destinations,
                lambda index, stack: recorded.began_in(single[index], stack),
            )
    # Two jobs of one fingerprint are one run.
    return [
        results[index] if index in results else results[first_of[plans[index].fingerprint]]
        for index in range(len(jobs))
    ]


def data_digest(session: "Session", plan: Plan) -> str:
    """Digest the data of a plan in a worker, since that needs torch, once a dataset; "" where they cannot be read."""
    key = dataset_key(plan.values)
    if key not in session.data_digests:
        pool = session.pool(1)
        pool.submit(key, "lrbench.runs.worker.prepare", plan.values)
        session.data_digests[key] = ""
        for event in pool.events():
            if isinstance(event, Done):
                session.data_digests[key], _ = event.result
    return session.data_digests[key]


def dataset_key(values: Values) -> str:
    """What identifies the data of a config."""
    return json.dumps([values["dataset"], values["trusted_modules"]], sort_keys=True)


def _destinations(plans: Iterable[Plan], session: "Session") -> dict[str, str]:
    """Check where records go, once a place; by `_place`, the tracking URI or "" for nowhere."""
    uris: dict[str, str] = {}
    for plan in plans:
        if _place(plan) not in uris:
            uris[_place(plan)] = check_destination(plan)
            if uris[_place(plan)]:
                session.start_sender(Path(plan.values["results_dir"]), uris[_place(plan)])
    return uris


def _place(plan: Plan) -> str:
    return json.dumps([plan.values["results_dir"], plan.values["tracking"]], sort_keys=True)


class _Training:
    """Some plans on their way through the workers; a task is a group of them that trains as one."""

    def __init__(
        self,
        plans: Mapping[int, Plan],
        finished: Collection[int],
        destinations: Mapping[str, str],
        began_in: BeganIn,
        session: "Session",
    ) -> None:
        self._plans = plans
        self._finished = finished
        self._destinations = destinations
        self._began_in = began_in
        self._session = session
        self._results: dict[int, Result] = {}
        self._waiting: deque[Group] = deque()
        self._begun_at: dict[Any, float] = {}  # of the tasks in the pool, by key
        self._job_seconds: dict[str, float] = {}  # by workload, of the group that ended last
        self._one_by_one: set[tuple[str, int]] = set()  # kinds of groups that are not stacked, see `_kind`

    def run(self, num_workers: int | None) -> dict[int, Result]:
        if num_workers is None:
            num_workers = default_num_workers(next(iter(self._plans.values())), self._session.pool(1))
        self._waiting.extend(groups_left(self._plans, self._finished, num_workers, self._began_in))
        steps = {i: plan.budget.total_steps for i, plan in self._plans.items() if i not in self._finished}
        is_stopping = False
        with (
            StopRequest() as stop,
            sweep_bar(steps, on_progress=self._session.on_progress) as self._bar,
        ):
            self._pool = self._session.pool(num_workers)
            self._hand_out(num_workers)
            for event in self._pool.events():
                if stop() and not is_stopping:
                    is_stopping = True
                    self._session.stop(stop.exit_code)
                    for indices in [
                        *(key[0] for key in self._pool.stop()),
                        *(group.indices for group in self._waiting),
                    ]:
                        self._stopped(indices)
                    self._waiting.clear()
                match event:
                    case Message((indices, _), ("record", path)):
                        self._session.follow(path, self._uri(indices[0]))
                    case Message((indices, _), ("steps", steps_done)):
                        self._bar.advance(indices, steps_done)
                    case Message((indices, _), ("learner", "sequential")):
                        self._one_by_one.add(self._kind(indices))
                    case Message(_, ("learner", _)):
                        pass
                    case Message(_, ("note", text)):
                        self._session.note(text)
                    case Message((indices, _), ("end", (position, result))):
                        self._end(indices[position], result)
                    case Done((indices, _)):
                        assert is_stopping or not self._left(indices), "a job has no end"
                        self._stopped(indices)
                    case Died((indices, _)) if is_stopping:
                        self._stopped(indices)
                    case Died(((index,), True)):
                        lost = ChildProcessError(f"its worker process {event.how}, twice")
                        self._end(index, Result(self._plans[index].run_name, error=lost))
                    case Died((indices, _)):
                        # One of them may be to blame, or their number; each gets another chance of its own.
                        for index in self._left(indices):
                            self._submit(Group((index,)), is_retry=True)
                if isinstance(event, Done | Died):
                    self._clock(event)
                    self._hand_out(num_workers)
        return self._results

    def _hand_out(self, num_workers: int) -> None:
        """Give every worker that has nothing to do a group, or a part of one."""
        while self._waiting and len(self._begun_at) < num_workers:
            num_left = sum(len(group.indices) for group in self._waiting)
            group = self._waiting.popleft()
            if group.function == "train_group" and self._kind(group.indices) in self._one_by_one:
                group = Group(tuple(self._left(group.indices)), "train_one_by_one")
            seconds = self._job_seconds.get(self._plans[group.indices[0]].workload)
            group, rest = cut(group, num_left=num_left, num_workers=num_workers, job_seconds=seconds)
            if rest is not None:
                self._waiting.appendleft(rest)
            self._submit(group, is_retry=False)

    def _kind(self, indices: Sequence[int]) -> tuple[str, int]:
        """Groups of one kind share the choice of a learner: workload, and about how many."""
        return self._plans[indices[0]].workload, len(indices).bit_length()

    def _clock(self, event: Done | Died) -> None:
        """Take in how long a task took."""
        seconds = time.monotonic() - self._begun_at.pop(event.key)
        indices, _ = event.key
        if isinstance(event, Done):
            self._job_seconds[self._plans[indices[0]].workload] = seconds / len(indices)

    def _submit(self, group: Group, *, is_retry: bool) -> None:
        values = [self._plans[index].values for index in group.indices]
        known = [position for position, index in enumerate(group.indices) if index in self._finished]
        # By name: the function's module needs torch, which only the workers load.
        function = f"lrbench.runs.worker.{group.function}"
        key = group.indices, is_retry
        self._begun_at[key] = time.monotonic()
        uri = self._uri(group.indices[0])
        if self._session.loop is None:
            self._pool.submit(key, function, (values, uri, known))
        else:
            self._pool.submit(key, "lrbench.runs.worker.train_loops", (values, uri, self._session.loop))

    def _uri(self, index: int) -> str:
        return self._destinations[_place(self._plans[index])]

    def _end(self, index: int, result: Result) -> None:
        self._results[index] = result
        self._session.collect(result)
        self._bar.finish(index, result)

    def _stopped(self, indices: Sequence[int]) -> None:
        """Take in that those of the jobs that have not ended will not."""
        for index in self._left(indices):
            self._end(index, Result(self._plans[index].run_name, stopped=True))

    def _left(self, indices: Sequence[int]) -> list[int]:
        """Those of some jobs that have no end yet."""
        return [index for index in indices if index not in self._results and index not in self._finished]


def _name(values: Values) -> str:
    return f"{values['scheduler'].get('name')}-s{values['seed']}"
