"""A studies' database on a disk that is full, or behind a server that goes away for a while, by real means."""

import gc
import logging
import threading
import time

import pytest
from optuna.trial import TrialState
from postgres_server import start_postgres, stop_postgres
from sweep_processes import DOCUMENT, SUGGESTION, add_trial
from test_tracking_record import small_disk

from lrbench.search.claims import Claims
from lrbench.search.database import DatabaseAwayError, make_engine, parse_url
from lrbench.search.storage import add_slot, create_or_load_study, find_slot, finish_trial, open_storage, trials_of


def fill(path):
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)


def test_a_disk_without_room_for_the_tables_is_one_sentence():
    with small_disk("64k") as folder:
        with pytest.raises(
            DatabaseAwayError, match=f"cannot use {folder}/studies.db.tmp-.*: database or disk is full; the"
        ):
            open_storage(f"sqlite:///{folder}/studies.db")
        gc.collect()  # Optuna's engine, which keeps the file open
        assert [path.name for path in folder.iterdir()] == ["studies.db.lock"]


def test_a_full_disk_is_one_sentence_and_the_study_goes_on_when_there_is_space():
    with small_disk("400k") as folder:
        url = f"sqlite:///{folder}/studies.db"
        storages = [open_storage(url), open_storage(url)]
        study = create_or_load_study(storages[0], "study", ["minimize"], DOCUMENT)
        done = add_trial(study, SUGGESTION, {})
        finish_trial(study, done, [1.0], TrialState.COMPLETE, {}, {1: 1.0})
        running = add_trial(study, SUGGESTION, {})
        ballast = folder / "ballast"
        with pytest.raises(OSError, match="No space left"):
            fill(ballast)
        curve = {step: float(step) for step in range(2000)}
        with pytest.raises(DatabaseAwayError) as error:
            finish_trial(study, running, [2.0], TrialState.COMPLETE, {}, curve)
        assert str(error.value) == (
            f"hydra.sweeper.storage: cannot use {folder}/studies.db: database or disk is full; "
            "the same command goes on when that is mended"
        )
        ballast.unlink()
        again = create_or_load_study(storages[1], "study", ["minimize"], DOCUMENT)
        assert [trial.state for trial in trials_of(again)] == [TrialState.COMPLETE, TrialState.RUNNING]
        finish_trial(again, running, [2.0], TrialState.COMPLETE, {}, {1: 2.0})
        assert [trial.value for trial in trials_of(again)] == [1.0, 2.0]
        for storage in storages:
            storage.engine.dispose()


@pytest.fixture
def absence(postgres):
    """Take the server away for a second and a half, at once; it comes back by itself."""
    threads = []

    def begin():
        stop_postgres(postgres)
        thread = threading.Thread(target=lambda: (time.sleep(1.5), start_postgres(postgres)))
        thread.start()
        threads.append(thread)

    yield begin
    for thread in threads:
        thread.join()


@pytest.mark.slow
def test_a_server_that_is_away_for_a_second_is_waited_for(postgres_url, absence, caplog):
    caplog.set_level(logging.INFO, "lrbench")
    study = create_or_load_study(open_storage(postgres_url), "study", ["minimize"], DOCUMENT)
    with Claims(postgres_url, "study", "a", interval=0.1, patience=30) as claims:
        assert claims.claim(["0", "1"]) == "0"
        absence()
        assert claims.claim(["0", "1"]) == "1"
        trial = add_slot(study, 0, SUGGESTION)
        absence()
        finish_trial(study, trial, [1.0], TrialState.COMPLETE, {}, {1: 1.0})
        assert claims.finish("0")
        assert claims.finish("0")  # as after an answer that was lost
        assert find_slot(study, 0).value == 1.0
        assert claims.remaining(["0", "1"]) == ["1"]
    assert [trial.state for trial in trials_of(study)] == [TrialState.COMPLETE]
    assert "does not answer; waiting for up to 60 s" in caplog.text


@pytest.mark.slow
def test_a_server_that_stays_away_is_one_sentence(postgres, postgres_url):
    engine = make_engine(parse_url(postgres_url), patience=1.0)
    engine.connect().close()
    stop_postgres(postgres)
    try:
        began = time.monotonic()
        with pytest.raises(DatabaseAwayError) as error:
            engine.connect()
        assert 1 <= time.monotonic() - began < 10
        assert str(error.value).startswith("hydra.sweeper.storage: cannot use postgresql://")
        assert "(for 1 s): " in str(error.value)
        assert str(error.value).endswith("; the same command goes on when that is mended")
        began = time.monotonic()
        with pytest.raises(DatabaseAwayError):  # the time is that of all calls together
            engine.connect()
        assert time.monotonic() - began < 1
    finally:
        start_postgres(postgres)
