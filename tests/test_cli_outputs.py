"""What signals, closed or full outputs and a deleted directory make of a command: one sentence, an exit code."""

import os
import runpy
import signal
import subprocess
import sys

import pytest
from shell import REPO

from lrbench.cli import export, main

TRAIN = ["dataset=digits", "model=mlp", "budget.steps=2", "budget.epochs=null", "tracking=none"]


@pytest.fixture
def stdout_is(monkeypatch):
    """Let sys.stdout write to a file descriptor."""

    def replace(descriptor):
        monkeypatch.setattr(sys, "stdout", os.fdopen(descriptor, "w"))

    return replace


def pipe_without_reader():
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def test_a_reader_that_has_read_enough_is_no_error(stdout_is, capsys):
    stdout_is(pipe_without_reader())
    assert main(["export", "scheduler=cosine"]) == 0
    assert capsys.readouterr().err == ""


def test_a_full_disk_behind_the_output_is_an_error_of_a_command_that_prints_its_result(stdout_is, capsys):
    stdout_is(os.open("/dev/full", os.O_WRONLY))
    assert main(["export", "scheduler=cosine"]) == 1
    assert capsys.readouterr().err == "lrbench: standard output could not be written: No space left on device\n"


@pytest.mark.slow
def test_a_finished_run_is_finished_whatever_becomes_of_its_output(stdout_is, capsys, tmp_path):
    stdout_is(os.open("/dev/full", os.O_WRONLY))
    assert main([*TRAIN, f"results_dir={tmp_path}"]) == 0
    said = capsys.readouterr().err
    assert "lrbench: standard output could not be written: No space left on device" in said
    assert "Traceback" not in said
    assert len(list((tmp_path / "runs").glob("*/artifacts/outcome.json"))) == 1


def test_a_pipe_that_breaks_inside_is_an_error(monkeypatch, capsys):
    def broken(words):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(export, "main", broken)
    assert main(["export"]) == 1
    assert "Broken pipe" in capsys.readouterr().err


def test_closed_outputs_end_a_command_as_ever():
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -m lrbench --version <&- >&- 2>&-', sys.executable],
        env={**os.environ, "PYTHONPATH": str(REPO)},
        check=False,
    )
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "stopped by SIGTERM"),
        (signal.SIGHUP, 129, "stopped by SIGHUP"),
    ],
)
def test_a_signal_before_anything_is_trained_is_answered_in_one_sentence(monkeypatch, capsys, number, code, said):
    before = signal.getsignal(number)
    monkeypatch.setattr(export, "main", lambda words: signal.raise_signal(number))
    assert main(["export"]) == code
    assert capsys.readouterr().err == f"lrbench: {said}; the same command continues\n"
    assert signal.getsignal(number) == before


def test_nohup_keeps_its_meaning(monkeypatch):
    monkeypatch.setattr(export, "main", lambda words: signal.raise_signal(signal.SIGHUP))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert main(["export"]) is None  # the command went on to its end
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_deleted_working_directory_is_named(monkeypatch, tmp_path, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["--version"]) == 1
    assert "lrbench: the working directory was deleted; go to another one" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["lrbench", "--version"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("lrbench", run_name="__main__")
    assert end.value.code == 1


@pytest.mark.parametrize("words", [[], ["-m"]])
def test_a_bad_results_dir_is_refused_without_torch(words):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "lrbench", *words, "results_dir=/proc/nope"],
        env={**os.environ, "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "lrbench: results_dir must be a writable directory, got /proc/nope: No such file" in done.stderr
    assert not [line for line in done.stderr.splitlines() if line.split("|")[-1].strip() == "torch"]


def test_a_user_without_a_home_is_told_what_to_give(monkeypatch, capsys):
    def homeless(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.expanduser", homeless)
    assert main(TRAIN) == 1
    assert "results_dir=results is in a home that this user has not; give results_dir=FOLDER" in capsys.readouterr().err
