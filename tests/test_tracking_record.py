import contextlib
import errno
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lrbench.spec import Evaluation, RunState
from lrbench.tracking import journal as journal_module
from lrbench.tracking import record as record_module
from lrbench.tracking.facts import read_facts
from lrbench.tracking.find import find_unfinished
from lrbench.tracking.journal import (
    Described,
    Ended,
    Evaluated,
    Journal,
    Resumed,
    complete_bytes,
    decode,
    encode,
    last_entry,
    read_all,
    read_entries,
)
from lrbench.tracking.names import MAX_KEY_LENGTH, cut, escape_key, format_param, unescape_key
from lrbench.tracking.record import Record, RecordBusyError
from lrbench.tracking.sync import SyncReport, sync

FINGERPRINT = "1a2b3c4d5e6f7081"


def make_record(root: Path, **changes) -> Record:
    settings = {
        "name": "cosine-s0",
        "experiment": "digits-mlp",
        "tracking_uri": f"sqlite:///{root}/mlflow.db",
        "fingerprint": FINGERPRINT,
        "tags": {"scheduler": "cosine", "workload": "digits-mlp", "budget": "40", "seed": "0"},
        "params": {"optimizer.lr": 0.1},
    }
    return Record.create(root / "runs", **(settings | changes))


def evaluation(step: int, loss: float = 0.5) -> Evaluation:
    rates = [(s, 0.1 / s, None) for s in range(step - 1, step + 1) if s > 0]
    return Evaluation(step=step, seconds=step / 8, metrics={"train/loss": loss + 1, "val/loss": loss}, rates=rates)


