"""Worker processes: tasks, messages, deaths, stops, and orphans."""

import os
import signal
import subprocess
import sys
import time

import pytest

from lrbench.launch import Died, Done, Message, Pool

HERE = f"{__name__}."


def double(argument, link):
    link.send(("half way", argument))
    return 2 * argument


def die(argument, link):
    os.kill(os.getpid(), argument)
    time.sleep(60)


def fail(argument, link):
    raise RuntimeError("a bug")


def need_memory(argument, link):
    raise argument


def wait_for_stop(argument, link):
    link.send("begun")
    deadline = time.monotonic() + 60
    while not link.is_stopping() and time.monotonic() < deadline:
        time.sleep(0.01)
    return "stopped early"


def say_pid_and_sleep(argument, link):
    link.send(os.getpid())
    time.sleep(60)


def events(pool):
    return [event for event in pool.events() if event is not None]


def test_every_task_is_done_once_and_its_messages_come_before_its_end():
    with Pool(2) as pool:
        for number in range(7):
            pool.submit(number, HERE + "double", number)
        seen = events(pool)
    assert sorted(e.result for e in seen if isinstance(e, Done)) == [0, 2, 4, 6, 8, 10, 12]
    for number in range(7):
        own = [type(event) for event in seen if event.key == number]
        assert own == [Message, Done]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "MemoryError"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "libtorch_cpu.so: failed to map"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "DefaultCPUAllocator: can't allocate"),
    ],
)
def test_a_worker_without_memory_says_so_in_a_word(error, reason, capfd):
    with Pool(1) as pool:
        pool.submit("large", HERE + "need_memory", error)
        (died,) = events(pool)
    assert (died.key, died.exit_code) == ("large", 1)
    assert died.how.startswith(f"has too little memory: {reason}")
    assert "Traceback" not in capfd.readouterr().err


def test_a_worker_that_is_killed_is_reported_and_the_others_go_on():
    with Pool(1) as pool:
        pool.submit("bad", HERE + "die", signal.SIGKILL)
        pool.submit("good", HERE + "double", 1)
        seen = events(pool)
    assert Died("bad", -signal.SIGKILL) in seen
    assert Done("good", 2) in seen


def test_a_task_that_raises_ends_its_worker_only():
    with Pool(1) as pool:
        pool.submit("bug", HERE + "fail", None)
        pool.submit("good", HERE + "double", 1)
        seen = events(pool)
    assert Died("bug", 1) in seen
    assert Done("good", 2) in seen


def test_stop_ends_running_tasks_and_forgets_waiting_ones():
    with Pool(1) as pool:
        pool.submit("first", HERE + "wait_for_stop", None)
        pool.submit("second", HERE + "double", 1)
        seen = []
        for event in pool.events():
            seen.append(event)
            if isinstance(event, Message):
                assert pool.stop() == ["second"]
    assert Done("first", "stopped early") in seen
    assert not any(event.key == "second" for event in seen if event is not None)


def test_signals_to_the_process_group_do_not_reach_tasks():
    with Pool(1) as pool:
        pool.submit("first", HERE + "say_pid_and_sleep", None)
        for event in pool.events():
            if isinstance(event, Message):
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2):
                    os.kill(event.body, number)
                os.kill(event.body, 0)
                os.kill(event.body, signal.SIGKILL)
            elif event is not None:
                assert event == Died("first", -signal.SIGKILL)


@pytest.mark.slow
def test_workers_do_not_outlive_a_parent_that_is_killed(tmp_path):
    program = (
        "from lrbench.launch import Pool, Message\n"
        "if __name__ == '__main__':\n"
        "    with Pool(2) as pool:\n"
        "        for key in range(2): pool.submit(key, 'tests.test_launch_pool.say_pid_and_sleep', None)\n"
        "        for event in pool.events():\n"
        "            if isinstance(event, Message): print(event.body, flush=True)\n"
    )
    (tmp_path / "parent.py").write_text(program)
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "parent.py")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])},
    )
    pids = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while any(os.path.exists(f"/proc/{pid}") for pid in pids):
        assert time.monotonic() < deadline, "a worker lives on"
        time.sleep(0.02)


def test_a_pool_without_a_task_is_followed_by_one_with():
    with Pool(1):
        pass
    with Pool(1) as pool:
        pool.submit(0, HERE + "double", 1)
        assert Done(0, 2) in events(pool)


@pytest.mark.slow
def test_a_server_that_nobody_needed_keeps_no_pipe_open(tmp_path):
    (tmp_path / "imports_for_a_minute.py").write_text("import time\ntime.sleep(60)\n")
    (tmp_path / "parent.py").write_text(
        "from lrbench.launch import Pool\n"
        "if __name__ == '__main__':\n"
        "    with Pool(1, preload=['imports_for_a_minute']):\n"
        "        print('wrong words')\n"
    )
    command = f"{sys.executable} {tmp_path / 'parent.py'} | cat"
    path = os.pathsep.join([str(tmp_path), os.getcwd(), *sys.path])
    done = subprocess.run(command, shell=True, capture_output=True, timeout=30, env={**os.environ, "PYTHONPATH": path})
    assert done.stdout == b"wrong words\n"


def test_a_pool_needs_no_shared_memory(monkeypatch):
    def read_only(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("_multiprocessing.SemLock", read_only)
    with Pool(1) as pool:
        pool.submit(0, HERE + "double", 1)
        assert Done(0, 2) in events(pool)


def run_pool(folder, preload, **variables):
    """Do a task in a pool of another process, whose server is its own; gives what it says."""
    program = (
        "from lrbench.launch import Pool\n"
        "if __name__ == '__main__':\n"
        f"    with Pool(1, preload={preload!r}) as pool:\n"
        "        pool.submit(0, 'test_launch_pool.double', 1)\n"
        "        print(list(pool.events())[-1])\n"
    )
    (folder / "parent.py").write_text(program)
    path = os.pathsep.join([str(folder), os.path.dirname(__file__), *sys.path])
    done = subprocess.run(
        [sys.executable, folder / "parent.py"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, **variables},
        check=False,
    )
    return done.stdout + done.stderr


def test_a_long_name_of_the_temporary_folder_is_no_obstacle(tmp_path):
    folder = tmp_path / ("x" * 130)
    folder.mkdir()
    assert run_pool(tmp_path, [], TMPDIR=str(folder)) == "Done(key=0, result=2)\n"


def test_a_server_that_dies_of_its_imports_is_named(tmp_path):
    (tmp_path / "too_large.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    said = run_pool(tmp_path, ["too_large"])
    assert "OSError: no worker process can be started: their server was killed (out of memory?)" in said
