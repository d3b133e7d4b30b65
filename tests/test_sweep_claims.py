import os
import random
import signal
import threading
import time
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from sweep_processes import claim_and_die, end, reports_of, start, start_work

from lrbench.search import claims as module
from lrbench.search.claims import Claims
from lrbench.search.database import DatabaseAwayError
from lrbench.search.storage import open_storage

SLOTS = [f"trial-{number}" for number in range(3)]


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.fixture
def processes(study_database):
    """Claims of processes that beat when they are told to, every 10 seconds by their own opinion."""
    made = []

    def make(name, study="study"):
        made.append(Claims(study_database, study, name, interval=10, patience=60))
        return made[-1]

    yield make
    for claims in made:
        claims._engine.dispose()


def wait(clock, seconds, *observers, living=()):
    """Let time pass: everybody looks, and the living beat, every ten seconds."""
    for _ in range(round(seconds / 10)):
        clock.now += 10
        for process in (*living, *observers):
            process.beat()


def test_a_slot_has_one_owner_and_is_done_once(processes):
    a, b = processes("a"), processes("b")
    assert [a.claim(SLOTS), b.claim(SLOTS), a.claim(SLOTS), b.claim(SLOTS)] == [*SLOTS, None]
    assert a.remaining(SLOTS) == SLOTS
    assert [slot for slot in SLOTS if a.holds(slot)] == ["trial-0", "trial-2"]
    assert a.finish("trial-0")
    assert not a.holds("trial-0")
    assert a.finish("trial-0")  # as after an answer that was lost with the connection
    assert not a.finish("trial-1")  # b's
    assert not a.finish("unknown")
    assert b.remaining(SLOTS) == a.remaining(SLOTS) == ["trial-1", "trial-2"]
    assert a.claim(SLOTS) is None
    assert [a.attempts(slot) for slot in (*SLOTS, "unknown")] == [0, 0, 0, 0]


def test_studies_do_not_meet(processes):
    assert processes("a").claim(SLOTS) == processes("a", "other").claim(SLOTS) == "trial-0"


def test_slots_are_preferred_in_the_order_given(processes):
    a = processes("a")
    assert [a.claim(["y", "x"]), a.claim(["z", "y", "x"]), a.claim(["x", "y", "z"])] == ["y", "z", "x"]


def test_a_silent_owner_is_taken_over_after_patience_and_not_before(processes, clock):
    dead, b = processes("dead"), processes("b")
    assert dead.claim(SLOTS) == "trial-0"
    b.beat()
    wait(clock, 50, b)
    assert b.claim(["trial-0"]) is None
    wait(clock, 10, b)
    assert b.claim(["trial-0"]) == "trial-0"
    assert b.attempts("trial-0") == dead.attempts("trial-0") == 1
    # It only stood still, and comes back.
    dead.beat()
    assert not dead.holds("trial-0")
    assert b.holds("trial-0")
    assert not dead.finish("trial-0")
    assert b.finish("trial-0")
    assert b.remaining(SLOTS) == ["trial-1", "trial-2"]


def test_a_beating_owner_keeps_its_slot_for_ever(processes, clock):
    alive, b = processes("alive"), processes("b")
    alive.claim(SLOTS)
    wait(clock, 600, b, living=[alive])
    assert b.claim(["trial-0"]) is None
    assert alive.finish("trial-0")


def test_a_slow_beat_is_a_beat(processes, clock):
    slow, b = processes("slow"), processes("b")
    slow.claim(SLOTS)
    for _ in range(5):
        wait(clock, 50, b)
        slow.beat()
    assert b.claim(["trial-0"]) is None


def test_no_clock_on_the_wall_makes_a_live_trial_look_dead(processes, clock, monkeypatch):
    alive, b = processes("alive"), processes("b")
    alive.claim(SLOTS)
    for shift in (3600, -3600, 86400 * 365):
        now = time.time() + shift
        monkeypatch.setattr(time, "time", lambda now=now: now)
        wait(clock, 30, b, living=[alive])
        assert b.claim(["trial-0"]) is None


def test_an_observer_that_was_suspended_does_not_take_the_others_for_dead(processes, clock):
    """All processes of a machine were stopped for an hour; the observer wakes up first."""
    alive, b = processes("alive"), processes("b")
    alive.claim(SLOTS)
    wait(clock, 30, b, living=[alive])
    clock.now += 3600
    assert b.claim(["trial-0"]) is None
    wait(clock, 30, b, living=[alive])
    assert b.claim(["trial-0"]) is None
    assert alive.finish("trial-0")


def test_of_two_observers_one_takes_over(processes, clock):
    dead, b, c = processes("dead"), processes("b"), processes("c")
    dead.claim(SLOTS)
    wait(clock, 70, b, c)
    rows = b._look()
    assert c.claim(["trial-0"]) == "trial-0"
    # b read the row before c took it over.
    assert not b._take(rows["trial-0"], attempts=1)
    assert b.claim(["trial-0"]) is None
    assert c.attempts("trial-0") == 1


