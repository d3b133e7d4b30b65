"""Records found again by their fingerprint."""

import pytest
from test_tracking_record import FINGERPRINT, make_record

from lrbench.spec import RunState
from lrbench.tracking.find import RecordIndex, find_finished, find_unfinished
from lrbench.tracking.record import Record


def finished(results, **changes):
    with make_record(results, **changes) as record:
        record.end("FINISHED", RunState.OK)
    return record.path


@pytest.mark.parametrize("state", [RunState.OK, RunState.DIVERGED, RunState.INCOMPLETE])
def test_a_finished_record_is_found_whatever_its_result(tmp_path, state):
    runs = tmp_path / "runs"
    assert find_finished(runs, FINGERPRINT) is None
    with make_record(tmp_path) as record:
        assert find_finished(runs, FINGERPRINT) is None
        record.end("FINISHED", state)
    assert find_finished(runs, FINGERPRINT) == record.path
    assert find_finished(runs, FINGERPRINT[:8] + "0" * 8) is None


def test_a_killed_record_is_unfinished_until_it_ends_well(tmp_path):
    runs = tmp_path / "runs"
    with make_record(tmp_path) as record:
        record.end("KILLED", RunState.INCOMPLETE)
    assert (find_finished(runs, FINGERPRINT), find_unfinished(runs, FINGERPRINT)) == (None, record.path)
    with Record.open(record.path) as record:
        assert (find_finished(runs, FINGERPRINT), find_unfinished(runs, FINGERPRINT)) == (None, None)
        record.end("FINISHED", RunState.OK)
    assert (find_finished(runs, FINGERPRINT), find_unfinished(runs, FINGERPRINT)) == (record.path, None)


def test_the_first_of_several_is_taken_by_number(tmp_path):
    paths = [finished(tmp_path) for _ in range(11)]
    for path in (paths[0], paths[10]):
        (path / "journal.jsonl").unlink()
    assert paths[10].name.endswith("-11")
    assert find_finished(tmp_path / "runs", FINGERPRINT) == paths[1]
    assert find_unfinished(tmp_path / "runs", FINGERPRINT) == paths[0]
    (paths[0] / "run.json").unlink()
    assert find_unfinished(tmp_path / "runs", FINGERPRINT) == paths[10]


def test_an_index_knows_what_it_scanned_was_told_and_scans_again(tmp_path):
    runs = tmp_path / "runs"
    index = RecordIndex(runs)
    first = finished(tmp_path)
    assert find_finished(runs, FINGERPRINT, index=index) is None
    index.add(first)
    index.add(first)
    assert index.paths(FINGERPRINT) == [first]
    assert find_finished(runs, FINGERPRINT, index=index) == first
    other = finished(tmp_path, fingerprint="f" * 16)
    assert find_finished(runs, "f" * 16, index=index) is None
    index.refresh()
    assert find_finished(runs, "f" * 16, index=index) == other
    assert index.paths(FINGERPRINT) == [first]


def test_names_that_end_like_a_fingerprint_or_a_number_mislead_nobody(tmp_path):
    paths = {
        name: finished(tmp_path, name=name, fingerprint=fingerprint)
        for name, fingerprint in [("a-deadbeef", "12345678" * 2), ("b-2", "87654321" * 2), ("c", "deadbeef" * 2)]
    }
    index = RecordIndex(tmp_path / "runs")
    assert index.paths("12345678" * 2) == [paths["a-deadbeef"]]
    assert index.paths("87654321" * 2) == [paths["b-2"]]
    assert index.paths("deadbeef" * 2) == [paths["c"]]
    assert index.paths("0" * 16) == []
