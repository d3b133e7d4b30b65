"""The lock of a record between processes, forks and file systems."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from lrbench.tracking import lock as lock_module
from lrbench.tracking.lock import Lock, is_locked, try_lock

REPO = Path(__file__).parent.parent


def take(path: Path, *, patience: float = 0.0) -> Lock:
    lock = try_lock(path, patience=patience)
    assert lock is not None
    return lock


def test_one_holder_at_a_time_also_within_a_process(tmp_path):
    path = tmp_path / "lock"
    with take(path):
        assert try_lock(path) is None
        assert try_lock(path, patience=0.05) is None
        assert is_locked(path)
    assert not is_locked(path)
    lock = take(path)
    lock.release()
    lock.release()
    assert not is_locked(path)


def test_it_is_the_lock_that_filelock_takes(tmp_path):
    path = tmp_path / "lock"
    with take(path), pytest.raises(Timeout):
        FileLock(path).acquire(timeout=0)
    with FileLock(path):
        assert is_locked(path)


def test_a_lock_that_nobody_refers_to_is_free(tmp_path):
    take(tmp_path / "lock")
    assert not is_locked(tmp_path / "lock")


@pytest.mark.parametrize("forks", [False, True])
def test_a_killed_process_frees_its_lock_even_when_it_has_children(tmp_path, forks):
    code = (
        "import os, pathlib, sys\n"
        "from lrbench.tracking.lock import try_lock\n"
        "lock = try_lock(pathlib.Path(sys.argv[1]))\n"
        f"if {forks} and os.fork():\n"
        "    os.read(0, 1)\n"
        "print('ready', flush=True)\n"
        "os.read(0, 1)\n"
    )
    path = tmp_path / "lock"
    command = [sys.executable, "-c", code, path]
    with subprocess.Popen(command, cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        assert is_locked(path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not is_locked(path)  # while the child, if any, still waits for the end of its input


def test_a_forked_child_neither_has_nor_frees_the_lock_of_its_parent(tmp_path):
    path = tmp_path / "lock"
    lock = take(path)
    child = os.fork()
    if child == 0:
        lock.release()
        os._exit(int(is_locked(path)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert is_locked(path)
    lock.release()
    assert not is_locked(path)


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_filelock_serves_where_there_is_no_flock(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(lock_module.fcntl, "flock", refuse)
    with take(tmp_path / "lock"):
        assert try_lock(tmp_path / "lock") is None
    assert not is_locked(tmp_path / "lock")


def test_a_directory_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        try_lock(tmp_path / "absent" / "lock")