@contextlib.contextmanager
def small_disk(size: str, *options: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs", folder]
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            pytest.skip("mounting a small file system needs root")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def same(left: float, right: float) -> bool:
    return (math.isnan(left) and math.isnan(right)) or (
        left == right and math.copysign(1, left) == math.copysign(1, right)
    )


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


names = st.text(min_size=1, max_size=8)


@settings(max_examples=50)
@given(
    step=st.integers(0, 2**62),
    metrics=st.dictionaries(names, st.floats(), max_size=4),
    rates=st.lists(st.tuples(st.integers(1, 2**40), st.floats(), st.none() | st.floats()), max_size=4),
)
def test_a_journal_line_is_strict_json_and_gives_every_float_back(step, metrics, rates):
    line = encode(Evaluated(7, Evaluation(step, 0.25, metrics, rates)))
    assert line.count(b"\n") == 1
    json.loads(line, parse_constant=refuse_constant)
    entry = decode(line)
    assert isinstance(entry, Evaluated)
    assert (entry.time, entry.evaluation.step, entry.evaluation.seconds) == (7, step, 0.25)
    assert entry.evaluation.metrics.keys() == metrics.keys()
    assert all(same(entry.evaluation.metrics[name], metrics[name]) for name in metrics)
    assert len(entry.evaluation.rates) == len(rates)
    for (a, lr, momentum), (b, expected_lr, expected_momentum) in zip(entry.evaluation.rates, rates, strict=True):
        assert a == b
        assert same(lr, expected_lr)
        assert (momentum is None) == (expected_momentum is None)
        assert momentum is None or same(momentum, expected_momentum)


def test_marks_round_trip():
    for entry in (
        Resumed(5, 123),
        Described(6, {"best.lr": "0.1"}, {"größe": "1"}, "**best**\n"),
        Described(6, {}, {}),
        Ended(6, "FAILED", RunState.INCOMPLETE, 'disk full: "/ä"'),
    ):
        assert decode(encode(entry)) == entry


def test_a_journal_torn_at_any_byte_keeps_its_whole_lines_and_takes_new_ones(tmp_path):
    entries = [Evaluated(t, evaluation(t)) for t in range(3)]
    lines = [encode(entry) for entry in entries]
    path = tmp_path / "journal.jsonl"
    for length in range(len(b"".join(lines)) + 1):
        path.write_bytes(b"".join(lines)[:length])
        num_whole = path.read_bytes().count(b"\n")
        assert read_all(path) == entries[:num_whole]
        journal = Journal(path)
        journal.append(Resumed(9, 1))
        journal.close()
        assert path.read_bytes() == b"".join(lines[:num_whole]) + encode(Resumed(9, 1))


def test_a_torn_line_longer_than_a_block_is_found(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"first\n" + b"x" * 200_000)
    assert complete_bytes(path) == 6


@settings(max_examples=30)
@given(lengths=st.lists(st.integers(0, 9000), max_size=4), torn=st.integers(0, 70_000))
def test_the_last_line_is_read_from_the_end_of_the_file(lengths, torn):
    entries = [Ended(n, "FAILED", RunState.INCOMPLETE, "x" * n) for n in lengths]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        path.write_bytes(b"".join(map(encode, entries)) + b"y" * torn)
        assert last_entry(path) == (entries[-1] if entries else None)


def test_a_damaged_last_line_is_named(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(encode(Resumed(1, 1)) + b"{}\n")
    with pytest.raises(ValueError, match=r"journal.jsonl is damaged at its end: not a journal line"):
        last_entry(path)


def test_reading_piece_by_piece_gives_the_same_lines(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"".join(encode(Evaluated(t, evaluation(t))) for t in range(5)))
    pieces, offset = [], 0
    while offset < path.stat().st_size:
        entries, offset = read_entries(path, offset, max_bytes=1)
        assert len(entries) == 1
        pieces += entries
    assert pieces == read_all(path)


def test_a_damaged_line_is_named_not_skipped(tmp_path):
    path = tmp_path / "journal.jsonl"
    first = encode(Resumed(1, 1))
    path.write_bytes(first + b'{"step":1,"ti\n' + first)
    with pytest.raises(ValueError, match=rf"journal.jsonl is damaged at byte {len(first)}: not a journal line"):
        read_all(path)


def test_a_write_that_stops_half_way_leaves_the_earlier_lines(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(Resumed(1, 1))
    write = os.write

    def fill_up(file, data):
        if len(data) < 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[: len(data) - 9])

    monkeypatch.setattr(journal_module.os, "write", fill_up)
    with pytest.raises(OSError, match=r"disk full while writing the journal: '.*journal\.jsonl'"):
        journal.append(Evaluated(2, evaluation(1)))
    monkeypatch.undo()
    journal.append(Resumed(3, 1))
    assert read_all(journal.path) == [Resumed(1, 1), Resumed(3, 1)]
    journal.close()


def test_a_run_on_a_full_disk_fails_truthfully_and_resumes_when_there_is_space():
    with small_disk("128k") as disk:
        record = make_record(disk)
        record.append(evaluation(0))
        ballast = disk / "ballast"
        with contextlib.suppress(OSError):
            ballast.write_bytes(b"x" * (1 << 20))

        def train() -> None:
            with record:
                for step in range(1, 1000):
                    record.append(evaluation(step))

        with pytest.raises(OSError, match="disk full while writing the journal"):
            train()
        last = read_all(record.path / "journal.jsonl")[-1]
        assert isinstance(last, Ended)
        assert last.status == "FAILED"
        assert "disk full" in last.message
        ballast.unlink()
        with Record.open(record.path) as resumed:
            before = resumed.last_step
            resumed.append(evaluation(before + 1))
            assert [e.step for e in resumed.evaluations()] == list(range(before + 2))


def test_times_never_go_back_when_the_clock_does(tmp_path, monkeypatch):
    clock = iter([5_000, 9_000, 2_000, 1_000, 3_000, 9_500])
    monkeypatch.setattr(record_module.time, "time_ns", lambda: next(clock) * 1_000_000)
    with make_record(tmp_path) as record:
        record.append(evaluation(0))
        record.append(evaluation(1))
    with Record.open(record.path) as record:
        record.append(evaluation(2))
        record.append(evaluation(3))
    assert [entry.time for entry in read_all(record.path / "journal.jsonl")] == [9000, 9000, 9000, 9000, 9500]


def test_a_resumed_run_does_not_write_again_what_the_journal_has(tmp_path):
    with make_record(tmp_path) as record:
        for step in (0, 10, 20):
            record.append(evaluation(step))
    first = (record.path / "journal.jsonl").read_bytes()
    with Record.open(record.path) as record:
        assert record.last_step == 20
        for step in (10, 20, 30):
            record.append(evaluation(step))
        assert [e.step for e in record.evaluations()] == [0, 10, 20, 30]
    journal = (record.path / "journal.jsonl").read_bytes()
    assert journal.startswith(first)
    assert [type(entry) for entry in read_all(record.path / "journal.jsonl")[3:]] == [Resumed, Evaluated]


def test_a_record_in_training_is_busy_for_everybody_else(tmp_path):
    with make_record(tmp_path) as record:
        assert find_unfinished(tmp_path / "runs", FINGERPRINT) is None
        with pytest.raises(RecordBusyError, match="is being trained by another process"):
            Record.open(record.path)
    assert find_unfinished(tmp_path / "runs", FINGERPRINT) == record.path


def test_find_unfinished_knows_killed_failed_and_finished(tmp_path):
    runs = tmp_path / "runs"
    assert find_unfinished(runs, FINGERPRINT) is None
    with make_record(tmp_path) as record:
        record.end("KILLED", RunState.INCOMPLETE)
    assert find_unfinished(runs, FINGERPRINT) == record.path
    assert find_unfinished(runs, FINGERPRINT[:8] + "00000000") is None
    with Record.open(record.path) as record:
        record.end("FINISHED", RunState.OK)
    assert find_unfinished(runs, FINGERPRINT) is None
    with pytest.raises(ValueError, match="is finished; it cannot be resumed"):
        Record.open(record.path)


def test_records_of_one_fingerprint_get_numbers(tmp_path):
    paths = []
    for _ in range(3):
        with make_record(tmp_path) as record:
            record.end("FINISHED", RunState.OK)
        paths.append(record.path.name)
    assert paths == ["cosine-s0-1a2b3c4d", "cosine-s0-1a2b3c4d-2", "cosine-s0-1a2b3c4d-3"]
    with make_record(tmp_path) as unfinished:
        pass
    assert find_unfinished(tmp_path / "runs", FINGERPRINT) == unfinished.path


def test_a_directory_left_by_a_kill_in_creation_is_not_a_record(tmp_path):
    (tmp_path / "runs" / "cosine-s0-1a2b3c4d").mkdir(parents=True)
    assert find_unfinished(tmp_path / "runs", FINGERPRINT) is None
    with make_record(tmp_path) as record:
        assert record.path.name == "cosine-s0-1a2b3c4d-2"


def test_odd_names_make_one_plain_directory_and_stay_whole_in_the_facts(tmp_path):
    name = "../größe [x]=1/2 \n"
    with make_record(tmp_path, name=name) as record:
        assert record.path.parent == tmp_path / "runs"
        assert record.path.name == "_größe__x_=1_2__-1a2b3c4d"
        assert read_facts(record.path).name == name


@pytest.mark.parametrize(("error", "status"), [(KeyError("k"), "FAILED"), (KeyboardInterrupt(), "KILLED")])
def test_leaving_with_an_exception_ends_the_run_truthfully(tmp_path, error, status):
    with pytest.raises(type(error)), make_record(tmp_path) as record:
        raise error
    last = read_all(record.path / "journal.jsonl")[-1]
    assert isinstance(last, Ended)
    assert (last.status, last.state) == (status, RunState.INCOMPLETE)
    assert last.message.startswith(type(error).__name__)


def test_a_record_that_was_never_meant_for_mlflow_is_no_business_of_sync(tmp_path):
    with make_record(tmp_path, tracking_uri="") as record:
        record.end("FINISHED", RunState.OK)
    assert sync(tmp_path) == SyncReport(sent=[], unsent=[], running=[])


def test_a_killed_process_gives_its_record_free(tmp_path):
    code = (
        "import sys, pathlib, signal, os\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_tracking_record import make_record, evaluation\n"
        f"record = make_record(pathlib.Path({str(tmp_path)!r}))\n"
        "record.append(evaluation(0))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, check=False)
    assert done.returncode == -signal.SIGKILL
    path = find_unfinished(tmp_path / "runs", FINGERPRINT)
    assert path is not None
    with Record.open(path) as record:
        assert record.last_step == 0


@given(st.text(min_size=1, max_size=30) | st.from_regex(r"(_|\[|x005B|a){1,6}", fullmatch=True))
@example("_x005B_")
@example("_x005B[")
@example("_x005B_x005B_")
def test_escaped_keys_come_back(key):
    assert unescape_key(escape_key(key)) == key


def test_keys_are_readable_and_long_ones_differ():
    assert escape_key("optimizer.lr") == "optimizer.lr"
    assert escape_key("train/loss") == "train/loss"
    assert escape_key("größe") == "größe"
    assert escape_key("betas[0]") == "betas_x005B_0_x005D_"
    long = ["a" * 300 + end for end in "xy"]
    escaped = [escape_key(key) for key in long]
    assert escaped[0] != escaped[1]
    assert [len(key) for key in escaped] == [MAX_KEY_LENGTH] * 2
    assert unescape_key(escaped[0]) == escaped[0]


def test_values_are_written_as_yaml_would_and_cut_visibly():
    assert [format_param(v) for v in (0.1, True, None, [1, "ä"], "sgd", "")] == [
        "0.1",
        "true",
        "null",
        '[1, "ä"]',
        "sgd",
        '""',
    ]
    assert cut("x" * 10, 10) == "x" * 10
    text = cut("x" * 7000, 6000)
    assert len(text) == 6000
    assert text.endswith("... [cut, 7000 characters]")