def test_every_death_counts(processes, clock):
    for attempt in range(4):
        process = processes("dies")
        process.beat()
        wait(clock, 60, process)
        assert process.claim(["trial-0"]) == "trial-0"
        assert process.attempts("trial-0") == attempt


def test_a_name_that_comes_again_is_another_process(processes, clock):
    assert processes("host 1").claim(["trial-0"]) == "trial-0"
    again = processes("host 1")
    assert again.claim(["trial-0"]) is None
    again.beat()
    wait(clock, 60, again)
    assert again.claim(["trial-0"]) == "trial-0"


def test_leaving_gives_unfinished_slots_back_at_once_and_without_blame(study_database):
    def be_interrupted():
        with Claims(study_database, "study", "a", interval=0.01, patience=1) as a:
            assert [a.claim(SLOTS), a.claim(SLOTS)] == SLOTS[:2]
            assert a.finish("trial-0")
            raise KeyboardInterrupt

    b = Claims(study_database, "study", "b")
    with pytest.raises(KeyboardInterrupt):
        be_interrupted()
    assert not [thread for thread in threading.enumerate() if thread.name == "lrbench-claims"]
    assert [b.claim(SLOTS), b.attempts("trial-1")] == ["trial-1", 0]
    b._engine.dispose()


def test_the_thread_beats_by_itself_and_survives_a_database_that_is_away(study_database, monkeypatch):
    beaten, real = threading.Semaphore(0), Claims.beat
    failures = [DatabaseAwayError("the server is restarting")] * 2

    def beat(claims):
        if failures:
            raise failures.pop()
        real(claims)
        beaten.release()

    monkeypatch.setattr(Claims, "beat", beat)
    with Claims(study_database, "study", "a", interval=0.001, patience=1) as a:
        assert a.claim(SLOTS) == "trial-0"
        while a._rows()["trial-0"].beat < 2:
            assert beaten.acquire(timeout=60)


def test_the_table_stands_beside_optunas(study_database):
    claims = Claims(study_database, "study", "a")
    storage = open_storage(study_database)
    assert {"lrbench_claims", "trials"} <= set(sa.inspect(storage.engine).get_table_names())
    storage.engine.dispose()
    claims._engine.dispose()


@pytest.mark.parametrize("method", ["claim", "finish"])
def test_a_kill_before_a_claim_is_written_leaves_it_as_it_was(study_database, method):
    assert end(start(claim_and_die, study_database, method)) == -9
    b = Claims(study_database, "study", "b")
    # A new slot is free at once; one that was claimed waits for the patience of others.
    assert b.claim(["trial-0"]) == ("trial-0" if method == "claim" else None)
    assert b.remaining(["trial-0"]) == ["trial-0"]
    b._engine.dispose()


MANY = [f"trial-{number}" for number in range(12)]


@pytest.mark.slow
def test_a_killed_process_loses_no_slot_and_none_is_done_twice(study_database):
    open_storage(study_database).engine.dispose()
    killed, killed_reports = start_work(study_database, "killed", MANY, waits=True)
    assert killed_reports.poll(60)
    claimed, lost = killed_reports.recv()
    assert claimed == "claimed"
    others = [start_work(study_database, name, MANY) for name in ("b", "c")]
    os.kill(killed.pid, signal.SIGKILL)
    assert end(killed) == -9
    assert [end(process) for process, _ in others] == [0, 0]
    reports = [report for _, connection in others for report in reports_of(connection)]
    assert sorted(slot for word, slot in reports if word == "finished") == sorted(MANY)
    observer = Claims(study_database, "study", "observer")
    assert observer.remaining(MANY) == []
    assert observer.attempts(lost) >= 1
    observer._engine.dispose()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_processes_killed_and_restarted_at_random_do_every_slot_once(study_database, seed):
    open_storage(study_database).engine.dispose()
    moments = random.Random(seed)
    processes = [start_work(study_database, f"p{i}", MANY) for i in range(3)]
    reports = []
    for _ in range(6):
        time.sleep(moments.uniform(0.0, 0.15))
        index = moments.randrange(3)
        process, connection = processes[index]
        process.kill()
        end(process)
        reports += reports_of(connection)
        processes[index] = start_work(study_database, f"p{index}", MANY)
    for process, connection in processes:
        assert end(process) == 0
        reports += reports_of(connection)
    finished = [slot for word, slot in reports if word == "finished"]
    assert len(finished) == len(set(finished))
    observer = Claims(study_database, "study", "observer")
    assert observer.remaining(MANY) == []
    observer._engine.dispose()
